//! What came of the seeds, and whether that is as it must be.

use super::Campaign;
use super::gathering::{BLOCK, Block, Gathered, ONE_BY_RING};
use crate::stream_integrity::side::{WANTED_EACH_WAY, WANTED_SWITCHES};
use crate::torture::report::Report;
use crate::torture::table::Table;

/// Reported counters that must not be zero in any hundred seeds.
const WANTED_COUNTERS: [&str; 5] = [
    "upgrades",
    "retreats",
    "retreats_asked",
    "rewinds",
    "retreats_spill",
];
/// In a whole campaign: what at least one seed must have done that switched often and lost nothing.
const WANTED_FEATURES: [&str; 36] = [
    "event loop EpollEdge",
    "event loop EpollLevel",
    "event loop EpollOneShot",
    "event loop Poll",
    "event loop Select",
    "readers Block",
    "readers EpollEdge",
    "readers EpollLevel",
    "readers EpollOneShot",
    "readers Poll",
    "readers Select",
    "writers Block",
    "writers EpollEdge",
    "writers EpollLevel",
    "writers EpollOneShot",
    "writers Poll",
    "writers Select",
    "blocking",
    "non-blocking",
    "one reader",
    "several readers",
    "one writer",
    "several writers",
    "several readers, an epoll set each",
    "fork before upgrade, child Everything",
    "fork after upgrade, child Everything",
    "fork after upgrade, child Reading",
    "fork after upgrade, child Writing",
    "fork mid-stream, child Reading",
    "fork mid-stream, child Writing",
    "both write 2 MiB before reading",
    "idle direction",
    "leave by exec",
    "signals Plain",
    "signals Restarting",
    ONE_BY_RING,
];
/// Share of the seeds with a burst that must have been forced in both directions; each of the others has to be.
const LEAST_BURSTS_BOTH_WAYS_PERCENT: u64 = 50;
/// One in so many seeds that leave may end in a reset at its first play: in 1150 seeds 288 leave, and none to three were
/// reset. Each of them has to leave in order when it is played alone; this tells of a library that hardly ever does.
const LEAVING_FOR_EACH_RESET: u64 = 6;
/// In a whole campaign: so many seeds must have carried at least the bytes asked for in each direction and switched often.
const WANTED_FULL_SEEDS: u64 = 1000;
/// No more than so many in a hundred seeds may stay on the kernel from some point on.
const MOST_STAYED_PERCENT: u64 = 4;
/// A block of fewer seeds cannot be expected to show all of that.
const LEAST_BLOCK: u64 = 16;

impl Campaign {
    /// Prints what was gathered; true when nothing is wrong.
    pub(super) fn conclude(&self, gathered: &Gathered) -> bool {
        let mut table = Table::new(&["covered", "seeds", "passed"]);
        for (feature, [tried, passed]) in &gathered.features {
            table.line(&[feature.clone(), tried.to_string(), passed.to_string()]);
        }
        println!("\n{}", table.to_text());
        let mut table = Table::new(&["counted by the programs", "sum"]);
        for (name, number) in &gathered.numbers {
            table.line(&[name.clone(), number.to_string()]);
        }
        println!("{}", table.to_text());
        let mut failures = gathered.failed.len() as u64;
        if self.run.library.is_some() {
            failures += self.judge_blocks(gathered);
            failures += self.judge_switches(gathered);
            failures += self.judge_features(gathered);
            failures += judge_stays(gathered);
        }
        println!("longest seed {:.1} s", gathered.longest.as_secs_f64());
        if !gathered.failed.is_empty() {
            println!("failed seeds: {:?}", gathered.failed);
        }
        println!("{} passed, {failures} failed", gathered.all_right());
        failures == 0 && gathered.passed > 0
    }

    /// Whether every hundred seeds have shown every way to change the carrier.
    fn judge_blocks(&self, gathered: &Gathered) -> u64 {
        let mut failures = 0;
        let mut all = Report::default();
        for (number, Block { report, split }) in &gathered.blocks {
            all.add(report);
            let first = self.seeds.start + number * BLOCK;
            let last = (first + BLOCK).min(self.seeds.end);
            if last - first < LEAST_BLOCK {
                continue;
            }
            for counter in WANTED_COUNTERS {
                if report.sum(counter) == 0 {
                    println!("FAIL seeds {first}..{last}: the shim reports no {counter}");
                    failures += 1;
                }
            }
            if *split == 0 {
                println!(
                    "FAIL seeds {first}..{last}: never one direction by ring and the other one by kernel"
                );
                failures += 1;
            }
        }
        println!("reported by the shim: {}\n", all.to_text());
        failures
    }

    /// Whether the streams were made to switch as often as wanted.
    fn judge_switches(&self, gathered: &Gathered) -> u64 {
        let mut failures = 0;
        let split: u64 = gathered.blocks.values().map(|block| block.split).sum();
        println!(
            "{} seeds were made to switch at least {WANTED_SWITCHES} times, {} of them with a full stream each way; in {split} one \
             direction moved by ring while the other one moved by kernel; {} stayed on the kernel because two processes \
             share a socket before its upgrade, or an epoll set",
            gathered.passed, gathered.full, gathered.stayed
        );
        if self.is_whole && gathered.full < WANTED_FULL_SEEDS {
            println!(
                "FAIL: {WANTED_FULL_SEEDS} seeds were to switch often with a full stream each way"
            );
            failures += 1;
        }
        println!(
            "{} of {} with bytes in both directions were made to switch at least {WANTED_EACH_WAY} times in each, {} of {} with \
             a burst; {} of all seeds had to be played alone",
            gathered.forced_both_ways,
            gathered.two_way,
            gathered.bursts_both_ways,
            gathered.bursts,
            gathered.alone
        );
        if gathered.bursts >= LEAST_BLOCK
            && gathered.bursts_both_ways * 100 < gathered.bursts * LEAST_BURSTS_BOTH_WAYS_PERCENT
        {
            println!("FAIL: {LEAST_BURSTS_BOTH_WAYS_PERCENT} % with a burst were to");
            failures += 1;
        }
        failures
    }

    /// Whether a whole campaign has passed with everything that a seed may do.
    fn judge_features(&self, gathered: &Gathered) -> u64 {
        let mut failures = 0;
        for feature in WANTED_FEATURES {
            let passed = gathered
                .features
                .get(feature)
                .map_or(0, |[_, passed]| *passed);
            if self.is_whole && passed == 0 {
                println!("FAIL: no seed has passed with: {feature}");
                failures += 1;
            }
        }
        failures
    }
}

/// Whether few enough seeds stayed on the kernel, or left and were reset.
fn judge_stays(gathered: &Gathered) -> u64 {
    let mut failures = 0;
    let total = gathered.done();
    if total >= 100 && gathered.stayed * 100 > total * MOST_STAYED_PERCENT {
        println!("FAIL: more than {MOST_STAYED_PERCENT} % stayed on the kernel");
        failures += 1;
    }
    if gathered.left_behind > 0 {
        println!(
            "{} of {} leaving seeds were reset as left_behind when they were played first",
            gathered.left_behind, gathered.leaving_seeds
        );
        let most = (gathered.leaving_seeds / LEAVING_FOR_EACH_RESET).max(1);
        if gathered.left_behind > most {
            println!("FAIL: that is more than {most}");
            failures += 1;
        }
    }
    failures
}
