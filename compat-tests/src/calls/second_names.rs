//! The names by which the C library exports some calls once more: its own other libraries and old programs import these.
//! And `fcntl64`, which is what programs built for large files call.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::RawFd;

use super::answer::{Answer, answer, answer_int};
use super::connection::Address;

unsafe extern "C" {
    fn __read(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn __write(fd: c_int, bytes: *const c_void, length: usize) -> isize;
    fn __send(fd: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize;
    fn __sendmmsg(fd: c_int, list: *mut libc::mmsghdr, count: c_uint, flags: c_int) -> c_int;
    fn __connect(fd: c_int, address: *const libc::sockaddr, length: libc::socklen_t) -> c_int;
    fn __close(fd: c_int) -> c_int;
    fn __dup2(fd: c_int, number: c_int) -> c_int;
    fn __fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn fcntl64(fd: c_int, command: c_int, ...) -> c_int;
    fn __poll(entries: *mut libc::pollfd, count: libc::nfds_t, timeout_ms: c_int) -> c_int;
    fn __select(
        limit: c_int,
        reads: *mut libc::fd_set,
        writes: *mut libc::fd_set,
        urgent: *mut libc::fd_set,
        timeout: *mut libc::timeval,
    ) -> c_int;
}

/// `__read`.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { __read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `__write`.
pub fn write(fd: RawFd, bytes: &[u8]) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { __write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// `__send`.
pub fn send(fd: RawFd, bytes: &[u8], flags: i32) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { __send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `__sendmmsg` of one message: the bytes it sent.
pub fn send_one_message(fd: RawFd, bytes: &[u8], flags: i32) -> Answer {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a message of zeros has no name and no control; its one part is readable for its length, and nobody writes
    // there.
    unsafe {
        let mut message: libc::mmsghdr = std::mem::zeroed();
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
        answer_int(__sendmmsg(fd, &raw mut message, 1, flags))?;
        Ok(message.msg_len as usize)
    }
}

/// `__connect`.
pub fn connect(fd: RawFd, address: &Address) -> Answer {
    // SAFETY: the address is readable for its length.
    answer_int(unsafe { __connect(fd, address.pointer(), address.length) })
}

/// `__close`.
pub fn close(fd: RawFd) -> Answer {
    // SAFETY: no pointers; the harness owns descriptors by number.
    answer_int(unsafe { __close(fd) })
}

/// `__dup2`.
pub fn dup2(fd: RawFd, number: RawFd) -> Answer {
    // SAFETY: as above.
    answer_int(unsafe { __dup2(fd, number) })
}

/// `__fcntl` with an integer argument.
pub fn fcntl(fd: RawFd, command: i32, argument: i32) -> Answer {
    // SAFETY: only commands that take an integer are used.
    answer_int(unsafe { __fcntl(fd, command, argument) })
}

/// `fcntl64` with an integer argument.
pub fn fcntl_of_large_files(fd: RawFd, command: i32, argument: i32) -> Answer {
    // SAFETY: as above.
    answer_int(unsafe { fcntl64(fd, command, argument) })
}

/// `__poll` of one descriptor for POLLIN: the answer and the events returned.
pub fn poll_one(fd: RawFd, timeout_ms: i32) -> (Answer, i16) {
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    let answer = answer_int(unsafe { __poll(&raw mut entry, 1, timeout_ms) });
    (answer, entry.revents)
}

/// `__select` of one descriptor for reading: the answer, and whether the descriptor is still in the set.
pub fn select_one(fd: RawFd, timeout_ms: i64) -> (Answer, bool) {
    let mut time = libc::timeval {
        tv_sec: timeout_ms / 1000,
        tv_usec: timeout_ms % 1000 * 1000,
    };
    let none = std::ptr::null_mut();
    // SAFETY: the set is initialised before it is used; numbers are below FD_SETSIZE; the time is writable.
    unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_ZERO(&raw mut set);
        libc::FD_SET(fd, &raw mut set);
        let answer = answer_int(__select(fd + 1, &raw mut set, none, none, &raw mut time));
        (answer, libc::FD_ISSET(fd, &raw const set))
    }
}
