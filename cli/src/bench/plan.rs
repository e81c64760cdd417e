//! The runs in their order: for every workload pairs of one run on the bare kernel and one with the library, so that
//! whatever drifts on the machine drifts for both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kmod_interface::reason::Reason;

use super::child::{children_cpu_seconds, own_cpu_seconds};
use super::cpus::{Cpus, busy_seconds};
use super::limits::Limits;
use super::machine::{Build, Machine};
use super::nginx::Nginx;
use super::own_ends::{self, CONNECT_CLOSE, Ends, PING_PONG};
use super::redis::Redis;
use super::report_lines::Carried;
use super::results::{Library, Results, WorkloadResults};
use super::sample::{Latencies, Sample};
use super::side::{Scratch, Side, Variables};
use super::summary::Summary;
use super::workload::{Carrier, Kind, Workload};

/// Least share of the bytes that must have gone by ring where rings are measured.
const LEAST_RING_SHARE: f64 = 0.9;
/// Share of the CPU time taken by others from which a missed floor is measured once more.
const DISTURBING_SHARE: f64 = 0.1;

/// Everything that is decided before the first run.
pub struct Plan {
    library: PathBuf,
    options: Vec<(OsString, OsString)>,
    is_quick: bool,
    pairs: u32,
    duration: Duration,
    cpus: Cpus,
    scratch: Scratch,
}

/// One run that is to be made.
pub struct Step<'plan> {
    /// Server's and client's CPU.
    pub cpus: (usize, usize),
    /// Environment of both.
    pub variables: &'plan Variables,
    /// How long to measure.
    pub duration: Duration,
    /// A place for files.
    pub folder: &'plan Path,
}

/// What a run gave by itself.
pub struct Measured {
    /// See [`Sample`] for all of these.
    pub exchanges: u64,
    /// Time that counted.
    pub seconds: f64,
    /// Median.
    pub p50_ns: u64,
    /// One in a hundred.
    pub p99_ns: u64,
    /// One in a thousand.
    pub p999_ns: Option<u64>,
    /// Client.
    pub client_cpu_seconds: f64,
    /// Server.
    pub server_cpu_seconds: f64,
    /// All times.
    pub latencies: Option<Latencies>,
    /// What server and client were told when they asked the library about their connection: the code of a reason.
    pub reasons: [Option<u32>; 2],
}

impl Plan {
    /// Decides; `pairs` or what suits a quick or a full run.
    pub fn new(
        library: PathBuf,
        options: Vec<(OsString, OsString)>,
        pairs: Option<u32>,
        is_quick: bool,
    ) -> Result<Plan> {
        let (usual_pairs, milliseconds) = if is_quick { (3, 400) } else { (5, 1500) };
        Ok(Plan {
            library,
            options,
            is_quick,
            pairs: pairs.unwrap_or(usual_pairs),
            duration: Duration::from_millis(milliseconds),
            cpus: Cpus::choose()?,
            scratch: Scratch::new()?,
        })
    }

    /// Makes all runs. A workload that this machine cannot run is left out with a note, unless it is demanded; one that
    /// fails has no figures, and the others are measured all the same. When floors are to be held, every workload is
    /// demanded, and what missed its floor while others used the machine is measured once more.
    pub fn carry_out(&self, workloads: &[&'static Workload], demand: Demand) -> Results {
        let rounds: u64 = workloads
            .iter()
            .map(|workload| u64::from(self.pairs_of(workload)) * 2)
            .sum();
        let progress = Progress::new(rounds + 1);
        progress.say("what this machine can do at best");
        let mut results = Results {
            build: Build::look(),
            machine: Machine::look(),
            limits: Limits::measure(self.cpus),
            cpus: self.cpus,
            library: Library::look(&self.library),
            options: self
                .options
                .iter()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect(),
            is_quick: self.is_quick,
            pairs: self.pairs,
            seconds_per_run: self.duration.as_secs_f64(),
            workloads: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
        };
        progress.step();
        for workload in workloads {
            let shares_one_cpu = !self.cpus.suffice(workload.placement);
            let measure = || -> Result<WorkloadResults, Unable> {
                let samples = self.samples(workload, demand, &progress)?;
                Ok(WorkloadResults {
                    workload,
                    summary: Summary::of(workload, &samples),
                    samples,
                    is_repeated: false,
                    shares_one_cpu,
                })
            };
            let mut measured = measure();
            if let Ok(first) = &mut measured
                && demand == Demand::Floors
                && !first.summary.is_floor_met
                && first.summary.others_cpu_share > DISTURBING_SHARE
            {
                results.notes.push(format!(
                    "{}: below its floor while others took up to {:.0} % of the CPU time: disturbed, measured once more",
                    workload.name,
                    first.summary.others_cpu_share * 100.0
                ));
                progress.expect(u64::from(self.pairs_of(workload)) * 2);
                first.is_repeated = true;
                results.workloads.extend(measured);
                measured = measure();
            }
            match measured {
                Ok(measured) => results.workloads.push(measured),
                Err(Unable::Here(error)) if demand == Demand::Nothing => {
                    results
                        .notes
                        .push(format!("left out: {}: {error:#}", workload.name));
                }
                Err(Unable::Here(error) | Unable::Failed(error)) => {
                    results
                        .failures
                        .push(format!("{}: {error:#}", workload.name));
                }
            }
        }
        progress.finish();
        results
    }

    fn pairs_of(&self, workload: &Workload) -> u32 {
        self.pairs * workload.divided_by
    }

    fn samples(
        &self,
        workload: &Workload,
        demand: Demand,
        progress: &Progress,
    ) -> Result<Vec<Sample>, Unable> {
        let programs = Programs::of(workload.kind).map_err(Unable::Here)?;
        if demand == Demand::Floors && !self.cpus.suffice(workload.placement) {
            return Err(Unable::Here(anyhow!(
                "its floor is for two CPUs, and this process may use one"
            )));
        }
        let cpus = self.cpus.placed(workload.placement);
        let mut samples = Vec::new();
        let pairs = self.pairs_of(workload);
        for pair in 0..pairs {
            for side in Side::BOTH {
                progress.say(&format!(
                    "{}, pair {} of {}, {}",
                    workload.name,
                    pair + 1,
                    pairs,
                    side.name()
                ));
                let mut sample = self.sample(workload, &programs, cpus, side, pair);
                if let Err(error) = &sample
                    && let Some(short) = error.downcast_ref::<ShortShare>()
                {
                    // A machine that stood still while connections came on the ring has put that off for all of them.
                    progress.say(&format!("{}, once more, for {short}", workload.name));
                    sample = self.sample(workload, &programs, cpus, side, pair);
                }
                samples.push(sample.map_err(Unable::Failed)?);
                progress.step();
            }
        }
        Ok(samples)
    }

    fn sample(
        &self,
        workload: &Workload,
        programs: &Programs,
        cpus: (usize, usize),
        side: Side,
        pair: u32,
    ) -> Result<Sample> {
        let folder = self.scratch.path();
        let report = folder.join(format!("{}-{pair}.report", workload.name));
        // What a run left that is made once more.
        let _ = std::fs::remove_file(&report);
        let own = workload
            .options
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        // The first of two with one name counts, so a workload keeps what makes it that workload.
        let options: Vec<_> = own.chain(self.options.iter().cloned()).collect();
        let variables = |report: &Path| Variables::of(side, &self.library, report, &options);
        let own_variables = variables(&report);
        let step = Step {
            cpus,
            variables: &own_variables,
            duration: self.duration / workload.divided_by,
            folder,
        };

        let before = (
            busy_seconds().0,
            children_cpu_seconds() + own_cpu_seconds(),
            Instant::now(),
        );
        let measured = match programs {
            Programs::Redis(redis, connections) => redis.run(
                &step,
                *connections,
                &variables(&folder.join("calibration.report")),
            ),
            Programs::Nginx(nginx, connections, by_sendfile) => {
                nginx.run(&step, *connections, *by_sendfile)
            }
            Programs::Own(ends) => own_ends::run(&step, ends),
        };
        let measured = measured.context(side.name())?;
        let (busy, cpus) = busy_seconds();
        let ours = children_cpu_seconds() + own_cpu_seconds() - before.1;
        let capacity = before.2.elapsed().as_secs_f64() * cpus;

        let carried = match side {
            Side::Kernel => None,
            Side::Axio => Some(Carried::read(&report)?),
        };
        if let Some(carried) = &carried {
            self.prove(workload.carrier, carried, measured.reasons)?;
        }
        Ok(Sample {
            side,
            pair,
            exchanges: measured.exchanges,
            seconds: measured.seconds,
            per_second: measured.exchanges as f64 / measured.seconds.max(1e-9),
            p50_ns: measured.p50_ns,
            p99_ns: measured.p99_ns,
            p999_ns: measured.p999_ns,
            client_cpu_seconds: measured.client_cpu_seconds,
            server_cpu_seconds: measured.server_cpu_seconds,
            others_cpu_share: ((busy - before.0 - ours) / capacity).clamp(0.0, 1.0),
            carried,
            latencies: measured.latencies,
        })
    }

    /// Holds what the library did against what the workload is about.
    fn prove(&self, carrier: Carrier, carried: &Carried, reasons: [Option<u32>; 2]) -> Result<()> {
        let library = self.library.display();
        let bytes = crate::stat::words::bytes;
        let try_this =
            format!("try: axio run --explain --library {library} -- redis-server --version");
        match carrier {
            Carrier::Kernel if carried.ring_bytes > 0 => bail!(
                "the rule says kernel, and {} went by ring all the same",
                bytes(carried.ring_bytes)
            ),
            // Under this rule nothing is reported, for nothing was of interest; the ends have asked.
            Carrier::Kernel if reasons != [Some(Reason::Rule as u32); 2] => bail!(
                "asked about its connection, the library did not say at both ends that a rule leaves it to the kernel, \
                 so {library} was not at work; {try_this}"
            ),
            Carrier::Ring | Carrier::Any if carried.reports == 0 => {
                bail!("the run with Axio left no report, so {library} was not at work; {try_this}")
            }
            Carrier::Ring | Carrier::Any if carried.reports < 2 => bail!(
                "only one end of the run with Axio left a report ({}), so {library} was not at work in the other",
                carried.programs.join(", ")
            ),
            Carrier::Ring if carried.ring_bytes == 0 => bail!(
                "the run with Axio moved no bytes by ring ({} through the kernel), so there is nothing to compare; \
                 reasons of its sockets: {}; --set AXIO_LOG=info tells more",
                bytes(carried.kernel_bytes),
                carried.reasons_in_words()
            ),
            Carrier::Ring if carried.ring_share() < LEAST_RING_SHARE => Err(ShortShare(format!(
                "the run with Axio moved only {:.1} % of its bytes by ring ({}, {} through the kernel), so it measured \
                 something else; reasons of its sockets: {}; --set AXIO_LOG=info tells more",
                carried.ring_share() * 100.0,
                bytes(carried.ring_bytes),
                bytes(carried.kernel_bytes),
                carried.reasons_in_words()
            ))
            .into()),
            Carrier::Ring | Carrier::Kernel | Carrier::Any => Ok(()),
        }
    }
}

/// The programs of a workload, found.
enum Programs {
    Own(&'static Ends),
    Redis(Redis, u32),
    Nginx(Nginx, u32, bool),
}

impl Programs {
    fn of(kind: Kind) -> Result<Programs> {
        Ok(match kind {
            Kind::PingPong => Programs::Own(&PING_PONG),
            Kind::ConnectClose => Programs::Own(&CONNECT_CLOSE),
            Kind::Redis { connections } => Programs::Redis(Redis::find()?, connections),
            Kind::Nginx {
                connections,
                by_sendfile,
            } => Programs::Nginx(Nginx::find()?, connections, by_sendfile),
        })
    }
}

/// Which workloads must have figures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// None: what this machine cannot run is left out.
    Nothing,
    /// All that were chosen.
    All,
    /// All, and their floors count.
    Floors,
}

/// Some bytes went by ring, but too few; such a run is made once more.
#[derive(Debug)]
struct ShortShare(String);

impl std::fmt::Display for ShortShare {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ShortShare {}

/// Why there are no samples.
enum Unable {
    /// This machine lacks something.
    Here(anyhow::Error),
    /// Something went wrong.
    Failed(anyhow::Error),
}

/// What is going on, on standard error: a bar on a terminal, else a line for each run.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {msg}") {
            bar.set_style(style);
        }
        Progress { bar }
    }

    fn say(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!(
                "axio bench: {}/{} {what}",
                self.bar.position(),
                self.bar.length().unwrap_or(0)
            );
        } else {
            self.bar.set_message(what.to_string());
        }
    }

    fn expect(&self, more: u64) {
        self.bar.inc_length(more);
    }

    fn step(&self) {
        self.bar.inc(1);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
