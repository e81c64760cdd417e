//! memcached with four threads, a client of our own and libmemcached's load maker.

use super::scripts;
use super::stage::{Stage, Way};
use std::process::Command;

/// Values of many sizes over several connections at once; then memcslap's load.
pub fn check(stage: &mut Stage) -> Result<(), String> {
    let port = stage.free_port()?;
    let mut command = Command::new("memcached");
    command.args([
        "-t",
        "4",
        "-l",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        "0",
        "-m",
        "256",
        "-u",
        "root",
    ]);
    stage.server("memcached", &mut command, port)?;

    let operations = stage.scaled(1000).to_string();
    let mut command = scripts::python(stage, "memcached_client.py")?;
    command.args([&port.to_string(), "8", &operations]);
    let output = stage
        .client("memcached_client", &mut command, b"")?
        .good("memcached_client.py")?;
    stage.answer("values", output.text());
    stage.proves("eight threads of values", &output, Way::Ring(75));

    for test in ["set", "get"] {
        let mut command = Command::new("memcslap");
        command.arg(format!("--servers=127.0.0.1:{port}"));
        command.args([
            "--concurrency=8",
            &format!("--execute-number={}", stage.scaled(500)),
            &format!("--test={test}"),
        ]);
        let output = stage
            .client("memcslap", &mut command, b"")?
            .good("memcslap")?;
        stage.note(format!(
            "memcslap {test}: {}",
            output
                .text()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        ));
    }
    let mut command = Command::new("memcstat");
    command.arg(format!("--servers=127.0.0.1:{port}"));
    let output = stage
        .client("memcstat", &mut command, b"")?
        .good("memcstat")?;
    let text = output.text();
    let mut counts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            ["cmd_set:", "get_hits:", "threads:"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    counts.sort_unstable();
    stage.answer("the server's counts", counts.join(" "));
    Ok(())
}
