//! memcached with four threads, a client of our own and libmemcached's load maker.

use super::scripts;
use super::stage::Stage;
use std::process::Command;

/// Values of many sizes over several connections at once; then memcslap's load.
pub fn check(stage: &mut Stage) -> Result<(), String> {
    let port = stage.reserve_port()?;
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

    // Some ten operations of each connection pass before it is where it stays.
    let operations = stage.scaled(5000).to_string();
    let mut values = scripts::python(stage, "memcached_client.py")?;
    values.args([&port.to_string(), "8", &operations]);
    let of_values = stage
        .client("memcached_client", &mut values, b"")?
        .good("memcached_client.py")?;
    stage.answer("values", of_values.text());

    let mut loads = Vec::new();
    // Eight connections of a hundred sets each are short: half of that goes by ring, of gets nine tenths.
    for (test, least_percent) in [("set", 20), ("get", 60)] {
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
        loads.push((format!("memcslap {test}"), output, least_percent, command));
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
    // Another try would be counted there, so nothing is proven before.
    for (label, output, least_percent, mut command) in loads {
        stage.proves_ring(&label, &output, least_percent, &mut command, b"")?;
    }
    stage.proves_ring("eight threads of values", &of_values, 95, &mut values, b"")?;
    Ok(())
}
