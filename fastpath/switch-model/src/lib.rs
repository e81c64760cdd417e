//! Explicit-state model of the stream switch (SWITCH.md): every interleaving of small configurations, breadth first.
//!
//! Checked is that nothing is lost, doubled, out of order or delivered as a bell, that nobody sleeps for ever, and that
//! a good end stays reachable from every state; and that each rule that is left out on purpose makes one of these fail.
//! README.md tells how to run it, what it covers and what it found.
//!
//! * [`labels`]: the steps that the model shares with the code. It is the very file of `fastpath::stream`, so that the
//!   model builds alone.
//! * [`place`]: program counters, and the labels they stand for. [`state`]: streams and sides. [`thread`]: threads.
//! * [`switch`]: the graph of one connection; its steps are in `steps`, conditions that several of them look at in
//!   `looks`. [`kernel`]: the kernel's part.
//! * [`configuration`]: what a configuration fixes. [`configurations`]: all of them. [`deliberate_bugs`]: rules that can
//!   be left out.
//! * [`waiter`]: one `arm` word for several connections, a second, smaller graph.
//! * [`search`]: breadth-first search, for either graph. [`violation`]: what can be found wrong.
//! * [`cases`]: every run that is expected to hold or to fail.

pub mod cases;
pub mod configuration;
pub mod configurations;
pub mod deliberate_bugs;
pub mod kernel;
#[path = "../../src/stream/labels.rs"]
pub mod labels;
mod looks;
pub mod place;
pub mod search;
pub mod state;
mod steps;
pub mod switch;
pub mod thread;
pub mod violation;
pub mod waiter;
