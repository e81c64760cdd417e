//! Which kills are tried, and in which patterns. [`judging`]: what came of them.

mod judging;

use super::driver::{Case, Death, Run, run_case};
use super::pattern::{Pattern, Sleep};
use crate::torture::arguments::{Arguments, refuse};
use crate::torture::random::Random;
use fastpath::stream::labels::Label;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// What is known about a step so far.
#[derive(Clone, Debug, Default)]
struct StepResult {
    kills: u64,
    /// Of those, kills of the end that accepted.
    accepting_kills: u64,
    /// By the way in which the survivor waits, in the order of [`Sleep::ALL`].
    kills_by_sleep: [u64; 3],
    cases: u64,
    failures: u64,
    patterns: BTreeMap<String, u64>,
    /// From each death to the survivor's end of stream.
    until_end: Vec<Duration>,
    /// Kills that left bytes unread and ended in the reset that TCP shows then.
    resets_of_unread: u64,
}

/// What is tried, and how much of it.
pub struct Settings {
    run: Run,
    labels: Vec<&'static str>,
    patterns: Vec<Pattern>,
    nth: Vec<u64>,
    random_kills: u64,
    is_quick: bool,
    is_verbose: bool,
    jobs: usize,
    seed: u64,
    repeat: u64,
}

/// Rows of the table: steps by name, and "(random moment)".
type Results = BTreeMap<String, StepResult>;

/// Seeds with which the patterns that are made for a step are tried, then every other one.
const SEEDS_OF_LIKELY: u64 = 12;
const SEEDS_OF_OTHERS: u64 = 4;
/// Whether a few of the steps are passed at all is a matter of moments: seeds, each in one of the patterns that are made for
/// the step, before it counts as never reached.
const MOST_SEEDS: u64 = 200;

/// Whether the end that accepts, or the one that connects, takes the step at all.
fn comes_there(label: &str, accepts: bool) -> bool {
    // Slots are the accepting side's to give, so only that side of a channel writes control events (CHANNEL.md "Life of a
    // slot"), and the connecting end of a connection is always the connecting side of its channel: it is the one that is
    // told. In the model, too, nobody else takes this step. Every other one is both ends'.
    accepts || label != Label::GiveTell.name()
}

fn ends_that_come(label: &str) -> impl Iterator<Item = bool> {
    let comes = [true, false].map(|accepts| comes_there(label, accepts).then_some(accepts));
    comes.into_iter().flatten()
}

const RANDOM_MOMENT: &str = "(random moment)";
const NO_DEATH: &str = "(nobody dies)";

impl Settings {
    /// As the command line has it.
    #[must_use]
    pub fn new(arguments: &Arguments, scratch: &Path) -> Settings {
        let is_quick = arguments.has("--quick");
        let library = arguments.library();
        let all: Vec<&'static str> = Label::ALL.iter().map(|label| label.name()).collect();
        let labels = match arguments.text("--labels") {
            _ if library.is_none() => Vec::new(),
            None => all,
            Some("none") => Vec::new(),
            Some(text) => text
                .split(',')
                .map(|name| match all.iter().find(|known| **known == name) {
                    Some(name) => *name,
                    None => refuse(&format!(
                        "--labels {name}: no such step among {}",
                        all.join(", ")
                    )),
                })
                .collect(),
        };
        let patterns = match arguments.text("--patterns") {
            None => Pattern::ALL.to_vec(),
            Some(text) => text
                .split(',')
                .map(|name| match Pattern::from_name(name) {
                    Some(pattern) => pattern,
                    None => refuse(&format!(
                        "--patterns {name}: no such pattern among {:?}",
                        Pattern::ALL
                    )),
                })
                .collect(),
        };
        let nth = arguments.text("--nth").map_or(vec![1, 2, 9, 100], |text| {
            text.split(',')
                .map(|number| match number.parse() {
                    Ok(number) if number > 0 => number,
                    _ => refuse(&format!("--nth {number}: a number from 1 is needed")),
                })
                .collect()
        });
        Settings {
            run: Run::new(library, scratch.to_path_buf()),
            labels,
            patterns,
            nth,
            random_kills: arguments
                .number("--random")
                .unwrap_or(if is_quick { 12 } else { 60 }),
            is_quick,
            is_verbose: arguments.has("--verbose"),
            jobs: arguments.number("--jobs").unwrap_or(2).clamp(1, 32) as usize,
            seed: arguments.number("--seed").unwrap_or(1),
            repeat: arguments.number("--repeat").unwrap_or(1),
        }
    }

    /// Tries everything, prints what came of it.
    pub fn run(&self) -> ExitCode {
        let results = Mutex::new(Results::new());
        let times = |count: usize| count * self.repeat as usize;
        self.in_parallel(
            times(self.patterns.len()),
            &results,
            |worker, index, results| {
                // Everybody lives: the patterns themselves must be right.
                let pattern = self.patterns[index % self.patterns.len()];
                let case = self.case(pattern, index as u64, None, Death::Never);
                self.try_case(worker, &case, NO_DEATH, results);
            },
        );
        println!("  {} patterns without a death", self.patterns.len());
        self.in_parallel(
            times(self.labels.len()),
            &results,
            |worker, index, results| {
                let label = self.labels[index % self.labels.len()];
                self.try_step(worker, label, index as u64, results);
            },
        );
        self.in_parallel(
            times(self.random_kills as usize),
            &results,
            |worker, index, results| {
                let mut random = Random::new(self.seed, 7000 + index as u64);
                let time = Duration::from_micros(random.between(2_000, 60_000));
                let pattern = random.pick(&self.patterns);
                let case = self.case(pattern, index as u64, None, Death::After(time));
                self.try_case(worker, &case, RANDOM_MOMENT, results);
            },
        );
        let results = results.into_inner().unwrap_or_default();
        self.conclude(&results)
    }

    /// Kills at one step, in the patterns that reach it.
    fn try_step(&self, worker: &Run, label: &'static str, index: u64, results: &Mutex<Results>) {
        if self.is_quick {
            self.try_step_quickly(worker, label, index, results);
            return;
        }
        let mut variant = index;
        let (likely, others) = self.patterns_for(label);
        for pattern in likely.into_iter().chain(others) {
            for accepts in ends_that_come(label) {
                for (turn, nth) in self.nth.iter().enumerate() {
                    variant += 1;
                    let death = Death::Step(label.to_owned(), *nth);
                    let case = self.case(pattern, variant, Some(accepts), death);
                    let killed = self.try_case(worker, &case, label, results);
                    // Never reached once in this pattern: not twice, either.
                    if !killed && turn == 0 {
                        break;
                    }
                }
            }
        }
        self.cover_sleeps(worker, label, index, results);
    }

    /// Kills with the survivor waiting in those ways that no kill at this step has met so far.
    fn cover_sleeps(
        &self,
        worker: &Run,
        label: &'static str,
        index: u64,
        results: &Mutex<Results>,
    ) {
        for (number, sleep) in Sleep::ALL.into_iter().enumerate() {
            let is_covered = results.lock().is_ok_and(|results| {
                results
                    .get(label)
                    .is_some_and(|result| result.kills_by_sleep[number] > 0)
            });
            let accepts = (index + number as u64).is_multiple_of(2) || !comes_there(label, false);
            let _ = is_covered
                || self.by_seeds(label, results, |pattern, seed| {
                    [30, 3, 1].iter().any(|nth| {
                        let death = Death::Step(label.to_owned(), *nth);
                        let variant = index + 1000 * seed;
                        let mut case = self.case(pattern, variant, Some(accepts), death);
                        case.sleep = sleep;
                        self.try_case(worker, &case, label, results)
                    })
                });
        }
    }

    /// Tries patterns with one seed after the other, the likely ones first, until one has killed.
    fn by_seeds(
        &self,
        label: &str,
        results: &Mutex<Results>,
        mut kills: impl FnMut(Pattern, u64) -> bool,
    ) -> bool {
        let (likely, others) = self.patterns_for(label);
        let has_killed = [(&likely, SEEDS_OF_LIKELY), (&others, SEEDS_OF_OTHERS)]
            .iter()
            .any(|(patterns, seeds)| {
                (0..*seeds).any(|seed| patterns.iter().any(|pattern| kills(*pattern, seed)))
            });
        // A library in which nobody has come to any step has none.
        let has_steps = || {
            results.lock().is_ok_and(|results| {
                let mut steps = self.labels.iter().filter_map(|label| results.get(*label));
                steps.any(|result| result.kills > 0)
            })
        };
        let patterns = if likely.is_empty() { others } else { likely };
        has_killed
            || (has_steps()
                && (SEEDS_OF_LIKELY..MOST_SEEDS)
                    .zip(patterns.iter().cycle())
                    .any(|(seed, pattern)| kills(*pattern, seed)))
    }

    /// A late passage for the accepting end, when the connection is on the ring; an early one for the connecting end;
    /// and one in the pattern whose survivor must be told of a reset, if that comes there.
    fn try_step_quickly(
        &self,
        worker: &Run,
        label: &'static str,
        index: u64,
        results: &Mutex<Results>,
    ) {
        let try_to_kill = |pattern: Pattern, variant: u64, accepts: bool, passages: &[u64]| {
            passages.iter().any(|nth| {
                let death = Death::Step(label.to_owned(), *nth);
                let mut case = self.case(pattern, variant, Some(accepts), death);
                case.sleep = Sleep::ALL[((index + u64::from(accepts)) % 3) as usize];
                self.try_case(worker, &case, label, results)
            })
        };
        for accepts in ends_that_come(label) {
            let passages = if accepts { [100, 5, 1] } else { [9, 2, 1] };
            let _ = self.by_seeds(label, results, |pattern, seed| {
                try_to_kill(pattern, index + 1000 * seed, accepts, &passages)
            });
        }
        if self.patterns.contains(&Pattern::Unread) {
            try_to_kill(Pattern::Unread, index, index.is_multiple_of(2), &[150]);
        }
        // A quiet connection that others move, and this one while both ends are busy.
        let gives = ["Give", "Slot"].iter().any(|step| label.starts_with(step));
        if gives && self.patterns.contains(&Pattern::Outgrown) {
            for accepts in ends_that_come(label) {
                try_to_kill(Pattern::Outgrown, index, accepts, &[3, 2, 1]);
            }
        }
        if self.patterns.contains(&Pattern::ChildDies) && label.starts_with("Rewind") {
            for passages in [[1], [3]] {
                try_to_kill(
                    Pattern::ChildDies,
                    index,
                    index.is_multiple_of(2),
                    &passages,
                );
            }
        }
        self.cover_sleeps(worker, label, index, results);
    }

    /// Patterns that are made for the step, and the others.
    fn patterns_for(&self, label: &str) -> (Vec<Pattern>, Vec<Pattern>) {
        let likely: &[Pattern] = match label {
            _ if label.starts_with("LeaveReset") => &[Pattern::CloseUnread],
            _ if label.starts_with("Leave") => &[Pattern::Close, Pattern::Leave],
            _ if label.starts_with("Rewind") => &[Pattern::PeerLeavesSmall, Pattern::PeerLeaves],
            _ if label.starts_with("Fin") => &[Pattern::Shutdown],
            _ if label.starts_with("Want") => &[Pattern::Toggle, Pattern::PeerLeavesSmall],
            _ if label.starts_with("Retreat") => &[Pattern::Toggle],
            _ if label.starts_with("Receive") => &[Pattern::Sink],
            _ if label.starts_with("Send") => &[Pattern::Stream],
            _ if ["GiveTakeBack", "GiveKeep"].contains(&label) => &[Pattern::OutgrownAlone],
            _ if ["Give", "Slot"]
                .iter()
                .any(|steps| label.starts_with(steps)) =>
            {
                &[Pattern::Evicted, Pattern::Outgrown]
            }
            _ if label.starts_with("Sleep") => &[Pattern::Both],
            _ => &[],
        };
        self.patterns
            .iter()
            .copied()
            .partition(|pattern| likely.contains(pattern))
    }

    fn case(&self, pattern: Pattern, variant: u64, accepts: Option<bool>, death: Death) -> Case {
        Case {
            pattern,
            sleep: Sleep::ALL[(variant % 3) as usize],
            victim_accepts: accepts.unwrap_or((variant / 3).is_multiple_of(2)),
            death,
            seed: self.seed + variant,
        }
    }

    fn in_parallel(
        &self,
        count: usize,
        results: &Mutex<Results>,
        work: impl Fn(&Run, usize, &Mutex<Results>) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..self.jobs {
                let (next, work) = (&next, &work);
                let mut run = self.run.clone();
                run.scratch = run.scratch.join(number.to_string());
                scope.spawn(move || {
                    let _ = std::fs::create_dir_all(&run.scratch);
                    loop {
                        let index = next.fetch_add(1, SeqCst);
                        if index >= count {
                            return;
                        }
                        work(&run, index, results);
                    }
                });
            }
        });
    }

    /// Runs a case and books it; true when the victim died.
    fn try_case(&self, worker: &Run, case: &Case, row: &str, results: &Mutex<Results>) -> bool {
        let outcome = run_case(worker, case);
        let text = format!(
            "{row}: {:?}, survivor sleeps in {:?}, victim {}, {:?}, seed {}",
            case.pattern,
            case.sleep,
            if case.victim_accepts {
                "accepts"
            } else {
                "connects"
            },
            case.death,
            case.seed
        );
        if let Err(wrong) = &outcome.verdict {
            println!("FAIL {text}: {wrong}");
        } else if self.is_verbose {
            println!(
                "  {text}: {} end after {:.1} ms, {} ring bytes",
                if outcome.killed { "killed," } else { "lived," },
                outcome.until_end.as_secs_f64() * 1e3,
                outcome.ring_bytes
            );
        }
        if let Ok(mut results) = results.lock() {
            let result = results.entry(row.to_owned()).or_default();
            result.cases += 1;
            result.failures += u64::from(outcome.verdict.is_err());
            if outcome.killed {
                result.kills += 1;
                result.accepting_kills += u64::from(case.victim_accepts);
                if let Some(number) = Sleep::ALL.iter().position(|sleep| *sleep == case.sleep) {
                    result.kills_by_sleep[number] += 1;
                }
                *result
                    .patterns
                    .entry(format!("{:?}", case.pattern))
                    .or_default() += 1;
                result.until_end.push(outcome.until_end);
                result.resets_of_unread += u64::from(outcome.is_reset_of_unread);
            }
        }
        outcome.killed
    }
}
