//! Runs programs under a watchdog, and reads what the library has reported of them.

mod in_time;

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a program that must succeed; what it printed.
pub fn run(command: &mut Command, what: &str) -> String {
    let (status, text) = run_to_end(command, what);
    assert!(status.success(), "{what}: {status}\n{text}");
    text
}

/// Runs a program to its end; how it ended, and what it printed.
pub fn run_to_end(command: &mut Command, what: &str) -> (ExitStatus, String) {
    let mut child = in_time::in_a_group(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (status, text, _) = in_time::ended(&mut child);
    match status {
        Some(status) => (status, text),
        None => panic!("{what}: hangs\n{text}"),
    }
}

/// Sum of a counter over the processes that have written a report.
pub fn reported(report: &Path, counter: &str) -> u64 {
    sum(
        &std::fs::read_to_string(report).unwrap_or_default(),
        counter,
    )
}

/// The same over the lines of a report.
pub fn sum(report: &str, counter: &str) -> u64 {
    let key = format!("\"{counter}\":");
    report
        .lines()
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
