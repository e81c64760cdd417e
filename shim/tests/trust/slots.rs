//! More connections than slots: all work, quiet ones give theirs up to busy ones, and no byte is lost on the way
//! (CHANNEL.md "Life of a slot").

use crate::built::{Program, library};
use crate::ending::{Report, reports, run};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs in which the machine may have been too busy for anybody to find anybody: probes that cost too much CPU time
/// silence discovery for longer than a run lasts (TRUST.md row 14), and what happens within milliseconds does not where
/// processors are taken away. Such a run must say so itself, or threads beside it that wanted to run every few
/// milliseconds must have waited for long, or often; and it must carry every byte.
const ATTEMPTS: u32 = 20;

/// Far more than 16 of 64 connections could have without evictions.
const LEAST_PERCENT: u32 = 50;

/// What no thread waits for its processor on a machine that is not too busy.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Shorter waits than this spoil nothing.
const WAIT_LEAST: Duration = Duration::from_millis(20);
/// Of a run's time, what such waits come to on a machine that is too busy.
const WAITS_MOST_PERCENT: u32 = 3;

#[test]
fn connections_beyond_the_slots_work_and_the_busy_ones_get_the_slots() {
    let program = Program::of("trust/slots.c");
    for receiving in ["blocking", "polling"] {
        let file = program.0.with_extension(format!("{receiving}.report"));
        let mut seen = Vec::new();
        let shown = (1..=ATTEMPTS).any(|seed| {
            let mut command = Command::new(&program.0);
            command
                .args([&seed.to_string(), "64", "12", "3500", receiving])
                .env("LD_PRELOAD", library())
                .env("AXIO_SLOTS", "16")
                .env("AXIO_REPORT", &file);
            let began = Instant::now();
            let (output, waits) = beside_watchers(|| run(&mut command));
            let is_busy_machine = waits.longest > WAIT_MAX
                || waits.all > began.elapsed() * WAITS_MOST_PERCENT / 100;
            let said = |name: &str| -> u32 {
                let mut words = output.split_whitespace().skip_while(|word| *word != name);
                let number = words.nth(1).expect(name);
                number.parse().expect("a number")
            };
            let reports = reports(&file);
            assert_eq!(reports.len(), 2, "{reports:?}");
            for report in &reports {
                assert_eq!(report.counter("internal_errors"), 0, "{report:?}");
                assert!(report.counter("channels_made") <= 1, "{report:?}");
            }
            let shown = said("ring_percent") > LEAST_PERCENT
                && said("evicted") > 0
                && reports.iter().all(has_evicted);
            assert!(
                shown || reports.iter().any(is_of_a_busy_machine) || is_busy_machine,
                "{receiving}: quiet connections kept their slots, and not because nobody found anybody, nor for want of \
                 processors: {waits:?}: {output} {reports:?}"
            );
            seen.push((output, waits, reports));
            shown
        });
        assert!(shown, "{receiving}: {seen:?}");
    }
}

/// How long threads had to wait that wanted to run every two milliseconds.
#[derive(Debug, Default)]
struct Waits {
    longest: Duration,
    /// The sum of those that were longer than [`WAIT_LEAST`].
    all: Duration,
}

impl Waits {
    fn add(&mut self, other: &Waits) {
        self.longest = self.longest.max(other.longest);
        self.all += other.all;
    }
}

/// What `run` returns, and how long threads had to wait meanwhile, one on each processor: what is taken from one of them
/// is not seen on another.
fn beside_watchers<T>(run: impl FnOnce() -> T) -> (T, Waits) {
    /// Also where `run` panics: the scope waits for the watchers.
    struct End<'flag>(&'flag AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let has_ended = AtomicBool::new(false);
    let allowed = sched_getaffinity(None).expect("the processors of this process");
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|processor| allowed.is_set(*processor))
            .map(|processor| {
                let has_ended = &has_ended;
                scope.spawn(move || watch(processor, has_ended))
            })
            .collect();
        let end = End(&has_ended);
        let result = run();
        drop(end);
        let mut waits = Waits::default();
        for watcher in watchers {
            waits.add(&watcher.join().expect("a watcher"));
        }
        (result, waits)
    })
}

fn watch(processor: usize, has_ended: &AtomicBool) -> Waits {
    const NAP: Duration = Duration::from_millis(2);
    let mut only = CpuSet::new();
    only.set(processor);
    // One that has been taken away meanwhile is not watched.
    let _ = sched_setaffinity(None, &only);
    let mut waits = Waits::default();
    while !has_ended.load(Ordering::Relaxed) {
        let before = Instant::now();
        std::thread::sleep(NAP);
        let longest = before.elapsed().saturating_sub(NAP);
        let all = if longest > WAIT_LEAST {
            longest
        } else {
            Duration::ZERO
        };
        waits.add(&Waits { longest, all });
    }
    waits
}

fn has_evicted(report: &Report) -> bool {
    report.counter("evictions") > 0 && report.counter("claims_bound") > 16
}

/// Connections whose ends did not find each other at their chances, or not in time. Where discovery is not silenced there
/// are none.
fn is_of_a_busy_machine(report: &Report) -> bool {
    ["peer_has_no_axio", "timed_out"]
        .iter()
        .any(|reason| report.0.contains(&format!("\"{reason}\":")))
}
