//! What one waiter's past says: how long the last waits were, what a wake-up costs, whether spins get interrupted.

use super::{BUDGET_FIRST_US, BUDGET_LEAST_US, BUDGET_MOST_US, SKIP_LEAST, SKIP_MOST};
use crate::sync::{AtomicU32, Ordering};

/// Sleeps over which the least wake-up latency is taken; one that returned early by chance must not set the budget.
const SLEEPS_PER_BUDGET: u32 = 32;
/// Spins won in a row that halve what the next interruption costs.
const WINS_PER_PARDON: u32 = 16;

/// The past of one waiter. All zero bytes are a fresh one. Times are ticks of the time stamp counter.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WaitHistory {
    /// Moving average of what a wait would have needed of a spinner.
    expected_ticks: AtomicU32,
    /// Spin budget: least wake-up of the last full round of sleeps; 0 = none yet.
    budget_ticks: AtomicU32,
    /// Least wake-up of the round under way, +1; 0 = none yet.
    least_ticks: AtomicU32,
    /// Sleeps of the round under way.
    sleeps: AtomicU32,
    /// Waits still to go without a spin.
    skip: AtomicU32,
    /// What the last interruption cost, in waits; 0 = none.
    penalty: AtomicU32,
    /// Spins won since.
    wins: AtomicU32,
}

/// What happened in a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It began with a spin.
    pub spun: bool,
    /// The spin ended without what was waited for; see [`has_missed`](Self::has_missed).
    pub missed: bool,
    /// It slept in the kernel.
    pub slept: bool,
    /// The far side's time stamp of the bell, if the waiter slept and a bell came.
    pub stamp: Option<u64>,
    /// The bell was rung on the CPU the waiter runs on.
    pub from_own_cpu: bool,
    /// The spin was given up because this thread lost its CPU ([`super::SpinGuard::interrupted`]).
    pub interrupted: bool,
}

impl Outcome {
    /// True for a spin that won nothing. Whoever slept after one has missed, whatever else is said.
    #[inline]
    #[must_use]
    pub fn has_missed(self) -> bool {
        self.spun && (self.missed || self.slept)
    }

    /// The same with what the last bell, its CPU and time stamp, says of a wait that began at `t0`: nothing, unless the
    /// waiter slept and the bell was rung since. An older one woke somebody else.
    #[inline]
    #[must_use]
    pub fn with_bell(self, bell: Option<(u32, u64)>, t0: u64) -> Outcome {
        let bell = bell.filter(|&(_, stamp)| self.slept && stamp > t0);
        Outcome {
            stamp: bell.map(|(_, stamp)| stamp),
            from_own_cpu: bell.is_some_and(|(cpu, _)| cpu == super::current_cpu()),
            ..self
        }
    }
}

impl WaitHistory {
    /// Forgets the past.
    pub fn reset(&self) {
        for word in [
            &self.expected_ticks,
            &self.budget_ticks,
            &self.least_ticks,
            &self.sleeps,
            &self.skip,
            &self.penalty,
            &self.wins,
        ] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// A waiter without a past: its first wait spins.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            expected_ticks: AtomicU32::new(0),
            budget_ticks: AtomicU32::new(0),
            least_ticks: AtomicU32::new(0),
            sleeps: AtomicU32::new(0),
            skip: AtomicU32::new(0),
            penalty: AtomicU32::new(0),
            wins: AtomicU32::new(0),
        }
    }

    /// Counts one wait off the penalty; true while there is one.
    #[inline]
    pub(super) fn take_skip(&self) -> bool {
        let skip = self.skip.load(Ordering::Relaxed);
        if skip == 0 {
            return false;
        }
        self.skip.store(skip.wrapping_sub(1), Ordering::Relaxed);
        true
    }

    /// The budget, when the expected wait fits into it.
    #[inline]
    pub(super) fn worth_spinning(&self, ticks_per_us: u32) -> Option<u32> {
        let budget = self.budget(ticks_per_us);
        (self.expected_ticks.load(Ordering::Relaxed) <= budget).then_some(budget)
    }

    #[inline]
    fn budget(&self, ticks_per_us: u32) -> u32 {
        match self.budget_ticks.load(Ordering::Relaxed) {
            0 => BUDGET_FIRST_US.saturating_mul(ticks_per_us),
            budget => budget,
        }
    }

    pub(super) fn note(&self, outcome: Outcome, t0: u64, now: u64, ticks_per_us: u32) {
        let waited = now.saturating_sub(t0);
        // A stamp from before this wait is an older bell's and says nothing; one from the future is a lie and counts as now.
        let until_bell = outcome
            .stamp
            .filter(|&stamp| outcome.slept && stamp > t0)
            .map(|stamp| stamp.min(now).wrapping_sub(t0));
        if let Some(until_bell) = until_bell {
            self.note_wake(waited.wrapping_sub(until_bell), ticks_per_us);
        }
        if outcome.interrupted {
            self.note_interruption();
            // Says nothing about the far side.
            return;
        }
        let missed = outcome.has_missed();
        if outcome.spun && !missed {
            self.note_win();
        }
        // Clamped, else one outlier of a millisecond turns spinning off for long. A miss and a wake from the own CPU count
        // as the longest wait, else both ends on one CPU take turns in keeping it from each other.
        let most = self.budget(ticks_per_us).saturating_mul(4);
        let need = if missed || outcome.from_own_cpu {
            most
        } else {
            u32::try_from(until_bell.unwrap_or(waited)).map_or(most, |need| need.min(most))
        };
        let before = i64::from(self.expected_ticks.load(Ordering::Relaxed));
        let after = before + (i64::from(need) - before) / 8;
        self.expected_ticks.store(after as u32, Ordering::Relaxed);
    }

    /// A sleeper was running again `latency` after the bell.
    fn note_wake(&self, latency: u64, ticks_per_us: u32) {
        let latency = u32::try_from(latency.saturating_add(1)).unwrap_or(u32::MAX);
        let least = match self.least_ticks.load(Ordering::Relaxed) {
            0 => latency,
            least => least.min(latency),
        };
        let sleeps = self.sleeps.load(Ordering::Relaxed).wrapping_add(1);
        if sleeps < SLEEPS_PER_BUDGET {
            self.least_ticks.store(least, Ordering::Relaxed);
            self.sleeps.store(sleeps, Ordering::Relaxed);
            return;
        }
        let shortest = BUDGET_LEAST_US.saturating_mul(ticks_per_us).max(1);
        let longest = BUDGET_MOST_US.saturating_mul(ticks_per_us).max(shortest);
        self.budget_ticks
            .store(least.clamp(shortest, longest), Ordering::Relaxed);
        self.least_ticks.store(0, Ordering::Relaxed);
        self.sleeps.store(0, Ordering::Relaxed);
    }

    fn note_interruption(&self) {
        let penalty = self
            .penalty
            .load(Ordering::Relaxed)
            .saturating_mul(2)
            .clamp(SKIP_LEAST, SKIP_MOST);
        self.penalty.store(penalty, Ordering::Relaxed);
        self.skip.store(penalty, Ordering::Relaxed);
        self.wins.store(0, Ordering::Relaxed);
    }

    fn note_win(&self) {
        let penalty = self.penalty.load(Ordering::Relaxed);
        if penalty == 0 {
            return;
        }
        let wins = self.wins.load(Ordering::Relaxed).wrapping_add(1);
        if wins < WINS_PER_PARDON {
            self.wins.store(wins, Ordering::Relaxed);
            return;
        }
        self.wins.store(0, Ordering::Relaxed);
        let halved = penalty / 2;
        let halved = if halved < SKIP_LEAST { 0 } else { halved };
        self.penalty.store(halved, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: u32 = 1000;

    fn sleep(history: &WaitHistory, wake_us: u64) {
        let outcome = Outcome {
            slept: true,
            stamp: Some(2_000_000),
            ..Outcome::default()
        };
        history.note(
            outcome,
            1_000_000,
            2_000_000 + wake_us * u64::from(TICKS),
            TICKS,
        );
    }

    #[test]
    fn the_budget_is_the_least_wake_up_of_thirty_two_sleeps_within_its_bounds() {
        let history = WaitHistory::new();
        assert_eq!(history.budget(TICKS), 20_000);
        for (wakes_us, budget) in [([30, 12], 12_001), ([90, 60], 25_000), ([8, 1], 5_000)] {
            for sleep_number in 0..SLEEPS_PER_BUDGET {
                sleep(&history, wakes_us[usize::from(sleep_number == 7)]);
            }
            assert_eq!(history.budget(TICKS), budget);
        }
    }

    #[test]
    fn won_spins_pardon_an_interruption() {
        let history = WaitHistory::new();
        for _ in 0..3 {
            history.note_interruption();
        }
        assert_eq!(history.penalty.load(Ordering::Relaxed), 64);
        for _ in 0..3 * WINS_PER_PARDON {
            let won = Outcome {
                spun: true,
                ..Outcome::default()
            };
            history.note(won, 0, 1, TICKS);
        }
        assert_eq!(history.penalty.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_spin_that_ended_in_a_sleep_is_a_miss() {
        let history = WaitHistory::new();
        let outcome = Outcome {
            spun: true,
            slept: true,
            stamp: Some(1_000),
            ..Outcome::default()
        };
        for _ in 0..20 {
            history.note(outcome, 999, 2_000, TICKS);
        }
        assert_eq!(history.worth_spinning(TICKS), None);
    }

    #[test]
    fn a_bell_tells_of_a_wait_only_if_the_waiter_slept_and_it_was_rung_since() {
        let cpu = crate::wait::current_cpu();
        let slept = Outcome {
            slept: true,
            ..Outcome::default()
        };
        assert_eq!(slept.with_bell(Some((cpu + 1, 7)), 6).stamp, Some(7));
        assert!(!slept.with_bell(Some((cpu + 1_000_000, 7)), 6).from_own_cpu);
        for nothing in [
            slept.with_bell(None, 6),
            slept.with_bell(Some((cpu, 6)), 6),
            Outcome::default().with_bell(Some((cpu, 7)), 6),
        ] {
            assert_eq!((nothing.stamp, nothing.from_own_cpu), (None, false));
        }
    }

    #[test]
    fn zeroed_memory_is_a_fresh_history() {
        // Family memory is handed out zeroed, and histories live there.
        assert_eq!(
            format!("{:?}", WaitHistory::new()),
            format!("{:?}", WaitHistory::default())
        );
        assert_eq!(size_of::<WaitHistory>(), 28);
    }
}
