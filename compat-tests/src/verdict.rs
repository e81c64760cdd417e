//! Compares transcripts and checks what must have travelled by ring.

use crate::case::{Case, Kind, Mode, Proof};
use crate::director::{self, Run, Settings, Told};
use crate::known_gaps;

/// How one case on one kind of connection went in one mode.
#[derive(Clone)]
pub struct Verdict {
    /// The case.
    pub case: &'static Case,
    /// The kind of connection.
    pub kind: Kind,
    /// How it was carried.
    pub mode: Mode,
    /// Answers that are not the kernel's, in the order of the script.
    pub different: Vec<Difference>,
    /// What else is wrong.
    pub faults: Vec<String>,
    /// For each connection that was settled, the exchanges after which it was on the ring.
    pub warm_ups: Vec<u32>,
}

/// One place at which two transcripts differ: what was seen there, nothing where one of them had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The bare kernel's line.
    pub kernel: Option<String>,
    /// The line of the run that is judged.
    pub here: Option<String>,
}

impl Verdict {
    /// True when nothing at all is wrong.
    #[must_use]
    pub fn is_the_same(&self) -> bool {
        self.different.is_empty() && self.faults.is_empty()
    }

    /// True when it passes: nothing is wrong, or nothing but the very answers that known_gaps.rs accepts.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.is_the_same()
            || (self.faults.is_empty()
                && known_gaps::find(self.case.name, self.mode)
                    .is_some_and(|gap| gap.describes(&self.different)))
    }
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
        faults.extend(shown(&differences(&first, &second)));
    }
    with_notes(&mut faults, &[&first, &second]);
    let mut verdicts = vec![Verdict {
        case,
        kind,
        mode: Mode::Bare,
        different: Vec::new(),
        faults,
        warm_ups: Vec::new(),
    }];
    for mode in modes.iter().copied().filter(|mode| *mode != Mode::Bare) {
        let run = director::run(case, kind, mode, settings);
        if verbose {
            print_run(case, kind, &run);
        }
        let mut faults = run.failures.clone();
        let different = differences(&first, &run);
        faults.extend(unproven(case, &run));
        with_notes(&mut faults, &[&run]);
        verdicts.push(Verdict {
            case,
            kind,
            mode,
            different,
            faults,
            warm_ups: run.warm_ups,
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

/// Where the two transcripts differ, line by line.
fn differences(expected: &Run, actual: &Run) -> Vec<Difference> {
    let (expected, actual) = (expected.transcript(), actual.transcript());
    (0..expected.len().max(actual.len()))
        .map(|index| Difference {
            kernel: expected.get(index).cloned(),
            here: actual.get(index).cloned(),
        })
        .filter(|pair| pair.kernel != pair.here)
        .collect()
}

/// The first differences, for people.
#[must_use]
pub fn shown(different: &[Difference]) -> Vec<String> {
    const SHOWN_LINES: usize = 6;
    let mut lines = Vec::new();
    for (label, line) in [
        (
            "kernel",
            (|pair| &pair.kernel) as fn(&Difference) -> &Option<String>,
        ),
        ("here  ", |pair| &pair.here),
    ] {
        for pair in different.iter().take(SHOWN_LINES) {
            let text = line(pair).as_deref().unwrap_or("(has ended)");
            lines.push(format!("  {label} {text}"));
        }
    }
    lines
}

/// What is said of a process that has not come to its end.
pub const NO_COUNTS: &str = "wrote no counts";

/// What is missing from the proof that the fast path carried the case.
#[must_use]
pub fn unproven(case: &Case, run: &Run) -> Vec<String> {
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
            None => faults.push(format!("{name} {NO_COUNTS}")),
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
            if counts[0].sent + counts[1].sent == 0 {
                faults.push("nothing was sent, so nothing is proven: BeganOnRing fits".into());
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
        Proof::BeganOnRing(_) => {
            for (name, counts) in ["near", "far"].iter().zip(&counts) {
                if !counts.began_on_ring {
                    faults.push(format!("{name} was not on the ring when the script began"));
                }
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
            warm_ups: Vec::new(),
        }
    }

    #[test]
    fn bytes_that_went_by_kernel_are_noticed() {
        let case = Case::new("x", "send", nothing);
        let sent = Counts {
            sent: 10,
            ring_out: 10,
            ..Counts::default()
        };
        let nothing_sent = Counts {
            ring_in: 10,
            ..Counts::default()
        };
        assert!(unproven(&case, &run_with(sent, nothing_sent, "none", &[])).is_empty());
        let by_kernel = Counts {
            sent: 10,
            ring_out: 4,
            ..Counts::default()
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
            ring_in: 7,
            ..Counts::default()
        };
        let dead = Counts {
            sent: 7,
            ..Counts::default()
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
            ..Counts::default()
        };
        assert!(!unproven(&case, &run_with(moved, idle, "rule", &[])).is_empty());
    }

    #[test]
    fn a_script_that_begins_on_the_kernel_is_noticed() {
        let case = Case::new("x", "close", nothing).proof(Proof::BeganOnRing("nothing is sent"));
        let idle = Counts::default();
        let on_ring = Counts {
            began_on_ring: true,
            ..idle
        };
        assert!(unproven(&case, &run_with(on_ring, on_ring, "none", &[])).is_empty());
        assert!(!unproven(&case, &run_with(on_ring, idle, "none", &[])).is_empty());
        assert!(!unproven(&case, &run_with(idle, on_ring, "none", &[])).is_empty());
    }

    #[test]
    fn the_first_difference_is_shown() {
        let idle = Counts::default();
        let left = run_with(idle, idle, "none", &["same", "left"]);
        let right = run_with(idle, idle, "none", &["same", "right"]);
        let lines = shown(&differences(&left, &right)).join("\n");
        assert!(lines.contains("left") && lines.contains("right") && !lines.contains("same"));
        let shorter = run_with(idle, idle, "none", &["same"]);
        let lines = shown(&differences(&left, &shorter)).join("\n");
        assert!(lines.contains("left") && lines.contains("(has ended)"));
        assert!(differences(&left, &left).is_empty());
    }
}
