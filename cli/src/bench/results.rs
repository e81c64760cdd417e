//! Everything that was measured, as it goes into the JSON file.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

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
    /// What the runs with Axio were made with.
    pub library: Library,
    /// Options of theirs, as NAME=VALUE.
    pub options: Vec<String>,
    /// Short runs.
    pub is_quick: bool,
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

/// The library that was measured.
#[derive(Clone, Serialize)]
pub struct Library {
    /// Where it lies.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// When it was built, in seconds since 1970.
    pub modified_at: u64,
}

impl Library {
    /// Looks at the file.
    pub fn look(path: &Path) -> Library {
        let metadata = std::fs::metadata(path).ok();
        let since_1970 = metadata
            .as_ref()
            .and_then(|file| file.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        Library {
            path: path.to_path_buf(),
            bytes: metadata.map_or(0, |file| file.len()),
            modified_at: since_1970.map_or(0, |time| time.as_secs()),
        }
    }
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
    /// Whether both ends ran on one CPU although the workload, and its floor, is for two: there is no other.
    pub shares_one_cpu: bool,
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
