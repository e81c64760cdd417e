//! One run of nginx and wrk, as Debian packages them: large answers over kept-alive connections.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reserved_port::ReservedPort;

use super::child::{Child, installed};
use super::plan::{Measured, Step};

/// Longest time that everything but the measuring may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two tries to reach the server while it starts.
const TRY_EVERY: Duration = Duration::from_millis(10);
/// Size of the file.
const ANSWER_BYTES: usize = 64 << 10;

/// The programs.
pub struct Nginx {
    server: OsString,
    client: OsString,
}

impl Nginx {
    /// Finds them.
    pub fn find() -> Result<Nginx> {
        Ok(Nginx {
            server: installed("nginx", "nginx-light").or_else(|error| {
                // Debian keeps it where only root's PATH leads.
                let place = std::path::Path::new("/usr/sbin/nginx");
                if place.exists() {
                    Ok(place.into())
                } else {
                    Err(error)
                }
            })?,
            client: installed("wrk", "wrk")?,
        })
    }

    /// Runs both ends once.
    pub fn run(&self, step: &Step<'_>, connections: u32, by_sendfile: bool) -> Result<Measured> {
        // wrk counts in whole seconds.
        let seconds = step.duration.as_secs().max(1);
        let deadline = Instant::now() + PATIENCE + Duration::from_secs(seconds) * 4;
        let reserved = ReservedPort::find().context("no port for the server")?;
        let port = reserved.number();
        let folder = step.folder.display().to_string();
        let file = step.folder.join("nginx.conf");
        std::fs::write(&file, configuration(&folder, port, by_sendfile)).context("nginx.conf")?;
        std::fs::write(step.folder.join("answer"), [b'x'; ANSWER_BYTES]).context("answer")?;
        let (server_cpu, client_cpu) = step.cpus;
        let arguments = ["-p", &folder, "-e", "stderr", "-c"].map(OsString::from);
        let arguments = [&arguments[..], &[file.into_os_string()]].concat();
        let server = Child::start(&self.server, &arguments, server_cpu, step.variables)?;
        while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            if Instant::now() >= deadline {
                return Err(error).context("nginx does not answer");
            }
            std::thread::sleep(TRY_EVERY);
        }

        let mut cpu_before = server.cpu_seconds()?;
        let arguments = [
            "--threads=1".into(),
            format!("--connections={connections}"),
            format!("--duration={seconds}s"),
            "--latency".into(),
            // By itself it calls an answer that takes two seconds an error.
            "--timeout=60s".into(),
            format!("http://127.0.0.1:{port}/answer"),
        ];
        let arguments = arguments.map(OsString::from);
        let load = || -> Result<_> {
            let client = Child::start(&self.client, &arguments, client_cpu, step.variables)?;
            let client = client.finish(deadline)?;
            Ok((Answer::of(&client.lines)?, client.cpu_seconds))
        };
        let (mut answer, mut client_cpu_seconds) = load()?;
        if answer.is_none() {
            // wrk measures by the clock on the wall: a machine that stood still for that time has answered nothing.
            cpu_before = server.cpu_seconds()?;
            (answer, client_cpu_seconds) = load()?;
        }
        let server_cpu_seconds = server.cpu_seconds()? - cpu_before;
        server.terminate(deadline)?;
        let answer = answer.context("wrk measured no requests, twice")?;
        Ok(Measured {
            exchanges: answer.requests,
            seconds: answer.requests as f64 / answer.per_second,
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

/// One process, so that its report is that of the end that was measured.
fn configuration(folder: &str, port: u16, by_sendfile: bool) -> String {
    let sendfile = if by_sendfile { "on" } else { "off" };
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 60; sendfile {sendfile};
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location /answer {{ alias {folder}/answer; }} }}
}}
"
    )
}

/// What wrk says.
#[derive(Debug, PartialEq)]
struct Answer {
    requests: u64,
    per_second: f64,
    p50_ns: u64,
    p99_ns: u64,
}

impl Answer {
    /// Nothing where it has measured no request.
    fn of(lines: &[String]) -> Result<Option<Answer>> {
        let words =
            |line: &String| -> Vec<String> { line.split_whitespace().map(String::from).collect() };
        let after = |start: &str| {
            let line = lines
                .iter()
                .map(words)
                .find(|words| words.first().is_some_and(|word| word == start));
            line.and_then(|words| words.get(1).cloned())
                .with_context(|| format!("wrk says nothing of {start}"))
        };
        let complaint = lines
            .iter()
            .find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
        if let Some(complaint) = complaint {
            bail!("wrk complains: {}", complaint.trim());
        }
        let requests = lines
            .iter()
            .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
            .context("wrk says nothing of requests")?;
        let per_second: f64 = after("Requests/sec:")?.parse().context("Requests/sec")?;
        if requests == 0 || !(per_second.is_finite() && per_second > 0.0) {
            return Ok(None);
        }
        Ok(Some(Answer {
            requests,
            per_second,
            p50_ns: nanoseconds(&after("50%")?)?,
            p99_ns: nanoseconds(&after("99%")?)?,
        }))
    }
}

/// A time as wrk prints it: `617.00us`, `1.25ms`, `1.01s`.
fn nanoseconds(text: &str) -> Result<u64> {
    let start_of_unit = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(start_of_unit);
    let factor = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        _ => bail!("wrk's time {text:?}"),
    };
    let number: f64 = number
        .parse()
        .with_context(|| format!("wrk's time {text:?}"))?;
    Ok((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    #[test]
    fn the_answer_is_read_by_its_words() {
        let good = "Running 1s test @ http://127.0.0.1:1/answer
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   627.63us  112.15us   2.87ms   87.50%
    Req/Sec    25.45k     1.22k   27.00k    70.00%
  Latency Distribution
     50%  617.00us
     75%  655.00us
     90%    1.05ms
     99%    1.25ms
  25333 requests in 1.00s, 1.56GB read
Requests/sec:  25310.17
Transfer/sec:      1.55GB";
        let answer = Answer {
            requests: 25_333,
            per_second: 25_310.17,
            p50_ns: 617_000,
            p99_ns: 1_250_000,
        };
        assert_eq!(Answer::of(&lines(good)).expect("good"), Some(answer));
        let nothing = good
            .replace("25333 requests", "0 requests")
            .replace("25310.17", "0.00");
        assert_eq!(Answer::of(&lines(&nothing)).expect("good"), None);
        let complaint = format!("{good}\n  Socket errors: connect 0, read 3, write 0, timeout 0");
        assert!(Answer::of(&lines(&complaint)).is_err());
        assert!(Answer::of(&lines("")).is_err());
        assert!(nanoseconds("1.0h").is_err());
    }
}
