//! Descriptor numbers: dup3, ranges closed at once, and the same by `syscall()`.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::answer::{Answer, answer, answer_int};

unsafe extern "C" {
    #[link_name = "closefrom"]
    fn close_from(first: c_int);
    #[link_name = "close_range"]
    fn close_a_range(first: u32, last: u32, flags: c_int) -> c_int;
}

/// dup3(2).
pub fn dup3(fd: RawFd, number: RawFd, flags: i32) -> Answer {
    // SAFETY: no pointers; the harness owns descriptors by number.
    answer_int(unsafe { libc::dup3(fd, number, flags) })
}

/// dup(2) by `syscall()`.
pub fn syscall_dup(fd: RawFd) -> Answer {
    // SAFETY: no pointers.
    answer(unsafe { libc::syscall(libc::SYS_dup, fd) } as isize)
}

/// close_range(2).
pub fn close_range(first: RawFd, last: RawFd, flags: u32) -> Answer {
    // SAFETY: no pointers; the harness owns descriptors by number.
    answer_int(unsafe { close_a_range(first as u32, last as u32, flags as c_int) })
}

/// close_range(2) by `syscall()`.
pub fn syscall_close_range(first: RawFd, last: RawFd) -> Answer {
    // SAFETY: as above.
    answer(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as isize)
}

/// closefrom(3).
pub fn closefrom(first: RawFd) {
    // SAFETY: as above.
    unsafe { close_from(first) }
}
