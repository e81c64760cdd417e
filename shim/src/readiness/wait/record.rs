//! The record of one wait, on the trampoline's stack.
#![expect(
    unsafe_code,
    reason = "part of the record is written when the wait begins"
)]

use crate::boundary::Timespec;
use crate::readiness::harvest::Target;
use crate::readiness::kernel_set::Event;
use core::ffi::c_int;

/// What the trampoline must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Action {
    /// Return the result; errno is set unless 0.
    Done = 0,
    /// The program's own call.
    Real = 1,
    /// Sleep as `sleep` says, then `after_wait`.
    Sleep = 2,
    /// Hold signals back if that is not so yet, then `again_wait`.
    Again = 3,
}

/// One epoll_wait of the program, on the trampoline's stack. Mirrors `struct axio_wait` of `c/readiness.h`.
#[repr(C)]
pub struct Wait {
    /// Return value.
    pub result: c_int,
    /// errno to set, 0 = leave it.
    pub error: c_int,
    /// The epoll descriptor.
    pub set: c_int,
    /// Events the program has room for.
    pub maximum: c_int,
    /// The program's array.
    pub events: *mut Event,
    /// The program's time-out, if it has one.
    pub timeout: Timespec,
    /// Whether it has.
    pub has_timeout: c_int,
    /// Whether the sleep about to be made is bounded by `sleep`.
    pub sleep_has_timeout: c_int,
    /// Longest sleep.
    pub sleep: Timespec,
    /// This side's part.
    pub state: core::mem::MaybeUninit<State>,
    spare: [u64; 8 - size_of::<State>().div_ceil(8)],
}

const _: () = {
    assert!(size_of::<State>() <= 64);
    assert!(size_of::<Wait>() == 16 + 8 + 16 + 8 + 16 + 64);
    assert!(core::mem::offset_of!(Wait, state) == 64);
};

/// This side's part of a wait.
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub(super) instance: u32,
    pub(super) generation: u32,
    /// End of the time-out, monotonic ns; 0 = not asked yet.
    pub(super) deadline_ns: u64,
    /// When the wait began, in time stamp ticks; 0 = it has not.
    pub(super) began_ticks: u64,
    pub(super) spun: bool,
    pub(super) interrupted: bool,
    pub(super) slept: bool,
    pub(super) asleep: bool,
    /// The present sleep ends before the program's time-out does.
    pub(super) bounded: bool,
    pub(super) rounds: u32,
    /// What had left a ring when the sleep began ([`Departed::count`](crate::readiness::departed::Departed::count)).
    pub(super) departed: u32,
    /// Sleeps that ended with nothing to report.
    pub(super) vain: u32,
}

impl State {
    pub(super) const fn of(instance: u32, generation: u32) -> State {
        State {
            instance,
            generation,
            deadline_ns: 0,
            began_ticks: 0,
            spun: false,
            interrupted: false,
            slept: false,
            asleep: false,
            bounded: false,
            rounds: 0,
            departed: 0,
            vain: 0,
        }
    }
}

impl Wait {
    pub(super) fn state(&mut self) -> &mut State {
        // SAFETY: `begin` writes it before it returns an action that leads back here.
        unsafe { self.state.assume_init_mut() }
    }
    pub(super) fn target(&self) -> Target {
        Target {
            events: self.events,
            maximum: self.maximum as usize,
        }
    }
    pub(super) fn done(&mut self, result: usize) -> Action {
        self.result = result as c_int;
        self.error = 0;
        Action::Done
    }
    pub(super) fn is_look_only(&self) -> bool {
        self.has_timeout != 0 && self.timeout.seconds == 0 && self.timeout.nanoseconds == 0
    }
}

pub(super) fn to_ns(time: Timespec) -> u64 {
    (time.seconds as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanoseconds as u64)
}

pub(super) fn to_timespec(ns: u64) -> Timespec {
    Timespec {
        seconds: (ns / 1_000_000_000) as i64,
        nanoseconds: (ns % 1_000_000_000) as i64,
    }
}
