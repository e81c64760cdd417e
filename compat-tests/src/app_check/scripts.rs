//! The Python programs of `compat-tests/apps`, built into this program so that it needs no path to the sources.

use super::stage::{Stage, Way, fingerprint, printable};
use std::process::Command;

const SCRIPTS: &[(&str, &str)] = &[
    ("echo_server.py", include_str!("../../apps/echo_server.py")),
    ("echo_client.py", include_str!("../../apps/echo_client.py")),
    ("http_server.py", include_str!("../../apps/http_server.py")),
    (
        "memcached_client.py",
        include_str!("../../apps/memcached_client.py"),
    ),
];

/// Debian's own Python with one of the scripts.
pub fn python(stage: &Stage, name: &str) -> Result<Command, String> {
    let script = SCRIPTS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("no script {name}"))?;
    let path = stage.file(name, script.1.as_bytes())?;
    let mut command = Command::new("/usr/bin/python3");
    command.arg(path);
    Ok(command)
}

/// The standard library's file server and curl.
pub fn http_server(stage: &mut Stage) -> Result<(), String> {
    stage.file("files/small", &printable(3, 1 << 10))?;
    stage.file("files/large", &printable(4, 1 << 20))?;
    let mut command = python(stage, "http_server.py")?;
    command.arg(stage.directory().join("files"));
    let port = stage.server_with_port("http_server", &mut command)?;
    for (file, times) in [("small", 60), ("large", 30)] {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
        for _ in 0..times {
            command.arg(format!("http://127.0.0.1:{port}/{file}"));
        }
        let output = stage.client("curl", &mut command, b"")?.good("curl")?;
        let label = format!("curl {file} {times} times");
        stage.answer(&label, fingerprint(&output.bytes));
        stage.proves(&label, &output, Way::Ring(50));
    }
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    command.arg(format!("http://127.0.0.1:{port}/small"));
    let output = stage.client("curl", &mut command, b"")?.good("curl")?;
    stage.answer("curl once", fingerprint(&output.bytes));
    stage.proves("curl once", &output, Way::KernelUnlessEager);
    Ok(())
}

fn echo_load(stage: &mut Stage, port: u16, label: &str, connections: u64) -> Result<(), String> {
    let messages = stage.scaled(400).to_string();
    let mut command = python(stage, "echo_client.py")?;
    command.args([
        &port.to_string(),
        &connections.to_string(),
        &messages,
        "300000",
    ]);
    let output = stage
        .client("echo_client", &mut command, b"")?
        .good("echo_client.py")?;
    stage.answer(label, output.text());
    // Messages of up to 300 KB: where a reader does not come round within 10 ms, as on a busy machine, its stream goes by
    // the kernel for a while.
    stage.proves(label, &output, Way::Ring(40));
    Ok(())
}

/// asyncio on both ends, blocking threads among the clients.
pub fn asyncio(stage: &mut Stage) -> Result<(), String> {
    let mut command = python(stage, "echo_server.py")?;
    let port = stage.server_with_port("echo_server", &mut command)?;
    echo_load(stage, port, "echo over 8 connections", 8)
}

/// A relay that forks for each connection, in front of the echo server; and a file through two of socat's own ends.
pub fn socat(stage: &mut Stage) -> Result<(), String> {
    let mut command = python(stage, "echo_server.py")?;
    let echo_port = stage.server_with_port("echo_server", &mut command)?;
    let relay_port = stage.free_port()?;
    let mut command = Command::new("socat");
    command.arg(format!(
        "TCP-LISTEN:{relay_port},bind=127.0.0.1,reuseaddr,fork,backlog=64"
    ));
    command.arg(format!("TCP:127.0.0.1:{echo_port}"));
    stage.server("socat", &mut command, relay_port)?;
    echo_load(stage, relay_port, "echo through the relay", 6)?;

    let content = printable(9, 3 << 20);
    let mut command = Command::new("socat");
    command.args(["-t", "20", "-", &format!("TCP:127.0.0.1:{relay_port}")]);
    let output = stage
        .client("socat-client", &mut command, &content)?
        .good("socat")?;
    if output.bytes != content {
        return Err(format!(
            "socat sent {} and got {}",
            fingerprint(&content),
            fingerprint(&output.bytes)
        ));
    }
    stage.answer(
        "3 MiB through socat's client and relay",
        fingerprint(&output.bytes),
    );
    Ok(())
}
