//! One run of a client and a server that are hidden commands of this program.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::child::Child;
use super::end::answers::{Listening, Served, Timed, hear};
use super::plan::{Measured, Step};

/// Longest time that everything but the measuring may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time before anything counts, at most.
const WARM_UP_MS: u64 = 200;

/// Names of the two ends as `axio bench-end` knows them.
pub struct Ends {
    /// The server.
    pub server: &'static str,
    /// The client.
    pub client: &'static str,
}

/// One connection for all messages.
pub static PING_PONG: Ends = Ends {
    server: "ping-pong-server",
    client: "ping-pong-client",
};
/// A connection for each message.
pub static CONNECT_CLOSE: Ends = Ends {
    server: "connect-server",
    client: "connect-client",
};

/// Runs both ends once.
pub fn run(step: &Step<'_>, ends: &Ends) -> Result<Measured> {
    let this = std::env::current_exe()?.into_os_string();
    let deadline = Instant::now() + PATIENCE + step.duration;
    let end = |words: &[&str]| -> Vec<OsString> {
        [&["bench-end"], words]
            .concat()
            .into_iter()
            .map(OsString::from)
            .collect()
    };
    let (server_cpu, client_cpu) = step.cpus;
    let mut server = Child::start(&this, &end(&[ends.server]), server_cpu, step.variables)?;
    let Listening { port } = hear(&server.line(deadline)?)?;
    let measure_ms = step.duration.as_millis() as u64;
    let arguments = [
        ends.client,
        &format!("--port={port}"),
        &format!("--warm-up-ms={}", WARM_UP_MS.min(measure_ms)),
        &format!("--measure-ms={measure_ms}"),
    ];
    let mut client = Child::start(&this, &end(&arguments), client_cpu, step.variables)?;
    let timed: Timed = hear(&client.line(deadline)?)?;
    let served: Served = hear(&server.line(deadline)?)?;
    client.finish(deadline)?;
    server.finish(deadline)?;
    let latencies = timed.latencies()?;
    let exchanges = latencies.len();
    if exchanges == 0 || exchanges != served.exchanges {
        bail!(
            "the client counted {exchanges} exchanges, the server {}",
            served.exchanges
        );
    }
    Ok(Measured {
        exchanges,
        seconds: timed.seconds,
        p50_ns: latencies.value_at_quantile(0.5),
        p99_ns: latencies.value_at_quantile(0.99),
        p999_ns: Some(latencies.value_at_quantile(0.999)),
        client_cpu_seconds: timed.cpu_seconds,
        server_cpu_seconds: served.cpu_seconds,
        latencies: Some(latencies),
        reasons: [served.reason, timed.reason],
    })
}
