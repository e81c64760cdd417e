//! Which CPU each end runs on, and how much of the machine others used meanwhile.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::workload::Placement;

/// The CPUs that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpus {
    /// The server's.
    pub server: usize,
    /// The client's, on another core if there is one; nothing when this process may use one CPU only.
    pub client: Option<usize>,
}

impl Cpus {
    /// Chooses among those that this process may use.
    pub fn choose() -> Result<Cpus> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("allowed CPUs")?;
        let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
        let list: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
        let server = *list.first().context("no CPU is allowed")?;
        let siblings = siblings(server);
        let others = || list.iter().copied().filter(|cpu| *cpu != server);
        let client = others()
            .find(|cpu| !siblings.contains(cpu))
            .or_else(|| others().next());
        Ok(Cpus { server, client })
    }

    /// Server's and client's CPU; the same for both where there is one only, whatever the workload wants.
    pub fn placed(&self, placement: Placement) -> (usize, usize) {
        let client = match placement {
            Placement::TwoCpus => self.client.unwrap_or(self.server),
            Placement::OneCpu => self.server,
        };
        (self.server, client)
    }

    /// Whether there are enough for a placement.
    pub fn suffice(&self, placement: Placement) -> bool {
        placement == Placement::OneCpu || self.client.is_some()
    }
}

/// CPUs that share a core.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    parse_list(&fs::read_to_string(path).unwrap_or_default())
}

/// `0-2,5` as the kernel writes lists of CPUs.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// Keeps this thread on one CPU.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("staying on CPU {cpu}"))
}

/// Busy seconds of the whole machine since it started, and how many CPUs it has.
pub fn busy_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpus = stat
        .lines()
        .filter(|line| line.starts_with("cpu"))
        .count()
        .saturating_sub(1);
    (busy_ticks(&stat) / TICKS_PER_SECOND, cpus.max(1) as f64)
}

/// USER_HZ, the same on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// All ticks but those of `idle` and `iowait` (proc_stat(5)); `guest` is counted in `user` already.
fn busy_ticks(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|word| word.parse().ok())
        .collect();
    ticks
        .iter()
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ticks_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_list(""), [0; 0]);
        assert_eq!(
            busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 9"),
            63.0
        );
    }

    #[test]
    fn two_cpus_are_two() {
        let cpus = Cpus::choose().expect("at least one");
        assert_ne!(Some(cpus.server), cpus.client);
        assert_eq!(cpus.placed(Placement::OneCpu), (cpus.server, cpus.server));
    }

    #[test]
    fn one_cpu_is_shared() {
        let one = Cpus {
            server: 3,
            client: None,
        };
        let two = Cpus {
            server: 3,
            client: Some(4),
        };
        assert_eq!(one.placed(Placement::TwoCpus), (3, 3));
        assert_eq!(two.placed(Placement::TwoCpus), (3, 4));
        let suffice = |cpus: Cpus| {
            [Placement::OneCpu, Placement::TwoCpus].map(|placement| cpus.suffice(placement))
        };
        assert_eq!((suffice(one), suffice(two)), ([true, false], [true, true]));
    }
}
