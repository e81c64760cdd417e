//! What one run gives.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::report_lines::Carried;
use super::side::Side;

/// Longest exchange that is told from longer ones: ten seconds.
const LONGEST_NS: u64 = 10_000_000_000;

/// Times of exchanges in nanoseconds, three digits of each.
pub type Latencies = Histogram<u64>;

/// No times yet.
pub fn latencies() -> Result<Latencies> {
    Histogram::new_with_max(LONGEST_NS, 3).context("histogram")
}

/// Notes one time.
pub fn note(latencies: &mut Latencies, nanoseconds: u128, count: u64) {
    let value = u64::try_from(nanoseconds)
        .unwrap_or(LONGEST_NS)
        .clamp(1, LONGEST_NS);
    latencies.saturating_record_n(value, count);
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// With the library or without.
    pub side: Side,
    /// Which pair it belongs to, from 0.
    pub pair: u32,
    /// Exchanges that were measured.
    pub exchanges: u64,
    /// Time they took.
    pub seconds: f64,
    /// Exchanges per second.
    pub per_second: f64,
    /// Median time of an exchange.
    pub p50_ns: u64,
    /// Time that one exchange in a hundred exceeds.
    pub p99_ns: u64,
    /// Time that one in a thousand exceeds, where it is known.
    pub p999_ns: Option<u64>,
    /// CPU time of the client.
    pub client_cpu_seconds: f64,
    /// CPU time of the server.
    pub server_cpu_seconds: f64,
    /// Share of the machine's CPU time that went to other processes; a disturbed run shows here.
    pub others_cpu_share: f64,
    /// What the library says that it did; nothing on the bare kernel.
    pub carried: Option<Carried>,
    /// Times of all exchanges, where they are known.
    #[serde(skip)]
    pub latencies: Option<Latencies>,
}

impl Sample {
    /// CPU time of both ends per exchange, in nanoseconds.
    pub fn cpu_ns_per_exchange(&self) -> f64 {
        (self.client_cpu_seconds + self.server_cpu_seconds) * 1e9 / self.exchanges.max(1) as f64
    }
}
