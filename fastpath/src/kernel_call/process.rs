//! Processes and threads: who this is, who lives, what the process is allowed.
#![expect(unsafe_code, reason = "inline system calls")]

use super::poll::poll_one;
use super::{Errno, checked, system_call};
use core::ffi::c_int;
use libc::POLLIN;

/// Id of the calling process, from the kernel: right in fork and vfork children alike.
#[must_use]
pub fn process_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { system_call(libc::SYS_getpid, [0; 6]) as u32 }
}

/// Kernel id of the calling thread.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { system_call(libc::SYS_gettid, [0; 6]) as u32 }
}

/// True when a process of this id exists, be it a zombie.
#[must_use]
pub fn process_exists(process: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let result = unsafe { system_call(libc::SYS_kill, [process as usize, 0, 0, 0, 0, 0]) };
    result != -(libc::ESRCH as isize)
}

/// True when a process has a thread of this id, be it a zombie.
#[must_use]
pub fn thread_exists(process: u32, thread: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let result = unsafe {
        system_call(
            libc::SYS_tgkill,
            [process as usize, thread as usize, 0, 0, 0, 0],
        )
    };
    result != -(libc::ESRCH as isize)
}

/// Whether a child of this process has ended and was not reaped (waitid(2) that leaves it as it is); nothing when it is no
/// child, or was reaped.
#[must_use]
pub fn child_has_ended(process: u32) -> Option<bool> {
    const HOW: c_int = libc::WNOHANG | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    // siginfo_t: the signal first, which stays 0 when there is nothing to tell.
    let mut told = [0i32; 32];
    // SAFETY: siginfo_t has 128 bytes, no usage is asked for.
    let result = unsafe {
        system_call(
            libc::SYS_waitid,
            [
                libc::P_PID as usize,
                process as usize,
                told.as_mut_ptr() as usize,
                HOW as usize,
                0,
                0,
            ],
        )
    };
    (result == 0).then_some(told[0] != 0)
}

/// True when a process of this id is known to have ended, by a pidfd (5.3) that is readable.
#[must_use]
pub fn process_has_ended(process: u32) -> bool {
    // SAFETY: plain numbers.
    let opened =
        checked(unsafe { system_call(libc::SYS_pidfd_open, [process as usize, 0, 0, 0, 0, 0]) });
    let Ok(descriptor) = opened else {
        return false;
    };
    let ended = poll_one(descriptor as c_int, POLLIN, 0) & POLLIN != 0;
    // SAFETY: the descriptor made above.
    unsafe { system_call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]) };
    ended
}

/// Soft limit of a resource (RLIMIT_), getrlimit(2); no limit reads as the largest number.
pub fn resource_limit(resource: u32) -> Result<u64, Errno> {
    let mut limits: [u64; 2] = [0; 2];
    // SAFETY: process 0 is this one, nothing is set, two local words are written.
    let result = unsafe {
        system_call(
            libc::SYS_prlimit64,
            [0, resource as usize, 0, &raw mut limits as usize, 0, 0],
        )
    };
    checked(result).map(|_| limits[0])
}

/// Ends the process at start, before `main` (strict mode only).
pub fn exit_process(status: c_int) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { system_call(libc::SYS_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}
