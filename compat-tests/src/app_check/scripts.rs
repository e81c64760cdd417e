//! The Python programs of `compat-tests/apps`, built into this program so that it needs no path to the sources.

use super::proof::Way;
use super::stage::{Output, Stage, fingerprint, printable};
use std::process::Command;

const SCRIPTS: &[(&str, &str)] = &[
    ("echo_server.py", include_str!("../../apps/echo_server.py")),
    ("echo_client.py", include_str!("../../apps/echo_client.py")),
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

/// `python3 -m http.server` and curl, as everybody types it: HTTP/1.0, so that each request has a connection of its own;
/// and with connections that are kept alive (`--protocol` is of Python 3.11).
pub fn http_server(stage: &mut Stage) -> Result<(), String> {
    let sizes = [
        ("small", 1 << 10),
        ("medium", 1 << 16),
        ("large", 1 << 20),
        ("huge", 1 << 26),
    ];
    for (seed, (name, bytes)) in (3..).zip(sizes) {
        stage.file(&format!("files/{name}"), &printable(seed, bytes))?;
    }
    let port = serve_files(stage, &[])?;
    for (file, times) in [("small", 60), ("medium", 60), ("large", 30), ("huge", 2)] {
        let how = "one request each";
        let (label, output) = fetch(stage, &mut curl(port, file, times), (file, times, how))?;
        match file {
            "small" | "medium" => stage.proves(&label, &output, Way::KernelUnlessEager),
            // A stream of one direction, whose ends need some megabytes of it to meet. On evidence they may never: the last
            // chance is at 16 MiB, and a sender that is 8 MiB ahead of its reader comes too early for it.
            // At full speed either may be, also for connections that move at once: such a stream comes on the ring where
            // its writer finds it empty, which may be never. "large" shows the ring's share below.
            "huge" => stage.proves(&label, &output, Way::Either),
            _ => {}
        }
    }
    let port = serve_files(stage, &["--protocol", "HTTP/1.1"])?;
    let times = 100;
    for (file, least_percent) in [("small", 90), ("medium", 90), ("large", 80)] {
        let mut command = curl(port, file, times);
        let (label, output) = fetch(stage, &mut command, (file, times, "kept alive"))?;
        stage.proves_ring(&label, &output, least_percent, &mut command, b"")?;
    }
    Ok(())
}

/// Starts the file server; its port.
fn serve_files(stage: &mut Stage, arguments: &[&str]) -> Result<u16, String> {
    let port = stage.reserve_port()?;
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
    command.arg(stage.directory().join("files"));
    command.args(arguments).arg(port.to_string());
    stage.server("http.server", &mut command, port)?;
    Ok(port)
}

/// Gets a file so many times, one after the other.
fn curl(port: u16, file: &str, times: usize) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    for _ in 0..times {
        command.arg(format!("http://127.0.0.1:{port}/{file}"));
    }
    command
}

/// Runs curl and books what it got; a label, and what it left.
fn fetch(
    stage: &mut Stage,
    command: &mut Command,
    (file, times, how): (&str, usize, &str),
) -> Result<(String, Output), String> {
    let label = format!("{file} file {times} times, {how}");
    let output = stage.client("curl", command, b"")?.good("curl")?;
    stage.answer(&label, fingerprint(&output.bytes));
    Ok((label, output))
}

fn echo_load(stage: &mut Stage, port: u16, label: &str, connections: u64) -> Result<(), String> {
    let mut command = python(stage, "echo_client.py")?;
    command.args([&port.to_string(), &connections.to_string(), "400", "300000"]);
    let output = stage
        .client("echo_client", &mut command, b"")?
        .good("echo_client.py")?;
    stage.answer(label, output.text());
    // Messages of up to 300 KB: where a reader does not come round within 10 ms, as on a busy machine, its stream goes by
    // the kernel for a while.
    stage.proves_ring(label, &output, 80, &mut command, b"")
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
    let relay_port = stage.reserve_port()?;
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
