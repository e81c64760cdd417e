//! More connections than slots: all work, quiet ones give theirs up to busy ones, and no byte is lost on the way
//! (CHANNEL.md "Life of a slot").

use crate::built::{Program, library};
use crate::ending::{Report, reports, run};
use std::process::Command;

/// Runs in which the machine may have been too busy for anybody to find anybody: probes that cost too much CPU time
/// silence discovery for longer than a run lasts (TRUST.md row 14). Such a run must say so itself, and it must carry every
/// byte.
const ATTEMPTS: u32 = 4;

/// Far more than 16 of 64 connections could have without evictions.
const LEAST_PERCENT: u32 = 50;

#[test]
fn connections_beyond_the_slots_work_and_the_busy_ones_get_the_slots() {
    let program = Program::of("trust/slots.c");
    for receiving in ["blocking", "polling"] {
        let file = program.0.with_extension(format!("{receiving}.report"));
        let mut seen = Vec::new();
        let shown = (1..=ATTEMPTS).any(|seed| {
            let output = run(Command::new(&program.0)
                .args([&seed.to_string(), "64", "12", "3500", receiving])
                .env("LD_PRELOAD", library())
                .env("AXIO_SLOTS", "16")
                .env("AXIO_REPORT", &file));
            let percent = output.trim().rsplit(' ').next().expect("a number");
            let percent: u32 = percent.parse().expect("a number");
            let reports = reports(&file);
            assert_eq!(reports.len(), 2, "{reports:?}");
            for report in &reports {
                assert_eq!(report.counter("internal_errors"), 0, "{report:?}");
                assert!(report.counter("channels_made") <= 1, "{report:?}");
            }
            let shown = percent > LEAST_PERCENT && reports.iter().all(has_evicted);
            assert!(
                shown || reports.iter().any(is_of_a_busy_machine),
                "{receiving}: quiet connections kept their slots, and not because nobody found anybody: \
                 {output} {reports:?}"
            );
            seen.push((output, reports));
            shown
        });
        assert!(shown, "{receiving}: {seen:?}");
    }
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
