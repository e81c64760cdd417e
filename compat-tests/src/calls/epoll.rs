//! epoll in all its forms, and the descriptors that sets are mixed with.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer_int};

unsafe extern "C" {
    // glibc has it since 2.35, the libc crate not everywhere.
    #[link_name = "epoll_pwait2"]
    fn wait_by_nanoseconds(
        set: libc::c_int,
        events: *mut libc::epoll_event,
        maximum: libc::c_int,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
    ) -> libc::c_int;
}

/// What epoll_ctl does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Change {
    /// EPOLL_CTL_ADD
    Add = libc::EPOLL_CTL_ADD,
    /// EPOLL_CTL_MOD
    Mod = libc::EPOLL_CTL_MOD,
    /// EPOLL_CTL_DEL
    Del = libc::EPOLL_CTL_DEL,
    /// None of them.
    Unknown = 77,
}

/// Which call waits, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// epoll_wait(2) with a time-out in milliseconds.
    Plain(i32),
    /// epoll_pwait(2) that admits every signal.
    AdmittingAll(i32),
    /// epoll_pwait(2) without a mask.
    WithoutMask(i32),
    /// epoll_pwait2(2) with a time-out in nanoseconds, or for ever.
    Nanoseconds(Option<i64>),
    /// epoll_wait by `syscall()`.
    SystemCall(i32),
}

/// epoll_create1(2).
pub fn create(flags: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::epoll_create1(flags) })
}

/// epoll_create(2).
pub fn create_sized(size: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::epoll_create(size) })
}

/// epoll_ctl(2).
pub fn control(set: RawFd, change: Change, fd: RawFd, events: u32, data: u64) -> Answer {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: one event.
    answer_int(unsafe { libc::epoll_ctl(set, change as i32, fd, &raw mut event) })
}

/// epoll_ctl(2) without an event.
pub fn control_without_event(set: RawFd, change: Change, fd: RawFd) -> Answer {
    // SAFETY: the kernel answers EFAULT where it wants one.
    answer_int(unsafe { libc::epoll_ctl(set, change as i32, fd, std::ptr::null_mut()) })
}

/// Waits; what was reported, as data and events in the order reported.
pub fn wait(set: RawFd, maximum: i32, how: Wait) -> Result<Vec<(u64, u32)>, Errno> {
    let room = maximum.clamp(1, 1024) as usize;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; room];
    let place = events.as_mut_ptr();
    // SAFETY: room for `maximum` events, or the kernel refuses that number; masks and time-outs are readable.
    let count = answer_int(unsafe {
        match how {
            Wait::Plain(timeout_ms) => libc::epoll_wait(set, place, maximum, timeout_ms),
            Wait::AdmittingAll(timeout_ms) => {
                let mut mask: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut mask);
                libc::epoll_pwait(set, place, maximum, timeout_ms, &raw const mask)
            }
            Wait::WithoutMask(timeout_ms) => {
                libc::epoll_pwait(set, place, maximum, timeout_ms, std::ptr::null())
            }
            Wait::Nanoseconds(timeout_ns) => {
                let timeout = timeout_ns.map(|ns| libc::timespec {
                    tv_sec: ns / 1_000_000_000,
                    tv_nsec: ns % 1_000_000_000,
                });
                let pointer = timeout
                    .as_ref()
                    .map_or(std::ptr::null(), std::ptr::from_ref);
                wait_by_nanoseconds(set, place, maximum, pointer, std::ptr::null())
            }
            Wait::SystemCall(timeout_ms) => {
                // aarch64 knows only epoll_pwait.
                libc::syscall(
                    libc::SYS_epoll_pwait,
                    set,
                    place,
                    maximum,
                    timeout_ms,
                    std::ptr::null::<libc::sigset_t>(),
                    8usize,
                ) as i32
            }
        }
    })?;
    Ok(events
        .iter()
        .take(count)
        .map(|event| (event.u64, event.events))
        .collect())
}

/// eventfd(2).
pub fn eventfd(value: u32, flags: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::eventfd(value, flags) })
}

/// A timer that expires once after so many milliseconds, as a descriptor.
pub fn timer_in_ms(time_ms: i64) -> Answer {
    // SAFETY: the times are readable, the old ones are not asked for.
    unsafe {
        let fd = answer_int(libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
        ))?;
        let times = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: time_ms / 1000,
                tv_nsec: time_ms % 1000 * 1_000_000,
            },
        };
        answer_int(libc::timerfd_settime(
            fd as RawFd,
            0,
            &raw const times,
            std::ptr::null_mut(),
        ))?;
        Ok(fd)
    }
}

const NAMES: &[(i32, &str)] = &[
    (libc::EPOLLIN, "IN"),
    (libc::EPOLLOUT, "OUT"),
    (libc::EPOLLRDHUP, "RDHUP"),
    (libc::EPOLLHUP, "HUP"),
    (libc::EPOLLERR, "ERR"),
    (libc::EPOLLPRI, "PRI"),
    (libc::EPOLLRDNORM, "RDNORM"),
    (libc::EPOLLWRNORM, "WRNORM"),
    (libc::EPOLLRDBAND, "RDBAND"),
    (libc::EPOLLWRBAND, "WRBAND"),
    (libc::EPOLLET, "ET"),
    (libc::EPOLLONESHOT, "ONESHOT"),
    (libc::EPOLLEXCLUSIVE, "EXCLUSIVE"),
    (0x20, "NVAL"),
];

/// Events by name, `0` for none; poll's have the same values.
#[must_use]
pub fn event_names(events: u32) -> String {
    let named: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| events & *bit as u32 != 0)
        .map(|(_, name)| *name)
        .collect();
    if named.is_empty() {
        format!("{events:#x}")
    } else {
        named.join("|")
    }
}
