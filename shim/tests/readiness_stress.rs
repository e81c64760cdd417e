//! No wake-up is lost, and nothing is reported that is not so: random traffic of several processes on connections that
//! are watched in every way there is (READINESS.md 10).
//!
//! With the feature `readiness-faults` the library is built with its races widened, and one deliberate bug after the
//! other is switched on: the same stress must find each of them.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;

const STRESS: &str = "readiness_stress/stress.c";
const PRODUCERS: &str = "2";
const CONNECTIONS: &str = "24";
/// How long a producer waits for an answer before it calls it lost: long, for the machine may be busy.
const PATIENCE_MS: &str = "20000";

/// The stress under the library, and where it reports to.
fn under_the_library(
    program: &Program,
    mode: &str,
    duration_ms: &str,
    patience_ms: &str,
) -> Command {
    let mut command = Command::new(&program.0);
    command
        .args([PRODUCERS, CONNECTIONS, duration_ms, patience_ms])
        .env("LD_PRELOAD", library())
        .env("AXIO_UPGRADE", mode);
    command
}

/// A sound library passes, and rings have carried the traffic.
fn passes(mode: &str, duration_ms: &str) {
    let program = Program::of(STRESS);
    let report = program.0.with_extension(format!("{mode}.report"));
    let mut command = under_the_library(&program, mode, duration_ms, PATIENCE_MS);
    let text = watched::run(command.env("AXIO_REPORT", &report), mode);
    let calls = watched::reported(&report, "ring_calls");
    let _ = std::fs::remove_file(&report);
    assert!(text.contains("no wake-up was lost"), "{mode}:\n{text}");
    assert!(calls > 1000, "{mode}: {calls} calls went by ring\n{text}");
}

#[test]
fn the_stress_itself_passes_on_the_bare_kernel() {
    let program = Program::of(STRESS);
    let mut command = Command::new(&program.0);
    watched::run(
        command.args([PRODUCERS, CONNECTIONS, "2000", PATIENCE_MS]),
        "bare kernel",
    );
}

#[test]
fn no_wake_up_is_lost_and_none_is_spurious() {
    for mode in ["eager", "evidence"] {
        passes(mode, "6000");
    }
}

#[cfg(feature = "readiness-faults")]
mod controls {
    use super::*;

    /// Exit code of the stress: an answer did not come.
    const LOST: i32 = 1;
    /// Something was reported that was not so.
    const SPURIOUS: i32 = 2;

    /// Each deliberate bug, and what it must come to.
    const FAULTS: &[(&str, &[i32])] = &[
        ("SleepWithoutSecondLook", &[LOST]),
        ("ArmWithOldEpoch", &[LOST]),
        ("DisarmWhileOthersSleep", &[LOST]),
        ("LeaveTheRestAsleep", &[LOST]),
        ("ExposedWithoutBeacon", &[LOST]),
        // Nobody looks again before others do: told what is gone, or, as a beacon that burns on makes no new edge for a
        // set outside, not told what has come. Which of the two is met first is chance.
        ("BeaconBurnsOn", &[SPURIOUS, LOST]),
        ("BelieveMarks", &[SPURIOUS]),
    ];

    /// Runs of a bug beside the others, and then alone: whether the moment comes in which it does harm is chance, and
    /// rare when all run on few CPUs.
    const RUNS_MAX: u32 = 4;

    /// Runs the stress with a bug; what it came to, if that is not what it must.
    fn missed(program: &Program, fault: &str, codes: &[i32]) -> Option<String> {
        // What must be seen as said too early must not be given up as lost before that on a busy machine.
        let patience_ms = if codes.contains(&LOST) {
            "6000"
        } else {
            PATIENCE_MS
        };
        let mut command = under_the_library(program, "eager", "10000", patience_ms);
        let (status, text) = watched::run_to_end(command.env("READINESS_FAULT", fault), fault);
        let found = status.code().is_some_and(|code| codes.contains(&code));
        (!found).then(|| format!("{fault}: {status}, not {codes:?}\n{text}"))
    }

    /// All at once: what is stuck only sleeps.
    #[test]
    fn each_deliberate_bug_is_found() {
        let program = Program::of(STRESS);
        // Built once, before all ask for it.
        library();
        let first: Vec<Option<String>> = std::thread::scope(|scope| {
            let running: Vec<_> = FAULTS
                .iter()
                .map(|(fault, codes)| scope.spawn(|| missed(&program, fault, codes)))
                .collect();
            running
                .into_iter()
                .map(|one| one.join().expect("a watched run"))
                .collect()
        });
        let mut wrong = Vec::new();
        for ((fault, codes), mut missing) in FAULTS.iter().zip(first) {
            for _ in 1..RUNS_MAX {
                let Some(text) = &missing else { break };
                eprintln!("once more, alone: {text}");
                missing = missed(&program, fault, codes);
            }
            wrong.extend(missing);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
