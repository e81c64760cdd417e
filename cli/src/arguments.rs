//! The command line.

use clap::{Parser, Subcommand};

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "axio",
    version,
    about = "Sockets between processes of one host, without the kernel in between",
    after_help = "Examples:\n  \
        axio run -- redis-server --port 6379            a server on the fast path\n  \
        axio run -- redis-benchmark -t get              and a client; both ends need Axio\n  \
        axio stat                                       what became of their sockets\n  \
        axio why 1234 7                                 one of them explained\n  \
        axio bench --quick                              how much faster it is here\n\n\
        Each command explains itself: axio run --help"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Start a program with Axio loaded
    Run(crate::run::RunArguments),
    /// Show the sockets of running programs: path, reason, bytes by ring and by kernel
    Stat(crate::stat::StatArguments),
    /// Explain one socket: what happened to it, and what to do
    Why(crate::why::WhyArguments),
    /// Measure unmodified programs with and without Axio, in alternation
    Bench(crate::bench::BenchArguments),
    /// The ends of a measured connection
    #[command(hide = true, subcommand)]
    BenchEnd(crate::bench::end::End),
}

/// A process id of the command line.
///
/// # Errors
/// What a process id is and how to find one.
pub fn process_id(text: &str) -> Result<u32, String> {
    // Linux's largest is 2^22 (PID_MAX_LIMIT).
    match text.parse() {
        Ok(id) if (1..=1 << 22).contains(&id) => Ok(id),
        _ => Err(
            "a process id is a number; `pidof PROGRAM` tells it, `axio stat` lists those with Axio"
                .into(),
        ),
    }
}

/// A descriptor number of the command line.
///
/// # Errors
/// What a descriptor number is and how to find one.
pub fn descriptor_number(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err("a descriptor is a number, as in the column `fd` of `axio stat PID`".into()),
    }
}
