//! More connections than slots: all work, quiet ones give theirs up to busy ones, and no byte is lost on the way
//! (CHANNEL.md "Life of a slot").

use crate::built::{Program, library};
use crate::ending::{Report, reports, run};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs in which the machine may have been too busy for anybody to find anybody: probes that cost too much CPU time
/// silence discovery for longer than a run lasts (TRUST.md row 14). Such a run must say so itself, or a thread beside it
/// that wanted to run every few milliseconds must have waited for long; and it must carry every byte.
const ATTEMPTS: u32 = 20;

/// Far more than 16 of 64 connections could have without evictions.
const LEAST_PERCENT: u32 = 50;

/// What no thread waits for a processor on a machine that is not too busy.
const WAIT_MAX: Duration = Duration::from_millis(100);

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
            let (output, longest_wait) = beside_a_watcher(|| run(&mut command));
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
                shown || reports.iter().any(is_of_a_busy_machine) || longest_wait > WAIT_MAX,
                "{receiving}: quiet connections kept their slots, and not because nobody found anybody; nobody waited \
                 longer than {longest_wait:?}: {output} {reports:?}"
            );
            seen.push((output, longest_wait, reports));
            shown
        });
        assert!(shown, "{receiving}: {seen:?}");
    }
}

/// What `run` returns, and the longest time that a thread had to wait meanwhile which wanted to run every two milliseconds.
fn beside_a_watcher<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    /// Also where `run` panics: the scope waits for the watcher.
    struct End<'flag>(&'flag AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !has_ended.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(Duration::from_millis(2));
                longest = longest.max(before.elapsed());
            }
            longest
        });
        let end = End(&has_ended);
        let result = run();
        drop(end);
        (result, watcher.join().expect("the watcher"))
    })
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
