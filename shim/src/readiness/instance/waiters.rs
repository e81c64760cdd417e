//! The waiters of this process: which instance has which, and the last epoch of each.

use super::Held;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::limits::WAITERS;

/// Bit w: waiter w is taken. Waiter 0 means the connections' own epochs.
pub(super) static WAITERS_TAKEN: AtomicU64 = AtomicU64::new(1);
/// Last epoch of each waiter, over all instances that had it: a ringer compares with the epoch it rang for last, so none
/// may come twice.
pub(super) static EPOCHS: [AtomicU32; WAITERS] = [const { AtomicU32::new(0) }; WAITERS];

pub(super) fn take_waiter() -> u32 {
    loop {
        let taken = WAITERS_TAKEN.load(Ordering::Acquire);
        let free = (!taken).trailing_zeros();
        if free >= WAITERS as u32 {
            return 0;
        }
        if WAITERS_TAKEN
            .compare_exchange(
                taken,
                taken | 1 << free,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
        {
            return free;
        }
    }
}

/// In a fork child: the parent's waiters are its own; the child's channels are others.
pub fn forget_waiters() {
    WAITERS_TAKEN.store(1, Ordering::Release);
}

impl Held {
    /// Sets the epoch of the waiter in memory of this process; the channels are told by the caller.
    #[inline]
    pub fn set_epoch(&self, epoch: u32) {
        self.instance.epoch.set(epoch);
        if let Some(last) = EPOCHS.get(self.instance.waiter.get() as usize) {
            last.store(epoch, Ordering::Relaxed);
        }
    }
}
