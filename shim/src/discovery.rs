//! How the two ends of a TCP connection find and prove each other (TRUST.md "Discovery and identity, normative").
//!
//! Takes a TCP descriptor and its address pair, gives a channel and a slot. Everything is advanced at calls the program
//! makes anyway, never blocks, and leaves nothing behind: options restored, names free, descriptors closed.
//!
//! * [`connector`]: C, the side that called connect().
//! * [`acceptor`]: S, the side that accepted.
//! * [`claim`]: C asks in channels that exist.
//! * [`mailbox`]: C's box. [`dial`]: S at the box. [`offer`]: what S sends. [`name`]: the two exclusive names.
//! * [`look`]: what the kernel says about the far socket. [`knock`]: proof of possession.
//! * [`negotiation`]: what both sides do alike.
//! * [`quota`]: what users may cost us. [`patience`]: how long it may take.
//! * [`places`], [`private`], [`clock`], [`failure`]: where things live, descriptors of ours, time, reasons.

mod acceptor;
mod claim;
mod clock;
mod connector;
mod dial;
mod failure;
mod knock;
mod look;
mod mailbox;
mod name;
mod negotiation;
mod offer;
mod patience;
mod places;
pub mod private;
mod quota;
#[cfg(test)]
mod trial;

pub use acceptor::{Acceptor, Wanted};
pub use connector::{Chance, Connector};
pub use failure::of_blame as reason_of;

use fastpath::channel::Channel;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::reason::Reason;

/// A connection that has a slot.
#[derive(Clone, Copy)]
pub struct Bound {
    /// The channel, retained once for this connection: the owner releases it when the last descriptor is gone.
    pub channel: &'static Channel,
    /// The slot.
    pub slot: u32,
    /// Its generation.
    pub generation: u32,
}

/// How a negotiation stands after a step.
#[derive(Clone, Copy)]
pub enum Progress {
    /// Advance again at the next call on the descriptor.
    Pending,
    /// Both ends have proven themselves.
    Bound(Bound),
    /// It came to nothing; the connection stays on the kernel path until its next chance.
    Failed(Reason),
}

/// A private duplicate of a descriptor of the program's, out of the numbers that programs expect.
///
/// # Errors
/// The reason why there is none.
pub fn private_duplicate(
    descriptor: i32,
) -> Result<fastpath::memory::descriptor::Descriptor, Reason> {
    private::duplicate_high(descriptor)
}

static CONFINED: AtomicU32 = AtomicU32::new(0);

/// The process has installed a seccomp filter, or otherwise confined itself, since its start: no discovery any more,
/// since an unexpected call may kill it.
pub fn confine() {
    CONFINED.store(1, Ordering::Relaxed);
}

fn confined() -> Result<(), Reason> {
    if CONFINED.load(Ordering::Relaxed) != 0 {
        return Err(Reason::Confined);
    }
    Ok(())
}

/// To be called in every fork child before it does anything else here: what is half done is the parent's.
pub fn on_fork_child() {
    connector::on_fork_child();
    acceptor::on_fork_child();
    dial::on_fork_child();
    look::on_fork_child();
}
