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
    let mut windows = Vec::new();
    let mut result = None;
    let mut complaints = Vec::new();
    let mut hear = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["WINDOW", numbers @ ..] => {
                windows.push(
                    numbers
                        .iter()
                        .map(|n| n.parse().unwrap_or(0))
                        .collect::<Vec<u64>>(),
                );
            }
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
    print_windows(run, load, &windows);
    if let Some(result) = &result {
        println!("    {}", &result[7..]);
    }
    if run.library.is_some() {
        println!("    reported by the shim: {}", report.to_text());
        judge(&windows, &mut text);
    }
    if result.is_none() {
        text.push("the client told no result".to_owned());
    }
    if text.is_empty() {
        Ok(())
    } else {
        Err(text.join("\n      "))
    }
}

fn percent(window: &[u64]) -> u64 {
    let (ring, kernel) = (window[1], window[2]);
    (ring * 100).checked_div(ring + kernel).unwrap_or(0)
}

fn judge(windows: &[Vec<u64>], text: &mut Vec<String>) {
    match windows.last() {
        Some(last) if percent(last) >= WANTED_PERCENT => {}
        Some(last) => text.push(format!(
            "in the last window only {} % of the busy connections' bytes travelled by ring, {WANTED_PERCENT} wanted",
            percent(last)
        )),
        None => text.push("no byte was counted".to_owned()),
    }
}

fn print_windows(run: &Run, load: &Load, windows: &[Vec<u64>]) {
    if run.library.is_none() {
        return;
    }
    let mut table = Table::new(&[
        "after ms",
        "ring bytes",
        "kernel bytes",
        "by ring",
        "accelerated",
    ]);
    for window in windows.iter().filter(|window| window.len() == 4) {
        table.line(&[
            window[0].to_string(),
            window[1].to_string(),
            window[2].to_string(),
            format!("{} %", percent(window)),
            format!("{} of {}", window[3], load.busy),
        ]);
    }
    println!("{}", table.to_text());
}
