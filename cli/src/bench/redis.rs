//! One run of redis-server and redis-benchmark, as Debian packages them.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reserved_port::ReservedPort;

use super::child::{Child, installed};
use super::plan::{Measured, Step};
use super::side::Variables;

/// Longest time that everything but the measuring may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time until the server, which listens, answers its first request.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two tries to reach the server while it starts.
const TRY_EVERY: Duration = Duration::from_millis(10);
/// Requests by which the rate is first guessed; most of their time is the start of the connections, and with the library
/// their acceleration.
const FIRST_REQUESTS: u64 = 2000;
/// Part of a run by which the rate is found after that; it warms the server up as well.
const CALIBRATION_SHARE: f64 = 0.25;
/// Fewest requests of a run for each connection, so that what they exchange before they are accelerated does not count;
/// fewest and most requests of a run.
const REQUESTS_PER_CONNECTION: u64 = 800;
const REQUESTS: (u64, u64) = (2000, 20_000_000);

/// The programs.
pub struct Redis {
    server: OsString,
    client: OsString,
}

impl Redis {
    /// Finds them.
    pub fn find() -> Result<Redis> {
        Ok(Redis {
            server: installed("redis-server", "redis-server")?,
            client: installed("redis-benchmark", "redis-tools")?,
        })
    }

    /// Runs both ends once. `calibration` is the environment of the client that finds the rate.
    pub fn run(
        &self,
        step: &Step<'_>,
        connections: u32,
        calibration: &Variables,
    ) -> Result<Measured> {
        let deadline = Instant::now() + PATIENCE + step.duration * 4;
        let reserved = ReservedPort::find().context("no port for the server")?;
        let port = reserved.number();
        let (server_cpu, client_cpu) = step.cpus;
        let server = Child::start(
            &self.server,
            &server_arguments(port, step),
            server_cpu,
            step.variables,
        )?;
        prepare(port, deadline).context("redis-server does not answer")?;

        let ask = |requests, variables| -> Result<(Answer, f64)> {
            let arguments = client_arguments(port, connections, requests);
            let client =
                Child::start(&self.client, &arguments, client_cpu, variables)?.finish(deadline)?;
            Ok((Answer::of(&client.lines)?, client.cpu_seconds))
        };
        let requests_in = |rate: f64, share: f64| {
            let wanted = (rate * step.duration.as_secs_f64() * share) as u64;
            wanted.clamp(REQUESTS.0, REQUESTS.1)
        };
        let fewest = u64::from(connections) * REQUESTS_PER_CONNECTION;
        let (guess, _) = ask(FIRST_REQUESTS, calibration)?;
        // Twice, for a guess that was far too low makes the next one short as well.
        let (better, _) = ask(
            requests_in(guess.per_second, CALIBRATION_SHARE),
            calibration,
        )?;
        let (trial, _) = ask(
            requests_in(better.per_second, CALIBRATION_SHARE),
            calibration,
        )?;
        let requests = requests_in(trial.per_second, 1.0).max(fewest);
        let cpu_before = server.cpu_seconds()?;
        let (answer, client_cpu_seconds) = ask(requests, step.variables)?;
        let server_cpu_seconds = server.cpu_seconds()? - cpu_before;
        server.terminate(deadline)?;
        Ok(Measured {
            exchanges: requests,
            seconds: requests as f64 / answer.per_second,
            p50_ns: answer.p50_ns,
            p99_ns: answer.p99_ns,
            p999_ns: None,
            client_cpu_seconds,
            server_cpu_seconds,
            latencies: None,
            reasons: [None, None],
        })
    }
}

/// What redis-benchmark says.
#[derive(Debug, PartialEq)]
struct Answer {
    per_second: f64,
    p50_ns: u64,
    p99_ns: u64,
}

impl Answer {
    /// Of a line of titles and a line of values, each in quotes, with commas between (redis-benchmark --csv, 6.2 on).
    fn of(lines: &[String]) -> Result<Answer> {
        let cells = |line: &String| -> Vec<String> {
            line.split(',')
                .map(|cell| cell.trim().trim_matches('"').to_string())
                .collect()
        };
        let titles = lines
            .iter()
            .position(|line| line.starts_with("\"test\""))
            .context("no titles")?;
        let (titles, values) = lines
            .get(titles)
            .zip(lines.get(titles + 1))
            .context("no values")?;
        let (titles, values) = (cells(titles), cells(values));
        let value = |title: &str| -> Result<f64> {
            let place = titles
                .iter()
                .position(|own| own == title)
                .with_context(|| format!("no {title}"))?;
            let value = values.get(place).with_context(|| format!("no {title}"))?;
            value
                .parse()
                .with_context(|| format!("{title} is {value:?}"))
        };
        let nanoseconds = |title| -> Result<u64> { Ok((value(title)? * 1e6).round() as u64) };
        let answer = Answer {
            per_second: value("rps")?,
            p50_ns: nanoseconds("p50_latency_ms")?,
            p99_ns: nanoseconds("p99_latency_ms")?,
        };
        if !(answer.per_second.is_finite() && answer.per_second > 0.0) {
            bail!("redis-benchmark measured no requests");
        }
        Ok(answer)
    }
}

fn server_arguments(port: u16, step: &Step<'_>) -> Vec<OsString> {
    let port = port.to_string();
    let words = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--loglevel",
        "warning",
        "--dir",
    ];
    let mut arguments: Vec<OsString> = words.map(OsString::from).into();
    arguments.push(step.folder.into());
    arguments
}

fn client_arguments(port: u16, connections: u32, requests: u64) -> Vec<OsString> {
    let (port, connections, requests) = (
        port.to_string(),
        connections.to_string(),
        requests.to_string(),
    );
    [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-c",
        &connections,
        "-n",
        &requests,
        "-t",
        "get",
        "--csv",
    ]
    .map(OsString::from)
    .into()
}

/// Waits until the server answers, and gives it the key that will be read.
fn prepare(port: u16, deadline: Instant) -> Result<()> {
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(FIRST_ANSWER_PATIENCE))?;
                stream.write_all(b"SET key:__rand_int__ xxx\r\n")?;
                let mut answer = [0; 5];
                stream.read_exact(&mut answer)?;
                return if answer == *b"+OK\r\n" {
                    Ok(())
                } else {
                    bail!("it refuses a SET")
                };
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(TRY_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_by_its_titles() {
        let lines: Vec<String> = [
            "some warning",
            r#""test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms""#,
            r#""GET","47846.89","0.667","0.168","0.551","1.183","4.215","6.287""#,
        ]
        .map(String::from)
        .into();
        let answer = Answer {
            per_second: 47846.89,
            p50_ns: 551_000,
            p99_ns: 4_215_000,
        };
        assert_eq!(Answer::of(&lines).expect("good"), answer);
        assert!(Answer::of(&lines[..2]).is_err());
        assert!(Answer::of(&[lines[1].clone(), "\"GET\",\"inf\"".into()]).is_err());
    }
}
