//! What the seeds gave together.

use crate::stream_integrity::driver::{Outcome, Verdict};
use crate::stream_integrity::plan::Plan;
use crate::torture::report::Report;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seeds of a [`Block`].
pub(super) const BLOCK: u64 = 100;
/// What a seed did in which one direction was seen to move by ring while the other one moved by kernel.
pub(super) const ONE_BY_RING: &str = "one direction by ring, the other one by kernel";

/// What the workers have gathered.
#[derive(Default)]
pub(super) struct Gathered {
    pub passed: u64,
    pub stayed: u64,
    /// Passed with a full stream each way.
    pub full: u64,
    /// Passed with bytes in both directions, and of those, forced often in both.
    pub two_way: u64,
    pub forced_both_ways: u64,
    /// Of those, with a burst before anything is read.
    pub bursts: u64,
    pub bursts_both_ways: u64,
    /// Had to be played alone in the end.
    pub alone: u64,
    /// Left bytes behind at its first play.
    pub left_behind: u64,
    /// Played, and to be played alone.
    pub waiting: Vec<Plan>,
    /// So many in a row came to wait: none that has ended meanwhile did not.
    pub waiting_in_a_row: usize,
    pub failed: Vec<u64>,
    pub blocks: BTreeMap<u64, Block>,
    /// What was tried, with the seeds that did, and those of them that switched often and lost nothing.
    pub features: BTreeMap<String, [u64; 2]>,
    pub numbers: BTreeMap<String, u64>,
    pub leaving_seeds: u64,
    pub longest: Duration,
}

/// What a hundred seeds gave together.
#[derive(Default)]
pub(super) struct Block {
    pub report: Report,
    /// Seeds in which one direction was seen to move by ring while the other one moved by kernel.
    pub split: u64,
}

impl Gathered {
    pub fn all_right(&self) -> u64 {
        self.passed + self.stayed
    }

    pub fn done(&self) -> u64 {
        self.all_right() + self.failed.len() as u64
    }

    /// Adds what a seed gave in its last play.
    pub fn add(&mut self, plan: &Plan, outcome: &Outcome, first_seed: u64) {
        match &outcome.verdict {
            Verdict::Passed => {
                self.passed += 1;
                self.full += u64::from(plan.is_full());
                if plan.is_two_way() && plan.can_switch_often() {
                    let is_forced = u64::from(outcome.is_forced_each_way());
                    self.two_way += 1;
                    self.forced_both_ways += is_forced;
                    if plan.burst_bytes > 0 {
                        self.bursts += 1;
                        self.bursts_both_ways += is_forced;
                    }
                }
            }
            Verdict::StayedOnKernel => self.stayed += 1,
            Verdict::TooSeldom(_) | Verdict::LeftBehind | Verdict::Failed(_) => {
                self.failed.push(plan.seed);
            }
        }
        self.longest = self.longest.max(outcome.time);
        let is_split = outcome.numbers.get("split").is_some_and(|looks| *looks > 0);
        let block = self
            .blocks
            .entry((plan.seed - first_seed) / BLOCK)
            .or_default();
        block.report.add(&outcome.report);
        block.split += u64::from(is_split);
        self.leaving_seeds += u64::from(plan.sides.iter().any(|side| side.leave.is_some()));
        for feature in features(plan, is_split) {
            let [tried, passed] = self.features.entry(feature).or_default();
            *tried += 1;
            *passed += u64::from(outcome.verdict == Verdict::Passed);
        }
        for (name, number) in &outcome.numbers {
            *self.numbers.entry(name.clone()).or_default() += number;
        }
    }
}

/// What a seed tries, each once.
fn features(plan: &Plan, is_split: bool) -> Vec<String> {
    let mut features: Vec<String> = plan.sides.iter().flat_map(|side| side.features()).collect();
    if plan.burst_bytes > 0 {
        features.push("both write 2 MiB before reading".to_owned());
    }
    if is_split {
        features.push(ONE_BY_RING.to_owned());
    }
    features.sort();
    features.dedup();
    features
}
