//! The threads of this side that are inside a kernel call of one direction (SWITCH.md §1: `itx`, `irx`).
//!
//! Also in the same word: whether the endpoint is bound, which life of the block is meant, and how many calls there were.
//! So a call on an endpoint without a channel needs no lock: SWITCH.md's "lock, even: count, unlock" becomes one exchange.
//!
//! ```text
//!   63          32 31      22 21    20        0
//!   ┌─────────────┬──────────┬──────┬──────────┐
//!   │ calls       │ life     │bound │ threads  │
//!   └─────────────┴──────────┴──────┴──────────┘
//! ```
//!
//! N1. Without a lock a thread enters only from a word that says "unbound", and in the same step. Binding says "bound"
//!     before anybody can see a channel, so whoever is about to grant or upgrade, which takes a channel, counts each thread
//!     that went in without asking. Behind that all enter under the lock of their direction.
//! N2. A thread leaves only the life that it entered: one that comes out of the kernel when its endpoint has ended and the
//!     block was given out again takes nobody else's count away. (The word has the low bits of the generation; who leaves
//!     has compared all of it before, so they tell what happens between two instructions.)
//! N3. A thread that was killed inside stays counted. That forbids grants and upgrades, nothing else.
//! N4. While a process parts from its relatives (`family::part`, P3) a thread may also enter without a lock, in the old
//!     memory or in the copy: the exchange is made in one of them, and what the old one counts at last is added to the copy.
//!
//! Calls stand above, where they may overflow: they are shown modulo 2³² and made whole by who shows them.

use crate::fault::{Fault, sound};
use crate::sync::{AtomicU64, Ordering};

/// No family has as many threads as such a count can say.
const THREAD_BITS: u32 = 21;
const THREADS: u64 = (1 << THREAD_BITS) - 1;
const BOUND: u64 = 1 << THREAD_BITS;
const LIFE_SHIFT: u32 = THREAD_BITS + 1;
const CALLS_SHIFT: u32 = 32;
const LIFE: u64 = (1 << CALLS_SHIFT) - (1 << LIFE_SHIFT);

/// What the copy of a count begins with: threads that leave before the count is known are taken from this.
#[cfg(not(loom))]
const BASE: u64 = 1 << 18;

#[inline(always)]
const fn life(generation: u32) -> u64 {
    ((generation as u64) << LIFE_SHIFT) & LIFE
}

/// See the module.
#[repr(transparent)]
pub struct InKernel(AtomicU64);

impl InKernel {
    /// Nobody inside, unbound, in life 0. All zero bytes are that, too.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
    /// Nobody inside, unbound, in life 0.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The block begins a life: nobody is inside, it is unbound, no call was made. The caller has the block for itself.
    pub fn begin_life(&self, generation: u32) {
        if !self.any() {
            self.0.store(life(generation), Ordering::Relaxed);
        } else {
            // Somebody may be leaving the last life at this moment: before this, or not at all.
            self.0.swap(life(generation), Ordering::AcqRel);
        }
    }

    /// From now on nobody enters without the lock of this direction (N1).
    pub fn bind(&self) {
        self.0.fetch_or(BOUND, Ordering::AcqRel);
    }

    /// The binding has ended, with the kernel carrying both directions: no lock is needed any more.
    pub fn unbind(&self) {
        // Release, partner: the acquire in `enter_if_unbound`.
        self.0.fetch_and(!BOUND, Ordering::AcqRel);
    }

    /// Counts the calling thread, which holds the lock of this direction.
    #[inline]
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts the calling thread, which holds no lock, if the endpoint is unbound and lives its life `generation` (N1).
    #[inline(always)]
    #[must_use]
    pub fn enter_if_unbound(&self, generation: u32) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen & (LIFE | BOUND) != life(generation) {
                return false;
            }
            if !sound(Fault::EntersBehindTheLook) {
                self.enter();
                return true;
            }
            // Acquire, partner: the release in `unbind`.
            match self
                .0
                .compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// The calling thread is out of the kernel; `calls` (0 or 1) is what it has to be counted as. All calls counted in this
    /// life, modulo 2³²; nothing when that life has ended meanwhile (N2).
    #[inline(always)]
    pub fn leave(&self, generation: u32, calls: u32) -> Option<u32> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let is_another = seen & LIFE != life(generation) && sound(Fault::LeavesAnyLife);
            if is_another || seen & THREADS == 0 {
                return None;
            }
            let left = (seen - 1).wrapping_add(u64::from(calls) << CALLS_SHIFT);
            // Release, partner: the acquire in `any`: what the thread took or wrote is counted.
            match self
                .0
                .compare_exchange(seen, left, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some((left >> CALLS_SHIFT) as u32),
                Err(now) => seen = now,
            }
        }
    }

    /// In a copy of family memory, while a process parts from its relatives (`family::part`): from now on threads may enter
    /// and leave, and so they may where it was copied from.
    #[cfg(not(loom))]
    pub(crate) fn begin_copy(&self) {
        let rest = self.0.load(Ordering::Relaxed) & !THREADS;
        self.0.store(rest | BASE, Ordering::Relaxed);
    }

    /// In the copy: nobody enters or leaves the `old` one any more.
    #[cfg(not(loom))]
    pub(crate) fn end_copy(&self, old: &InKernel) {
        let before = old.0.load(Ordering::SeqCst) & THREADS;
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let count = ((seen & THREADS) + before).saturating_sub(BASE);
            let settled = seen & !THREADS | count.min(THREADS);
            match self
                .0
                .compare_exchange(seen, settled, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Counts a call that the calling thread makes under the lock of this direction; all calls of this life, modulo 2³².
    pub fn count_call(&self) -> u32 {
        let before = self.0.fetch_add(1 << CALLS_SHIFT, Ordering::Relaxed);
        ((before >> CALLS_SHIFT) as u32).wrapping_add(1)
    }

    /// Calls counted in this life, modulo 2³².
    #[must_use]
    pub fn calls(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) >> CALLS_SHIFT) as u32
    }

    /// Whether somebody is inside. Whoever asks in order to grant or upgrade has seen the binding, and holds the lock of this
    /// direction: nobody enters meanwhile.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) & THREADS != 0
    }
}

impl Default for InKernel {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_counts_who_enters_and_leaves_on_either_side_of_the_moment() {
        for left_before in 0..=3 {
            let (old, copy) = (InKernel::new(), InKernel::new());
            for inside in [&old, &copy] {
                inside.begin_life(7);
                inside.bind();
            }
            (0..3).for_each(|_| old.enter());
            copy.begin_copy();
            for leaver in 0..3 {
                let inside = if leaver < left_before { &old } else { &copy };
                assert!(inside.leave(7, 1).is_some());
            }
            copy.enter();
            copy.end_copy(&old);
            assert!(copy.any());
            assert!(!copy.enter_if_unbound(7), "still bound");
            assert_eq!(copy.leave(7, 0), Some(3 - left_before));
            assert!(!copy.any());
        }
    }

    #[test]
    fn who_is_inside_is_counted_by_life_and_calls_wrap_without_touching_the_rest() {
        let inside = InKernel::new();
        inside.begin_life(7);
        assert!(!inside.enter_if_unbound(6));
        assert!(inside.enter_if_unbound(7));
        inside.enter();
        assert!(inside.any());
        assert_eq!(inside.leave(7, 1), Some(1));
        assert_eq!(inside.leave(6, 1), None, "another life");
        assert_eq!(inside.leave(7, 0), Some(1));
        assert_eq!(inside.leave(7, 1), None, "nobody is inside");
        inside
            .0
            .fetch_or((u64::from(u32::MAX)) << CALLS_SHIFT, Ordering::Relaxed);
        inside.bind();
        assert_eq!(inside.count_call(), 0);
        inside.enter();
        assert_eq!((inside.any(), inside.leave(7, 1)), (true, Some(1)));
        assert!(!inside.enter_if_unbound(7), "bound");
        inside.unbind();
        assert!(inside.enter_if_unbound(7));
        inside.begin_life(8);
        assert_eq!((inside.any(), inside.calls()), (false, 0));
        assert_eq!(inside.leave(7, 1), None);
        assert!(inside.enter_if_unbound(8));
    }
}
