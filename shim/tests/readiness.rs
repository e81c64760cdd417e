//! Waiting for readiness, with Linux as the oracle: small C programs print what epoll, poll and select tell them; under
//! the library, with rings below, the text must be the same.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;
use watched::{reported, run};

/// The same text on the bare kernel and under the library in both modes, and rings have carried something.
fn same_as_the_kernel(source: &str, arguments: &[&str]) {
    let (program, library) = (Program::of(source), library());
    let kernel = run(Command::new(&program.0).args(arguments), "bare kernel");
    for mode in ["eager", "evidence"] {
        let report = program.0.with_extension(format!("{mode}.report"));
        let here = run(
            Command::new(&program.0)
                .args(arguments)
                .env("LD_PRELOAD", &library)
                .env("AXIO_UPGRADE", mode)
                .env("AXIO_REPORT", &report),
            mode,
        );
        let calls = reported(&report, "ring_calls");
        let _ = std::fs::remove_file(&report);
        assert_eq!(here, kernel, "{source} {arguments:?}, {mode}");
        assert!(
            calls > 0,
            "{source} {arguments:?}, {mode}: no ring was used"
        );
    }
}

#[test]
fn a_set_reports_what_the_kernels_would() {
    same_as_the_kernel("readiness/epoll_rules.c", &[]);
}

#[test]
fn poll_and_select_report_what_the_kernels_would() {
    same_as_the_kernel("readiness/poll_and_select.c", &[]);
}

#[test]
fn every_waiter_of_a_socket_is_woken_in_any_set_thread_or_process() {
    same_as_the_kernel("readiness/several_waiters.c", &[]);
}

#[test]
fn a_set_that_gets_its_first_socket_wakes_who_polls_it() {
    same_as_the_kernel("readiness/early_pollers.c", &[]);
}

#[test]
fn no_wake_up_is_lost_among_many_threads() {
    for trigger in ["level", "edge", "one-shot"] {
        same_as_the_kernel("readiness/herd.c", &[trigger, "4", "2", "24", "3000"]);
    }
}

#[test]
fn of_a_pool_of_threads_one_is_told_and_none_behind_the_end() {
    for data in ["same-data", "new-data"] {
        same_as_the_kernel("readiness/told_once.c", &["300", data]);
    }
}

#[test]
fn two_threads_that_make_a_set_ours_make_one_of_it() {
    for _ in 0..40 {
        same_as_the_kernel("readiness/told_once.c", &["8", "same-data"]);
    }
}

#[test]
fn what_an_instruction_raises_is_never_held_back() {
    let program = Program::of("held_signals.c");
    run(&mut Command::new(&program.0), "signals held back");
}
