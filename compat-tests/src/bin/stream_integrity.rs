//! Stream integrity under every way of reading, writing and waiting, with switches forced at random bytes.
//!
//! `stream_integrity --seeds 0..100` runs on the bare kernel, `--library target/release/libaxio.so` under the shim; with
//! `--all` over a thousand seeds and the long one.

use compat_tests::stream_integrity::campaign::Campaign;
use compat_tests::stream_integrity::driver::Run;
use compat_tests::stream_integrity::plan::{Plan, USUAL_HOLDS};
use compat_tests::stream_integrity::side::{self, End};
use compat_tests::torture::arguments::{Arguments, Known, known, refuse};
use compat_tests::torture::calls;
use compat_tests::torture::processes::ScratchDirectory;
use std::process::ExitCode;
use std::time::Duration;

const KNOWN: &[Known] = &[
    known(
        "--seeds",
        "A..B",
        "seeds to run, or one seed (default 0..100)",
    ),
    known("--bytes", "N", "least bytes each way (default 1048576)"),
    known(
        "--all",
        "",
        "seeds 0..1150, of which a thousand must switch often with a full stream each way, then one of 1 GiB each way: some minutes",
    ),
    known(
        "--library",
        "PATH",
        "libaxio.so to preload; without it the bare kernel is tested",
    ),
    known("--jobs", "N", "seeds at a time (default 2)"),
    known("--quick", "", "seeds 0..24 unless --seeds says otherwise"),
    known(
        "--large",
        "",
        "one long stream each way (1 GiB unless --bytes says otherwise)",
    ),
    known(
        "--watchdog",
        "S",
        "seconds after which a seed hangs (default 1200, more for long streams; 120 without a byte are a hang anyway)",
    ),
    known(
        "--basic",
        "",
        "only blocking programs with the commonest calls",
    ),
    known("--verbose", "", "print each seed's plan and counters"),
    known("--repeat", "N", "run each seed so often (default 1)"),
    known(
        "--holds",
        "N",
        "chunks that writers hold back for the direction that has switched less (default 600)",
    ),
    // What the program tells itself when it starts the two ends.
    known("--side", "END", ""),
    known("--port", "N", ""),
    known("--after-leaving", "END", ""),
    known("--descriptor", "N", ""),
    known("--written", "N", ""),
    known("--received", "N", ""),
    known("--switches", "N", ""),
    known("--toggles", "N", ""),
    known("--forced-out", "N", ""),
    known("--forced-in", "N", ""),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line(
        "stream_integrity",
        "no byte lost, doubled, re-ordered or foreign, whatever the programs do and whenever the stream switches",
        KNOWN,
    );
    let is_large = arguments.has("--large");
    let is_all = arguments.has("--all");
    let bytes = arguments
        .number("--bytes")
        .unwrap_or(if is_large { 1 << 30 } else { 1 << 20 });
    if bytes < 64 << 10 {
        refuse("--bytes must be at least 65536: the warm-up alone takes some");
    }
    let default_seeds = match (is_large, is_all, arguments.has("--quick")) {
        (true, ..) => 0..1,
        (_, true, _) => 0..1150,
        (_, _, true) => 0..24,
        _ => 0..100,
    };
    let seeds = arguments.range("--seeds").unwrap_or(default_seeds);
    let is_basic = arguments.has("--basic");
    let most_holds = arguments.number("--holds").unwrap_or(USUAL_HOLDS);
    let make_plan = |seed| {
        let mut plan = if is_large {
            Plan::large(seed, bytes)
        } else {
            Plan::new(seed, bytes)
        };
        plan.most_holds = most_holds;
        if is_basic {
            plan.reduced_to_basics()
        } else {
            plan
        }
    };
    let end_of = |text: &str| match text {
        "server" | "1" => End::Server,
        _ => End::Client,
    };
    if let Some(text) = arguments.text("--side") {
        let _ = calls::die_with_parent();
        let port = arguments.number("--port").unwrap_or(0) as u16;
        side::run(make_plan(seeds.start), end_of(text), port);
    }
    if let Some(text) = arguments.text("--after-leaving") {
        let number = |name| arguments.number(name).unwrap_or(0);
        let before = [
            number("--written"),
            number("--received"),
            number("--switches"),
            number("--toggles"),
            number("--forced-out"),
            number("--forced-in"),
        ];
        let descriptor = number("--descriptor") as i32;
        side::run_after_leaving(make_plan(seeds.start), end_of(text), descriptor, before);
    }
    let scratch = match ScratchDirectory::new("stream-integrity") {
        Ok(scratch) => scratch,
        Err(error) => refuse(&format!("no scratch directory: {error}")),
    };
    // With the smallest receive buffer the kernel can fall into a silly window of its own: the reader offers a little
    // less than its peer takes for a full segment, and each persist probe (every 200 ms) carries 2000 bytes. A direction
    // then takes two minutes; bare sockets with SO_RCVBUF 4096 do it, too. On a busy machine it takes several times as
    // long, and what does not move at all the sides themselves call a hang.
    let watchdog = |bytes: u64| {
        let asked = arguments.number("--watchdog");
        Duration::from_secs(asked.unwrap_or(1200 + bytes / (2 << 20)))
    };
    let run = Run {
        library: arguments.library(),
        scratch: scratch.path().to_path_buf(),
        watchdog: watchdog(bytes),
    };
    let campaign = Campaign {
        run,
        seeds,
        jobs: arguments.number("--jobs").unwrap_or(2).clamp(1, 64),
        repeat: arguments.number("--repeat").unwrap_or(1),
        is_verbose: arguments.has("--verbose"),
        is_whole: is_all,
    };
    let mut all_right = campaign.carry_out(&make_plan);
    if is_all && all_right {
        const LARGE_BYTES: u64 = 1 << 30;
        println!("\n1 GiB each way:");
        let long = Campaign {
            run: Run {
                watchdog: watchdog(LARGE_BYTES),
                ..campaign.run
            },
            seeds: 0..1,
            jobs: 1,
            repeat: 1,
            is_whole: false,
            ..campaign
        };
        all_right &= long.carry_out(&|seed| Plan::large(seed, LARGE_BYTES));
    }
    if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
