//! SIGKILL of one end at every labelled step of the switch; the other end must get what was published, then an end.
//!
//! With `--library` the shim must be built with the feature `step-hooks`. Without it the kernel is tried, by kills at
//! random moments.

use compat_tests::peer_death::actor::{self, Part, Script};
use compat_tests::peer_death::campaign::Settings;
use compat_tests::peer_death::pattern::{Pattern, Sleep};
use compat_tests::torture::arguments::{Arguments, Known, known, refuse};
use compat_tests::torture::calls;
use compat_tests::torture::processes::ScratchDirectory;
use std::path::PathBuf;
use std::process::ExitCode;

const KNOWN: &[Known] = &[
    known(
        "--library",
        "PATH",
        "libaxio.so built with --features step-hooks; without it the bare kernel is tried",
    ),
    known("--labels", "A,B", "only these steps, or none"),
    known("--patterns", "A,B", "only these patterns"),
    known(
        "--nth",
        "N,M",
        "passages of a step at which to die (default 1,2,9,100)",
    ),
    known(
        "--random",
        "N",
        "kills at random moments beside the labelled ones (default 60)",
    ),
    known(
        "--quick",
        "",
        "for each step one early and one late kill, of either end, with the survivor waiting in each way, and one that leaves bytes unread; twelve random ones",
    ),
    known(
        "--repeat",
        "N",
        "everything so often, with other seeds (default 1)",
    ),
    known("--jobs", "N", "cases at a time (default 2)"),
    known("--seed", "N", "first seed (default 1)"),
    known("--verbose", "", "print every case"),
    // What the program tells itself when it starts the two ends.
    known("--part", "PART", ""),
    known("--pattern", "NAME", ""),
    known("--sleep", "NAME", ""),
    known("--notes", "PATH", ""),
    known("--port", "N", ""),
    known("--after-leaving", "DESCRIPTOR", ""),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line(
        "peer_death",
        "the survivor of a SIGKILL gets what was published, then an end, promptly",
        KNOWN,
    );
    if let Some(part) = arguments.text("--part") {
        play_part(&arguments, part);
    }
    let scratch = match ScratchDirectory::new("peer-death") {
        Ok(scratch) => scratch,
        Err(error) => refuse(&format!("no scratch directory: {error}")),
    };
    let settings = Settings::new(&arguments, scratch.path());
    settings.run()
}

/// This process is one end of a case.
fn play_part(arguments: &Arguments, part: &str) -> ! {
    let pattern = arguments.text("--pattern").and_then(Pattern::from_name);
    let sleep = arguments.text("--sleep").and_then(Sleep::from_name);
    let (Some(pattern), Some(sleep)) = (pattern, sleep) else {
        refuse("--pattern or --sleep is unknown");
    };
    let script = Script {
        part: match part {
            "victim" => Part::Victim,
            _ => Part::Survivor,
        },
        pattern,
        sleep,
        seed: arguments.number("--seed").unwrap_or(1),
        notes: PathBuf::from(arguments.text("--notes").unwrap_or("")),
    };
    let _ = calls::die_with_parent();
    match arguments.number("--after-leaving") {
        Some(descriptor) => actor::run_after_leaving(script, descriptor as i32),
        None => actor::run(script, arguments.number("--port").map(|port| port as u16)),
    }
}
