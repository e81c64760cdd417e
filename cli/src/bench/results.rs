//! Everything that was measured, as it goes into the JSON file.

use serde::Serialize;

use super::cpus::Cpus;
use super::limits::Limits;
use super::machine::{Build, Machine};
use super::sample::Sample;
use super::sample::{Latencies, latencies};
use super::side::Side;
use super::summary::Summary;
use super::workload::Workload;

/// One run of `axio bench`.
#[derive(Serialize)]
pub struct Results {
    /// What was measured.
    pub build: Build,
    /// Where.
    pub machine: Machine,
    /// What the machine can do at best.
    pub limits: Limits,
    /// CPUs of the ends.
    pub cpus: Cpus,
    /// Runs on each side.
    pub pairs: u32,
    /// Time that each run measured.
    pub seconds_per_run: f64,
    /// Workloads.
    pub workloads: Vec<WorkloadResults>,
    /// What is to be said besides.
    pub notes: Vec<String>,
    /// Workloads that failed, and why.
    pub failures: Vec<String>,
}

/// One workload.
#[derive(Serialize)]
pub struct WorkloadResults {
    /// Which.
    pub workload: &'static Workload,
    /// In a few numbers.
    pub summary: Summary,
    /// All runs, in their order.
    pub samples: Vec<Sample>,
    /// Whether they were disturbed and made once more; the later ones count.
    pub is_repeated: bool,
}

impl WorkloadResults {
    /// Times of all exchanges of one side, if they are known.
    pub fn latencies(&self, side: Side) -> Option<Latencies> {
        let mut all = latencies().ok()?;
        for sample in self.samples.iter().filter(|sample| sample.side == side) {
            all.add(sample.latencies.as_ref()?).ok()?;
        }
        (!all.is_empty()).then_some(all)
    }
}
