//! What the whole process knows about spinning: the clock's speed, the CPUs, who spins, what the user asked for.

use crate::clock::monotonic_ns;
use crate::sync::{AtomicU32, AtomicU64, Ordering, time_stamp};

/// Shortest sample the speed of the time stamp counter is taken from: the clock is exact to some 100 ns.
const SAMPLE_NS: u64 = 200_000;
/// Times a sample is tried again when the thread was interrupted between the two clocks.
const SAMPLE_TRIES: u32 = 3;
/// The set of allowed CPUs is asked for anew after this long: programs and administrators pin running threads.
const CPUS_FRESH_US: u64 = 100_000;
/// Most threads of one process that spin at a time, however many CPUs there are.
const SPINNERS_MOST: usize = 32;
/// `fixed_us` when the budget adapts.
const ADAPT: u32 = u32::MAX;

/// Process-wide part of the policy; lives in a static.
#[derive(Debug)]
pub struct SpinPolicy {
    /// 0 = not known yet.
    ticks_per_us: AtomicU32,
    /// First sample for the calibration; 0 = none yet.
    first_ticks: AtomicU64,
    first_ns: AtomicU64,
    /// 0 = not asked yet.
    allowed_cpus: AtomicU32,
    cpus_asked_at: AtomicU64,
    fixed_us: AtomicU32,
    /// One lease for each thread that spins: the time stamp at which it ends. A thread that leaves a spin by a jump out of
    /// a signal handler, or that fork did not copy, blocks nobody: its lease runs out.
    leases: [AtomicU64; SPINNERS_MOST],
}

impl SpinPolicy {
    /// A policy that knows nothing yet; it sleeps until [`configure`](Self::configure) is some 200 µs ago.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ticks_per_us: AtomicU32::new(0),
            first_ticks: AtomicU64::new(0),
            first_ns: AtomicU64::new(0),
            allowed_cpus: AtomicU32::new(0),
            cpus_asked_at: AtomicU64::new(0),
            fixed_us: AtomicU32::new(ADAPT),
            leases: [const { AtomicU64::new(0) }; SPINNERS_MOST],
        }
    }

    /// A policy that knows the speed of the time stamp counter and the number of CPUs from elsewhere, and never asks.
    #[must_use]
    pub fn calibrated(ticks_per_us: u32, allowed_cpus: u32) -> Self {
        let policy = Self::new();
        policy.ticks_per_us.store(ticks_per_us, Ordering::Relaxed);
        policy.allowed_cpus.store(allowed_cpus, Ordering::Relaxed);
        // Asked "in the future": the answer never grows old.
        policy.cpus_asked_at.store(u64::MAX, Ordering::Relaxed);
        policy
    }

    /// At start-up: takes the user's choice (`AXIO_SPIN_US`: none adapts, 0 never spins, n spins n µs whatever the
    /// history says, but never on the far side's CPU) and the first sample of both clocks.
    pub fn configure(&self, spin_us: Option<u32>) {
        self.set_fixed_us(spin_us);
        let _ = self.ticks_per_us();
    }

    /// Changes the user's choice.
    pub fn set_fixed_us(&self, spin_us: Option<u32>) {
        let value = spin_us.map_or(ADAPT, |us| us.min(ADAPT - 1));
        self.fixed_us.store(value, Ordering::Relaxed);
    }

    /// The user's choice.
    #[inline]
    #[must_use]
    pub fn fixed_us(&self) -> Option<u32> {
        match self.fixed_us.load(Ordering::Relaxed) {
            ADAPT => None,
            us => Some(us),
        }
    }

    /// Ticks of the time stamp counter in a microsecond, once two samples lie far enough apart.
    #[inline]
    #[must_use]
    pub fn ticks_per_us(&self) -> Option<u32> {
        match self.ticks_per_us.load(Ordering::Relaxed) {
            0 => self.calibrate(),
            ticks => Some(ticks),
        }
    }

    #[cold]
    fn calibrate(&self) -> Option<u32> {
        let (ticks, ns) = sample();
        let first_ticks = self.first_ticks.load(Ordering::Acquire);
        if first_ticks == 0 {
            // Two threads may both do this; then the ticks of one meet the nanoseconds of the other, unless only the one
            // that wins the exchange writes, nanoseconds first.
            if self
                .first_ns
                .compare_exchange(0, ns.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                // Release, partner: the acquire above.
                self.first_ticks.store(ticks.max(1), Ordering::Release);
            }
            return None;
        }
        let elapsed_ns = ns.saturating_sub(self.first_ns.load(Ordering::Relaxed));
        if elapsed_ns < SAMPLE_NS {
            return None;
        }
        let elapsed_ticks = u128::from(ticks.wrapping_sub(first_ticks));
        let per_us = (elapsed_ticks * 1000 / u128::from(elapsed_ns)).clamp(1, 1 << 20) as u32;
        self.ticks_per_us.store(per_us, Ordering::Relaxed);
        Some(per_us)
    }

    /// CPUs the calling thread may run on, at most 100 ms old; at least 1.
    #[must_use]
    pub fn allowed_cpus(&self, now: u64) -> u32 {
        let known = self.allowed_cpus.load(Ordering::Relaxed);
        let age = now.saturating_sub(self.cpus_asked_at.load(Ordering::Relaxed));
        let fresh = u64::from(self.ticks_per_us.load(Ordering::Relaxed)) * CPUS_FRESH_US;
        if known != 0 && age < fresh {
            return known;
        }
        let count = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1));
        self.allowed_cpus.store(count, Ordering::Relaxed);
        self.cpus_asked_at.store(now, Ordering::Relaxed);
        count
    }

    /// Threads that may spin at a time: half of the CPUs, at least one.
    fn places(&self, now: u64) -> usize {
        (self.allowed_cpus(now) as usize / 2).clamp(1, SPINNERS_MOST)
    }

    /// True while a place for one more spinner is free.
    #[must_use]
    pub fn has_room_for_spinner(&self, now: u64) -> bool {
        let places = self.places(now);
        self.leases
            .iter()
            .take(places)
            .any(|lease| is_over(lease.load(Ordering::Relaxed), now))
    }

    /// Takes a place until `until_ticks`, if one is free.
    pub(super) fn lease(&self, until_ticks: u64, now: u64) -> Option<&AtomicU64> {
        let places = self.places(now);
        self.leases.iter().take(places).find(|lease| {
            let before = lease.load(Ordering::Relaxed);
            is_over(before, now)
                && lease
                    .compare_exchange(
                        before,
                        until_ticks.max(1),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_ok()
        })
    }
}

impl Default for SpinPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// A lease that was given back (0) or has run out.
#[inline(always)]
fn is_over(lease: u64, now: u64) -> bool {
    lease == 0 || (now.wrapping_sub(lease) as i64) > 0
}

/// Both clocks at one moment: of a few tries the one with the least time between the two looks at the counter.
fn sample() -> (u64, u64) {
    let mut best = (0, 0);
    let mut least_gap = u64::MAX;
    for _ in 0..SAMPLE_TRIES {
        let before = time_stamp();
        let ns = monotonic_ns();
        let gap = time_stamp().wrapping_sub(before);
        if gap < least_gap {
            least_gap = gap;
            best = (before.wrapping_add(gap / 2), ns);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_counter_is_calibrated_between_the_first_use_and_a_later_one() {
        let policy = SpinPolicy::new();
        policy.configure(None);
        assert_eq!(policy.fixed_us(), None);
        std::thread::sleep(Duration::from_millis(2));
        let per_us = policy.ticks_per_us().expect("calibrated");
        // Against a longer interval of another clock; a loaded machine may disturb either, so within a fifth.
        let (ticks, ns) = sample();
        std::thread::sleep(Duration::from_millis(30));
        let (ticks_after, ns_after) = sample();
        let expected = (ticks_after - ticks) * 1000 / (ns_after - ns);
        assert!(
            u64::from(per_us).abs_diff(expected) <= expected / 5,
            "{per_us} against {expected}"
        );
    }

    #[test]
    fn leases_bound_the_spinners_and_run_out_by_themselves() {
        let policy = SpinPolicy::calibrated(1000, 4);
        let first = policy.lease(500, 100).expect("first place");
        assert!(policy.lease(600, 100).is_some());
        assert!(!policy.has_room_for_spinner(100));
        assert!(policy.lease(700, 100).is_none(), "half of four CPUs");
        first.store(0, Ordering::Relaxed);
        assert!(policy.has_room_for_spinner(100));
        assert!(policy.lease(800, 100).is_some());
        assert!(policy.lease(900, 100).is_none());
        // The second was never given back.
        assert!(policy.lease(900, 601).is_some());
    }

    #[test]
    fn a_machine_allows_at_least_one_cpu() {
        let policy = SpinPolicy::new();
        assert!(policy.allowed_cpus(time_stamp()) >= 1);
    }
}
