//! More connections than slots: all work, quiet ones give theirs up to busy ones, and no byte is lost on the way
//! (CHANNEL.md "Life of a slot").

use crate::built::{Program, library};
use crate::ending::{reports, run};
use std::process::Command;

#[test]
fn connections_beyond_the_slots_work_and_the_busy_ones_get_the_slots() {
    let program = Program::of("trust/slots.c");
    for (seed, receiving) in [("1", "blocking"), ("2", "polling")] {
        let file = program.0.with_extension(format!("{receiving}.report"));
        let output = run(Command::new(&program.0)
            .args([seed, "64", "12", "4000", receiving])
            .env("LD_PRELOAD", library())
            .env("AXIO_SLOTS", "16")
            .env("AXIO_REPORT", &file));
        let percent = output.trim().rsplit(' ').next().expect("a number");
        let percent: u32 = percent.parse().expect("a number");
        // Far more than 16 of 64 connections could have without evictions; a machine with other work is allowed for.
        assert!(percent > 50, "{output}");
        let reports = reports(&file);
        assert_eq!(reports.len(), 2, "{reports:?}");
        for report in reports {
            assert_eq!(report.counter("channels_made"), 1, "{report:?}");
            assert!(report.counter("evictions") > 0, "{report:?}");
            assert!(report.counter("claims_bound") > 16, "{report:?}");
            assert_eq!(report.counter("internal_errors"), 0, "{report:?}");
        }
    }
}
