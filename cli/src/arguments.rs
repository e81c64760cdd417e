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
