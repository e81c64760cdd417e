//! Epochs and bells: how a sleeper is woken once, and only when there is one (SWITCH.md §3 BELL and SLEEP).
//!
//! ```text
//!   sleeper:  arm (next odd)  F  look again  sleep          waker:  publish  F  load epoch  odd and not rung: ring
//! ```
//!
//! Each full fence has the other as its partner: either the waker sees the epoch, or the sleeper sees what was published.
//! Every arming is a new odd value, and the waker remembers the value it rang for, so one arming costs at most one bell.

use crate::fault::{Fault, sound};
use crate::sync::{AtomicU32, FarWord32, Ordering, OwnWord32};

/// BELL 1: is a bell due at this far epoch? Notes it as rung when it is. The caller holds the lock that protects `rung`
/// and has published with a full fence (partner: the fence in [`Epoch::arm`]).
///
/// `rung` is compared for equality, not for age: a waiter that others keep waking may arm 2^30 times before its first
/// bell from here, and an age would then have the wrong sign.
#[inline]
#[must_use]
pub fn due(arm: FarWord32, rung: &mut u32) -> bool {
    let epoch = arm.load(Ordering::Relaxed);
    if !is_odd(epoch) || (epoch == *rung && sound(Fault::DueForgetsRung)) {
        return false;
    }
    *rung = epoch;
    true
}

/// Tries of [`due_shared`] against threads that note other epochs.
const DUE_TRIES: u32 = 64;

/// As [`due`], for a `rung` that several threads of one process share without a lock (epoll sets: "rung belongs to
/// (ringer process, waiter)"). Of the threads that see one epoch exactly one gets `true`.
#[inline]
#[must_use]
pub fn due_shared(arm: FarWord32, rung: &AtomicU32) -> bool {
    for _ in 0..DUE_TRIES {
        // `rung` before `arm`: what is stored in `rung` was loaded from `arm` before (release below), so an epoch older
        // than `rung` cannot be read here, and `rung` never moves back.
        let noted = rung.load(Ordering::Acquire);
        let epoch = arm.load(Ordering::Relaxed);
        if !is_odd(epoch) || (epoch == noted && sound(Fault::DueForgetsRung)) {
            return false;
        }
        let exchange = rung.compare_exchange(noted, epoch, Ordering::AcqRel, Ordering::Relaxed);
        if exchange.is_ok() {
            return true;
        }
    }
    // Only a far side that changes its epoch without pause comes here; it gets a bell too many.
    true
}

/// What [`due_shared`] would say at this moment, without noting it.
#[inline]
#[must_use]
pub fn is_due_shared(arm: FarWord32, rung: &AtomicU32) -> bool {
    let noted = rung.load(Ordering::Acquire);
    let epoch = arm.load(Ordering::Relaxed);
    is_odd(epoch) && epoch != noted
}

#[inline(always)]
const fn is_odd(epoch: u32) -> bool {
    epoch & 1 == 1
}

/// This side's epoch, written under the lock of its waiter (`rx_lock`, or the lock of the epoll set).
#[derive(Clone, Copy, Debug)]
pub struct Epoch(OwnWord32);

impl Epoch {
    /// The epoch in this word.
    #[inline]
    #[must_use]
    pub const fn new(word: OwnWord32) -> Self {
        Self(word)
    }

    /// The next odd value, then a full fence: `arm` -> `tail` `ep` `fin` (partner: `publish_and_fence` of the rings). The
    /// caller looks again afterwards, and only then sleeps. Returns the value.
    #[inline]
    pub fn arm(&self) -> u32 {
        let before = self.0.load(Ordering::Relaxed);
        let epoch = if sound(Fault::ArmWithOldEpoch) {
            // even: +1, odd: +2
            before.wrapping_add(1) | 1
        } else {
            1
        };
        if sound(Fault::ArmWithoutFence) {
            self.0.publish_and_fence(epoch);
        } else {
            self.0.store(epoch, Ordering::Release);
        }
        epoch
    }

    /// The next even value: nobody sleeps here. A waker that saw the odd value before may still ring.
    #[inline]
    pub fn disarm(&self) {
        let before = self.0.load(Ordering::Relaxed);
        if is_odd(before) {
            self.0.store(before.wrapping_add(1), Ordering::Release);
        }
    }

    /// True while somebody may be asleep.
    #[inline]
    #[must_use]
    pub fn is_armed(&self) -> bool {
        is_odd(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Word32;

    fn word() -> Word32 {
        let place: &'static mut u32 = Box::leak(Box::new(0));
        #[expect(unsafe_code, reason = "a word of the test's own")]
        // SAFETY: leaked, aligned.
        unsafe {
            Word32::at(std::ptr::from_mut(place).cast())
        }
    }

    #[test]
    fn one_arming_is_rung_for_once_and_each_arming_is_new() {
        let word = word();
        let epoch = Epoch::new(OwnWord32::new(word));
        let far = FarWord32::new(word);
        let mut rung = 0;
        assert!(!due(far, &mut rung), "nobody sleeps");
        let first = epoch.arm();
        assert!(epoch.is_armed());
        assert!(due(far, &mut rung));
        assert!(!due(far, &mut rung), "rung already");
        let second = epoch.arm();
        assert_eq!(second, first + 2);
        assert!(due(far, &mut rung));
        epoch.disarm();
        assert!(!epoch.is_armed());
        assert!(!due(far, &mut rung));
        epoch.disarm();
        assert_eq!(epoch.arm(), second + 2);
    }

    #[test]
    fn an_epoch_far_ahead_of_the_last_bell_is_still_rung_for() {
        let word = word();
        let mut rung = 1;
        for epoch in [3, 0x7FFF_FFFF, 0x8000_0001, 0xFFFF_FFFF, 1, 3] {
            word.store(epoch, Ordering::Relaxed);
            assert!(due(FarWord32::new(word), &mut rung), "{epoch:#x}");
        }
    }

    #[test]
    fn epochs_wrap_from_odd_to_odd() {
        let word = word();
        let epoch = Epoch::new(OwnWord32::new(word));
        word.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(epoch.arm(), 1);
        word.store(u32::MAX, Ordering::Relaxed);
        epoch.disarm();
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn of_many_threads_that_see_one_epoch_exactly_one_rings() {
        let word = word();
        let epoch = Epoch::new(OwnWord32::new(word));
        let rung = AtomicU32::new(0);
        for _ in 0..200 {
            epoch.arm();
            let bells: u32 = std::thread::scope(|scope| {
                let ringers: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| u32::from(due_shared(FarWord32::new(word), &rung))))
                    .collect();
                ringers
                    .into_iter()
                    .map(|ringer| ringer.join().unwrap())
                    .sum()
            });
            assert_eq!(bells, 1);
        }
    }
}
