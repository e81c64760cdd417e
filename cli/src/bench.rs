//! `axio bench`: the same unmodified programs with and without the library, in alternation, in one run.
//!
//! A figure is a ratio of medians of one run on one machine; absolute numbers stand beside it only to show the shape.
//! No figure without proof: a run with the library must have moved its bytes by ring, as the library's own report of
//! both ends says, or the command ends with an error instead of a table.
//!
//! * [`workload`]: what is measured, as data.
//! * [`plan`]: the runs in their order, and where they put what they need.
//! * [`own_ends`], [`redis`], [`nginx`]: one run with ends of our own, or with those programs.
//! * [`end`]: the programs at our own ends: ordinary programs that know nothing of Axio.
//! * [`side`]: with the library or without: the environment of a program.
//! * [`child`]: processes that are bounded in time, and always ended and reaped.
//! * [`cpus`]: which CPU each end runs on, and who else used them.
//! * [`sample`]: what one run gives.
//! * [`report_lines`]: what the library says that it did.
//! * [`limits`]: what this machine can do at best.
//! * [`machine`]: which machine and which build.
//! * [`summary`]: medians, ratios, spread, floors.
//! * [`results`], [`result_tables`], [`plots`]: JSON, tables, SVG.

pub mod child;
pub mod cpus;
pub mod end;
pub mod limits;
pub mod machine;
pub mod nginx;
pub mod own_ends;
pub mod plan;
pub mod plots;
pub mod redis;
pub mod report_lines;
pub mod result_tables;
pub mod results;
pub mod sample;
pub mod side;
pub mod summary;
pub mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use plan::{Demand, Plan};
use workload::{WORKLOADS, Workload};

/// Command line of `axio bench`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    axio bench --quick                          under a minute, rough\n  \
    axio bench --json results.json --plot .     everything, with files to keep\n  \
    axio bench --only ping-pong,redis-get-50    some of it\n  \
    axio bench --list                           what there is\n  \
    axio bench --set AXIO_UPGRADE=eager         with an option for the runs with Axio\n\n\
    Each pair is one run on the bare kernel and one with the library. RATIO is the ratio of the medians,\n\
    SPREAD the least and the greatest ratio of a pair; more than 1 is faster than the kernel. BY RING is\n\
    the proof that the bytes did not go through the kernel.\n\n\
    Exit status: 1 when something failed or a run with Axio could not show that its bytes went by ring;\n\
    with --floors also when a workload had to be left out, and 2 when a ratio is below its floor.\n\
    A floor missed while others took more than a tenth of the CPU time is measured once more.")]
pub struct BenchArguments {
    /// Runs on each side of every workload
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: Option<u32>,
    /// Short runs and three pairs
    #[arg(long)]
    quick: bool,
    /// Only these workloads
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// List the workloads; measure nothing
    #[arg(long)]
    list: bool,
    /// Write everything that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw latencies and ratios as SVG files
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// An option for the runs with Axio
    #[arg(long = "set", value_name = "AXIO_NAME=VALUE")]
    options: Vec<String>,
    /// End with 2 when a ratio is below its floor
    #[arg(long)]
    floors: bool,
    /// Fail when a workload has to be left out
    #[arg(long)]
    complete: bool,
    /// Library to measure; else libaxio.so beside this command or in ../lib
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// Exit status when a ratio is below its floor.
const STATUS_BELOW_FLOOR: i32 = 2;

/// Runs the command.
pub fn run(arguments: &BenchArguments) -> Result<i32> {
    if arguments.list {
        println!("{}", result_tables::workloads(WORKLOADS));
        return Ok(0);
    }
    let workloads = chosen(&arguments.only)?;
    let library = crate::run::library::find(arguments.library.as_deref())?;
    let options = side::options(&arguments.options)?;
    if let Some(folder) = &arguments.plot {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // Before the work: a place that cannot be written to should not cost minutes.
    let json = match &arguments.json {
        Some(file) => {
            Some(std::fs::File::create(file).with_context(|| file.display().to_string())?)
        }
        None => None,
    };
    let plan = Plan::new(library, options, arguments.pairs, arguments.quick)?;
    let demand = match (
        arguments.floors,
        arguments.complete || !arguments.only.is_empty(),
    ) {
        (true, _) => Demand::Floors,
        (false, true) => Demand::All,
        (false, false) => Demand::Nothing,
    };
    let results = plan.carry_out(&workloads, demand);
    if !results.workloads.is_empty() {
        println!("{}", result_tables::ratios(&results));
        println!("{}", result_tables::limits(&results));
    }
    for note in &results.notes {
        println!("{note}");
    }
    if let (Some(mut file), Some(name)) = (json, &arguments.json) {
        let text = serde_json::to_string_pretty(&results)?;
        std::io::Write::write_all(&mut file, (text + "\n").as_bytes())
            .with_context(|| name.display().to_string())?;
        println!("written: {}", name.display());
    }
    if let Some(folder) = &arguments.plot {
        for file in plots::draw(&results, folder)? {
            println!("drawn: {}", file.display());
        }
    }
    for failure in &results.failures {
        eprintln!("axio bench: {failure}");
    }
    let is_floor_missed = results
        .workloads
        .iter()
        .any(|workload| !workload.is_repeated && !workload.summary.is_floor_met);
    Ok(match results.failures.is_empty() {
        false => crate::entry::STATUS_FAILED,
        true if arguments.floors && is_floor_missed => STATUS_BELOW_FLOOR,
        true => 0,
    })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Workload>> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let of_name = |name: &String| match WORKLOADS.iter().find(|workload| workload.name == name) {
        Some(workload) => Ok(workload),
        None => {
            let known: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
            bail!(
                "there is no workload {name:?}; there are: {}",
                known.join(", ")
            )
        }
    };
    names.iter().map(of_name).collect()
}
