//! System calls by instructions of this file: what static programs and Go runtimes do, and what no library can see.
#![expect(unsafe_code, reason = "makes system calls")]

use std::os::fd::RawFd;

use super::answer::{Answer, Errno};

#[cfg(target_arch = "x86_64")]
unsafe fn system_call(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction clobbers rcx and r11 only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn system_call(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number, inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack)
        );
    }
    result
}

fn answer(result: isize) -> Answer {
    usize::try_from(result).map_err(|_| Errno(-result as i32))
}

/// recvfrom(2) without an address.
pub fn receive(fd: RawFd, buffer: &mut [u8], flags: i32) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe {
        system_call(
            libc::SYS_recvfrom,
            [
                fd as usize,
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// sendto(2) without an address.
pub fn send(fd: RawFd, bytes: &[u8], flags: i32) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe {
        system_call(
            libc::SYS_sendto,
            [
                fd as usize,
                bytes.as_ptr() as usize,
                bytes.len(),
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// read(2).
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe {
        system_call(
            libc::SYS_read,
            [
                fd as usize,
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                0,
                0,
                0,
            ],
        )
    })
}

/// write(2).
pub fn write(fd: RawFd, bytes: &[u8]) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe {
        system_call(
            libc::SYS_write,
            [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
        )
    })
}

/// FIONREAD: the bytes that the kernel has.
pub fn readable(fd: RawFd) -> Answer {
    let mut bytes = 0i32;
    // SAFETY: the answer is an int, which is writable.
    answer(unsafe {
        system_call(
            libc::SYS_ioctl,
            [
                fd as usize,
                libc::FIONREAD as usize,
                &raw mut bytes as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    Ok(std::hint::black_box(bytes).max(0) as usize)
}

/// close(2).
pub fn close(fd: RawFd) -> Answer {
    // SAFETY: no pointers.
    answer(unsafe { system_call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) })
}

/// Any system call, by the C library's `syscall()`.
pub fn by_libc(number: i64, words: [usize; 6]) -> Answer {
    let [a, b, c, d, e, f] = words;
    // SAFETY: callers pass what the call of this number takes, and keep alive what it points to.
    super::answer::answer(unsafe { libc::syscall(number, a, b, c, d, e, f) } as isize)
}

/// The system call `exit`: ends the calling thread.
///
/// # Safety
/// Nothing behind it runs; nothing of this thread is dropped.
pub unsafe fn exit_thread(code: i32) {
    // SAFETY: no pointers.
    unsafe { system_call(libc::SYS_exit, [code as usize, 0, 0, 0, 0, 0]) };
}
