//! Runs programs to their end, and reads what they leave.

use super::in_time;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a program that must succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    match run_to_the_end(command) {
        (0, said, _) => said,
        (code, said, complained) => panic!("{command:?}: exit {code}\n{said}\n{complained}"),
    }
}

/// Runs a program that must come to an end; its exit status, what it printed and what it complained of.
pub fn run_to_the_end(command: &mut Command) -> (i32, String, String) {
    in_time::in_a_group(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (status, said, complained) = in_time::ended(&mut spawn(command));
    match status.map(|status| status.code()) {
        Some(Some(code)) => (code, said, complained),
        Some(None) => panic!("{command:?}: {status:?}\n{said}\n{complained}"),
        None => panic!("{command:?}: hangs\n{said}\n{complained}"),
    }
}

/// Starts a program that may have been written a moment ago: what another test's thread starts at that moment has copies
/// of all descriptors until it execs, and a file that somebody may write does not run (execve(2), ETXTBSY).
fn spawn(command: &mut Command) -> std::process::Child {
    let started = Instant::now();
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy
                    && started.elapsed() < Duration::from_secs(2) =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            child => return child.expect("the program starts"),
        }
    }
}

/// The lines of `AXIO_REPORT`, one of each process that ended in order; the file is removed.
pub fn reports(path: &Path) -> Vec<Report> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    text.lines().map(|line| Report(line.to_owned())).collect()
}

/// One of them.
#[derive(Debug)]
pub struct Report(pub String);

impl Report {
    /// A counter.
    pub fn counter(&self, name: &str) -> u64 {
        let key = format!("\"{name}\":");
        let rest = self.0.split_once(key.as_str()).expect("a counter's name").1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }
}

#[test]
fn a_program_that_fails_is_not_waited_for_by_what_it_has_started() {
    let program = "sleep 1000 & echo $!; echo no >&2; exit 3";
    let (code, said, complained) = run_to_the_end(Command::new("sh").args(["-c", program]));
    assert_eq!((code, complained.trim()), (3, "no"));
    // Killed, though perhaps it has not died yet, nor its new parent waited for it.
    let started = Instant::now();
    let is_there = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", said.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while is_there() {
        assert!(started.elapsed() < Duration::from_secs(60), "lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
