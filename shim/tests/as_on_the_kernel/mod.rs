//! A program that prints what happened, played on the bare kernel and under the library: the same text, and bytes by ring.

use crate::built::{Program, library};
use crate::watched::{reported, run};
use std::process::Command;

/// Plays `tests/c/SOURCE` with these arguments.
pub fn same_text(source: &str, arguments: &[&str]) {
    let (program, library) = (Program::of(source), library());
    let what = format!("{source} {arguments:?}");
    let kernel = run(Command::new(&program.0).args(arguments), "bare kernel");
    let report = program.0.with_extension("report");
    let here = run(
        Command::new(&program.0)
            .args(arguments)
            .env("LD_PRELOAD", &library)
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        &what,
    );
    let (calls, errors) = (
        reported(&report, "ring_calls"),
        reported(&report, "internal_errors"),
    );
    let _ = std::fs::remove_file(&report);
    assert_eq!(here, kernel, "{what}");
    assert!(calls > 0, "{what}: no ring was used");
    assert_eq!(errors, 0, "{what}");
}
