//! 5000 connections between one client and one server, 500 of them busy: all work, and within two seconds at least
//! nine tenths of the busy ones' bytes travel by ring. Then all are busy in turn, more than there are slots.
//!
//! A machine that makes few exchanges in two seconds may take longer, up to 2000 exchanges on each busy connection, and one
//! that cannot keep 500 busy keeps fewer; the result says so.

use compat_tests::many_connections::client::{self, LIMIT, Load};
use compat_tests::many_connections::driver::{Run, Wrong, run_load};
use compat_tests::many_connections::server;
use compat_tests::torture::arguments::{Arguments, Known, known, refuse};
use compat_tests::torture::calls;
use compat_tests::torture::processes::ScratchDirectory;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A machine that cannot keep them all busy gets this part of them.
const FEWER: u64 = 4;
/// With fewer busy than these the test would say little: the run fails.
const LEAST_BUSY: u64 = 100;
/// Runs in which the busy connections may get to their rings in time, and how long there may be a next one: on a machine on
/// which one takes that long another would be no different.
const TRIES: u32 = 4;
const TRIES_TIME: Duration = Duration::from_secs(300);

const KNOWN: &[Known] = &[
    known(
        "--library",
        "PATH",
        "libaxio.so to preload; without it the bare kernel is tested",
    ),
    known("--connections", "N", "open at the same time (default 5000)"),
    known("--busy", "N", "busy among them (default 500)"),
    known(
        "--request-bytes",
        "N",
        "bytes of a busy connection's request (default 1024)",
    ),
    known(
        "--busy-ms",
        "N",
        "in this time the rings must carry their share; a slow machine may take longer (default 2000)",
    ),
    known(
        "--turn-ms",
        "N",
        "afterwards every connection is busy in its turn, at most so long, or 200 exchanges (default 30000)",
    ),
    known("--mode", "MODE", "evidence or eager; both unless given"),
    known("--quick", "", "1500 connections, 150 busy"),
    // What the program tells itself when it starts the two ends.
    known("--side", "END", ""),
    known("--port", "N", ""),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line(
        "many_connections",
        "thousands of connections all work, and the busy ones get the rings",
        KNOWN,
    );
    let (connections, busy) = if arguments.has("--quick") {
        (1500, 150)
    } else {
        (5000, 500)
    };
    let number = |name, default| arguments.number(name).unwrap_or(default);
    let load = Load {
        connections: number("--connections", connections),
        busy: number("--busy", busy),
        request_bytes: number("--request-bytes", 1024) as usize,
        busy_time: Duration::from_millis(number("--busy-ms", 2000)),
        window: Duration::from_millis(200),
        turn_time: Duration::from_millis(number("--turn-ms", 30_000)),
    };
    if load.busy == 0 || load.busy > load.connections || load.request_bytes == 0 {
        refuse(
            "--busy and --request-bytes must be at least 1, and no more can be busy than there are",
        );
    }
    let descriptors = load.connections + 2000;
    if let Some(side) = arguments.text("--side") {
        let _ = calls::die_with_parent();
        let result = match side {
            "server" => server::run(load.connections, descriptors),
            _ => client::run(load, number("--port", 0) as u16, descriptors),
        };
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                println!("FAIL {side}: {text}");
                ExitCode::FAILURE
            }
        };
    }
    let scratch = match ScratchDirectory::new("many-connections") {
        Ok(scratch) => scratch,
        Err(error) => refuse(&format!("no scratch directory: {error}")),
    };
    let library = arguments.library();
    let modes: &[&'static str] = match (arguments.text("--mode"), &library) {
        (Some("evidence"), _) => &["evidence"],
        (Some("eager"), _) => &["eager"],
        (Some(_), _) => refuse("--mode is evidence or eager"),
        // Without the shim there is no difference between them.
        (None, None) => &["evidence"],
        (None, Some(_)) => &["evidence", "eager"],
    };
    let (mut passed, mut failed) = (0, 0);
    for mode in modes {
        println!(
            "{} connections, {} busy, {}",
            load.connections,
            load.busy,
            match &library {
                Some(library) => format!("{mode}, {}", library.display()),
                None => "bare kernel".to_owned(),
            }
        );
        let mut run = Run {
            library: library.clone(),
            mode,
            scratch: scratch.path().to_path_buf(),
            is_reduced: false,
            watchdog: LIMIT + load.turn_time.max(load.busy_time).max(LIMIT),
        };
        let mut load = load;
        let begin = Instant::now();
        let mut outcome = run_load(&run, &load, &arguments_for(&load));
        for _ in 1..TRIES {
            match &outcome {
                Err(Wrong::TooSlow(text)) if begin.elapsed() < TRIES_TIME => {
                    println!("    run again: {text}");
                }
                Err(Wrong::TooMany(text)) if load.busy / FEWER >= LEAST_BUSY => {
                    load.busy /= FEWER;
                    run.is_reduced = true;
                    println!(
                        "    a slow machine, {text}: run again with {} busy",
                        load.busy
                    );
                }
                _ => break,
            }
            outcome = run_load(&run, &load, &arguments_for(&load));
        }
        match outcome {
            Ok(()) => passed += 1,
            Err(Wrong::TooSlow(text) | Wrong::TooMany(text) | Wrong::Broken(text)) => {
                failed += 1;
                println!("FAIL {mode}: {text}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What tells an end the load.
fn arguments_for(load: &Load) -> Vec<String> {
    let numbers = [
        ("--connections", load.connections),
        ("--busy", load.busy),
        ("--request-bytes", load.request_bytes as u64),
        ("--busy-ms", load.busy_time.as_millis() as u64),
        ("--turn-ms", load.turn_time.as_millis() as u64),
    ];
    let words = numbers.map(|(name, value)| [name.to_owned(), value.to_string()]);
    words.into_iter().flatten().collect()
}
