//! Starts server and client, ends a hang, judges where the busy connections' bytes travelled.

use super::client::{ENOUGH_EXCHANGES, ENOUGH_IN_A_TURN, Load, WANTED_PERCENT};
use crate::torture::hang;
use crate::torture::processes::{self, Environment, Process};
use crate::torture::report::Report;
use crate::torture::table::Table;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Connections that can have a slot at a time: AXIO_SLOTS is left at its default.
pub const SLOTS: u64 = 1024;

/// Exchanges on each busy connection, on average, that a machine makes within the busy time if it is fast: it must show
/// the share in that time. Below, the exchanges that handshakes and evictions take may not have been made by then.
const FAST_EXCHANGES: u64 = 200;

/// An end that has not begun, or not ended, by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of some connections in a time, and where they travelled.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Milliseconds from the beginning to the window's end, or to the end of the turn's wait.
    label: u64,
    /// By ring, as the library counts.
    ring: u64,
    /// By kernel, as the library counts.
    kernel: u64,
    /// Connections with a direction on the ring at that time.
    accelerated: u64,
    /// Exchanges that the client has made and checked.
    exchanges: u64,
    /// Exchanges that every connection has made by that time.
    least: u64,
}

impl Window {
    fn read(words: &[&str]) -> Option<Window> {
        let numbers: Vec<u64> = words.iter().map_while(|word| word.parse().ok()).collect();
        let &[label, ring, kernel, accelerated, exchanges, least] = numbers.as_slice() else {
            return None;
        };
        Some(Window {
            label,
            ring,
            kernel,
            accelerated,
            exchanges,
            least,
        })
    }

    /// Bytes that the client itself sent and received.
    fn own_bytes(&self, load: &Load) -> u64 {
        self.exchanges * 2 * load.request_bytes as u64
    }

    fn percent(&self, load: &Load) -> u64 {
        (self.ring * 100)
            .checked_div(self.own_bytes(load))
            .unwrap_or(0)
    }

    /// The library's books and the test's own must agree.
    fn check_books(&self, what: &str, load: &Load, text: &mut Vec<String>) {
        let own = self.own_bytes(load);
        if self.ring + self.kernel != own {
            text.push(format!(
                "{what}, {} ms: {own} bytes were moved, the library counts {} by ring and {} by kernel",
                self.label, self.ring, self.kernel
            ));
        }
    }
}

/// What was wrong with a run.
pub enum Wrong {
    /// Nothing but a share that has not come in time: a machine that others use may be the cause, so another run can
    /// show that the library does it.
    TooSlow(String),
    /// The machine cannot keep so many connections busy.
    TooMany(String),
    /// What no run may show.
    Broken(String),
}

/// One run's setting.
#[derive(Clone, Debug)]
pub struct Run {
    /// The shim, if any.
    pub library: Option<PathBuf>,
    /// `eager` or `evidence`.
    pub mode: &'static str,
    /// Where reports go.
    pub scratch: PathBuf,
    /// Fewer are busy than were to be, because the machine is slow.
    pub is_reduced: bool,
    /// A client that is silent for longer hangs.
    pub watchdog: Duration,
}

struct Started {
    process: Process,
    lines: Receiver<String>,
}

fn start(name: &str, run: &Run, report: &Path, arguments: &[String]) -> Result<Started, String> {
    let mut command: Command = processes::own_program();
    command.args(arguments).stdout(Stdio::piped());
    let mut environment = Environment::eager(run.library.as_deref(), report);
    environment.variables = vec![("AXIO_UPGRADE".to_owned(), run.mode.to_owned())];
    environment.apply(&mut command);
    let mut process =
        Process::start(name, &mut command).map_err(|error| format!("starting {name}: {error}"))?;
    let output = process.take_output().ok_or("no output pipe")?;
    Ok(Started {
        process,
        lines: processes::lines(output),
    })
}

/// Runs one load in one mode; prints what it saw; tells what was wrong.
pub fn run_load(run: &Run, load: &Load, arguments: &[String]) -> Result<(), Wrong> {
    let report_path = run.scratch.join(format!("report-{}", run.mode));
    let _ = std::fs::remove_file(&report_path); // of an earlier try
    let with = |more: &[&str]| -> Vec<String> {
        let more = more.iter().map(|word| (*word).to_owned());
        arguments.iter().cloned().chain(more).collect()
    };
    let mut server =
        start("server", run, &report_path, &with(&["--side", "server"])).map_err(Wrong::Broken)?;
    let Ok(line) = server.lines.recv_timeout(PATIENCE) else {
        return Err(Wrong::Broken("the server did not start".to_owned()));
    };
    let Some(port) = line.strip_prefix("PORT ") else {
        return Err(Wrong::Broken(format!("the server said {line}")));
    };
    let list = with(&["--side", "client", "--port", port]);
    let mut client = start("client", run, &report_path, &list).map_err(Wrong::Broken)?;
    let (mut windows, mut turns) = (Vec::new(), Vec::new());
    let (mut result, mut slow) = (None, None);
    let mut complaints = Vec::new();
    let mut hear = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [kind @ ("WINDOW" | "TURN"), numbers @ ..] => match Window::read(numbers) {
                Some(window) if *kind == "TURN" => turns.push(window),
                Some(window) => windows.push(window),
                None => complaints.push(line),
            },
            ["RESULT", "ring", ..] => result = Some(line),
            ["SLOW", ..] => slow = Some(line[5..].to_owned()),
            ["NOTE", ..] => println!("    {}", &line[5..]),
            _ => complaints.push(line),
        }
    };
    let mut code = None;
    let mut heard = Instant::now();
    while code.is_none()
        && heard.elapsed() < run.watchdog
        && server.process.try_end().is_none_or(|code| code == 0)
    {
        while let Ok(line) = client.lines.recv_timeout(Duration::from_millis(20)) {
            hear(line);
            heard = Instant::now();
        }
        code = client.process.try_end();
    }
    if code.is_none() {
        code = client.process.wait_until(Instant::now() + PATIENCE);
    }
    let server_code = server.process.wait_until(Instant::now() + PATIENCE);
    let mut text = Vec::new();
    for (name, process, code) in [
        ("client", &client.process, code),
        ("server", &server.process, server_code),
    ] {
        match code {
            Some(0) => {}
            Some(code) => text.push(format!("the {name} ended with {code}")),
            None => {
                text.push(format!(
                    "the {name} hangs: {}",
                    hang::describe_threads(process.id() as i32)
                ));
                hang::end_group(process.id());
            }
        }
    }
    // Both are gone: to the end of their pipes.
    while let Ok(line) = client.lines.recv_timeout(PATIENCE) {
        hear(line);
    }
    while let Ok(line) = server.lines.recv_timeout(PATIENCE) {
        if !line.starts_with("RESULT") {
            complaints.push(line);
        }
    }
    text.extend(complaints);
    let report = Report::read(&report_path).unwrap_or_else(|torn| {
        text.push(torn);
        Report::default()
    });
    if run.library.is_some() {
        print_windows("after ms", load, &windows);
        print_windows("turn's ms", load, &turns);
    }
    if let Some(result) = &result {
        println!("    {}", &result[7..]);
    }
    if run.library.is_some() && slow.is_some() {
        check_books(load, &windows, &turns, &mut text);
    } else if run.library.is_some() {
        println!("    reported by the shim: {}", report.to_text());
        check_counts(load, &windows, &turns, &mut text);
        if load.connections > SLOTS && report.sum("evictions") == 0 {
            text.push(format!(
                "{} connections were busy in turn, and nobody gave up one of {SLOTS} slots",
                load.connections
            ));
        }
    }
    if let (Some(slow), true) = (slow, text.is_empty()) {
        return Err(Wrong::TooMany(slow));
    }
    match &result {
        None => text.push("the client told no result".to_owned()),
        Some(result)
            if run.library.is_some() && !result.contains(&format!(" asked {} ", load.busy)) =>
        {
            text.push(format!("not every busy socket had a status: {result}"));
        }
        Some(_) => {}
    }
    if !text.is_empty() {
        return Err(Wrong::Broken(text.join("\n      ")));
    }
    if run.library.is_none() {
        return Ok(());
    }
    judge_turns(load, &turns)?;
    println!("    {}", judge_share(run, load, &windows)?);
    Ok(())
}

fn check_books(load: &Load, windows: &[Window], turns: &[Window], text: &mut Vec<String>) {
    for (what, list) in [("window", windows), ("turn", turns)] {
        for window in list {
            window.check_books(what, load, text);
        }
    }
}

/// The books, and that everything was counted.
fn check_counts(load: &Load, windows: &[Window], turns: &[Window], text: &mut Vec<String>) {
    check_books(load, windows, turns, text);
    if windows.is_empty() {
        text.push("no byte was counted".to_owned());
    }
    let wanted_turns = load.connections.div_ceil(load.busy) as usize;
    if turns.len() != wanted_turns {
        text.push(format!("{} turns of {wanted_turns}", turns.len()));
    }
}

/// Half of the connections of each turn must have got a ring.
fn judge_turns(load: &Load, turns: &[Window]) -> Result<(), Wrong> {
    for (number, turn) in turns.iter().enumerate() {
        // The last turn may be of fewer.
        let group = load.busy.min(load.connections - number as u64 * load.busy);
        if turn.accelerated * 2 < group {
            let text = format!(
                "in turn {number} only {} of {group} busy connections had a ring after {} ms and {} exchanges on each",
                turn.accelerated, turn.label, turn.least
            );
            return Err(if turn.least >= ENOUGH_IN_A_TURN {
                Wrong::Broken(text)
            } else {
                Wrong::TooSlow(text)
            });
        }
    }
    Ok(())
}

/// The rings must carry their share at the end: on a fast machine within the busy time, on any other by the time every
/// busy connection has made enough exchanges. Says which of them was shown.
fn judge_share(run: &Run, load: &Load, windows: &[Window]) -> Result<String, Wrong> {
    let time = load.busy_time.as_millis() as u64;
    let has_share = |window: &&Window| window.percent(load) >= WANTED_PERCENT;
    let in_time = windows.iter().filter(|window| window.label <= time);
    let rate = in_time.map(|window| window.exchanges).sum::<u64>() / load.busy;
    // From this window on all have the share.
    let Some(first) = windows.iter().rev().take_while(has_share).last() else {
        let (label, least, percent) = windows.last().map_or((0, 0, 0), |last| {
            (last.label, last.least, last.percent(load))
        });
        let text = format!(
            "after {label} ms and {least} exchanges on each busy connection only {percent} % of their bytes travelled by \
             ring, {WANTED_PERCENT} wanted"
        );
        return Err(if least >= ENOUGH_EXCHANGES {
            Wrong::Broken(text)
        } else {
            Wrong::TooSlow(text)
        });
    };
    let shown = format!(
        "at least {WANTED_PERCENT} % of the busy connections' bytes by ring after {} ms",
        first.label
    );
    if first.label <= time {
        Ok(format!("within {time} ms: {shown}"))
    } else if rate >= FAST_EXCHANGES && !run.is_reduced {
        Err(Wrong::TooSlow(format!(
            "{shown} only, although {rate} exchanges on each were made within {time} ms"
        )))
    } else {
        Ok(format!(
            "a slow machine, {rate} exchanges on each busy connection within {time} ms: {shown} and {} exchanges on each",
            first.least
        ))
    }
}

fn print_windows(label: &str, load: &Load, windows: &[Window]) {
    let mut table = Table::new(&[
        label,
        "ring bytes",
        "kernel bytes",
        "by ring",
        "accelerated",
        "exchanges",
        "on each by then",
    ]);
    for (number, window) in windows.iter().enumerate() {
        // A slow machine's many: the first, some, the last.
        if number >= 20 && number % 20 != 0 && number + 1 != windows.len() {
            continue;
        }
        table.line(&[
            window.label.to_string(),
            window.ring.to_string(),
            window.kernel.to_string(),
            format!("{} %", window.percent(load)),
            format!("{} of {}", window.accelerated, load.busy),
            window.exchanges.to_string(),
            window.least.to_string(),
        ]);
    }
    println!("{}", table.to_text());
}
