//! select and pselect.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, answer_int};

/// The three sets of a select, and what it left of them.
#[derive(Clone, Copy)]
pub struct Found {
    /// What the call returned.
    pub answer: Answer,
    sets: [libc::fd_set; 3],
    /// The time left, in microseconds, if there was a time-out.
    pub left_us: Option<i64>,
}

impl Found {
    fn has(&self, which: usize, fd: RawFd) -> bool {
        // SAFETY: numbers are below FD_SETSIZE, as those of the cases are.
        unsafe { libc::FD_ISSET(fd, &raw const self.sets[which]) }
    }

    /// Still in the first set.
    #[must_use]
    pub fn is_readable(&self, fd: RawFd) -> bool {
        self.has(0, fd)
    }

    /// Answer and the members of the three sets, by their place in `fds`.
    #[must_use]
    pub fn shown(&self, fds: &[RawFd]) -> String {
        let places = |which: usize| -> String {
            fds.iter()
                .enumerate()
                .filter(|(_, fd)| **fd >= 0 && self.has(which, **fd))
                .map(|(place, _)| place.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!(
            "{} [{}] [{}] [{}]",
            super::answer::shown(self.answer),
            places(0),
            places(1),
            places(2)
        )
    }
}

fn sets_of(members: [&[RawFd]; 3]) -> ([libc::fd_set; 3], i32) {
    let mut highest = -1;
    let sets = members.map(|members| {
        // SAFETY: the set is initialised before it is used; numbers are below FD_SETSIZE.
        unsafe {
            let mut set: libc::fd_set = std::mem::zeroed();
            libc::FD_ZERO(&raw mut set);
            for fd in members {
                libc::FD_SET(*fd, &raw mut set);
                highest = highest.max(*fd);
            }
            set
        }
    });
    (sets, highest + 1)
}

/// select(2) of these numbers, with a time-out in milliseconds or none.
#[must_use]
pub fn select(
    reads: &[RawFd],
    writes: &[RawFd],
    urgent: &[RawFd],
    timeout_ms: Option<i64>,
) -> Found {
    let (sets, limit) = sets_of([reads, writes, urgent]);
    select_below(limit, sets, timeout_ms)
}

/// The same with a limit of its own.
#[must_use]
pub fn select_with_limit(limit: i32, reads: &[RawFd], timeout_ms: Option<i64>) -> Found {
    let (sets, _) = sets_of([reads, &[], &[]]);
    select_below(limit, sets, timeout_ms)
}

/// select(2) for reading with the set at the very end of what can be read and written.
#[must_use]
pub fn select_at_an_edge(limit: i32, fd: RawFd, timeout_ms: Option<i64>) -> Found {
    const PAGE_BYTES: usize = 4096;
    let mut time = timeout_ms.map(|ms| libc::timeval {
        tv_sec: ms / 1000,
        tv_usec: ms % 1000 * 1000,
    });
    let pointer = time
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let (mut sets, _) = sets_of([&[fd], &[], &[]]);
    // SAFETY: fresh memory of two pages, the second of which nobody may touch; the set lies wholly in the first and is
    // aligned there, as its size divides a page.
    let answer = unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            2 * PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
        .cast::<u8>();
        libc::mprotect(memory.add(PAGE_BYTES).cast(), PAGE_BYTES, libc::PROT_NONE);
        let set = memory
            .add(PAGE_BYTES - size_of::<libc::fd_set>())
            .cast::<libc::fd_set>();
        set.write(sets[0]);
        let none = std::ptr::null_mut();
        let answer = answer_int(libc::select(limit, set, none, none, pointer));
        sets[0] = set.read();
        libc::munmap(memory.cast(), 2 * PAGE_BYTES);
        answer
    };
    Found {
        answer,
        sets,
        left_us: time.map(|time| time.tv_sec * 1_000_000 + time.tv_usec),
    }
}

fn select_below(limit: i32, mut sets: [libc::fd_set; 3], timeout_ms: Option<i64>) -> Found {
    let mut time = timeout_ms.map(|ms| libc::timeval {
        tv_sec: ms / 1000,
        tv_usec: ms % 1000 * 1000,
    });
    let pointer = time
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let [reads, writes, urgent] = &mut sets;
    // SAFETY: three sets, and a time that is null or writable.
    let answer = answer_int(unsafe { libc::select(limit, reads, writes, urgent, pointer) });
    Found {
        answer,
        sets,
        left_us: time.map(|time| time.tv_sec * 1_000_000 + time.tv_usec),
    }
}

/// pselect(2) that admits every signal while it waits.
#[must_use]
pub fn pselect_admitting_all(reads: &[RawFd], timeout_ms: Option<i64>) -> Found {
    let (mut sets, limit) = sets_of([reads, &[], &[]]);
    let time = timeout_ms.map(|ms| libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    });
    let pointer = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let [reads, writes, urgent] = &mut sets;
    // SAFETY: three sets, a time that is null or readable, a mask that is initialised.
    let answer = answer_int(unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut mask);
        libc::pselect(limit, reads, writes, urgent, pointer, &raw const mask)
    });
    Found {
        answer,
        sets,
        left_us: None,
    }
}
