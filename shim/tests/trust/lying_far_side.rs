//! A far side that lies: one process scribbles over what its side shares, while bytes and bells go on. The victim answers
//! with an error on that connection or goes on; nobody else notices (TRUST.md, DESIGN.md D7).

use crate::built::{Program, library};
use crate::ending::{reports, run};
use std::process::Command;

const LIARS: u64 = 160;

#[test]
fn a_far_side_that_scribbles_over_its_memory_harms_its_own_connections_only() {
    let program = Program::of("trust/lying_far_side.c");
    let file = program.0.with_extension("report");
    let output = run(Command::new(&program.0)
        .args(["0", &LIARS.to_string()])
        .env("LD_PRELOAD", library())
        .env("AXIO_UPGRADE", "eager")
        .env("AXIO_REPORT", &file));
    let said = |name: &str| -> u64 {
        let mut words = output.split_whitespace().skip_while(|word| *word != name);
        let number = words.nth(1).expect(name);
        number.parse().expect("a number")
    };
    assert!(said("liars") > LIARS, "{output}");
    // Most of their connections were on rings, or nothing was tried.
    assert!(said("accelerated") > 2 * LIARS, "{output}");
    assert!(said("scribbles") > 10_000, "{output}");
    assert!(said("resets") > LIARS, "{output}");
    assert!(said("honest") > 1000, "{output}");
    assert!(said("ring_bytes") > 1_000_000, "{output}");
    // Hundreds of lies stood there at once, and the victim slept.
    assert!(said("silent_percent") < 50, "{output}");
    // The victim says so itself, and nothing went wrong in it.
    let reports = reports(&file);
    let victim = reports
        .iter()
        .find(|report| report.counter("sockets_seen") > LIARS)
        .expect("the victim's report");
    assert!(victim.counter("peers_misbehaved") > LIARS / 8, "{victim:?}");
    assert_eq!(victim.counter("internal_errors"), 0, "{victim:?}");
}
