//! The recoverable lock word (CHANNEL.md "Family memory", SWITCH.md §6).
//!
//! One word in family memory says who holds the lock: thread id in the low half, the process's name in the family in the
//! high half, 0 = free.
//! So a lock survives its owner's death: whoever waits long asks whether the owner lives, takes the lock from the very
//! word it saw, and repairs what the lock protects. A thread that meets its own word is a signal handler above its own
//! interrupted call, and must change nothing.
//!
//! Not fair and without a kernel queue: critical sections are copies and a few system calls that do not block.

use crate::backoff::Backoff;
use crate::fault::{Fault, sound};
use crate::sync::{AtomicU64, Ordering};

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kernel thread id; never 0.
    pub thread: u32,
    /// Name of the process in the family's table of processes.
    pub process_slot: u32,
}

impl Owner {
    #[inline(always)]
    const fn word(self) -> u64 {
        (self.process_slot as u64) << 32 | self.thread as u64
    }
    #[inline(always)]
    const fn from_word(word: u64) -> Option<Self> {
        if word == FREE {
            return None;
        }
        Some(Self {
            thread: word as u32,
            process_slot: (word >> 32) as u32,
        })
    }
}

const FREE: u64 = 0;

/// Naps of a millisecond: far longer than a critical section lasts.
const CROSSED_NAPS: u32 = 20;

/// How [`LockWord::lock`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Locked {
    /// The lock is held.
    Taken,
    /// The lock is held, and its owner before died holding it: repair first (SWITCH.md §6).
    Recovered,
    /// Not held anew: this very thread held it before the signal that brought us here, or its owner waits for what this
    /// thread held (see [`LockWord::lock_or_give_way`]).
    OwnThread,
}

/// A lock in memory that only this side's processes map.
#[derive(Debug)]
#[repr(transparent)]
pub struct LockWord(AtomicU64);

impl LockWord {
    /// A free lock. All zero bytes are one, too.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }
    /// A free lock.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }

    /// Free again, whoever held it: the word begins a new life.
    pub fn reset(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Takes the lock if it is free.
    #[inline]
    #[must_use]
    pub fn try_lock(&self, me: Owner) -> bool {
        // Acquire, partner: the release in `unlock`.
        self.0
            .compare_exchange(FREE, me.word(), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock, waiting as long as its owner lives. After a millisecond of waiting, and after each later one,
    /// `is_alive` is asked about the owner.
    #[inline]
    pub fn lock(&self, me: Owner, is_alive: impl Fn(Owner) -> bool) -> Locked {
        if self.try_lock(me) {
            Locked::Taken
        } else {
            self.lock_slowly(me, &is_alive)
        }
    }

    /// As [`Self::lock`], for a thread that may hold up the lock's owner in turn: gives up after some [`CROSSED_NAPS`] of
    /// waiting, which then count as finding the lock its own.
    #[cold]
    pub fn lock_or_give_way(&self, me: Owner, is_alive: impl Fn(Owner) -> bool) -> Locked {
        self.wait_for(me, &is_alive, CROSSED_NAPS)
    }

    #[cold]
    fn lock_slowly(&self, me: Owner, is_alive: &dyn Fn(Owner) -> bool) -> Locked {
        self.wait_for(me, is_alive, u32::MAX)
    }

    fn wait_for(&self, me: Owner, is_alive: &dyn Fn(Owner) -> bool, naps_max: u32) -> Locked {
        let mut backoff = Backoff::new();
        let mut naps = 0;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if seen == me.word() {
                return Locked::OwnThread;
            }
            let Some(owner) = Owner::from_word(seen) else {
                if self.try_lock(me) {
                    return Locked::Taken;
                }
                continue;
            };
            if backoff.is_long() {
                naps = u32::saturating_add(naps, 1);
                if naps > naps_max {
                    return Locked::OwnThread;
                }
            }
            if backoff.is_long() && !is_alive(owner) {
                // From the very word seen: another waiter may have recovered it, or even freed it, since.
                let recovered = if sound(Fault::RecoveryByStore) {
                    self.0
                        .compare_exchange(seen, me.word(), Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                } else {
                    self.0.store(me.word(), Ordering::Relaxed);
                    true
                };
                if recovered {
                    return Locked::Recovered;
                }
                continue;
            }
            backoff.wait();
        }
    }

    /// Frees the lock, which `me` holds. Nobody else can have taken it: only a dead owner's lock is recovered.
    #[inline]
    pub fn unlock(&self, me: Owner) {
        let _ = me;
        let order = if sound(Fault::UnlockWithoutRelease) {
            // Release, partner: the acquire in `try_lock`.
            Ordering::Release
        } else {
            Ordering::Relaxed
        };
        self.0.store(FREE, order);
    }

    /// The owner, who holds it, goes on in another memory than this: here `heir` holds it, a process that is dead, so that
    /// the next to want the lock repairs first.
    pub fn leave_to(&self, heir: Owner) {
        // Release: as in `unlock`.
        self.0.store(heir.word(), Ordering::Release);
    }

    /// Who holds it at this moment; only a hint unless it is the asking thread.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        Owner::from_word(self.0.load(Ordering::Relaxed))
    }
}

impl Default for LockWord {
    fn default() -> Self {
        Self::new()
    }
}
