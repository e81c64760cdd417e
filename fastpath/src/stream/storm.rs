//! Storms: a far side that wakes this one for nothing (TRUST.md "Memory, credentials, storms").
//!
//! TRUST.md lets 64 bells in a row without new bytes pass. Looked at one by one that is not safe: a thread is put aside
//! between taking bells and looking at what they told, an epoll set is armed again meanwhile for other connections, and
//! so the bells of many publishes come behind one look. On a busy machine an honest far side reached 64. So what is
//! compared does not depend on when anybody looks:
//!
//! W1. Whoever is honest rings behind something it has published: a byte at least (`tail`), a byte taken at least
//!     (`head`), a switch (`ep`). All its bells together are no more than these have moved.
//! W2. Of what has moved no more is kept as credit than bells can lie unread ([`UNREAD_BELLS_LIMIT`]; more are a lie).
//!     So nobody can save for a storm, and the bells that are under way are covered.
//! W3. [`SPURIOUS_WAKES`] bells beyond the credit: the connection is given up for good. Whoever rings as often again has
//!     not heeded the wish to go back, which stood there before: condemned.
//!
//! Marks in the ready bits of epoll sets are weighed likewise, where they are collected.
//!
//! W4. A call that switches to the ring and back again and again, since the far side grants and takes back faster than
//!     system calls are made, would never return. An honest far side switches for a cause that lasts longer than a
//!     call. Behind `SWITCHES_PER_CALL` the ring is wished for no more, so that
//!     no further grant is given and no further upgrade made: the kernel carries, and the call comes to its end.

use super::Stream;
use crate::endpoint::pestered;
use crate::sync::Ordering;
use kmod_interface::limits::{SPURIOUS_WAKES, UNREAD_BELLS_LIMIT};

const TOLERATED: i64 = SPURIOUS_WAKES as i64;

impl Stream {
    /// One call has switched `SWITCHES_PER_CALL` times (W4). Under a lock.
    #[cold]
    pub(super) fn pestered_by_switches(&self) {
        let endpoint = self.endpoint;
        endpoint.wished.store(0, Ordering::Release);
        let _ = endpoint.pestered.compare_exchange(
            pestered::NO,
            pestered::NOTICED,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        self.switched.set(true);
    }

    /// What an honest far side rings and marks for, as one number that only grows. Of a bound stream.
    #[must_use]
    pub fn far_progress(&self) -> u64 {
        let far = self.far();
        far.tail()
            .load(Ordering::Acquire)
            .wrapping_add(far.head().load(Ordering::Acquire))
            .wrapping_add(u64::from(far.ep().load(Ordering::Acquire)))
    }

    /// So many bells were consumed. Under `rx_lock`, behind their consumption: what they told is visible. False: condemned.
    pub(super) fn weigh_bells(&self, taken: u64) -> bool {
        let endpoint = self.endpoint;
        let progress = self.far_progress();
        let moved = progress.wrapping_sub(endpoint.bell_progress.get());
        endpoint.bell_progress.set(progress);
        let credit = weighed(endpoint.bell_credit.get() as i32, moved, taken);
        endpoint.bell_credit.set(credit as u32);
        i64::from(credit) >= -TOLERATED || self.pestered_by_bells()
    }

    #[cold]
    fn pestered_by_bells(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.pestered.load(Ordering::Relaxed) == pestered::NO {
            endpoint
                .pestered
                .store(pestered::NOTICED, Ordering::Release);
            endpoint.bell_credit.set(-(TOLERATED as i32) as u32);
        } else if i64::from(endpoint.bell_credit.get() as i32) < -2 * TOLERATED {
            self.condemn_misbehaved();
            return false;
        }
        true
    }

    /// The far side marks this connection ready again and again for nothing.
    #[cold]
    pub fn pestered_by_marks(&self) {
        if self.lock_receiving().is_err() {
            return;
        }
        if self.is_bound() {
            let pestered = &self.endpoint.pestered;
            if pestered.load(Ordering::Relaxed) == pestered::GIVEN_UP {
                self.condemn_misbehaved();
            } else {
                pestered.store(pestered::NOTICED, Ordering::Release);
                // Whoever looks after the call gives it up.
                self.switched.set(true);
            }
        }
        self.unlock_receiving();
    }

    /// True for the one caller that is to give the connection up.
    #[inline]
    #[must_use]
    pub fn must_be_given_up(&self) -> bool {
        let pestered = &self.endpoint.pestered;
        pestered.load(Ordering::Relaxed) == pestered::NOTICED
            && pestered
                .compare_exchange(
                    pestered::NOTICED,
                    pestered::GIVEN_UP,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

/// The credit after so much has moved and so many bells were taken.
fn weighed(credit: i32, moved: u64, taken: u64) -> i32 {
    let most = UNREAD_BELLS_LIMIT as i64;
    let moved = moved.min(UNREAD_BELLS_LIMIT) as i64;
    let taken = taken.min(UNREAD_BELLS_LIMIT) as i64;
    ((i64::from(credit) + moved).min(most) - taken).max(-most) as i32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_publishes_as_often_as_it_rings_never_falls_behind_whenever_its_bells_are_taken() {
        // A far side that publishes and rings; bells are taken late, a random number of them at a time.
        let mut random = 1_u64;
        let mut next = |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % most
        };
        let (mut credit, mut published, mut seen, mut unread) = (0_i32, 0_u64, 0_u64, 0_u64);
        for _ in 0..100_000 {
            for _ in 0..next(100) {
                published += 1 + next(1000) * next(2);
                unread = (unread + next(2)).min(UNREAD_BELLS_LIMIT);
            }
            let taken = next(unread + 1);
            if taken > 0 {
                unread -= taken;
                credit = weighed(credit, published - seen, taken);
                seen = published;
            }
            assert!(credit >= 0, "{credit}");
        }
    }

    #[test]
    fn a_storm_is_noticed_whatever_was_saved_before_it() {
        let mut credit = weighed(0, u64::MAX, 0);
        let mut bells = 0;
        while i64::from(credit) >= -TOLERATED {
            credit = weighed(credit, 0, 1);
            bells += 1;
        }
        assert_eq!(bells, UNREAD_BELLS_LIMIT + 65);
    }
}
