//! Which connection gives its slot up, and how the far side hears of it (CHANNEL.md "Life of a slot").
//!
//! E1. Connections that have a slot pay nothing: who is quiet is found by looking twice at the bytes they have carried.
//!     Nobody looks before slots are short.
//! E2. A look is bounded: so many slots, from where the last look ended.
//! E3. A control event is a hint. Its reader finds the connection by what it knows itself, and the writer says it again
//!     when nothing comes of it, so a record that was overwritten before it was read is no loss.

use super::Channel;
use super::slots::BOUND;
use crate::endpoint::{Endpoint, binding};
use crate::stream::labels::{Label, reached};
use crate::sync::{AtomicU32, Ordering, time_stamp};
use kmod_interface::channel_layout::{RegionLayout, header};
use kmod_interface::control_event::{self, Kind};
use kmod_interface::limits::CONTROL_EVENTS;
use kmod_interface::reason::Reason;

/// Process-private: where looks go on, and which events were read. A fork child's copy is used for nothing but hints.
pub(super) struct EvictionState {
    next_slot: AtomicU32,
    events_read: AtomicU32,
    writing: AtomicU32,
    pressed_ms: AtomicU32,
}

/// A connection that has a slot and was quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Index of its endpoint.
    pub endpoint: u32,
    /// Its slot.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// How long it was seen to be quiet, at least.
    pub quiet_ms: u32,
}

/// What the far side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// The slot; it may not exist.
    pub slot: u32,
    /// The slot's generation, as the far side says.
    pub generation: u32,
}

impl EvictionState {
    pub const fn new() -> Self {
        Self {
            next_slot: AtomicU32::new(0),
            events_read: AtomicU32::new(0),
            writing: AtomicU32::new(0),
            pressed_ms: AtomicU32::new(0),
        }
    }
    pub fn reset(&self) {
        self.next_slot.store(0, Ordering::Relaxed);
        self.events_read.store(0, Ordering::Relaxed);
        self.writing.store(0, Ordering::Relaxed);
        self.pressed_ms.store(0, Ordering::Relaxed);
    }
}

impl Channel {
    /// Notes that a connection asked for a slot and there was none. `now_ms` is never 0.
    pub fn press(&self, now_ms: u32) {
        self.eviction.pressed_ms.store(now_ms, Ordering::Relaxed);
    }

    /// True when a slot was asked for in vain at most `within_ms` ago.
    #[must_use]
    pub fn is_pressed(&self, now_ms: u32, within_ms: u32) -> bool {
        let pressed_ms = self.eviction.pressed_ms.load(Ordering::Relaxed);
        pressed_ms != 0 && now_ms.wrapping_sub(pressed_ms) <= within_ms
    }

    /// Looks at `looks` slots for the connection that was quiet longest, for `quiet_ms` at least. `now_ms` is never 0.
    #[must_use]
    pub fn find_quiet(&self, now_ms: u32, quiet_ms: u32, looks: u32) -> Option<Quiet> {
        let slots = self.layout().slots;
        let looks = looks.min(slots);
        let first = self.eviction.next_slot.fetch_add(looks, Ordering::Relaxed);
        let mut found: Option<Quiet> = None;
        for look in 0..looks {
            let slot = first.wrapping_add(look).checked_rem(slots)?;
            if let Some(quiet) = self.look_at(slot, now_ms)
                && quiet.quiet_ms >= found.map_or(quiet_ms, |found| found.quiet_ms)
            {
                found = Some(quiet);
            }
        }
        found
    }

    fn look_at(&self, slot: u32, now_ms: u32) -> Option<Quiet> {
        let truth = self.parts.get()?.truth.slot(slot)?;
        if truth.phase.load(Ordering::Acquire) != BOUND {
            return None;
        }
        let index = truth.endpoint.load(Ordering::Acquire).checked_sub(1)?;
        let generation = truth.generation.load(Ordering::Relaxed);
        let endpoint = crate::family::endpoint(index)?;
        if !self.is_bound_here(endpoint, slot, generation) || is_unfit(endpoint) {
            return None;
        }
        let bytes = endpoint
            .received_bytes()
            .wrapping_add(endpoint.sent_bytes());
        let sampled_ms = truth.sampled_ms.load(Ordering::Relaxed);
        if sampled_ms == 0 || truth.sampled_bytes.load(Ordering::Relaxed) != bytes {
            truth.sampled_bytes.store(bytes, Ordering::Relaxed);
            truth.sampled_ms.store(now_ms, Ordering::Relaxed);
            return None;
        }
        Some(Quiet {
            endpoint: index,
            slot,
            generation,
            quiet_ms: now_ms.wrapping_sub(sampled_ms),
        })
    }

    /// True when this endpoint has that slot of this channel.
    #[must_use]
    pub fn is_bound_here(&self, endpoint: &Endpoint, slot: u32, generation: u32) -> bool {
        endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && endpoint.channel.get() == self.index() + 1
            && endpoint.slot.get() == slot
            && endpoint.slot_generation.get() == generation
    }

    /// Home: tells the far side to give a slot up. False when another thread is writing.
    pub fn post_revert(&self, slot: u32, generation: u32) -> bool {
        let Some(parts) = self.parts.get() else {
            return false;
        };
        let writing = &self.eviction.writing;
        let mine = writing
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if !mine {
            return false;
        }
        let tail = parts.own().word32(header::CONTROL_TAIL);
        let count = tail.load(Ordering::Relaxed);
        let start = RegionLayout::control_event(count as usize);
        for (offset, value) in [
            (control_event::KIND, Kind::RevertOne as u32),
            (control_event::SLOT, slot),
            (control_event::GENERATION, generation),
            (control_event::CAUSE, Reason::SlotEvicted as u32),
        ] {
            parts
                .own()
                .word32(start + offset)
                .store(value, Ordering::Relaxed);
        }
        parts
            .own()
            .word64(start + control_event::STAMP)
            .store(time_stamp(), Ordering::Relaxed);
        // Release, partner: the acquire in `next_event`: the record is there.
        tail.store(count.wrapping_add(1), Ordering::Release);
        reached(Label::GiveTell);
        writing.store(0, Ordering::Release);
        true
    }

    /// The next event of the far side that this process has not read; one load while there is none. Two threads may read
    /// the same one, and of a far side that is far ahead the oldest are skipped (E3).
    #[must_use]
    pub fn next_event(&self) -> Option<Event> {
        let far = self.parts.get()?.far();
        // Acquire, partner: the release in `post_revert`.
        let tail = far.word32(header::CONTROL_TAIL).load(Ordering::Acquire);
        let read = self.eviction.events_read.load(Ordering::Relaxed);
        let ahead = tail.wrapping_sub(read);
        if ahead == 0 {
            return None;
        }
        let next = if ahead > CONTROL_EVENTS as u32 {
            tail.wrapping_sub(CONTROL_EVENTS as u32)
        } else {
            read
        };
        let start = RegionLayout::control_event(next as usize);
        let word = |offset: usize| far.word32(start + offset).load(Ordering::Relaxed);
        let event = Kind::from_code(word(control_event::KIND)).map(|kind| Event {
            kind,
            slot: word(control_event::SLOT),
            generation: word(control_event::GENERATION),
        });
        self.eviction
            .events_read
            .store(next.wrapping_add(1), Ordering::Relaxed);
        event
    }
}

/// One that is ending, or on its way out, cannot give its slot up (unbind U7).
fn is_unfit(endpoint: &Endpoint) -> bool {
    endpoint.unbinding.load(Ordering::Relaxed) != 0
        || endpoint.over.get() != 0
        || endpoint.write_shut.get() != 0
        || endpoint.read_shut.get() != 0
        || endpoint.broken.get() != 0
        || endpoint.keof.load(Ordering::Relaxed) != 0
}
