//! poll and select, as far as the harness and the cases of single calls need them.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, answer_int};

/// poll(2) of one descriptor: the answer and the events returned.
pub fn poll_one(fd: RawFd, events: i16, timeout_ms: i32) -> (Answer, i16) {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry.
    let answer = answer_int(unsafe { libc::poll(&raw mut entry, 1, timeout_ms) });
    (answer, entry.revents)
}

unsafe extern "C" {
    fn __poll_chk(
        entries: *mut libc::pollfd,
        count: libc::nfds_t,
        timeout_ms: libc::c_int,
        room: libc::size_t,
    ) -> libc::c_int;
    fn __ppoll_chk(
        entries: *mut libc::pollfd,
        count: libc::nfds_t,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
        room: libc::size_t,
    ) -> libc::c_int;
}

/// [`poll_one`] as `_FORTIFY_SOURCE` calls it; `by_ppoll`: the fortified ppoll(2), which leaves the signal mask as it is.
pub fn fortified_poll_one(
    fd: RawFd,
    events: i16,
    timeout_ms: i32,
    by_ppoll: bool,
) -> (Answer, i16) {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let room = size_of_val(&entry);
    let timeout = libc::timespec {
        tv_sec: i64::from(timeout_ms / 1000),
        tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000,
    };
    // SAFETY: one entry, and its size; the time-out is readable, no mask is given.
    let answer = answer_int(unsafe {
        if by_ppoll {
            __ppoll_chk(
                &raw mut entry,
                1,
                &raw const timeout,
                std::ptr::null(),
                room,
            )
        } else {
            __poll_chk(&raw mut entry, 1, timeout_ms, room)
        }
    });
    (answer, entry.revents)
}

/// poll(2) of several descriptors, in place.
pub fn poll(entries: &mut [libc::pollfd], timeout_ms: i32) -> Answer {
    // SAFETY: the entries are valid for their number.
    answer_int(unsafe {
        libc::poll(
            entries.as_mut_ptr(),
            entries.len() as libc::nfds_t,
            timeout_ms,
        )
    })
}

/// ppoll(2) of one descriptor that admits every signal while it waits; no time-out means for ever.
pub fn ppoll_one_admitting_all(fd: RawFd, events: i16, timeout_ms: Option<i64>) -> (Answer, i16) {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let timeout = timeout_ms.map(|ms| libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    });
    let pointer = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one entry; the time-out is null or readable; the mask is initialised before it is used.
    let answer = answer_int(unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut mask);
        libc::ppoll(&raw mut entry, 1, pointer, &raw const mask)
    });
    (answer, entry.revents)
}
