//! Runs programs to their end, and reads what they leave.

use super::in_time;
use std::io::Read;
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn(command);
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::spawn(move || text_of(&mut stdout));
    let complained = std::thread::spawn(move || text_of(&mut stderr));
    let status = in_time::ended(&mut child);
    let said = said.join().expect("what it printed");
    let complained = complained.join().expect("what it complained of");
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

fn text_of(pipe: &mut Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(pipe) = pipe {
        let _ = pipe.read_to_string(&mut text);
    }
    text
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
