//! The contract of `axio.h`, asked by a C program of the library under each configuration that changes the answers.

mod built;

use built::{Program, library};
use std::process::Command;

#[test]
fn the_requests_answer_as_the_header_says() {
    let (program, library) = (Program::of("opt_in_contract.c"), library());
    for (configuration, variable, value) in [
        ("on", "AXIO", "on"),
        ("optin", "AXIO", "optin"),
        ("rule", "AXIO_RULES", "kernel * * *:*"),
        ("off", "AXIO", "off"),
    ] {
        let output = Command::new(&program.0)
            .arg(configuration)
            .env_clear()
            .env("LD_PRELOAD", &library)
            .env(variable, value)
            .output()
            .expect("the program runs");
        assert!(
            output.status.success(),
            "{configuration}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
