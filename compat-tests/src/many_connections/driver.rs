//! Starts server and client, ends a hang, judges where the busy connections' bytes travelled.

use super::client::Load;
use crate::torture::hang;
use crate::torture::processes::{self, Environment, Process};
use crate::torture::report::Report;
use crate::torture::table::Table;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Share of the busy connections' bytes that the rings must carry, percent.
pub const WANTED_PERCENT: u64 = 90;

/// Connections that can have a slot at a time: AXIO_SLOTS is left at its default.
pub const SLOTS: u64 = 1024;

/// Bytes of some connections in a time, and where they travelled.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Milliseconds since the beginning, or since that of the turn.
    label: u64,
    /// By ring, as the library counts.
    ring: u64,
    /// By kernel, as the library counts.
    kernel: u64,
    /// Connections with a direction on the ring at the end.
    accelerated: u64,
    /// Exchanges that the client has made and checked.
    exchanges: u64,
}

impl Window {
    fn read(words: &[&str]) -> Option<Window> {
        let numbers: Vec<u64> = words.iter().map_while(|word| word.parse().ok()).collect();
        let &[label, ring, kernel, accelerated, exchanges] = numbers.as_slice() else {
            return None;
        };
        Some(Window {
            label,
            ring,
            kernel,
            accelerated,
            exchanges,
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

/// One run's setting.
#[derive(Clone, Debug)]
pub struct Run {
    /// The shim, if any.
    pub library: Option<PathBuf>,
    /// `eager` or `evidence`.
    pub mode: &'static str,
    /// Where reports go.
    pub scratch: PathBuf,
    /// A run that takes longer is a hang.
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
pub fn run_load(run: &Run, load: &Load, arguments: &[String]) -> Result<(), String> {
    let deadline = Instant::now() + run.watchdog;
    let report_path = run.scratch.join(format!("report-{}", run.mode));
    let with = |more: &[&str]| -> Vec<String> {
        let more = more.iter().map(|word| (*word).to_owned());
        arguments.iter().cloned().chain(more).collect()
    };
    let mut server = start("server", run, &report_path, &with(&["--side", "server"]))?;
    let Ok(line) = server.lines.recv_timeout(Duration::from_secs(20)) else {
        return Err("the server did not start".to_owned());
    };
    let Some(port) = line.strip_prefix("PORT ") else {
        return Err(format!("the server said {line}"));
    };
    let list = with(&["--side", "client", "--port", port]);
    let mut client = start("client", run, &report_path, &list)?;
    let (mut windows, mut turns) = (Vec::new(), Vec::new());
    let mut result = None;
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
            ["NOTE", ..] => println!("    {}", &line[5..]),
            _ => complaints.push(line),
        }
    };
    let mut code = None;
    while code.is_none()
        && Instant::now() < deadline
        && server.process.try_end().is_none_or(|code| code == 0)
    {
        while let Ok(line) = client.lines.recv_timeout(Duration::from_millis(20)) {
            hear(line);
        }
        code = client.process.try_end();
    }
    if code.is_none() {
        code = client
            .process
            .wait_until(Instant::now() + Duration::from_secs(2));
    }
    let server_code = server
        .process
        .wait_until(Instant::now() + Duration::from_secs(10));
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
    while let Ok(line) = client.lines.recv_timeout(Duration::from_millis(300)) {
        hear(line);
    }
    while let Ok(line) = server.lines.recv_timeout(Duration::from_millis(300)) {
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
    if run.library.is_some() {
        println!("    reported by the shim: {}", report.to_text());
        judge(load, &windows, &turns, &mut text);
        if load.connections > SLOTS && report.sum("evictions") == 0 {
            text.push(format!(
                "{} connections were busy in turn, and nobody gave up one of {SLOTS} slots",
                load.connections
            ));
        }
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
    if text.is_empty() {
        Ok(())
    } else {
        Err(text.join("\n      "))
    }
}

fn judge(load: &Load, windows: &[Window], turns: &[Window], text: &mut Vec<String>) {
    for (what, list) in [("window", windows), ("turn", turns)] {
        for window in list {
            window.check_books(what, load, text);
        }
    }
    match windows.last() {
        Some(last) if last.percent(load) >= WANTED_PERCENT => {}
        Some(last) => text.push(format!(
            "in the last window only {} % of the busy connections' bytes travelled by ring, {WANTED_PERCENT} wanted",
            last.percent(load)
        )),
        None => text.push("no byte was counted".to_owned()),
    }
    for (number, turn) in turns.iter().enumerate() {
        // The last turn may be of fewer.
        let group = load.busy.min(load.connections - number as u64 * load.busy);
        if turn.accelerated * 2 < group {
            text.push(format!(
                "in turn {number} only {} of {group} busy connections had a ring after {} ms",
                turn.accelerated, turn.label
            ));
        }
    }
    let wanted_turns = load.connections.div_ceil(load.busy) as usize;
    if turns.len() != wanted_turns {
        text.push(format!("{} turns of {wanted_turns}", turns.len()));
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
    ]);
    for window in windows {
        table.line(&[
            window.label.to_string(),
            window.ring.to_string(),
            window.kernel.to_string(),
            format!("{} %", window.percent(load)),
            format!("{} of {}", window.accelerated, load.busy),
            window.exchanges.to_string(),
        ]);
    }
    println!("{}", table.to_text());
}
