//! Compares transcripts and checks what must have travelled by ring.

use crate::case::{Case, Kind, Mode, Proof};
use crate::director::{self, Run, Settings, Told};

/// How one case on one kind of connection went in one mode.
#[derive(Clone)]
pub struct Verdict {
    /// The case.
    pub case: &'static Case,
    /// The kind of connection.
    pub kind: Kind,
    /// How it was carried.
    pub mode: Mode,
    /// What is wrong; empty means that it passed.
    pub faults: Vec<String>,
}

/// Plays a case on one kind of connection in all modes asked for. The bare kernel comes first and twice: a case
/// whose own two runs differ cannot judge anybody.
#[must_use]
pub fn judge(
    case: &'static Case,
    kind: Kind,
    modes: &[Mode],
    settings: &Settings,
    verbose: bool,
) -> Vec<Verdict> {
    let first = director::run(case, kind, Mode::Bare, settings);
    let second = director::run(case, kind, Mode::Bare, settings);
    if verbose {
        print_run(case, kind, &first);
    }
    let mut faults = first.failures.clone();
    faults.extend(second.failures.iter().cloned());
    if first.lines.is_empty() {
        faults.push("the case observes nothing".into());
    }
    if first.transcript() != second.transcript() {
        faults.push("the case is not deterministic: two runs on the bare kernel differ".into());
        faults.extend(differences(&first, &second));
    }
    with_notes(&mut faults, &[&first, &second]);
    let mut verdicts = vec![Verdict {
        case,
        kind,
        mode: Mode::Bare,
        faults,
    }];
    for mode in modes.iter().copied().filter(|mode| *mode != Mode::Bare) {
        let run = director::run(case, kind, mode, settings);
        if verbose {
            print_run(case, kind, &run);
        }
        let mut faults = run.failures.clone();
        if run.transcript() != first.transcript() {
            faults.push("answers differ from the kernel's".into());
            faults.extend(differences(&first, &run));
        }
        faults.extend(unproven(case, &run));
        with_notes(&mut faults, &[&run]);
        verdicts.push(Verdict {
            case,
            kind,
            mode,
            faults,
        });
    }
    verdicts
}

fn with_notes(faults: &mut Vec<String>, runs: &[&Run]) {
    if !faults.is_empty() {
        faults.extend(
            runs.iter()
                .flat_map(|run| run.notes.iter().map(|note| format!("  note {note}"))),
        );
    }
}

fn print_run(case: &Case, kind: Kind, run: &Run) {
    println!("--- {} {} {}", case.name, kind.name, run.mode.name());
    for line in run.transcript().iter().chain(&run.notes) {
        println!("    {line}");
    }
    for (name, told) in ["near", "far"].iter().zip(&run.told) {
        match told {
            Some(Told::Counts(_, _, line)) => println!("    {name} counts: {line}"),
            Some(Told::Nothing(why)) => println!("    {name} counts: {why}"),
            None => println!("    {name} counts: nothing said"),
        }
    }
    for failure in &run.failures {
        println!("    FAILURE {failure}");
    }
}

/// The lines from the first difference on, from both transcripts.
fn differences(expected: &Run, actual: &Run) -> Vec<String> {
    const SHOWN_LINES: usize = 6;
    let (expected, actual) = (expected.transcript(), actual.transcript());
    let from = expected
        .iter()
        .zip(&actual)
        .take_while(|(left, right)| left == right)
        .count();
    let mut lines = Vec::new();
    for (label, transcript) in [("kernel", &expected), ("here  ", &actual)] {
        for line in transcript.iter().skip(from).take(SHOWN_LINES) {
            lines.push(format!("  {label} {line}"));
        }
        if transcript.len() <= from {
            lines.push(format!("  {label} (ends here)"));
        }
    }
    lines
}

/// What is missing from the proof that the fast path carried the case.
fn unproven(case: &Case, run: &Run) -> Vec<String> {
    if let Proof::Unproven(_) = case.proof {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut counts = [director::Counts::default(); 2];
    let mut reasons = [String::new(), String::new()];
    for side in 0..2 {
        let name = ["near", "far"][side];
        match &run.told[side] {
            Some(Told::Counts(told, reason, _)) => {
                counts[side] = *told;
                reasons[side].clone_from(reason);
            }
            Some(Told::Nothing(why)) => {
                faults.push(format!(
                    "{name}: the library does not answer the status request ({why})"
                ));
            }
            None => faults.push(format!("{name} wrote no counts")),
        }
    }
    if !faults.is_empty() {
        return faults;
    }
    let ring = [
        counts[0].ring_out.max(counts[1].ring_in),
        counts[1].ring_out.max(counts[0].ring_in),
    ];
    match case.proof {
        Proof::OwnBytes => {
            for (name, (sent, ring)) in [
                ("near", (counts[0].sent, ring[0])),
                ("far", (counts[1].sent, ring[1])),
            ] {
                if ring < sent {
                    faults.push(format!(
                        "{name} sent {sent} bytes, of which only {ring} travelled by ring"
                    ));
                }
            }
        }
        Proof::AtLeast(bytes) => {
            if ring[0] + ring[1] < bytes {
                faults.push(format!(
                    "{} bytes travelled by ring, at least {bytes} were expected",
                    ring[0] + ring[1]
                ));
            }
        }
        Proof::StaysOnKernel(reason) => {
            if ring[0] + ring[1] > 0 {
                faults.push(format!(
                    "{} bytes travelled by ring, none was expected",
                    ring[0] + ring[1]
                ));
            }
            if !reasons.iter().any(|told| told == reason) {
                faults.push(format!(
                    "reasons are near {} and far {}, expected {reason}",
                    reasons[0], reasons[1]
                ));
            }
        }
        Proof::Unproven(_) => {}
    }
    if !faults.is_empty() {
        for (name, told) in ["near", "far"].iter().zip(&run.told) {
            if let Some(Told::Counts(_, _, line)) = told {
                faults.push(format!("  {name} {line}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::{Counts, Line};
    use crate::stage::Stage;

    fn nothing(_: &mut Stage) {}

    fn run_with(near: Counts, far: Counts, reason: &str, lines: &[&str]) -> Run {
        let told = |counts| Some(Told::Counts(counts, reason.to_owned(), String::new()));
        Run {
            mode: Mode::Eager,
            lines: lines
                .iter()
                .enumerate()
                .map(|(index, text)| Line {
                    step: 1,
                    side: 0,
                    index,
                    text: (*text).to_owned(),
                })
                .collect(),
            failures: Vec::new(),
            notes: Vec::new(),
            told: [told(near), told(far)],
        }
    }

    #[test]
    fn bytes_that_went_by_kernel_are_noticed() {
        let case = Case::new("x", "send", nothing);
        let sent = Counts {
            sent: 10,
            ring_out: 10,
            ring_in: 0,
        };
        let nothing_sent = Counts {
            sent: 0,
            ring_out: 0,
            ring_in: 10,
        };
        assert!(unproven(&case, &run_with(sent, nothing_sent, "none", &[])).is_empty());
        let by_kernel = Counts {
            sent: 10,
            ring_out: 4,
            ring_in: 0,
        };
        assert!(
            !unproven(
                &case,
                &run_with(
                    by_kernel,
                    Counts {
                        ring_in: 4,
                        ..nothing_sent
                    },
                    "none",
                    &[]
                )
            )
            .is_empty()
        );
    }

    #[test]
    fn a_dead_side_is_vouched_for_by_the_other_one() {
        let case = Case::new("x", "send", nothing);
        let survivor = Counts {
            sent: 0,
            ring_out: 0,
            ring_in: 7,
        };
        let dead = Counts {
            sent: 7,
            ring_out: 0,
            ring_in: 0,
        };
        assert!(unproven(&case, &run_with(survivor, dead, "none", &[])).is_empty());
    }

    #[test]
    fn staying_on_the_kernel_needs_the_right_reason() {
        let case = Case::new("x", "send", nothing).proof(Proof::StaysOnKernel("rule"));
        let idle = Counts::default();
        assert!(unproven(&case, &run_with(idle, idle, "rule", &[])).is_empty());
        assert!(!unproven(&case, &run_with(idle, idle, "none", &[])).is_empty());
        let moved = Counts {
            sent: 1,
            ring_out: 1,
            ring_in: 0,
        };
        assert!(!unproven(&case, &run_with(moved, idle, "rule", &[])).is_empty());
    }

    #[test]
    fn the_first_difference_is_shown() {
        let idle = Counts::default();
        let left = run_with(idle, idle, "none", &["same", "left"]);
        let right = run_with(idle, idle, "none", &["same", "right"]);
        let lines = differences(&left, &right).join("\n");
        assert!(lines.contains("left") && lines.contains("right") && !lines.contains("same"));
    }
}
