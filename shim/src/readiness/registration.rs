//! A registration: one descriptor number of a managed socket in one epoll set, as a copy of what the kernel holds.
//!
//! Key: (endpoint, number), for a number can be closed while a duplicate keeps the socket in the set, and be used again
//! (POSIX.md row 20). Everything here changes under the lock of the instance.

use super::kernel_set::{EDGE, ERR, HUP, ONE_SHOT};
use super::links::{KINDS, Link, WAYS};
use fastpath::endpoint::Plain32;
use fastpath::endpoint::Plain64;
use fastpath::family;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

/// Bits of [`Registration::flags`].
pub mod flag {
    /// A ring carries; the kernel's registration is only the line.
    pub const ACCELERATED: u32 = 1;
    /// The program has removed it, the kernel still holds it: an ADD of the same brings it back without a system call.
    pub const GHOST: u32 = 1 << 1;
    /// Its number is closed, a duplicate keeps the socket open: the kernel cannot be told anything about it any more.
    pub const ZOMBIE: u32 = 1 << 2;
    /// The entry's `waiter` is the instance's.
    pub const HOLDS_WAITER: u32 = 1 << 3;
    /// One-shot and reported: silent until modified.
    pub const SPENT: u32 = 1 << 4;
    /// Added or modified since the last look: a condition that holds counts as an edge.
    pub const FRESH: u32 = 1 << 5;
    /// The kernel told of input: an edge while the kernel carries what is received.
    pub const INPUT_EDGE: u32 = 1 << 6;
    /// The kernel told of room, or an end or error: an edge.
    pub const OTHER_EDGE: u32 = 1 << 7;
    /// The kernel told of the far side's end.
    pub const ENDED: u32 = 1 << 8;
    /// A send found no room.
    pub const OUT_BLOCKED: u32 = 1 << 9;
    /// The next look takes the locks and asks the kernel.
    pub const LOOK_WELL: u32 = 1 << 10;
    /// Its data is used by an ordinary descriptor, too: its kernel events reach the program as they are.
    pub const DATA_SHARED: u32 = 1 << 11;
    /// Urgent data: the kernel told of PRI.
    pub const URGENT: u32 = 1 << 12;
    /// OUT is asked of the kernel, level-triggered, so that the set itself is readable (READINESS.md 7).
    pub const BEACON: u32 = 1 << 13;
    /// The sleepers of this instance have armed the connection's own epochs.
    pub const ARMED_READERS: u32 = 1 << 14;
    /// As [`ARMED_READERS`], counted without an epoch.
    pub const ARMED_COUNTED: u32 = 1 << 15;
    /// As [`ARMED_READERS`], for room.
    pub const ARMED_WRITERS: u32 = 1 << 16;
    /// Its endpoint was given up because two processes use the set.
    pub const GIVEN_UP: u32 = 1 << 17;
    /// The ring carried what is sent when the kernel was last told what to tell.
    pub const SENDS_BY_RING: u32 = 1 << 19;
    /// A ring has carried it.
    pub const WAS_ACCELERATED: u32 = 1 << 20;
    /// One-shot: the kernel was asked again for what it may have told already, by an event that was not believed.
    pub const ASKED_AGAIN: u32 = 1 << 21;
    /// The kernel has it; while the books are compared with the kernel's set.
    pub const IN_KERNEL: u32 = 1 << 18;
}

/// One registration.
#[repr(C, align(64))]
pub struct Registration {
    /// Index of the instance, plus one; 0 = free.
    pub instance: Plain32,
    /// Descriptor number under which the kernel has it.
    pub number: Plain32,
    /// An open number of the same socket, for system calls: another one once `number` is closed.
    pub open_number: Plain32,
    /// Index of the endpoint.
    pub endpoint: Plain32,
    /// Generation of the endpoint.
    pub generation: Plain32,
    /// Events the program asks for.
    pub events: Plain32,
    /// Events the program asked for when a child was forked.
    pub fork_events: Plain32,
    /// Events the kernel was asked for last.
    pub kernel_events: Plain32,
    /// See [`flag`].
    pub flags: Plain32,
    /// Channel and slot, while it holds the waiter.
    pub slot_key: Plain32,
    /// The program's data; the kernel holds the same.
    pub data: Plain64,
    /// Receive position last reported to an edge-triggered watcher.
    pub seen: Plain64,
    /// Marks of the far side since something new was found.
    pub marks: Plain32,
    /// What the far side had published when these were last too many.
    pub marks_progress: Plain64,
    /// Serial number of the wait that reported it last: none reports it twice.
    pub reported_serial: Plain32,
    /// The instance's `control_count`, plus one, when its data was last compared with the kernel's registrations.
    pub compared_count: Plain32,
    /// Places in the instance's lists.
    pub links: [Link; KINDS],
    /// Next in the chains of the instance.
    pub chains: [Plain32; WAYS],
    /// Next registration of the same endpoint, plus one.
    pub next_watcher: Plain32,
    /// Next free registration, plus one.
    pub next_free: Plain32,
}

impl Registration {
    /// True when one of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }
    /// Sets flags.
    #[inline(always)]
    pub fn mark(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }
    /// Clears flags.
    #[inline(always)]
    pub fn clear(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }
    /// True for an edge-triggered registration.
    #[inline(always)]
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.events.get() & EDGE != 0
    }
    /// True for a one-shot registration.
    #[inline(always)]
    #[must_use]
    pub fn is_one_shot(&self) -> bool {
        self.events.get() & ONE_SHOT != 0
    }
    /// True when one of `bits` is asked for.
    #[inline(always)]
    #[must_use]
    pub fn asks(&self, bits: u32) -> bool {
        self.events.get() & bits != 0
    }
    /// What may be reported: what is asked for, and what need not be asked for.
    #[inline(always)]
    #[must_use]
    pub fn reportable(&self) -> u32 {
        self.events.get() | ERR | HUP
    }

    /// The stream it watches; nothing when its endpoint has ended.
    #[inline(always)]
    #[must_use]
    pub fn stream(&self, me: fastpath::lock::Owner) -> Option<Stream> {
        let endpoint = family::endpoint(self.endpoint.get())?;
        let generation = self.generation.get();
        (endpoint.generation.load(Ordering::Acquire) == generation).then(|| {
            Stream::new(
                endpoint,
                generation,
                self.open_number.get() as core::ffi::c_int,
                me,
            )
        })
    }
}
