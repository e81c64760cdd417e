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
    /// Marks a slot's kind ready for the far side's epoll set `waiter`; true when its sleepers must be rung for, which
    /// [`Self::note_rung`] then says to others. The index that became ready was published with a full fence behind it.
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
        Some(bell::is_due_shared(
            self.far_waiter_epoch(waiter)?,
            self.rung.0.get(waiter)?,
        ))
    }

    /// Notes that `waiter` is rung for, which silences every other connection of its set until it sleeps anew. So only
    /// whoever can ring may note it: behind ANNOUNCE, where the far side cannot close the connection under the bell.
    /// False: another thread has rung meanwhile.
    #[must_use]
    pub fn note_rung(&self, waiter: usize) -> bool {
        let (Some(epoch), Some(rung)) = (self.far_waiter_epoch(waiter), self.rung.0.get(waiter))
        else {
            return false;
        };
        let due = bell::due_shared(epoch, rung);
        if due && let (Some(stamp), Some(cpu)) = (self.own_stamp(waiter), self.own_cpu(waiter)) {
            stamp.store(time_stamp(), Ordering::Relaxed);
            cpu.store(crate::wait::current_cpu(), Ordering::Relaxed);
        }
        due
    }

    /// The bell that was noted could not be sent: the next connection of the set rings.
    #[cold]
    pub fn forget_rung(&self, waiter: usize) {
        if let Some(rung) = self.rung.0.get(waiter) {
            // Even: no epoch that somebody sleeps behind.
            rung.store(0, Ordering::Release);
        }
    }
}
