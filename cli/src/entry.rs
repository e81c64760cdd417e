#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "the C entry point is exported by name")
)]
//! The first function.
//!
//! Rust's own start-up code ignores SIGPIPE, and what is ignored stays ignored in the program that `axio run` becomes:
//! `axio run -- yes | head` would behave differently from `yes | head`. So the command begins at C's `main`, where
//! every signal is as it was inherited. As a gift, `axio stat | head` ends quietly.

use std::process::exit;

use clap::Parser;

use crate::arguments::{Arguments, Command};

/// Something went wrong that was none of the program's doing, as `env` and `timeout` report it.
pub const STATUS_REFUSED: i32 = 125;
/// The program was found but cannot be executed.
pub const STATUS_NOT_EXECUTABLE: i32 = 126;
/// The program was not found.
pub const STATUS_NOT_FOUND: i32 = 127;
/// Any other failure.
pub const STATUS_FAILED: i32 = 1;

// SAFETY: the name is that of the entry point, of which a program without Rust's start-up code needs exactly one.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn main() -> std::ffi::c_int {
    // `exit` flushes standard output, which returning from here would not.
    exit(match Arguments::try_parse() {
        Ok(arguments) => dispatch(arguments),
        Err(error) => misunderstood(&error),
    })
}

/// Prints what clap has to say, help or a complaint. A wrong `axio run` must not be taken for a program that ended with
/// clap's own status.
fn misunderstood(error: &clap::Error) -> i32 {
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    if is_run && error.use_stderr() {
        STATUS_REFUSED
    } else {
        error.exit_code()
    }
}

fn dispatch(arguments: Arguments) -> i32 {
    let (name, result) = match arguments.command {
        Command::Run(arguments) => return crate::run::run(&arguments),
        Command::Stat(arguments) => ("stat", crate::stat::run(&arguments)),
        Command::Why(arguments) => ("why", crate::why::run(&arguments)),
        Command::Bench(arguments) => ("bench", crate::bench::run(&arguments)),
        Command::BenchEnd(end) => ("bench-end", crate::bench::end::run(&end)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("axio {name}: {error:#}");
        STATUS_FAILED
    })
}
