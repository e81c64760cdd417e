//! How a thread waits for another that will be done soon: pauses, then yields, then naps.
//!
//! Used where no kernel object can be slept on: recoverable locks, and sleepers that wait for others to leave a line
//! (SWITCH.md §3 SLEEP 2).

use crate::sync::{nap_ns, spin_pause, yield_to_others};

/// Pauses before the first yield: some microseconds, more than a short critical section lasts.
#[cfg(not(loom))]
const PAUSES: u32 = 100;
/// Yields before the first nap.
#[cfg(not(loom))]
const YIELDS: u32 = 20;
/// The model checker needs no patience: each kind of wait once.
#[cfg(loom)]
const PAUSES: u32 = 1;
#[cfg(loom)]
const YIELDS: u32 = 0;
/// First nap.
const SHORT_NAP_NS: u32 = 50_000;
/// Every later nap.
const LONG_NAP_NS: u32 = 1_000_000;

/// Progress of one wait.
#[derive(Debug, Default)]
pub struct Backoff {
    rounds: u32,
}

impl Backoff {
    /// A wait that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self { rounds: 0 }
    }

    /// A wait without the pauses, for things that take a system call at least.
    #[must_use]
    pub const fn yielding() -> Self {
        Self { rounds: PAUSES }
    }

    /// Waits a little; longer each time, at most a millisecond.
    pub fn wait(&mut self) {
        match self.rounds {
            round if round < PAUSES => spin_pause(),
            round if round < PAUSES + YIELDS => yield_to_others(),
            round if round == PAUSES + YIELDS => nap_ns(SHORT_NAP_NS),
            _ => nap_ns(LONG_NAP_NS),
        }
        self.rounds = self.rounds.saturating_add(1);
    }

    /// True once a whole long nap has passed: time to ask whether the other is alive.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        #[cfg(not(loom))]
        return self.rounds > PAUSES + YIELDS + 1;
        #[cfg(loom)]
        return self.rounds > 0;
    }
}
