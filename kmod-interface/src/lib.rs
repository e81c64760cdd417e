//! The bytes that cross a trust boundary, and nothing else.
//!
//! Every offset here is shared with another process, with C programs (`include/axio.h`) or with a device, so each is
//! asserted at compile time and again against a C compiler. No code in this crate touches memory it did not receive
//! by value; `PROTOCOL.md` is the normative text and this is its Rust spelling.
//!
//! * [`limits`]: every bound of the protocol, as named constants.
//! * [`channel_layout`]: one side's region: header, claims, control events, waiters, entries, pool.
//! * [`ict`]: the I/O Connection Table entry: one per slot, laid out by writer.
//! * [`ring_layout`]: what is true of a byte ring: powers of two, free-running positions.
//! * [`control_event`]: fixed records of the control event queue.
//! * [`handshake`]: messages of discovery: names, offer, claim, answer.
//! * [`ioctl`]: the opt-in requests on a plain descriptor, and their structures.
//! * [`reason`]: the closed list of reasons why a socket is not accelerated.
//! * [`statistics`]: the page other processes of the same user may read.
#![no_std]
#![forbid(unsafe_code)]
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

pub mod channel_layout;
pub mod control_event;
pub mod handshake;
pub mod ict;
pub mod ioctl;
pub mod limits;
pub mod reason;
pub mod ring_layout;
pub mod statistics;
