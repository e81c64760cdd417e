//! The libc calls the torture programs make, as thin safe functions: values in, the call's result or errno out.
//!
//! They go through the C library's symbols on purpose, so that a preloaded shim sees exactly what a C program would
//! have asked for. Nothing here retries or hides an error.
//!
//! * [`sockets`]: made, connected, set up, closed.
//! * [`receiving`], [`sending`]: data in and out; [`pieces`] cuts buffers for the scattering calls.
//! * [`readiness`]: poll, select and epoll.
//! * [`processes`]: processes, threads and signals.
//! * [`memory`]: words that several processes share.

pub mod memory;
pub mod pieces;
pub mod processes;
pub mod readiness;
pub mod receiving;
pub mod sending;
pub mod sockets;

pub use memory::*;
pub use pieces::PIECES;
pub use processes::*;
pub use readiness::*;
pub use receiving::*;
pub use sending::*;
pub use sockets::*;

/// The call's value, or its errno.
pub type Outcome<T> = Result<T, i32>;

/// The calling thread's errno.
#[must_use]
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The usual name of an errno value.
#[must_use]
pub fn errno_text(code: i32) -> String {
    std::io::Error::from_raw_os_error(code).to_string()
}

fn count(result: isize) -> Outcome<usize> {
    usize::try_from(result).map_err(|_| errno())
}

fn number(result: i32) -> Outcome<i32> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn done(result: i32) -> Outcome<()> {
    number(result).map(|_| ())
}
