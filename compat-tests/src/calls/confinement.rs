//! A process confines itself: seccomp filters, strict mode, other credentials.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::c_ulong;

use super::answer::{Answer, answer, answer_int};

/// How a filter is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// prctl(PR_SET_SECCOMP)
    Prctl,
    /// seccomp(2) by `syscall()`.
    SystemCall,
}

/// prctl(PR_SET_NO_NEW_PRIVS).
pub fn no_new_privileges() -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe {
        libc::prctl(
            libc::PR_SET_NO_NEW_PRIVS,
            1 as c_ulong,
            0 as c_ulong,
            0 as c_ulong,
            0 as c_ulong,
        )
    })
}

/// What libraries ask to find out which filters the kernel knows; nothing is installed.
pub fn questions() -> [(&'static str, Answer); 4] {
    let none = std::ptr::null::<u8>();
    let mut sizes = [0u16; 3];
    let action = libc::SECCOMP_RET_ALLOW;
    // SAFETY: null where a filter would be; the other pointers are of the size that the kernel reads and writes.
    unsafe {
        [
            (
                "prctl(PR_SET_SECCOMP, no filter)",
                answer_int(libc::prctl(
                    libc::PR_SET_SECCOMP,
                    c_ulong::from(libc::SECCOMP_MODE_FILTER),
                    none,
                )),
            ),
            (
                "seccomp(SECCOMP_SET_MODE_FILTER, no filter)",
                answer(
                    libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, none)
                        as isize,
                ),
            ),
            (
                "seccomp(SECCOMP_GET_ACTION_AVAIL)",
                answer(libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_GET_ACTION_AVAIL,
                    0,
                    &raw const action,
                ) as isize),
            ),
            (
                "seccomp(SECCOMP_GET_NOTIF_SIZES)",
                answer(libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_GET_NOTIF_SIZES,
                    0,
                    sizes.as_mut_ptr(),
                ) as isize),
            ),
        ]
    }
}

/// SECCOMP_MODE_STRICT: read, write, exit and sigreturn are left.
pub fn strict_mode() -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(libc::SECCOMP_MODE_STRICT),
        )
    })
}

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// A filter that admits these system calls and kills the process for any other.
pub fn admit_only(door: Door, numbers: &[i64]) -> Answer {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // The number is the first word of struct seccomp_data.
    let mut program = vec![statement(LOAD_WORD, 0)];
    for number in numbers {
        program.push(libc::sock_filter {
            code: JUMP_IF_EQUAL as u16,
            jt: 0,
            jf: 1,
            k: *number as u32,
        });
        program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    }
    program.push(statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    let list = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is readable for its length during the call.
    unsafe {
        match door {
            Door::Prctl => answer_int(libc::prctl(
                libc::PR_SET_SECCOMP,
                c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const list,
            )),
            Door::SystemCall => answer(libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const list,
            ) as isize),
        }
    }
}

/// setuid(2).
pub fn setuid(user: u32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::setuid(user) })
}

/// seteuid(2).
pub fn seteuid(user: u32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::seteuid(user) })
}

/// setgid(2).
pub fn setgid(group: u32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::setgid(group) })
}

/// setgroups(2) of no group.
pub fn leave_groups() -> Answer {
    // SAFETY: no group is read.
    answer_int(unsafe { libc::setgroups(0, std::ptr::null()) })
}
