//! exit() while other threads use the connections.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;
use watched::{reported, run};

#[test]
fn threads_in_their_calls_notice_nothing_of_an_exit() {
    let program = Program::of("exit_among_threads.c");
    assert_eq!(run(&mut Command::new(&program.0), "on the bare kernel"), "");
    let report = program.0.with_extension("report");
    let noticed = run(
        Command::new(&program.0)
            .env("LD_PRELOAD", library())
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        "an exit among threads",
    );
    assert_eq!(noticed, "");
    let [ring, kernel] = ["ring", "kernel"].map(|path| {
        reported(&report, &format!("{path}_bytes_in"))
            + reported(&report, &format!("{path}_bytes_out"))
    });
    assert!(ring > kernel, "{ring} bytes by ring, {kernel} by kernel");
    assert_eq!(reported(&report, "internal_errors"), 0);
    let _ = std::fs::remove_file(&report);
}
