//! `axio stat`: what became of the sockets of running programs.
//!
//! Every process with Axio keeps a page of counters in a sealed memfd named `axio`; this command finds those of the
//! processes it may read and shows them. It only ever reads, and trusts nothing that it reads (TRUST.md row 24): a
//! process that lies here wastes a line of its owner's terminal and nothing else.
//!
//! * [`processes`]: which processes there are, and which of their descriptors may be such a page.
//! * [`memfd`]: opening one without being trapped.
//! * [`page`]: its bytes, each field checked.
//! * [`words`]: codes as words.
//! * [`show`]: as tables and as JSON.

pub mod memfd;
pub mod page;
pub mod processes;
pub mod show;
pub mod words;

use processes::{Found, Survey};

/// Command line of `axio stat`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    axio stat                    every socket of every process you may read\n  \
    axio stat 1234               those of one process, and its counters\n  \
    axio stat --json | jq '.processes[].sockets[] | select(.path == \"kernel\") | .reason'\n  \
    sudo axio stat               processes of other users, too\n\n\
    PATH is `shm` for sockets of which at least one direction travels through shared memory and `kernel`\n\
    for all others; REASON says why.\n\
    `axio why PID FD` explains one of them.")]
pub struct StatArguments {
    /// Only this process, with its counters
    #[arg(value_parser = crate::arguments::process_id)]
    pid: Option<u32>,
    /// Print JSON: exact numbers, every counter, nothing left out
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &StatArguments) -> anyhow::Result<i32> {
    let survey = match arguments.pid {
        Some(pid) => Survey::of_process(pid)?,
        None => Survey::of_everything()?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&show::as_json(&survey))?);
    } else if !survey.found.is_empty() {
        print!("{}", show::as_tables(&survey, arguments.pid.is_some()));
    }
    if survey.found.is_empty() {
        eprintln!("axio stat: {}", nothing(arguments.pid, &survey));
    }
    Ok(i32::from(
        survey.found.is_empty() && arguments.pid.is_some(),
    ))
}

/// What to say, and what to do next, when there is nothing to show.
fn nothing(pid: Option<u32>, survey: &Survey) -> String {
    match pid {
        Some(pid) => processes::why_no_page(pid),
        None => {
            let unreadable = match survey.unreadable {
                0 => String::new(),
                count => format!(" ({count} more belong to others; root can read them)"),
            };
            format!(
                "none of {} processes runs with Axio{unreadable}. Start one: axio run -- PROGRAM",
                survey.readable
            )
        }
    }
}

/// The pages of one process, for commands that explain.
pub fn pages_of(pid: u32) -> anyhow::Result<Vec<Found>> {
    Ok(Survey::of_process(pid)?.found)
}
