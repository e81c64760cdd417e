//! Runs seeds in pairs of processes, judges their ends, counts what the shim reports.

use super::plan::Plan;
use super::side::{EXIT_FAILED, End, WANTED_EACH_WAY, WANTED_SWITCHES};
use crate::torture::processes::{self, Environment, Process};
use crate::torture::report::Report;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Share of a long stream's bytes that the ring must carry, in each direction, percent.
pub const WANTED_LARGE_PERCENT: u64 = 60;

/// A process that has not said by then that it listens is broken; so is one that has ended and leaves its output open.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long the second side may take to say what it saw of the first one's failure.
const PATIENCE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How seeds are run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The shim, if any.
    pub library: Option<PathBuf>,
    /// Where reports go.
    pub scratch: PathBuf,
    /// A seed that takes longer is a hang.
    pub watchdog: Duration,
}

/// How a seed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte in its place, and enough switches.
    Passed,
    /// Every byte in its place, but few switches: two processes use one of its sockets or epoll sets in a way that keeps
    /// it on the kernel from some point on.
    StayedOnKernel,
    /// Every byte in its place, but fewer forced switches, or fewer bytes by ring, than wanted.
    TooSeldom(String),
    /// A leave found ring bytes that nobody could put in order any more, and reset the connection, as SWITCH.md §4
    /// says it must.
    LeftBehind,
    /// What was wrong.
    Failed(String),
}

impl Verdict {
    /// True when nothing was lost, and a machine that others use may be why: a side that does not run sends its stream to
    /// the kernel, or its leave finds what it has not read. Played again the seed has to show what it is there for.
    #[must_use]
    pub fn may_be_the_machines(&self) -> bool {
        matches!(self, Verdict::TooSeldom(_) | Verdict::LeftBehind)
    }
}

/// What a seed gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// What the shim reported.
    pub report: Report,
    /// Sums of the numbers both sides told.
    pub numbers: BTreeMap<String, u64>,
    /// Most switches a side counted on its connection.
    pub switches: u64,
    /// Forced ones among them, of the connecting side's direction and of the other one: of each as many as the side saw
    /// that forced more.
    pub forced: [u64; 2],
    /// Share of a direction's bytes that went by ring, percent: the lesser of the two. Of a side's last process only.
    pub ring_percent: u64,
    /// How long it took.
    pub time: Duration,
}

impl Outcome {
    /// True when each direction was made to switch often.
    #[must_use]
    pub fn is_forced_each_way(&self) -> bool {
        self.forced.iter().all(|count| *count >= WANTED_EACH_WAY)
    }
}

/// One started side and what it has said so far.
struct Started {
    process: Process,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Started {
    fn new(
        name: &str,
        run: &Run,
        plan: &Plan,
        report: &Path,
        more: &[String],
    ) -> std::io::Result<Started> {
        let mut command: Command = processes::own_program();
        command.args(plan.arguments()).args(more);
        Environment::eager(run.library.as_deref(), report).apply(&mut command);
        command.stdout(Stdio::piped());
        let mut process = Process::start(name, &mut command)?;
        let output = process.take_output();
        let lines = processes::lines(output.ok_or(std::io::ErrorKind::BrokenPipe)?);
        Ok(Started {
            process,
            lines,
            said: Vec::new(),
        })
    }

    /// The next line with this first word.
    fn expect(&mut self, word: &str, deadline: Instant) -> Option<String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return Some(rest.trim().to_owned());
                    }
                    self.said.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn finish_output(&mut self) {
        // Ends with the last holder of the pipe; the time is for one that outlives its process.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
    }

    fn numbers(&self) -> BTreeMap<String, u64> {
        let mut numbers = BTreeMap::new();
        for line in &self.said {
            let Some(rest) = line.strip_prefix("RESULT ") else {
                continue;
            };
            let words: Vec<&str> = rest.split(' ').collect();
            for pair in words.chunks_exact(2) {
                numbers.insert(pair[0].to_owned(), pair[1].parse().unwrap_or(0));
            }
        }
        numbers
    }
}

/// Runs one plan.
#[must_use]
pub fn run_plan(run: &Run, plan: &Plan) -> Outcome {
    let begin = Instant::now();
    let report_path = run.scratch.join(format!("report-{}", plan.seed));
    let _ = std::fs::remove_file(&report_path);
    let mut outcome = Outcome {
        verdict: Verdict::Passed,
        report: Report::default(),
        numbers: BTreeMap::new(),
        switches: 0,
        forced: [0; 2],
        ring_percent: 0,
        time: Duration::ZERO,
    };
    let mut ended = run_pair(run, plan, &report_path, begin, &mut outcome);
    match Report::read(&report_path) {
        Ok(report) => outcome.report = report,
        Err(text) => {
            ended = Err(match ended {
                Ok(()) => text,
                Err(earlier) => format!("{earlier}\n      {text}"),
            });
        }
    }
    outcome.time = begin.elapsed();
    outcome.verdict = match ended {
        Ok(()) => judge_switches(run, plan, &outcome),
        Err(text) => {
            let leaves = plan.sides.iter().any(|side| side.leave.is_some());
            if leaves && outcome.report.sum("left_behind") > 0 && tells_of_resets_only(&text) {
                Verdict::LeftBehind
            } else {
                Verdict::Failed(text)
            }
        }
    };
    let _ = std::fs::remove_file(&report_path);
    outcome
}

fn run_pair(
    run: &Run,
    plan: &Plan,
    report: &Path,
    begin: Instant,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let deadline = begin + run.watchdog;
    let cannot_start = |error: std::io::Error| format!("cannot start a process: {error}");
    let words = |list: &[&str]| -> Vec<String> { list.iter().map(|w| (*w).to_owned()).collect() };
    let mut server = Started::new("server", run, plan, report, &words(&["--side", "server"]))
        .map_err(cannot_start)?;
    let Some(port) = server.expect("PORT", begin + PATIENCE) else {
        return Err(format!("the server did not start: {:?}", server.said));
    };
    let arguments = words(&["--side", "client", "--port", &port]);
    let mut client = Started::new("client", run, plan, report, &arguments).map_err(cannot_start)?;
    let mut codes = [None, None];
    let mut limit = deadline;
    while codes.contains(&None) && Instant::now() < limit {
        for (code, side) in codes.iter_mut().zip([&mut client, &mut server]) {
            if code.is_none() {
                *code = side.process.try_end();
                // Once one side has failed, the other one gets a moment to say what it saw.
                if code.is_some_and(|code| code != 0) {
                    limit = limit.min(Instant::now() + PATIENCE_AFTER_FAILURE);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (mut complaints, mut notes) = (Vec::new(), Vec::new());
    for (code, side) in codes.iter().zip([&mut client, &mut server]) {
        if code.is_none() {
            complaints.push(format!(
                "the {} did not end: {}",
                side.process.name,
                crate::torture::hang::describe_threads(side.process.id() as i32)
            ));
            crate::torture::hang::end_group(side.process.id());
        }
        side.finish_output();
        if let Some(code) = code
            && *code != 0
        {
            complaints.push(format!("the {} ended with {code}", side.process.name));
        }
        complaints.extend(
            side.said
                .iter()
                .filter(|line| !line.starts_with("RESULT") && !line.starts_with("NOTE"))
                .cloned(),
        );
        notes.extend(
            side.said
                .iter()
                .filter(|line| line.starts_with("NOTE"))
                .cloned(),
        );
        let numbers = side.numbers();
        outcome.switches = outcome
            .switches
            .max(numbers.get("switches").copied().unwrap_or(0));
        let forced = |name| numbers.get(name).copied().unwrap_or(0);
        let mut forced = [forced("forced_out"), forced("forced_in")];
        if side.process.name == "server" {
            forced.reverse();
        }
        for (most, counted) in outcome.forced.iter_mut().zip(forced) {
            *most = counted.max(*most);
        }
        for (name, number) in numbers {
            *outcome.numbers.entry(name).or_default() += number;
        }
    }
    if complaints.is_empty() {
        let (sent, got) = (client.numbers(), server.numbers());
        let share = |numbers: &BTreeMap<String, u64>| {
            let number = |name| numbers.get(name).copied().unwrap_or(0);
            (number("by_ring") * 100)
                .checked_div(number("written"))
                .unwrap_or(0)
        };
        outcome.ring_percent = share(&sent).min(share(&got));
        let crossed = [(&sent, &got, End::Client), (&got, &sent, End::Server)];
        for (from, to, end) in crossed {
            let written = from.get("written");
            if written != to.get("received") || written != Some(&plan.sides[end as usize].bytes) {
                complaints.push(format!("the {end:?} wrote {written:?}: {sent:?} {got:?}"));
            }
        }
    }
    if complaints.is_empty() {
        Ok(())
    } else {
        complaints.extend(notes);
        Err(complaints.join("\n      "))
    }
}

/// What a reset looks like at both ends, and nothing else: no byte in the wrong place, no hang, no crash, no other error.
fn tells_of_resets_only(text: &str) -> bool {
    let mut resets = 0;
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("FAIL process ") {
            // The second line of each finding is the socket's status.
            Some(finding) if is_status(finding) => {}
            Some(finding) if is_reset(finding) => resets += 1,
            Some(_) => return false,
            None if line.starts_with("NOTE ") || is_told_end(line) => {}
            None => return false,
        }
    }
    resets > 0
}

/// `PROCESS End written N received N: ...`, as a side tells it with a finding.
fn is_status(finding: &str) -> bool {
    let mut words = finding.split(' ').skip(1);
    matches!(words.next(), Some("Client" | "Server")) && words.next() == Some("written")
}

fn is_reset(finding: &str) -> bool {
    // ENOTCONN: the leaver's own socket, whose reset was a disconnect, once the error has been shown.
    [
        "failed: Connection reset by peer",
        "failed: Broken pipe",
        "Transport endpoint is not connected",
    ]
    .iter()
    .any(|error| finding.contains(error))
}

/// A process that has told its finding ends this way; a signal, a hang or another code is a finding of its own.
fn is_told_end(line: &str) -> bool {
    ["client", "server"]
        .iter()
        .any(|name| line == format!("the {name} ended with {EXIT_FAILED}"))
}

fn judge_switches(run: &Run, plan: &Plan, outcome: &Outcome) -> Verdict {
    let report = &outcome.report;
    if run.library.is_none() {
        return Verdict::Passed;
    }
    // The status request counts a connection's switches, the report the process's: two books of the same.
    let reported = report.sum("upgrades") + report.sum("retreats");
    if plan.is_fully_reported() && reported < outcome.switches {
        return Verdict::Failed(format!(
            "{} switches by the status request, but {reported} in the report; {}",
            outcome.switches,
            report.to_text()
        ));
    }
    if plan.is_large && outcome.ring_percent < WANTED_LARGE_PERCENT {
        return Verdict::TooSeldom(format!(
            "only {} % of a direction's bytes went by ring, {WANTED_LARGE_PERCENT} wanted; {}",
            outcome.ring_percent,
            report.to_text()
        ));
    }
    let forced = outcome.forced;
    let is_forced = forced[0] + forced[1] >= WANTED_SWITCHES;
    if !plan.can_switch_often() {
        return if is_forced {
            Verdict::Passed
        } else {
            Verdict::StayedOnKernel
        };
    }
    // Behind a burst of 2 MiB a reader of three hundred bytes at a time may have its direction in the kernel to the end.
    let may_be_one_way = !plan.is_two_way() || plan.burst_bytes > 0;
    if is_forced && (may_be_one_way || outcome.is_forced_each_way()) {
        return Verdict::Passed;
    }
    Verdict::TooSeldom(format!(
        "only {forced:?} forced switches of the two directions among {} in all; {WANTED_SWITCHES} wanted, and \
         {WANTED_EACH_WAY} of each that has bytes; {}",
        outcome.switches,
        report.to_text()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: &str = "the client ended with 3
      FAIL process 71 sending at 900 failed: Broken pipe (os error 32)
      FAIL process 71 Client written 900 received 800: path 1 state 4
      NOTE Server leaving: written 800 received 700, path 1";

    #[test]
    fn a_reset_at_both_ends_is_told_apart_from_everything_else() {
        assert!(tells_of_resets_only(RESET));
        for other in [
            "the server ended with 139",
            "the server did not end: process 72: [72 server waits in 'do_poll' syscall 7]",
            "FAIL process 72 byte 5 came twice",
            "FAIL process 72 HANG: no byte for 20 s; process 72:",
            "thread 'main' panicked at src/x.rs",
        ] {
            assert!(!tells_of_resets_only(&format!("{RESET}\n      {other}")));
        }
        assert!(!tells_of_resets_only("the client ended with 3"));
    }
}
