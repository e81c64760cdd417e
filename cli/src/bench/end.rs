//! The programs at the ends of a connection: ordinary blocking programs on the standard library, which know nothing of
//! Axio and find it, if at all, in their environment. They speak to the command in lines of JSON on standard output.
//!
//! * [`start`]: becomes another program on one CPU.
//! * [`ping_pong`]: one message there and back, over and over.
//! * [`connect_close`]: a connection for each.
//! * [`asked`]: what the library answers when they ask.
//! * [`answers`]: what they say.

pub mod answers;
pub mod asked;
pub mod connect_close;
pub mod ping_pong;
pub mod start;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

/// Size of a message.
pub const MESSAGE_BYTES: usize = 64;
/// First byte of a message while the ends are warming up.
pub const WARMING_UP: u8 = 0;
/// First byte of a message that counts.
pub const MEASURED: u8 = 1;

/// Command line of the hidden `axio bench-end`.
#[derive(clap::Subcommand)]
pub enum End {
    /// Become a program on one CPU that ends with its parent
    Start {
        /// The process that starts it
        #[arg(long)]
        parent: i32,
        /// The CPU
        #[arg(long)]
        cpu: usize,
        /// A variable of the program, NAME=VALUE
        #[arg(long)]
        set: Vec<OsString>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Send every message back
    PingPongServer,
    /// Send messages and time their return
    PingPongClient(ClientArguments),
    /// Answer one message on each connection and close it
    ConnectServer,
    /// Connect for each message
    ConnectClient(ClientArguments),
}

/// What a client is told.
#[derive(clap::Args)]
pub struct ClientArguments {
    /// Port of the server on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Time before anything counts
    #[arg(long)]
    warm_up_ms: u64,
    /// Time that counts
    #[arg(long)]
    measure_ms: u64,
}

impl ClientArguments {
    fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }
    fn measure(&self) -> Duration {
        Duration::from_millis(self.measure_ms)
    }
}

/// Runs one of them.
pub fn run(end: &End) -> Result<i32> {
    match end {
        End::Start {
            parent,
            cpu,
            set,
            program,
        } => return start::run(*parent, *cpu, set, program),
        End::PingPongServer => ping_pong::server()?,
        End::PingPongClient(arguments) => ping_pong::client(arguments)?,
        End::ConnectServer => connect_close::server()?,
        End::ConnectClient(arguments) => connect_close::client(arguments)?,
    }
    Ok(0)
}
