//! Waiting for readiness, with Linux as the oracle: small C programs print what epoll, poll and select tell them; under
//! the library, with rings below, the text must be the same.

mod built;

use built::{Program, library};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ends a program that hangs.
const WATCHDOG: Duration = Duration::from_secs(180);

/// Runs a program to its end; what it printed.
fn run(command: &mut Command, what: &str) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break Some(status);
        }
        if started.elapsed() > WATCHDOG {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().expect("what it printed");
    match status {
        Some(status) => assert!(status.success(), "{what}: {status}\n{text}"),
        None => panic!("{what}: hangs\n{text}"),
    }
    text
}

/// Sum of a counter over the processes that have written a report.
fn reported(report: &Path, counter: &str) -> u64 {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let key = format!("\"{counter}\":");
    text.lines()
        .filter_map(|line| line.split_once(key.as_str()))
        .filter_map(|(_, rest)| {
            let digits: String = rest
                .trim_start()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse::<u64>().ok()
        })
        .sum()
}

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
fn no_wake_up_is_lost_among_many_threads() {
    for trigger in ["level", "edge", "one-shot"] {
        same_as_the_kernel("readiness/herd.c", &[trigger, "4", "2", "24", "3000"]);
    }
}
