//! Runs programs under a watchdog, and reads what the library has reported of them.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Ends a program that hangs.
const WATCHDOG: Duration = Duration::from_secs(180);

/// Runs a program that must succeed; what it printed.
pub fn run(command: &mut Command, what: &str) -> String {
    let (status, text) = run_to_end(command, what);
    assert!(status.success(), "{what}: {status}\n{text}");
    text
}

/// Runs a program to its end; how it ended, and what it printed.
pub fn run_to_end(command: &mut Command, what: &str) -> (ExitStatus, String) {
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
        Some(status) => (status, text),
        None => panic!("{what}: hangs\n{text}"),
    }
}

/// Sum of a counter over the processes that have written a report.
pub fn reported(report: &Path, counter: &str) -> u64 {
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
