//! `libaxio.so`: the interposed POSIX socket calls.
//!
//! Knows POSIX; rings are `fastpath`'s. An interposed call jumps to a trampoline (`c/`), which asks a function here what
//! to do, does it, and asks again: no Rust frame lies under a sleep. Rules: a socket that no rule matches costs two
//! loads; `errno` is what the kernel would have left; nothing here exits, aborts, panics or allocates; nothing at all
//! happens in a process that opens no matching socket.
//!
//! * [`startup`]: the ordered list of what happens when the library is loaded.
//! * [`calls`]: the one table of interposed symbols, and what each does.
//! * [`boundary`]: what a trampoline and this side share; who is calling.
//! * [`process`]: what is true of this process: settings, policies, whether acceleration is on.
//! * [`fd_table`]: which descriptor number means which endpoint.
//! * [`upgrade`]: evidence, and when discovery is tried. [`discovery`]: how the two ends find each other.
//! * `eviction`: whose slot is taken when there are none left.
//! * [`readiness`]: epoll, poll, select over two carriers.
//! * [`status`]: the statistics page, the status ioctl, the report at exit. [`log`]: lines to standard error.
//! * `step_hooks`: stops at labelled steps, in test builds.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

pub mod boundary;
pub mod calls;
pub mod discovery;
mod eviction;
pub mod fd_table;
pub mod log;
pub mod process;
pub mod readiness;
pub mod startup;
pub mod status;
#[cfg(feature = "step-hooks")]
pub mod step_hooks;
pub mod upgrade;
