//! poll, select and epoll.
#![expect(unsafe_code, reason = "calls into the C library")]

use super::{Outcome, done, number};

/// What a readiness call is asked for and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Data or end of stream.
    pub readable: bool,
    /// Room.
    pub writable: bool,
    /// An error or a hang-up was reported.
    pub trouble: bool,
}

/// `poll` on one descriptor and, for reading, a second one; time-out in milliseconds, -1 for ever.
pub fn poll(
    descriptor: i32,
    asked: Readiness,
    wake: Option<i32>,
    timeout_ms: i32,
    with_signal_mask: bool,
) -> Outcome<Readiness> {
    let mut events = 0;
    if asked.readable {
        events |= libc::POLLIN;
    }
    if asked.writable {
        events |= libc::POLLOUT;
    }
    let mut list = [
        libc::pollfd {
            fd: descriptor,
            events,
            revents: 0,
        },
        libc::pollfd {
            fd: wake.unwrap_or(-1),
            events: libc::POLLIN,
            revents: 0,
        },
    ];
    let result = if with_signal_mask {
        let limit = timespec_of(timeout_ms);
        // SAFETY: the list has two entries; a null mask changes nothing.
        unsafe { libc::ppoll(list.as_mut_ptr(), 2, pointer_to(&limit), std::ptr::null()) }
    } else {
        // SAFETY: the list has two entries.
        unsafe { libc::poll(list.as_mut_ptr(), 2, timeout_ms) }
    };
    number(result)?;
    let answer = list[0].revents;
    Ok(Readiness {
        readable: answer & libc::POLLIN != 0,
        writable: answer & libc::POLLOUT != 0,
        trouble: answer & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0,
    })
}

/// `select` on one descriptor and, for reading, a second one. Descriptors must be below 1024.
pub fn select(
    descriptor: i32,
    asked: Readiness,
    wake: Option<i32>,
    timeout_ms: i32,
    with_signal_mask: bool,
) -> Outcome<Readiness> {
    // SAFETY: all zeros is a valid, empty set.
    let mut reading: libc::fd_set = unsafe { std::mem::zeroed() };
    // SAFETY: all zeros is a valid, empty set.
    let mut writing: libc::fd_set = unsafe { std::mem::zeroed() };
    let highest = descriptor.max(wake.unwrap_or(-1));
    if highest >= libc::FD_SETSIZE as i32 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the numbers are below FD_SETSIZE.
    unsafe {
        if asked.readable {
            libc::FD_SET(descriptor, &raw mut reading);
        }
        if asked.writable {
            libc::FD_SET(descriptor, &raw mut writing);
        }
        if let Some(wake) = wake {
            libc::FD_SET(wake, &raw mut reading);
        }
    }
    let result = if with_signal_mask {
        let limit = timespec_of(timeout_ms);
        // SAFETY: the sets live through the call; null asks for no exceptions and keeps the mask.
        unsafe {
            libc::pselect(
                highest + 1,
                &raw mut reading,
                &raw mut writing,
                std::ptr::null_mut(),
                pointer_to(&limit),
                std::ptr::null(),
            )
        }
    } else {
        let mut limit = libc::timeval {
            tv_sec: libc::time_t::from(timeout_ms / 1000),
            tv_usec: libc::suseconds_t::from(timeout_ms % 1000) * 1000,
        };
        let limit_pointer = if timeout_ms < 0 {
            std::ptr::null_mut()
        } else {
            &raw mut limit
        };
        // SAFETY: the sets live through the call; null asks for no exceptions.
        unsafe {
            libc::select(
                highest + 1,
                &raw mut reading,
                &raw mut writing,
                std::ptr::null_mut(),
                limit_pointer,
            )
        }
    };
    number(result)?;
    // SAFETY: the number is below FD_SETSIZE.
    unsafe {
        Ok(Readiness {
            readable: libc::FD_ISSET(descriptor, &raw const reading),
            writable: libc::FD_ISSET(descriptor, &raw const writing),
            trouble: false,
        })
    }
}

/// `epoll_create1(EPOLL_CLOEXEC)`.
pub fn epoll_create() -> Outcome<i32> {
    // SAFETY: no pointers.
    number(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// `epoll_ctl` with an event mask and a cookie.
pub fn epoll_control(
    set: i32,
    operation: i32,
    descriptor: i32,
    events: u32,
    cookie: u64,
) -> Outcome<()> {
    let mut event = libc::epoll_event {
        events,
        u64: cookie,
    };
    // SAFETY: the event lives through the call.
    done(unsafe { libc::epoll_ctl(set, operation, descriptor, &raw mut event) })
}

/// Which of the three calls waits for epoll events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollCall {
    /// `epoll_wait`
    Wait,
    /// `epoll_pwait` with an unchanged mask
    Pwait,
    /// `epoll_pwait2` with an unchanged mask
    Pwait2,
}

/// Waits for events; fills `answers` with (event bits, cookie) and returns how many.
pub fn epoll_wait(
    set: i32,
    answers: &mut [(u32, u64)],
    timeout_ms: i32,
    call: EpollCall,
) -> Outcome<usize> {
    const MOST: usize = 64;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
    let room = answers.len().min(MOST) as i32;
    let result = match call {
        // SAFETY: the array has at least `room` entries.
        EpollCall::Wait => unsafe { libc::epoll_wait(set, events.as_mut_ptr(), room, timeout_ms) },
        // SAFETY: as above; a null mask changes nothing.
        EpollCall::Pwait => unsafe {
            libc::epoll_pwait(set, events.as_mut_ptr(), room, timeout_ms, std::ptr::null())
        },
        EpollCall::Pwait2 => {
            let limit = timespec_of(timeout_ms);
            // SAFETY: as above.
            unsafe {
                libc::epoll_pwait2(
                    set,
                    events.as_mut_ptr(),
                    room,
                    pointer_to(&limit),
                    std::ptr::null(),
                )
            }
        }
    };
    let found = number(result)? as usize;
    for (answer, event) in answers.iter_mut().zip(&events[..found]) {
        *answer = (event.events, event.u64);
    }
    Ok(found)
}

/// An eventfd, to end other threads' waits.
pub fn event_descriptor() -> Outcome<i32> {
    // SAFETY: no pointers.
    number(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// A time-out as the calls with nanoseconds take it; nothing for ever.
fn timespec_of(timeout_ms: i32) -> Option<libc::timespec> {
    (timeout_ms >= 0).then(|| libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    })
}

fn pointer_to<Value>(value: &Option<Value>) -> *const Value {
    value.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
}
