//! What the programs that put real sockets under stress have in common.
//!
//! * [`calls`]: the libc calls they make, as safe functions that hide nothing.
//! * [`content`]: bytes that prove where they belong.
//! * [`random`]: numbers that a seed repeats.
//! * [`status`]: Axio's requests on a descriptor.
//! * [`report`]: what the shim tells at exit.
//! * [`processes`]: starting programs with and without the shim, and ending them.
//! * [`hang`]: what a silent process is doing.
//! * [`arguments`], [`table`]: command lines and results.

pub mod arguments;
pub mod calls;
pub mod content;
pub mod hang;
pub mod processes;
pub mod random;
pub mod report;
pub mod status;
pub mod table;
