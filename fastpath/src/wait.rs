//! The one waiting policy: look, spin for as long as a wake-up costs if waits are that short, arm, look, sleep.
//!
//! The procedure and the measurements behind each ingredient are in WAITING.md, "Spinning". Whoever waits does:
//!
//! ```text
//!   look; t0 = time_stamp()
//!   begin(...)  Spin: SpinGuard::enter, look while look_again()      Sleep: -
//!   arm, look, sleep
//!   finish(...)  with what happened
//! ```
//!
//! [`SpinPolicy`] belongs to the process, [`WaitHistory`] to whoever waits (a direction of an endpoint, an epoll set). Both
//! are plain relaxed atomics: threads that race lose a sample, never more. Zeroed memory is a fresh history.
//!
//! The far side's stamp and CPU number are hints from a stranger: clamped, and good for nothing but choosing between a
//! spin of at most [`BUDGET_MOST_US`] and a sleep.

mod history;
mod policy;
mod spin;

pub use history::{Outcome, WaitHistory};
pub use policy::SpinPolicy;
pub use spin::SpinGuard;

use crate::sync::time_stamp;

/// Least spin budget: below it a spin cannot win anything.
pub const BUDGET_LEAST_US: u32 = 5;
/// Most spin budget: no machine's wake-up is worth more.
pub const BUDGET_MOST_US: u32 = 25;
/// Spin budget until enough wake-ups were measured.
pub const BUDGET_FIRST_US: u32 = 20;
/// Two looks further apart mean that this thread was not running: somebody else wants the CPU.
pub const INTERRUPTION_US: u32 = 15;
/// Waits without a spin after the first interruption; doubles with each.
pub const SKIP_LEAST: u32 = 16;
/// Waits without a spin after many interruptions.
pub const SKIP_MOST: u32 = 4096;

/// What a wait begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Look again and again until the time stamp counter says so.
    Spin {
        /// Time stamp at which to give up.
        until_ticks: u64,
    },
    /// Arm, look and sleep at once.
    Sleep,
}

/// Spin or sleep? `far_cpu` is the CPU on which the far side last rang, if it ever did; `my_cpu` is [`current_cpu`].
#[inline]
pub fn begin(
    policy: &SpinPolicy,
    history: &WaitHistory,
    far_cpu: Option<u32>,
    my_cpu: u32,
) -> Verdict {
    begin_at(policy, history, far_cpu, my_cpu, time_stamp())
}

/// As [`begin`], for a caller that has just read the time stamp counter.
pub fn begin_at(
    policy: &SpinPolicy,
    history: &WaitHistory,
    far_cpu: Option<u32>,
    my_cpu: u32,
    now: u64,
) -> Verdict {
    let Some(ticks_per_us) = policy.ticks_per_us() else {
        return Verdict::Sleep;
    };
    let fixed_us = policy.fixed_us();
    if fixed_us == Some(0) || far_cpu == Some(my_cpu) {
        return Verdict::Sleep;
    }
    // With one CPU to run on, spinning keeps the far side from running, unless it is known to run on another one.
    if far_cpu.is_none() && policy.allowed_cpus(now) < 2 {
        return Verdict::Sleep;
    }
    let budget_ticks = match fixed_us {
        Some(us) => u64::from(us).wrapping_mul(u64::from(ticks_per_us)),
        None if history.take_skip() => return Verdict::Sleep,
        None => match history.worth_spinning(ticks_per_us) {
            Some(budget_ticks) => u64::from(budget_ticks),
            None => return Verdict::Sleep,
        },
    };
    if !policy.has_room_for_spinner(now) {
        return Verdict::Sleep;
    }
    Verdict::Spin {
        until_ticks: now.wrapping_add(budget_ticks),
    }
}

/// Tells the history what a wait that began at `t0` and ended at `now` was like.
pub fn finish(policy: &SpinPolicy, history: &WaitHistory, outcome: Outcome, t0: u64, now: u64) {
    if let Some(ticks_per_us) = policy.ticks_per_us() {
        history.note(outcome, t0, now, ticks_per_us);
    }
}

/// Number of the CPU this thread runs on; stale as soon as it is known, which is good enough for the policy. 2 ns.
#[inline]
#[must_use]
pub fn current_cpu() -> u32 {
    rustix::thread::sched_getcpu() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: u64 = 1000;

    fn policy() -> SpinPolicy {
        SpinPolicy::calibrated(TICKS as u32, 2)
    }

    /// One wait that the policy decides and that would take `wait_us` until the far side publishes; the wake-up of a
    /// sleeper costs `wake_us`. Returns whether it spun.
    fn wait(
        policy: &SpinPolicy,
        history: &WaitHistory,
        clock: &mut u64,
        wait_us: u64,
        wake_us: u64,
        far_cpu: u32,
    ) -> bool {
        let t0 = *clock;
        let published = t0 + wait_us * TICKS;
        let verdict = begin_at(policy, history, Some(far_cpu), 0, t0);
        let (outcome, now) = match verdict {
            Verdict::Spin { until_ticks } if published <= until_ticks => (
                Outcome {
                    spun: true,
                    ..Outcome::default()
                },
                published,
            ),
            _ => (
                Outcome {
                    spun: verdict != Verdict::Sleep,
                    missed: verdict != Verdict::Sleep,
                    slept: true,
                    stamp: Some(published),
                    from_own_cpu: far_cpu == 0,
                    interrupted: false,
                },
                published + wake_us * TICKS,
            ),
        };
        finish(policy, history, outcome, t0, now);
        *clock = now + TICKS;
        verdict != Verdict::Sleep
    }

    fn spins_in(count: u32, mut one: impl FnMut() -> bool) -> u32 {
        (0..count).map(|_| u32::from(one())).sum()
    }

    #[test]
    fn short_waits_are_spun_for_and_long_ones_are_slept() {
        let (policy, history, mut clock) = (policy(), WaitHistory::new(), TICKS);
        assert!(spins_in(100, || wait(&policy, &history, &mut clock, 2, 12, 1)) >= 99);
        let _ = spins_in(100, || wait(&policy, &history, &mut clock, 300, 12, 1));
        assert_eq!(
            spins_in(100, || wait(&policy, &history, &mut clock, 300, 12, 1)),
            0
        );
    }

    #[test]
    fn the_wakers_stamp_lets_two_sleepers_find_out_that_spinning_would_win() {
        let (policy, history, mut clock) = (policy(), WaitHistory::new(), TICKS);
        let _ = spins_in(200, || wait(&policy, &history, &mut clock, 300, 12, 1));
        // Waits have become short, but a wake-up still takes 12 µs: without the stamp they would look like 15 µs.
        let _ = spins_in(64, || wait(&policy, &history, &mut clock, 3, 12, 1));
        assert_eq!(
            spins_in(100, || wait(&policy, &history, &mut clock, 3, 12, 1)),
            100
        );
    }

    #[test]
    fn one_outlier_of_a_millisecond_costs_few_sleeps() {
        let (policy, history, mut clock) = (policy(), WaitHistory::new(), TICKS);
        let _ = spins_in(100, || wait(&policy, &history, &mut clock, 2, 12, 1));
        let _ = wait(&policy, &history, &mut clock, 1000, 12, 1);
        assert!(spins_in(100, || wait(&policy, &history, &mut clock, 2, 12, 1)) >= 98);
    }

    #[test]
    fn nobody_spins_on_the_cpu_where_the_far_side_runs() {
        let (policy, history, mut clock) = (policy(), WaitHistory::new(), TICKS);
        assert_eq!(
            spins_in(100, || wait(&policy, &history, &mut clock, 1, 3, 0)),
            0
        );
        // And wakes from the own CPU count as long waits, so that a stale CPU number does not start a spin at once.
        assert_eq!(
            begin_at(&policy, &history, Some(1), 0, clock),
            Verdict::Sleep
        );
    }

    #[test]
    fn a_pinned_thread_spins_only_for_a_far_side_that_is_known_to_run_elsewhere() {
        let policy = SpinPolicy::calibrated(TICKS as u32, 1);
        let history = WaitHistory::new();
        assert_eq!(begin_at(&policy, &history, None, 0, TICKS), Verdict::Sleep);
        assert_eq!(
            begin_at(&policy, &history, Some(0), 0, TICKS),
            Verdict::Sleep
        );
        assert_ne!(
            begin_at(&policy, &history, Some(1), 0, TICKS),
            Verdict::Sleep
        );
    }

    #[test]
    fn a_fixed_budget_is_kept_and_zero_never_spins() {
        let (policy, history) = (policy(), WaitHistory::new());
        policy.set_fixed_us(Some(50));
        let mut clock = TICKS;
        let _ = spins_in(100, || wait(&policy, &history, &mut clock, 300, 12, 1));
        assert_eq!(
            begin_at(&policy, &history, Some(1), 0, clock),
            Verdict::Spin {
                until_ticks: clock + 50 * TICKS
            }
        );
        policy.set_fixed_us(Some(0));
        assert_eq!(
            begin_at(&policy, &history, Some(1), 0, clock),
            Verdict::Sleep
        );
    }

    #[test]
    fn interruptions_stop_spinning_for_longer_and_longer() {
        let (policy, history) = (policy(), WaitHistory::new());
        let mut skipped = Vec::new();
        for _ in 0..12 {
            let mut count = 0;
            while begin_at(&policy, &history, Some(1), 0, TICKS) == Verdict::Sleep {
                count += 1;
            }
            skipped.push(count);
            let outcome = Outcome {
                spun: true,
                interrupted: true,
                ..Outcome::default()
            };
            finish(&policy, &history, outcome, TICKS, 20 * TICKS);
        }
        assert_eq!(
            skipped,
            [0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]
        );
    }

    #[test]
    fn a_lying_stamp_is_clamped() {
        let (policy, history) = (policy(), WaitHistory::new());
        for stamp in [0, 1, u64::MAX, 5 * TICKS] {
            let outcome = Outcome {
                slept: true,
                stamp: Some(stamp),
                ..Outcome::default()
            };
            finish(&policy, &history, outcome, 100 * TICKS, 400 * TICKS);
        }
        // Stamps from before the wait say nothing about it; one from the future is `now`. All four were long waits.
        assert_eq!(
            begin_at(&policy, &history, Some(1), 0, TICKS),
            Verdict::Sleep
        );
    }

    #[test]
    fn the_cpu_number_is_one_of_this_machine() {
        assert!(current_cpu() < 1 << 16);
    }
}
