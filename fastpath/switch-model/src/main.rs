//! Runs the model of the stream switch: one configuration, or all that is expected of it. See README.md.

use std::process::ExitCode;
use std::time::Instant;
use switch_model::cases::{Case, Expected, Result, Subject};
use switch_model::configurations;
use switch_model::deliberate_bugs::DeliberateBug;
use switch_model::search::Verdict;
use switch_model::waiter::{MOST_THREADS, Waiter, WaiterBug};

const USAGE: &str = "usage: switch-model list
       switch-model check [--quick]
       switch-model run CONFIGURATION [BUG] [--trace]
       switch-model waiter THREADS [BUG | closes] [--trace]";

/// More does not fit into 8 GiB.
const MOST_STATES: usize = 40_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let trace = arguments.iter().any(|argument| argument == "--trace");
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|&word| word != "--trace")
        .collect();
    match words[..] {
        ["list"] => list(),
        ["check"] => check(Case::all().collect()),
        ["check", "--quick"] => check(Case::all().filter(|case| !case.is_long).collect()),
        ["run", name, ref bug @ ..] if bug.len() <= 1 => {
            match switch_named(name, bug.first().copied()) {
                Some(subject) => run(subject, trace),
                None => wrong("no such configuration or bug; `list` names them"),
            }
        }
        ["waiter", threads, ref bug @ ..] if bug.len() <= 1 => {
            match waiter_named(threads, bug.first().copied()) {
                Some(subject) => run(subject, trace),
                None => wrong("1 to 3 threads; `list` names the bugs"),
            }
        }
        _ => wrong(USAGE),
    }
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}

fn switch_named(name: &str, bug: Option<&str>) -> Option<Subject> {
    let bug = match bug {
        Some(bug) => Some(DeliberateBug::from_name(bug)?),
        None => None,
    };
    Some(Subject::Switch(configurations::find(name)?.name, bug))
}

fn waiter_named(threads: &str, bug: Option<&str>) -> Option<Subject> {
    let closes = bug == Some("closes");
    let bug = match bug {
        Some(bug) if !closes => Some(WaiterBug::from_name(bug)?),
        _ => None,
    };
    let threads = threads
        .parse()
        .ok()
        .filter(|threads| (1..=MOST_THREADS).contains(threads))?;
    let publications = if threads < 3 { [2, 1, 1] } else { [1, 1, 1] };
    Some(Subject::Waiter(Waiter {
        threads,
        publications,
        closes: closes
            || matches!(
                bug,
                Some(WaiterBug::NotedBeforeAnnounce | WaiterBug::CloserDoesNotKick)
            ),
        bug,
    }))
}

fn list() -> ExitCode {
    println!("Configurations:");
    for configuration in configurations::ALL {
        println!("  {:26} {}", configuration.name, configuration.about);
    }
    println!("Deliberate bugs:");
    for bug in DeliberateBug::ALL {
        println!("  {:30} {}", bug.name(), bug.description());
    }
    println!("Deliberate bugs of the waiter:");
    for bug in WaiterBug::ALL {
        println!("  {:30} {}", bug.name(), bug.description());
    }
    ExitCode::SUCCESS
}

/// One run, whatever comes of it.
fn run(subject: Subject, trace: bool) -> ExitCode {
    let (line, result) = line_of(subject);
    if trace {
        for (step, state) in result.path.iter().enumerate() {
            println!("{step:4} {state}");
        }
    }
    println!("{line}");
    match result.verdict {
        Verdict::Holds => ExitCode::SUCCESS,
        Verdict::Fails(_) | Verdict::Stopped => ExitCode::FAILURE,
    }
}

/// Every run must come to what is expected of it.
fn check(cases: Vec<&Case>) -> ExitCode {
    let mut failed = 0;
    for case in &cases {
        let (line, result) = line_of(case.subject);
        if result.meets(case.expected) {
            println!("ok      {line}");
        } else {
            failed += 1;
            println!("FAILED  {line}; expected: {}", described(case.expected));
        }
    }
    println!("{} passed, {failed} failed", cases.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn line_of(subject: Subject) -> (String, Result) {
    let start = Instant::now();
    let result = subject.run(MOST_STATES, |_state| {});
    let seconds = start.elapsed().as_secs_f64();
    let (name, bug) = subject.names();
    let outcome = match result.verdict {
        Verdict::Holds => format!("holds, at most {} bells unread", result.most_bells),
        Verdict::Fails(violation) => {
            format!("breaks after {} steps: {violation}", result.path.len() - 1)
        }
        Verdict::Stopped => "stopped: too many states".to_owned(),
    };
    let line = format!(
        "{name:26} {bug:29} {:>9} states {seconds:5.1} s  {outcome}",
        result.states
    );
    (line, result)
}

fn described(expected: Expected) -> String {
    match expected {
        Expected::Holds { states, most_bells } => {
            format!("holds with {states} states, at most {most_bells} bells unread")
        }
        Expected::Fails(violation) => format!("like \"{violation}\""),
    }
}
