//! redis-server with redis-cli and redis-benchmark.

use super::proof::Way;
use super::stage::{Stage, append, fingerprint, printable};
use std::process::Command;
use std::time::{Duration, Instant};

/// Three programs have subscribed long before.
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(90);

fn cli(port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(arguments);
    command
}

fn start(stage: &mut Stage) -> Result<u16, String> {
    let port = stage.reserve_port()?;
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.args([
        "--daemonize",
        "no",
        "--enable-debug-command",
        "yes",
        "--dir",
    ]);
    command.arg(stage.directory());
    stage.server("redis-server", &mut command, port)?;
    Ok(port)
}

/// SET and GET of random values, one after the other, pipelined, and one of 8 MiB; the data set's own digest.
pub fn values(stage: &mut Stage) -> Result<(), String> {
    let port = start(stage)?;
    // Not scaled: redis-cli begins with 170 KB of documentation, and these are the bytes that are weighed against it.
    let keys = 500;
    let mut commands = Vec::new();
    for key in 0..keys {
        let length = [1, 40, 300, 5000, 60_000][(key % 5) as usize];
        append(&mut commands, format_args!("SET key:{key} \""));
        commands.extend_from_slice(&printable(key, length));
        append(&mut commands, format_args!("\"\n"));
    }
    for key in (0..keys).rev() {
        append(&mut commands, format_args!("GET key:{key}\n"));
    }
    let mut command = cli(port, &[]);
    let output = stage
        .client("redis-cli", &mut command, &commands)?
        .good("redis-cli")?;
    stage.answer("SET and GET", fingerprint(&output.bytes));
    let label = "SET and GET, one after the other";
    stage.proves_ring(label, &output, 90, &mut command, &commands)?;

    let mut protocol = Vec::new();
    let pipelined = stage.scaled(20_000);
    for key in 0..pipelined {
        let value = printable(key + 1_000_000, 10 + (key % 200) as usize);
        append(
            &mut protocol,
            format_args!(
                "*3\r\n$3\r\nSET\r\n${}\r\npipe:{key}\r\n",
                format!("pipe:{key}").len()
            ),
        );
        append(&mut protocol, format_args!("${}\r\n", value.len()));
        protocol.extend_from_slice(&value);
        protocol.extend_from_slice(b"\r\n");
    }
    let output = stage
        .client("redis-cli-pipe", &mut cli(port, &["--pipe"]), &protocol)?
        .good("redis-cli --pipe")?;
    let last = output.text().lines().last().unwrap_or("").to_owned();
    stage.answer("pipelined SETs", last);

    let big = printable(7, 8 << 20);
    let output = stage
        .client("redis-cli-big", &mut cli(port, &["-x", "SET", "big"]), &big)?
        .good("redis-cli -x")?;
    stage.answer("8 MiB SET", output.text());
    // One write of 8 MiB and a short answer: nothing can move while that write is inside the kernel, but the answer may.
    stage.proves("8 MiB SET", &output, Way::Either);
    let output = stage
        .client("redis-cli-get", &mut cli(port, &["GET", "big"]), b"")?
        .good("redis-cli GET")?;
    stage.answer("8 MiB GET", fingerprint(&output.bytes));
    let mut command = cli(port, &[]);
    let input = b"GET big\n".repeat(20);
    let output = stage
        .client("redis-cli-gets", &mut command, &input)?
        .good("redis-cli GET")?;
    stage.answer("8 MiB GET 20 times", fingerprint(&output.bytes));
    stage.proves_ring("8 MiB GET 20 times", &output, 60, &mut command, &input)?;
    let output = stage
        .client(
            "redis-cli-digest",
            &mut cli(port, &[]),
            b"DBSIZE\nDEBUG DIGEST\n",
        )?
        .good("redis-cli")?;
    stage.answer("data set", output.text());
    Ok(())
}

/// Publishers and subscribers: every message at every subscriber, in order.
pub fn publish(stage: &mut Stage) -> Result<(), String> {
    let port = start(stage)?;
    let messages = 2000;
    let subscribers: Vec<_> = (0..3)
        .map(|index| {
            let name = format!("subscriber-{index}");
            stage.start_client(&name, &mut cli(port, &["SUBSCRIBE", "news"]), b"")
        })
        .collect::<Result<_, String>>()?;
    let count = |stage: &Stage| -> Result<u64, String> {
        let output = stage
            .client("numsub", &mut cli(port, &["PUBSUB", "NUMSUB", "news"]), b"")?
            .good("redis-cli")?;
        Ok(output
            .text()
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok())
            .unwrap_or(0))
    };
    let started = Instant::now();
    while count(stage)? != subscribers.len() as u64 {
        if started.elapsed() > SUBSCRIBED_LIMIT {
            return Err("the subscribers do not come to the server".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let text_of = |index: u64| printable(index, 1 + (index % 900) as usize);
    let mut commands = Vec::new();
    for index in 0..messages {
        append(&mut commands, format_args!("PUBLISH news \"{index}:"));
        commands.extend_from_slice(&text_of(index));
        // Bytes of the publisher's own, beside what its start costs.
        append(&mut commands, format_args!("\"\nECHO \""));
        commands.extend_from_slice(&printable(index, 3000));
        append(&mut commands, format_args!("\"\n"));
    }
    let mut publisher = cli(port, &[]);
    let output = stage
        .client("publisher", &mut publisher, &commands)?
        .good("publisher")?;
    stage.answer("publisher", fingerprint(&output.bytes));
    // redis-cli begins by asking for the documentation of all commands, which is 170 KB in one exchange.
    // What is published once more must not come to the subscribers.
    let to_nobody = String::from_utf8_lossy(&commands).replace("PUBLISH news ", "PUBLISH void ");
    stage.proves_ring(
        "publisher",
        &output,
        90,
        &mut publisher,
        to_nobody.as_bytes(),
    )?;
    // Who is killed loses what the server still holds for it, and a subscriber that is ended what it has not printed.
    let last = format!("\n{}:", messages - 1).into_bytes();
    let last = [last, text_of(messages - 1), b"\n".to_vec()].concat();
    for subscriber in &subscribers {
        subscriber.wait_for(&last)?;
    }
    // The server ends the connections; redis-cli then says so and tries again until it is ended.
    let mut killed = cli(port, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    stage
        .client("kill", &mut killed, b"")?
        .good("CLIENT KILL")?;
    for (index, subscriber) in subscribers.into_iter().enumerate() {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let output = subscriber.interrupt(libc::SIGTERM)?;
        let text = output.text();
        let kept: Vec<&str> = text
            .split('\n')
            .filter(|line| line.contains(':'))
            .take(messages as usize)
            .collect();
        stage.answer(
            &format!("subscriber {index}"),
            fingerprint(kept.join("\n").as_bytes()),
        );
        stage.answer(
            &format!("messages at subscriber {index}"),
            kept.len().to_string(),
        );
    }
    Ok(())
}

/// redis-benchmark with 1 and 50 connections, plain and pipelined; the server's own count of commands.
pub fn benchmark(stage: &mut Stage) -> Result<(), String> {
    let port = start(stage)?;
    for (connections, requests, pipeline) in [(1, 10_000, 1), (50, 100_000, 1), (50, 1_500_000, 16)]
    {
        let requests = stage.scaled(requests);
        let mut command = Command::new("redis-benchmark");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-q",
            "-t",
            "set,get,lpush,mset",
            "-d",
            "100",
        ]);
        command.args([
            "-c",
            &connections.to_string(),
            "-n",
            &requests.to_string(),
            "-P",
            &pipeline.to_string(),
        ]);
        let label = format!("{connections} connections, pipeline {pipeline}");
        stage
            .client("reset", &mut cli(port, &["CONFIG", "RESETSTAT"]), b"")?
            .good("redis-cli")?;
        let output = stage
            .client("redis-benchmark", &mut command, b"")?
            .good("redis-benchmark")?;
        let text = output.text().replace('\r', "\n");
        let rates: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("requests per second"))
            .collect();
        stage.answer(&label, format!("{} tests", rates.len()));
        let get = rates
            .iter()
            .find(|line| line.trim_start().starts_with("GET"))
            .copied()
            .unwrap_or("");
        stage.note(format!(
            "{label}: {}",
            get.split(',').next().unwrap_or("").trim()
        ));
        let info = stage
            .client("info", &mut cli(port, &["INFO", "commandstats"]), b"")?
            .good("redis-cli")?;
        let text = info.text();
        let mut counts: Vec<String> = text
            .lines()
            .filter(|line| {
                ["set", "get", "lpush", "mset"]
                    .iter()
                    .any(|name| line.starts_with(&format!("cmdstat_{name}:")))
            })
            .filter_map(|line| line.split(',').next().map(|part| part.trim().to_owned()))
            .collect();
        counts.sort();
        stage.answer(&format!("{label}: commands"), counts.join(" "));
        // Pipelined MSETs are messages of twenty kilobytes, which outgrow their first ring.
        let least_percent = if pipeline == 1 { 95 } else { 80 };
        stage.proves_ring(&label, &output, least_percent, &mut command, b"")?;
    }
    Ok(())
}
