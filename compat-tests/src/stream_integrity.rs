//! Stream integrity: two real processes, every way to read, write and wait, switches forced at random bytes.
//!
//! A seed makes a plan, the same in both processes; each byte says where it belongs; what is lost, doubled, re-ordered
//! or foreign (a bell) is found at the call that delivered it. Without a library the same run shows what the kernel does.
//!
//! * [`plan`]: what a seed does.
//! * [`board`]: what a side's processes know together.
//! * [`reader`], [`writer`]: one call at a time, of every kind.
//! * [`waiter`]: poll, select and epoll in their kinds.
//! * [`side`]: one end of the connection.
//! * [`controller`]: forced switches, signals, the watchdog of a side.
//! * [`driver`]: runs a seed, judges how it ended.
//! * [`campaign`]: many seeds, and what they must have shown together.

pub mod board;
pub mod campaign;
pub mod controller;
pub mod driver;
pub mod plan;
pub mod reader;
pub mod side;
pub mod waiter;
pub mod writer;
