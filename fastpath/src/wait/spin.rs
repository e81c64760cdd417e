//! One spin: a place among the process's spinners, and the watch over the time between two looks.
//!
//! Looks follow each other with no pause but the processor's own. A reader that only receives would leave the writer's lines
//! alone if it looked once a microsecond [stream of 64 B, WAITING.md "Ring geometry": 27–37 ns a message instead of 83–115].
//! That is left out: a wait does not know that its reader has received twice without sending, and the prototype's gain has
//! not been shown with whole programs.

use super::{INTERRUPTION_US, SpinPolicy};
use crate::sync::{AtomicU64, Ordering, spin_pause, time_stamp};

/// A thread that spins, counted among the spinners of the process until dropped.
#[derive(Debug)]
#[must_use]
pub struct SpinGuard<'policy> {
    lease: &'policy AtomicU64,
    until_ticks: u64,
    last_look_ticks: u64,
    interruption_ticks: u64,
    interrupted: bool,
}

impl<'policy> SpinGuard<'policy> {
    /// Begins a spin that [`super::begin`] allowed; nothing when another thread took the last place meanwhile.
    pub fn enter(policy: &'policy SpinPolicy, until_ticks: u64) -> Option<Self> {
        let now = time_stamp();
        let ticks_per_us = policy.ticks_per_us()?;
        let lease = policy.lease(until_ticks, now)?;
        Some(Self {
            lease,
            until_ticks,
            last_look_ticks: now,
            interruption_ticks: u64::from(ticks_per_us) * u64::from(INTERRUPTION_US),
            interrupted: false,
        })
    }

    /// To be asked after each look that found nothing: pauses, then says whether to look again. After `false` the caller
    /// looks no more, arms and sleeps (what it looks at after arming catches what came meanwhile).
    #[inline]
    pub fn look_again(&mut self) -> bool {
        spin_pause();
        let now = time_stamp();
        if now.wrapping_sub(self.last_look_ticks) > self.interruption_ticks {
            self.interrupted = true;
            return false;
        }
        self.last_look_ticks = now;
        now < self.until_ticks
    }

    /// The spin was given up because two looks lay too far apart: this thread's CPU was wanted by another.
    #[inline]
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Time stamp of the last look; inside a spin it saves the caller a read of the counter.
    #[inline]
    #[must_use]
    pub fn last_look_ticks(&self) -> u64 {
        self.last_look_ticks
    }
}

impl Drop for SpinGuard<'_> {
    fn drop(&mut self) {
        // Only while it is still ours: a lease that ran out may have a new holder. (One with the very same end is given up
        // a little early; that costs nothing.)
        let _ = self.lease.compare_exchange(
            self.until_ticks.max(1),
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spin_ends_at_its_time_and_gives_its_place_back() {
        let policy = SpinPolicy::calibrated(1, 2);
        // So late that no lease of the test runs out on a busy machine.
        let until = time_stamp() + (1 << 42);
        let mut spin = SpinGuard::enter(&policy, until).expect("a place");
        // With one tick a microsecond every pause is an interruption, or the end of the time.
        while spin.look_again() {}
        assert!(spin.interrupted() || spin.last_look_ticks() >= until);
        assert!(
            SpinGuard::enter(&policy, until).is_none(),
            "one place for two CPUs"
        );
        drop(spin);
        assert!(SpinGuard::enter(&policy, until).is_some());
    }
}
