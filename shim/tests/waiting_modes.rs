//! O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO take effect at the next call, whoever changes them and however: the same text as on
//! the bare kernel.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;
use watched::{reported, run};

#[test]
fn calls_wait_as_the_socket_says_now() {
    let (program, library) = (Program::of("waiting_modes.c"), library());
    let kernel = run(&mut Command::new(&program.0), "bare kernel");
    let report = program.0.with_extension("report");
    let here = run(
        Command::new(&program.0)
            .env("LD_PRELOAD", &library)
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        "with the library",
    );
    let (calls, errors) = (
        reported(&report, "ring_calls"),
        reported(&report, "internal_errors"),
    );
    let _ = std::fs::remove_file(&report);
    assert_eq!(here, kernel);
    assert!(calls > 0, "no ring was used");
    assert_eq!(errors, 0);
}
