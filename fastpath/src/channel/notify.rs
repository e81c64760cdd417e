//! Telling an epoll set of the far side that a slot became ready (READINESS.md 4).
//!
//! What was rung belongs to this process and the far waiter, never to the far side's memory: a lie there costs bells,
//! not wakes.

use super::Channel;
use crate::bell;
use crate::ready;
use crate::sync::{AtomicU32, Ordering, time_stamp};
use kmod_interface::channel_layout::RegionLayout;
use kmod_interface::limits::WAITERS;

/// Epochs last rung for, one per far waiter. Process-private: each process of a side rings for itself.
pub(super) struct Rung([AtomicU32; WAITERS]);

impl Rung {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; WAITERS])
    }
    pub(super) fn reset(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Channel {
    /// Marks a slot's kind ready for the far side's epoll set `waiter`; true when its sleepers must be rung for.
    /// The index that became ready was published with a full fence behind it.
    #[inline]
    #[must_use]
    pub fn notify_waiter(&self, waiter: usize, slot: u32, kind: u32) -> bool {
        self.mark_waiter(waiter, slot, kind).unwrap_or(false)
    }

    #[inline]
    fn mark_waiter(&self, waiter: usize, slot: u32, kind: u32) -> Option<bool> {
        let (word, mask) = RegionLayout::ready_bit(slot, kind);
        ready::mark(
            self.own_ready_word(waiter, word)?,
            self.far_answer_word(waiter, word)?,
            mask,
            self.own_ready_summary(waiter)?,
            self.far_answer_summary(waiter)?,
            1 << (word % 64),
        );
        let due = bell::due_shared(self.far_waiter_epoch(waiter)?, self.rung.0.get(waiter)?);
        if due {
            self.own_stamp(waiter)?
                .store(time_stamp(), Ordering::Relaxed);
            self.own_cpu(waiter)?
                .store(crate::wait::current_cpu(), Ordering::Relaxed);
        }
        Some(due)
    }
}
