//! Stream integrity under every way of reading, writing and waiting, with switches forced at random bytes.
//!
//! `stream_integrity --seeds 0..100` runs on the bare kernel, `--library target/release/libaxio.so` under the shim; with
//! `--all` over a thousand seeds and the long one.

use compat_tests::stream_integrity::driver::{Outcome, Run, Verdict, run_plan};
use compat_tests::stream_integrity::plan::Plan;
use compat_tests::stream_integrity::side::{self, End, WANTED_SWITCHES};
use compat_tests::torture::arguments::{Arguments, Known, known, refuse};
use compat_tests::torture::calls;
use compat_tests::torture::processes::ScratchDirectory;
use compat_tests::torture::report::Report;
use compat_tests::torture::table::Table;
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

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
        "seconds after which a seed hangs (default 180, more for long streams; 20 without a byte are a hang anyway)",
    ),
    known(
        "--basic",
        "",
        "only blocking programs with the commonest calls",
    ),
    known("--verbose", "", "print each seed's plan and counters"),
    known("--repeat", "N", "run each seed so often (default 1)"),
    // What the program tells itself when it starts the two ends.
    known("--side", "END", ""),
    known("--port", "N", ""),
    known("--after-leaving", "END", ""),
    known("--descriptor", "N", ""),
    known("--written", "N", ""),
    known("--received", "N", ""),
    known("--switches", "N", ""),
];

/// Reported counters that must not be zero in any hundred seeds.
const WANTED_COUNTERS: [&str; 4] = ["upgrades", "retreats", "rewinds", "retreats_spill"];
/// With `--all`: so many seeds must have carried at least the bytes asked for in each direction and switched often.
const WANTED_FULL_SEEDS: u64 = 1000;
/// No more than so many in a hundred seeds may stay on the kernel from some point on.
const MOST_STAYED_PERCENT: u64 = 4;
/// Shorter runs than this cannot be expected to show all of them.
const LEAST_BLOCK: u64 = 16;
/// After so many failures the rest is not worth the time.
const MOST_FAILURES: usize = 20;

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
    let make_plan = |seed| {
        let plan = if is_large {
            Plan::large(seed, bytes)
        } else {
            Plan::new(seed, bytes)
        };
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
    // then takes two minutes; bare sockets with SO_RCVBUF 4096 do it, too.
    let watchdog = |bytes: u64| {
        let asked = arguments.number("--watchdog");
        Duration::from_secs(asked.unwrap_or(180 + bytes / (2 << 20)))
    };
    let run = Run {
        library: arguments.library(),
        scratch: scratch.path().to_path_buf(),
        watchdog: watchdog(bytes),
    };
    let jobs = arguments.number("--jobs").unwrap_or(2).clamp(1, 64);
    let repeat = arguments.number("--repeat").unwrap_or(1);
    let verbose = arguments.has("--verbose");
    let wanted_full = if is_all && run.library.is_some() {
        WANTED_FULL_SEEDS
    } else {
        0
    };
    let all_right = drive(&run, seeds, jobs, repeat, verbose, wanted_full, &make_plan);
    let mut large_right = true;
    if is_all {
        const LARGE_BYTES: u64 = 1 << 30;
        println!("\n1 GiB each way:");
        let run = Run {
            watchdog: watchdog(LARGE_BYTES),
            ..run
        };
        large_right = drive(&run, 0..1, 1, 1, verbose, 0, &|seed| {
            Plan::large(seed, LARGE_BYTES)
        });
    }
    if all_right && large_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the workers have gathered.
#[derive(Default)]
struct Gathered {
    passed: u64,
    stayed: u64,
    /// Passed with a full stream each way.
    full: u64,
    left_behind: u64,
    failed: Vec<u64>,
    blocks: BTreeMap<u64, Block>,
    features: BTreeMap<String, u64>,
    numbers: BTreeMap<String, u64>,
    leaving_seeds: u64,
    longest: Duration,
}

/// What a hundred seeds gave together.
#[derive(Default)]
struct Block {
    report: Report,
    /// Seeds in which one direction was seen to move by ring while the other one moved by kernel.
    split: u64,
}

fn drive(
    run: &Run,
    seeds: Range<u64>,
    jobs: u64,
    repeat: u64,
    verbose: bool,
    wanted_full: u64,
    make_plan: &(impl Fn(u64) -> Plan + Sync),
) -> bool {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let total = (seeds.end - seeds.start) * repeat;
    let gathered = Mutex::new(Gathered::default());
    std::thread::scope(|scope| {
        for worker in 0..jobs {
            let (next, gathered, seeds) = (&next, &gathered, &seeds);
            let mut run = run.clone();
            run.scratch = run.scratch.join(worker.to_string());
            scope.spawn(move || {
                let _ = std::fs::create_dir_all(&run.scratch);
                loop {
                    let index = next.fetch_add(1, SeqCst);
                    if index >= total {
                        return;
                    }
                    let plan = make_plan(seeds.start + index / repeat);
                    let outcome = run_plan(&run, &plan);
                    let Ok(mut gathered) = gathered.lock() else {
                        return;
                    };
                    gather(&mut gathered, &run, &plan, &outcome, seeds.start, verbose);
                    let done = gathered.passed
                        + gathered.stayed
                        + gathered.left_behind
                        + gathered.failed.len() as u64;
                    if done.is_multiple_of(25) || done == total {
                        println!(
                            "  {done} of {total} seeds, {} failed, {:.0} s",
                            gathered.failed.len(),
                            begin.elapsed().as_secs_f64()
                        );
                    }
                    if gathered.failed.len() >= MOST_FAILURES {
                        next.store(total, SeqCst);
                    }
                }
            });
        }
    });
    let gathered = gathered.into_inner().unwrap_or_default();
    conclude(run, &gathered, &seeds, wanted_full)
}

fn gather(
    gathered: &mut Gathered,
    run: &Run,
    plan: &Plan,
    outcome: &Outcome,
    first_seed: u64,
    verbose: bool,
) {
    let replay = format!(
        "stream_integrity {}{}",
        plan.arguments().join(" "),
        run.library.as_ref().map_or(String::new(), |path| format!(
            " --library {}",
            path.display()
        ))
    );
    match &outcome.verdict {
        Verdict::Passed => {
            gathered.passed += 1;
            gathered.full += u64::from(plan.is_full());
        }
        Verdict::StayedOnKernel => gathered.stayed += 1,
        Verdict::LeftBehind => gathered.left_behind += 1,
        Verdict::Failed(text) => {
            gathered.failed.push(plan.seed);
            println!(
                "FAIL seed {} after {:.1} s: {text}",
                plan.seed,
                outcome.time.as_secs_f64()
            );
            println!("     plan {plan:?}");
            println!("     again: {replay}");
        }
    }
    if verbose {
        println!(
            "seed {} {:.2} s, switches {}, {:?}; {}",
            plan.seed,
            outcome.time.as_secs_f64(),
            outcome.switches,
            outcome.numbers,
            outcome.report.to_text()
        );
        if !matches!(outcome.verdict, Verdict::Failed(_)) {
            println!("     plan {plan:?}");
        }
    }
    gathered.longest = gathered.longest.max(outcome.time);
    let block = gathered
        .blocks
        .entry((plan.seed - first_seed) / 100)
        .or_default();
    block.report.add(&outcome.report);
    block.split += u64::from(outcome.numbers.get("split").is_some_and(|looks| *looks > 0));
    let mut features: Vec<String> = plan.sides.iter().flat_map(|side| side.features()).collect();
    if plan.burst_bytes > 0 {
        features.push("both write 2 MiB before reading".to_owned());
    }
    gathered.leaving_seeds += u64::from(plan.sides.iter().any(|side| side.leave.is_some()));
    features.sort();
    features.dedup();
    for feature in features {
        *gathered.features.entry(feature).or_default() += 1;
    }
    for (name, number) in &outcome.numbers {
        *gathered.numbers.entry(name.clone()).or_default() += number;
    }
}

/// Prints what was gathered; true when nothing failed.
fn conclude(run: &Run, gathered: &Gathered, seeds: &Range<u64>, wanted_full: u64) -> bool {
    let mut table = Table::new(&["covered", "seeds"]);
    for (feature, count) in &gathered.features {
        table.line(&[feature.clone(), count.to_string()]);
    }
    println!("\n{}", table.to_text());
    let mut table = Table::new(&["counted by the programs", "sum"]);
    for (name, number) in &gathered.numbers {
        table.line(&[name.clone(), number.to_string()]);
    }
    println!("{}", table.to_text());
    let mut failures = gathered.failed.len() as u64;
    if run.library.is_some() {
        let mut all = Report::default();
        let mut split = 0;
        for (
            block,
            Block {
                report,
                split: seen,
            },
        ) in &gathered.blocks
        {
            all.add(report);
            split += seen;
            let first = seeds.start + block * 100;
            let last = (first + 100).min(seeds.end);
            if last - first < LEAST_BLOCK {
                continue;
            }
            for counter in WANTED_COUNTERS {
                if report.sum(counter) == 0 {
                    println!("FAIL seeds {first}..{last}: the shim reports no {counter}");
                    failures += 1;
                }
            }
            if *seen == 0 {
                println!(
                    "FAIL seeds {first}..{last}: never one direction by ring and the other one by kernel"
                );
                failures += 1;
            }
        }
        println!("reported by the shim: {}\n", all.to_text());
        println!(
            "{} seeds switched at least {WANTED_SWITCHES} times, {} of them with a full stream each way; in {split} one \
             direction moved by ring while the other one moved by kernel; {} stayed on the kernel because two processes \
             share a socket before its upgrade, or an epoll set",
            gathered.passed, gathered.full, gathered.stayed
        );
        let total =
            gathered.passed + gathered.stayed + gathered.left_behind + gathered.failed.len() as u64;
        if wanted_full > gathered.full {
            println!("FAIL: {wanted_full} seeds were to switch often with a full stream each way");
            failures += 1;
        }
        if total >= 100 && gathered.stayed * 100 > total * MOST_STAYED_PERCENT {
            println!("FAIL: more than {MOST_STAYED_PERCENT} % stayed on the kernel");
            failures += 1;
        }
        if gathered.left_behind > 0 {
            println!(
                "{} of {} leaving seeds were reset as left_behind",
                gathered.left_behind, gathered.leaving_seeds
            );
            if gathered.left_behind * 10 > gathered.leaving_seeds {
                println!("FAIL: that is more than one in ten");
                failures += 1;
            }
        }
    }
    println!("longest seed {:.1} s", gathered.longest.as_secs_f64());
    if !gathered.failed.is_empty() {
        println!("failed seeds: {:?}", gathered.failed);
    }
    println!(
        "{} passed, {failures} failed",
        gathered.passed + gathered.stayed + gathered.left_behind
    );
    failures == 0 && gathered.passed > 0
}
