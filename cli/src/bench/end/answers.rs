//! Lines of JSON that the ends print.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::MEASURED;
use crate::bench::child::own_cpu_seconds;
use crate::bench::sample::{Latencies, latencies};

/// A server is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Port on 127.0.0.1.
    pub port: u16,
}

/// A server is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Served {
    /// Exchanges that counted.
    pub exchanges: u64,
    /// CPU time they took.
    pub cpu_seconds: f64,
    /// What the library answered about the connection, if it was asked and is there: the code of a reason.
    pub reason: Option<u32>,
}

/// A server's count of its exchanges, and of the CPU time since the first that counts.
#[derive(Debug, Default)]
pub struct Serving {
    exchanges: u64,
    cpu_before: f64,
}

impl Serving {
    /// A message has come; `mark` is its first byte.
    pub fn asked(&mut self, mark: u8) {
        if mark == MEASURED {
            if self.exchanges == 0 {
                self.cpu_before = own_cpu_seconds();
            }
            self.exchanges += 1;
        }
    }

    /// What the server says in the end.
    pub fn served(self, reason: Option<u32>) -> Served {
        Served {
            exchanges: self.exchanges,
            cpu_seconds: own_cpu_seconds() - self.cpu_before,
            reason,
        }
    }
}

/// A client is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Timed {
    /// Time that counted.
    pub seconds: f64,
    /// CPU time it took.
    pub cpu_seconds: f64,
    /// Nanoseconds of an exchange, and how many took that long.
    pub histogram: Vec<(u64, u64)>,
    /// As [`Served::reason`].
    pub reason: Option<u32>,
}

impl Timed {
    /// What a client has measured.
    pub fn of(seconds: f64, cpu_seconds: f64, latencies: &Latencies, reason: Option<u32>) -> Timed {
        let step = latencies
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()));
        Timed {
            seconds,
            cpu_seconds,
            histogram: step.collect(),
            reason,
        }
    }

    /// The times again.
    pub fn latencies(&self) -> Result<Latencies> {
        let mut all = latencies()?;
        for (value, count) in &self.histogram {
            all.saturating_record_n(*value, *count);
        }
        Ok(all)
    }
}

/// Prints a line.
pub fn say(answer: &impl Serialize) -> Result<()> {
    use std::io::Write;
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    std::io::stdout()
        .write_all(line.as_bytes())
        .context("answer")
}

/// Reads a line.
pub fn hear<Answer: DeserializeOwned>(line: &str) -> Result<Answer> {
    serde_json::from_str(line).with_context(|| format!("unexpected answer: {line}"))
}
