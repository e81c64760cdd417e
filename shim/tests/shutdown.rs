//! shutdown() while other threads use the connection.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;
use watched::{reported, run};

#[test]
fn a_reader_may_close_what_another_thread_is_shutting_down() {
    let program = Program::of("shutdown_and_close.c");
    let report = program.0.with_extension("report");
    let on_ring = run(
        Command::new(&program.0)
            .env("LD_PRELOAD", library())
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        "a reader that is stopped by shutdown()",
    );
    let on_ring: u32 = on_ring.trim().parse().expect("a number");
    assert!(
        on_ring >= 200,
        "{on_ring} of 300 connections were on a ring"
    );
    assert_eq!(reported(&report, "sockets_seen"), 600, "one at each end");
    assert_eq!(reported(&report, "internal_errors"), 0);
    let _ = std::fs::remove_file(&report);
}
