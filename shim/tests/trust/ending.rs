//! Runs programs to their end, and reads what they leave.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ends a program that hangs.
const WATCHDOG: Duration = Duration::from_secs(180);

/// Runs a program that must succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    match run_to_the_end(command) {
        (0, said, _) => said,
        (code, said, complained) => panic!("{command:?}: exit {code}\n{said}\n{complained}"),
    }
}

/// Runs a program that must come to an end; its exit status, what it printed and what it complained of.
pub fn run_to_the_end(command: &mut Command) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::spawn(move || text_of(&mut stdout));
    let complained = std::thread::spawn(move || text_of(&mut stderr));
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
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = said.join().expect("what it printed");
    let complained = complained.join().expect("what it complained of");
    match status.map(|status| status.code()) {
        Some(Some(code)) => (code, said, complained),
        Some(None) => panic!("{command:?}: {status:?}\n{said}\n{complained}"),
        None => panic!("{command:?}: hangs\n{said}\n{complained}"),
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
