//! Many seeds, several at a time: who plays which, and how often.
//!
//! * [`gathering`]: what the seeds gave together.
//! * [`judging`]: whether that is as it must be.

mod gathering;
mod judging;

use super::driver::{Outcome, Run, Verdict, run_plan};
use super::plan::Plan;
use gathering::Gathered;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A seed whose bytes were all in their places, but which did not show what it is there for, is played so often among the
/// others: most of those that a busy machine spoiled show it then. What is left waits until it can be played alone.
const PLAYS_TOGETHER: u64 = 2;
/// So often alone before it fails. A machine that others use holds a side up, but not in each of so many plays.
const PLAYS_ALONE: u64 = 10;
/// Of these, so many may end in a reset because the leave left bytes behind.
const MOST_LEFT_BEHIND: u64 = 4;
/// How much longer writers hold back for the direction that has switched less when a seed is played again among the others,
/// and alone.
const HOLDS_AGAIN: u64 = 8;
const HOLDS_ALONE: u64 = 16;
/// When so many in a row come to wait, they are played alone before any others: a library that never forces is found soon.
const MOST_WAITING_IN_A_ROW: usize = 20;
/// After so many that have not shown it alone either, the others that wait need not be played.
const MOST_NEVER: usize = 3;
/// After so many failures the rest is not worth the time.
const MOST_FAILURES: usize = 20;

/// What is played.
pub struct Campaign {
    /// How each seed is run.
    pub run: Run,
    /// The seeds.
    pub seeds: Range<u64>,
    /// So many at a time.
    pub jobs: u64,
    /// Each so often.
    pub repeat: u64,
    /// Print each seed's plan and counters.
    pub is_verbose: bool,
    /// So many seeds that everything there is must have been among them.
    pub is_whole: bool,
}

impl Campaign {
    /// Plays every seed and prints what came of it; true when nothing is wrong.
    pub fn carry_out(&self, make_plan: &(impl Fn(u64) -> Plan + Sync)) -> bool {
        let begin = Instant::now();
        let next = AtomicU64::new(0);
        let mut gathered = Gathered::default();
        while next.load(SeqCst) < self.total() && gathered.failed.len() < MOST_FAILURES {
            gathered = self.play_together(gathered, &next, make_plan, begin);
            if !self.play_alone(&mut gathered, begin) {
                break;
            }
        }
        self.conclude(&gathered)
    }

    fn total(&self) -> u64 {
        (self.seeds.end - self.seeds.start) * self.repeat
    }

    /// Plays seeds, several at a time, until all are played, or too many in a row wait for being played alone.
    fn play_together(
        &self,
        mut gathered: Gathered,
        next: &AtomicU64,
        make_plan: &(impl Fn(u64) -> Plan + Sync),
        begin: Instant,
    ) -> Gathered {
        gathered.waiting_in_a_row = 0;
        let shared = Mutex::new(gathered);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..self.jobs {
                let (shared, is_over) = (&shared, &is_over);
                let run = self.run_in(&worker.to_string());
                scope.spawn(move || {
                    while !is_over.load(SeqCst) {
                        let index = next.fetch_add(1, SeqCst);
                        if index >= self.total() {
                            return;
                        }
                        let plan = make_plan(self.seeds.start + index / self.repeat);
                        let (plan, first, last) = play(&run, plan);
                        let Ok(mut gathered) = shared.lock() else {
                            return;
                        };
                        gathered.left_behind += u64::from(first == Verdict::LeftBehind);
                        if last.verdict.may_be_the_machines() {
                            gathered.waiting.push(plan);
                            gathered.waiting_in_a_row += 1;
                        } else {
                            gathered.waiting_in_a_row = 0;
                            self.book(&mut gathered, &plan, &last, begin);
                        }
                        if gathered.waiting_in_a_row >= MOST_WAITING_IN_A_ROW
                            || gathered.failed.len() >= MOST_FAILURES
                        {
                            is_over.store(true, SeqCst);
                        }
                    }
                });
            }
        });
        shared.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays what waits, one by one, until each has shown what it is there for; false when that is hopeless.
    fn play_alone(&self, gathered: &mut Gathered, begin: Instant) -> bool {
        let run = self.run_in("alone");
        let mut never = 0;
        let mut waiting = std::mem::take(&mut gathered.waiting).into_iter();
        while never < MOST_NEVER
            && let Some(plan) = waiting.next()
        {
            let (outcome, has_shown) = play_until_it_shows(&run, &plan);
            gathered.alone += 1;
            never += usize::from(!has_shown);
            self.book(gathered, &plan, &outcome, begin);
        }
        let left = waiting.len();
        if left > 0 {
            println!("  {left} more that wait for it are not played alone");
        }
        never < MOST_NEVER
    }

    /// How seeds are run, with a scratch directory of its own.
    fn run_in(&self, name: &str) -> Run {
        let mut run = self.run.clone();
        run.scratch = run.scratch.join(name);
        let _ = std::fs::create_dir_all(&run.scratch);
        run
    }

    fn book(&self, gathered: &mut Gathered, plan: &Plan, outcome: &Outcome, begin: Instant) {
        self.tell(plan, outcome);
        gathered.add(plan, outcome, self.seeds.start);
        let (done, total) = (gathered.done(), self.total());
        if done.is_multiple_of(25) || done == total {
            println!(
                "  {done} of {total} seeds, {} failed, {:.0} s",
                gathered.failed.len(),
                begin.elapsed().as_secs_f64()
            );
        }
    }

    /// Prints how a seed went, if it failed or everything is asked for.
    fn tell(&self, plan: &Plan, outcome: &Outcome) {
        let seconds = outcome.time.as_secs_f64();
        let failure = match &outcome.verdict {
            Verdict::TooSeldom(text) | Verdict::Failed(text) => Some(text),
            Verdict::Passed | Verdict::StayedOnKernel | Verdict::LeftBehind => None,
        };
        if let Some(text) = failure {
            println!("FAIL seed {} after {seconds:.1} s: {text}", plan.seed);
            println!("     plan {plan:?}");
            println!("     again: {}", self.replay(plan));
        }
        if self.is_verbose {
            println!(
                "seed {} {seconds:.2} s, switches {}, forced {:?}, ring {} %, {:?}; {}",
                plan.seed,
                outcome.switches,
                outcome.forced,
                outcome.ring_percent,
                outcome.numbers,
                outcome.report.to_text()
            );
            if failure.is_none() {
                println!("     plan {plan:?}");
            }
        }
    }

    /// The command that plays a seed alone.
    fn replay(&self, plan: &Plan) -> String {
        let library = self.run.library.as_ref().map_or(String::new(), |path| {
            format!(" --library {}", path.display())
        });
        format!("stream_integrity {}{library}", plan.arguments().join(" "))
    }
}

/// Plays a seed, and again when a busy machine may be to blame; the plan of the last play, what came of the first one and of
/// the last.
fn play(run: &Run, mut plan: Plan) -> (Plan, Verdict, Outcome) {
    let mut outcome = run_plan(run, &plan);
    let first = outcome.verdict.clone();
    for _ in 1..PLAYS_TOGETHER {
        // A leave that resets is not made better by the company of others.
        let is_to_be_forced = plan.is_two_way() && plan.can_switch_often();
        let is_one_way = is_to_be_forced && !outcome.is_forced_each_way();
        let is_often = match outcome.verdict {
            Verdict::TooSeldom(_) => false,
            Verdict::Passed => run.library.is_none() || !is_one_way,
            _ => true,
        };
        if is_often {
            break;
        }
        plan = plan.held_longer(HOLDS_AGAIN);
        outcome = run_plan(run, &plan);
    }
    (plan, first, outcome)
}

/// Plays a seed until it has shown what it is there for, or too often; what came of it, and whether it has. With an error it
/// ends at once.
fn play_until_it_shows(run: &Run, plan: &Plan) -> (Outcome, bool) {
    let plan = plan.clone().held_longer(HOLDS_ALONE);
    let mut left_behind = 0;
    let mut times = 0;
    loop {
        times += 1;
        let mut outcome = run_plan(run, &plan);
        let text = match &outcome.verdict {
            Verdict::TooSeldom(text) => text.clone(),
            Verdict::LeftBehind => {
                left_behind += 1;
                "the leave left bytes behind".to_owned()
            }
            Verdict::Passed | Verdict::StayedOnKernel | Verdict::Failed(_) => {
                return (outcome, true);
            }
        };
        println!("  seed {} alone, play {times}: {text}", plan.seed);
        if times >= PLAYS_ALONE || left_behind > MOST_LEFT_BEHIND {
            outcome.verdict =
                Verdict::Failed(format!("in none of {times} plays alone; the last: {text}"));
            return (outcome, false);
        }
    }
}
