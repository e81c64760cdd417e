//! Counts of threads that are inside a call of ours ([`crate::in_kernel`]: in the program's own): each belongs to one life of
//! its endpoint.
//!
//! A thread leaves a call without a lock, perhaps long after another one has ended the endpoint's life, or as a fork child
//! that was never counted. So a count carries the life it belongs to, and a thread that is not in it takes nothing away:
//! neither from the next life nor below zero. What one thread adds is one word, so no death lies between two counts.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Threads inside one kind of call.
#[repr(transparent)]
pub struct Threads(AtomicU32);

const THREAD_BITS: u32 = 24;
const THREADS: u32 = (1 << THREAD_BITS) - 1;

/// The word of `life` with nobody inside.
const fn nobody(life: u32) -> u32 {
    life << THREAD_BITS
}

impl Threads {
    /// Nobody is inside; those of other lives count no more.
    pub(super) fn begin(&self, life: u32) {
        self.0.store(nobody(life), Ordering::Relaxed);
    }

    /// As [`Sleepers::forget`].
    pub(super) fn forget(&self) {
        let life = self.0.load(Ordering::Relaxed) & !THREADS;
        self.0.store(life, Ordering::Relaxed);
    }

    /// One more, of that generation of the endpoint.
    #[inline]
    pub fn enter(&self, life: u32) {
        let counted = |word: u32| {
            let is_ours = word & !THREADS == nobody(life) && word & THREADS != THREADS;
            is_ours.then(|| word + 1)
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, counted);
    }

    /// One less, if it was counted in that life.
    #[inline]
    pub fn leave(&self, life: u32) {
        let counted = |word: u32| {
            let is_ours = word & !THREADS == nobody(life) && word & THREADS != 0;
            is_ours.then(|| word - 1)
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, counted);
    }

    /// True while somebody is inside.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) & THREADS != 0
    }
}

/// What the copy of a count begins with while a process parts from its relatives (`family::part`): threads that leave before
/// the count is known are taken from this.
const BASE: u32 = 1 << 18;

impl Threads {
    /// In a copy: from now on threads may enter and leave, and so they may where it was copied from.
    pub(crate) fn begin_copy(&self) {
        let life = self.0.load(Ordering::Relaxed) & !THREADS;
        self.0.store(life | BASE, Ordering::Relaxed);
    }

    /// In the copy: nobody enters or leaves the `old` one any more.
    pub(crate) fn end_copy(&self, old: &Threads) {
        let before = old.0.load(Ordering::SeqCst) & THREADS;
        let settled = |word: u32| {
            let count = ((word & THREADS) + before).saturating_sub(BASE);
            Some(word & !THREADS | count.min(THREADS))
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, settled);
    }
}

/// Threads asleep on the line, and what they armed: three counts in one word.
#[repr(transparent)]
pub struct Sleepers(AtomicU64);

/// What one thread adds, or what is there: all, and of those the readers and the writers that armed an epoch.
const SLEEPER_BITS: u32 = 20;
const SLEEPERS: u64 = (1 << SLEEPER_BITS) - 1;
const READERS: u32 = SLEEPER_BITS;
const WRITERS: u32 = 2 * SLEEPER_BITS;
const LIFE: u32 = 3 * SLEEPER_BITS;

/// What one sleeping thread is counted as.
const fn sleeper(armed_rx: bool, armed_tx: bool) -> u64 {
    1 | (armed_rx as u64) << READERS | (armed_tx as u64) << WRITERS
}

impl Sleepers {
    /// Nobody sleeps; those of other lives count no more.
    pub(super) fn begin(&self, life: u32) {
        self.0.store(u64::from(life) << LIFE, Ordering::Relaxed);
    }

    /// Nobody's any more.
    pub(super) fn forget(&self) {
        // The life stays what it is until the entry is another's. Who leaves meanwhile finds nothing to take away.
        let life = self.0.load(Ordering::Relaxed) & !0 << LIFE;
        self.0.store(life, Ordering::Relaxed);
    }

    /// One more sleeper, of that generation of the endpoint.
    pub fn enter(&self, life: u32, armed_rx: bool, armed_tx: bool) {
        let counted = |word: u64| {
            let is_ours = word >> LIFE == u64::from(life) << LIFE >> LIFE;
            (is_ours && word & SLEEPERS != SLEEPERS).then(|| word + sleeper(armed_rx, armed_tx))
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, counted);
    }

    /// One less, if it was counted in that life.
    pub fn leave(&self, life: u32, armed_rx: bool, armed_tx: bool) {
        let has = |word: u64, place: u32, wanted: bool| !wanted || word >> place & SLEEPERS != 0;
        let counted = |word: u64| {
            let is_ours = word >> LIFE == u64::from(life) << LIFE >> LIFE
                && has(word, 0, true)
                && has(word, READERS, armed_rx)
                && has(word, WRITERS, armed_tx);
            is_ours.then(|| word - sleeper(armed_rx, armed_tx))
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, counted);
    }

    /// As [`Threads::begin_copy`].
    pub(crate) fn begin_copy(&self) {
        let life = self.0.load(Ordering::Relaxed) & !0 << LIFE;
        let base = u64::from(BASE);
        let counts = base | base << READERS | base << WRITERS;
        self.0.store(life | counts, Ordering::Relaxed);
    }

    /// As [`Threads::end_copy`].
    pub(crate) fn end_copy(&self, old: &Sleepers) {
        let before = old.0.load(Ordering::SeqCst);
        let settled = |word: u64| {
            let count = |place: u32| {
                let sum = (word >> place & SLEEPERS) + (before >> place & SLEEPERS);
                sum.saturating_sub(u64::from(BASE)).min(SLEEPERS) << place
            };
            Some(word & !0 << LIFE | count(0) | count(READERS) | count(WRITERS))
        };
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, settled);
    }

    /// True while anybody sleeps.
    pub(super) fn any(&self) -> bool {
        self.count(0)
    }

    /// True while a reader of those has armed its epoch.
    pub(super) fn any_reader(&self) -> bool {
        self.count(READERS)
    }

    /// True while a writer of those has armed its epoch.
    pub(super) fn any_writer(&self) -> bool {
        self.count(WRITERS)
    }

    fn count(&self, place: u32) -> bool {
        self.0.load(Ordering::SeqCst) >> place & SLEEPERS != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Sleepers, Threads};
    use crate::sync::{AtomicU32, AtomicU64};

    #[test]
    fn a_thread_of_another_life_takes_nothing_away() {
        let threads = Threads(AtomicU32::new(0));
        for life in [0, 255, 256, u32::MAX] {
            threads.begin(life);
            threads.enter(life);
            threads.leave(life.wrapping_add(1));
            threads.enter(life.wrapping_sub(1));
            assert!(threads.any());
            threads.leave(life);
            threads.leave(life);
            assert!(!threads.any());
            threads.enter(life);
            assert!(threads.any());
        }
    }

    #[test]
    fn what_falls_in_either_memory_while_a_count_is_copied_has_fallen_in_the_copy() {
        let [old, copy] = [0, 0].map(|_| Threads(AtomicU32::new(0)));
        let [old_sleepers, sleepers] = [0, 0].map(|_| Sleepers(AtomicU64::new(0)));
        for left_before in 0..=3 {
            old.begin(7);
            copy.begin(7);
            old_sleepers.begin(7);
            sleepers.begin(7);
            for _ in 0..3 {
                old.enter(7);
                old_sleepers.enter(7, true, false);
            }
            copy.begin_copy();
            sleepers.begin_copy();
            for leaver in 0..3 {
                let (threads, sleepers) = if leaver < left_before {
                    (&old, &old_sleepers)
                } else {
                    (&copy, &sleepers)
                };
                threads.leave(7);
                sleepers.leave(7, true, false);
            }
            copy.enter(7);
            assert!(copy.any() && sleepers.any());
            copy.end_copy(&old);
            sleepers.end_copy(&old_sleepers);
            assert!(copy.any() && !sleepers.any() && !sleepers.any_reader());
            copy.leave(7);
            assert!(!copy.any());
        }
    }

    #[test]
    fn a_sleeper_that_was_not_counted_takes_nothing_away() {
        let sleepers = Sleepers(AtomicU64::new(0));
        let shown = || [sleepers.any(), sleepers.any_reader(), sleepers.any_writer()];
        for life in [0, 15, 16, u32::MAX] {
            sleepers.begin(life);
            sleepers.leave(life, true, true);
            assert_eq!(shown(), [false, false, false]);
            sleepers.enter(life, true, false);
            sleepers.enter(life, false, false);
            sleepers.leave(life, false, true);
            sleepers.leave(life.wrapping_add(1), true, false);
            assert_eq!(shown(), [true, true, false]);
            sleepers.enter(life, true, true);
            sleepers.leave(life, true, false);
            assert_eq!(shown(), [true, true, true]);
            sleepers.leave(life, true, true);
            assert_eq!(shown(), [true, false, false]);
            sleepers.leave(life, false, false);
            assert_eq!(shown(), [false, false, false]);
            sleepers.enter(life, true, true);
            sleepers.forget();
            assert_eq!(shown(), [false, false, false]);
        }
    }
}
