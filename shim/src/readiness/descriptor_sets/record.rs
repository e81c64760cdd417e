//! The record of one call, on the trampoline's stack, and what its entries mean.
#![expect(
    unsafe_code,
    reason = "the record of a call and its arrays are handed over by pointer"
)]

use crate::boundary::{Timespec, me};
use crate::readiness::wait::Action;
use core::ffi::{c_int, c_long};
use fastpath::endpoint::binding;
use fastpath::family;
use fastpath::kernel_call::PollEntry;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

/// What is known of one entry.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Index of the endpoint, plus one; 0 = an ordinary descriptor.
    pub(super) endpoint: u32,
    pub(super) generation: u32,
    /// What the thread is counted as on its line: 0 nothing, else 1 + [`Armed`] in order of declaration.
    pub(super) armed: u32,
    /// 1: others sleep on bells of its line, which would end our sleep at once; it is left out of this one.
    pub(super) crowded: u32,
}

/// One call, on the trampoline's stack. Mirrors `struct axio_poll` of `c/descriptor_sets.h`.
#[repr(C)]
pub struct Poll {
    /// Return value.
    pub result: c_long,
    /// errno to set, 0 = leave it.
    pub error: c_int,
    /// Number of entries.
    pub count: u32,
    /// The program's entries.
    pub entries: *mut PollEntry,
    /// What is slept on.
    pub copy: *mut PollEntry,
    /// What is known of each.
    pub members: *mut Member,
    /// The program's time-out, if it has one.
    pub timeout: Timespec,
    /// Whether it has.
    pub has_timeout: c_int,
    /// Whether the sleep about to be made is bounded by `sleep`.
    pub sleep_has_timeout: c_int,
    /// Longest sleep.
    pub sleep: Timespec,
    pub(super) state: core::mem::MaybeUninit<State>,
    spare: [u64; 8 - size_of::<State>().div_ceil(8)],
}

const _: () = {
    assert!(size_of::<State>() <= 64);
    assert!(size_of::<Poll>() == 16 + 24 + 16 + 8 + 16 + 64);
    assert!(core::mem::offset_of!(Poll, state) == 80);
    assert!(size_of::<Member>() == 16 && size_of::<PollEntry>() == 8);
};

#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// End of the time-out, monotonic ns; 0 = not asked yet.
    pub(super) deadline_ns: u64,
    pub(super) began_ticks: u64,
    /// Endpoint whose history the spin belongs to, plus one.
    pub(super) historian: u32,
    pub(super) rounds: u32,
    /// Sleeps that ended with nothing to report.
    pub(super) vain: u32,
    pub(super) has_ordinary: bool,
    pub(super) spun: bool,
    pub(super) interrupted: bool,
    pub(super) slept: bool,
    pub(super) asleep: bool,
    pub(super) bounded: bool,
}

impl Poll {
    pub(super) fn state(&mut self) -> &mut State {
        // SAFETY: `begin` writes it before it returns an action that leads back here.
        unsafe { self.state.assume_init_mut() }
    }
    // SAFETY of the three: arrays of `count` entries; the trampoline's, or the program's own argument, which the kernel
    // would read and write as well. Each slice lives for one statement.
    pub(super) fn entries(&mut self) -> &mut [PollEntry] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.entries, self.count as usize) }
    }
    pub(super) fn copy(&mut self) -> &mut [PollEntry] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.copy, self.count as usize) }
    }
    pub(super) fn members(&mut self) -> &mut [Member] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.members, self.count as usize) }
    }
    pub(super) fn is_look_only(&self) -> bool {
        self.has_timeout != 0 && self.timeout.seconds == 0 && self.timeout.nanoseconds == 0
    }
    pub(super) fn entry(&mut self, place: usize) -> PollEntry {
        self.entries().get(place).copied().unwrap_or_default()
    }
    pub(super) fn stream(&mut self, place: usize) -> Option<Stream> {
        let member = *self.members().get(place)?;
        let descriptor = self.entry(place).descriptor;
        let endpoint = family::endpoint(member.endpoint.checked_sub(1)?)?;
        (endpoint.generation.load(Ordering::Acquire) == member.generation)
            .then(|| Stream::new(endpoint, member.generation, descriptor, me()))
    }
    /// The stream of an entry that is answered by us: its endpoint has, or had, a slot.
    pub(super) fn answered(&mut self, place: usize) -> Option<Stream> {
        self.stream(place).filter(is_ours)
    }
    pub(super) fn done(&mut self, result: usize) -> Action {
        self.result = result as c_long;
        self.error = 0;
        Action::Done
    }
}

pub(super) fn is_ours(stream: &Stream) -> bool {
    matches!(
        stream.endpoint.binding.load(Ordering::Acquire),
        binding::BOUND | binding::CONDEMNED
    )
}

pub(super) fn asked(entry: PollEntry) -> u32 {
    u32::from(entry.events as u16)
}
