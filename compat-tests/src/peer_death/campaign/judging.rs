//! What came of the kills, and whether that is as it must be.

use super::{NO_DEATH, RANDOM_MOMENT, Results, Settings, comes_there};
use crate::peer_death::pattern::{Pattern, Sleep};
use crate::torture::table::Table;
use fastpath::stream::labels::Label;
use std::process::ExitCode;
use std::time::Duration;

/// Kills that must leave bytes unread and end in a reset, where every step is tried.
const LEAST_RESETS_OF_UNREAD: u64 = 4;
/// An end that comes later is late. What the survivor waits for a CPU does not count: a lost wake-up shows as sleep.
const LATE: Duration = Duration::from_millis(500);
/// So many may be late where only some are looked at: two pauses of the machine meet two kills each.
const FEW_LATE: usize = 4;
/// Half of the ends come sooner.
const PROMPT: Duration = Duration::from_millis(100);

impl Settings {
    /// Prints what came of it; success when nothing is wrong.
    pub(super) fn conclude(&self, results: &Results) -> ExitCode {
        let mut table = Table::new(&[
            "step",
            "kills",
            "of the acceptor",
            "survivor in recv, poll, epoll",
            "slowest end ms",
            "failures",
            "in patterns",
        ]);
        let (mut passed, mut failed) = (0, 0);
        let (mut until_end, mut resets_of_unread) = (Vec::new(), 0);
        let steps = self.labels.iter().copied();
        for row in steps.chain([RANDOM_MOMENT, NO_DEATH]) {
            let result = results.get(row).cloned().unwrap_or_default();
            let names: Vec<String> = result
                .patterns
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            table.line(&[
                row.to_owned(),
                result.kills.to_string(),
                result.accepting_kills.to_string(),
                result
                    .kills_by_sleep
                    .map(|kills| kills.to_string())
                    .join(" "),
                milliseconds(result.until_end.iter().max().copied()),
                result.failures.to_string(),
                names.join(", "),
            ]);
            let connecting_kills = result.kills - result.accepting_kills;
            let one_end_only =
                result.accepting_kills == 0 || (connecting_kills == 0 && comes_there(row, false));
            let never_reached = one_end_only && row != NO_DEATH && row != RANDOM_MOMENT;
            if never_reached {
                println!("FAIL {row}: no pattern led a victim of either end there");
            }
            let not_asleep = row != NO_DEATH
                && row != RANDOM_MOMENT
                && !never_reached
                && result.kills_by_sleep.contains(&0);
            if not_asleep {
                println!(
                    "FAIL {row}: no kill there while the survivor waits in one of {:?}",
                    Sleep::ALL
                );
            }
            failed += result.failures + u64::from(never_reached) + u64::from(not_asleep);
            passed += result.cases - result.failures;
            until_end.extend(result.until_end);
            resets_of_unread += result.resets_of_unread;
        }
        println!("\n{}", table.to_text());
        failed += self.judge_resets(resets_of_unread);
        failed += judge_promptness(until_end);
        let random_kills = results.get(RANDOM_MOMENT).map_or(0, |result| result.kills);
        if self.random_kills > 0 && random_kills == 0 {
            println!("FAIL {RANDOM_MOMENT}: nobody was killed");
            failed += 1;
        }
        println!("{passed} passed, {failed} failed");
        if failed == 0 && passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Whether kills that leave bytes unread were tried at all, where every step is tried in the pattern for it.
    fn judge_resets(&self, resets_of_unread: u64) -> u64 {
        let is_whole = self.labels.len() == Label::ALL.len()
            && self.patterns.contains(&Pattern::Unread)
            && self.nth.contains(&100);
        println!("{resets_of_unread} kills left bytes unread and ended in a reset");
        let is_wrong = is_whole && resets_of_unread < LEAST_RESETS_OF_UNREAD;
        if is_wrong {
            println!("FAIL: at least {LEAST_RESETS_OF_UNREAD} were to");
        }
        u64::from(is_wrong)
    }
}

/// A single survivor may be late on a busy machine; if its wake-ups are lost and a timer of the library's makes up for
/// them, most are.
fn judge_promptness(mut until_end: Vec<Duration>) -> u64 {
    until_end.sort();
    let late = until_end.iter().filter(|time| **time > LATE).count();
    let median = until_end.get(until_end.len() / 2).copied();
    println!(
        "the survivors' ends after the death, less what they waited for a CPU: median {} ms, nine in ten within {} ms, slowest {} ms; {late} of {} beyond \
         {} ms",
        milliseconds(median),
        milliseconds(until_end.get(until_end.len() * 9 / 10).copied()),
        milliseconds(until_end.last().copied()),
        until_end.len(),
        LATE.as_millis()
    );
    let is_wrong = median > Some(PROMPT) || (late > FEW_LATE && late * 10 > until_end.len());
    if is_wrong {
        println!(
            "FAIL: half of them were to come within {} ms, nine in ten in time",
            PROMPT.as_millis()
        );
    }
    u64::from(is_wrong)
}

fn milliseconds(time: Option<Duration>) -> String {
    format!("{:.1}", time.unwrap_or_default().as_secs_f64() * 1e3)
}
