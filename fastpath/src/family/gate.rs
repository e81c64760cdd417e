//! The gate before what this process's threads do to family memory without a lock of an endpoint: blocks are taken,
//! begun and given back, numbers come and go, children get places. Open all the time but for the moment in which the
//! memory is replaced ([`super::part`]).
//!
//! Process-private. Nobody waits for a lock behind the gate, so whoever closes it, with locks in hand, waits for short
//! steps only; a signal handler above one of those would wait for itself, hence the patience of who closes.

use crate::backoff::Backoff;
use crate::clock::monotonic_ns;
use crate::sync::{AtomicU32, Ordering};

/// Threads behind the gate; beside them [`CLOSED`].
static INSIDE: AtomicU32 = AtomicU32::new(0);
const CLOSED: u32 = 1 << 31;

/// A thread behind the gate.
pub(crate) struct Inside(());

/// Waits until the gate is open. Partner of both exchanges: those in [`close`].
#[inline]
pub(crate) fn enter() -> Inside {
    if INSIDE.fetch_add(1, Ordering::AcqRel) & CLOSED != 0 {
        wait();
    }
    Inside(())
}

#[cold]
fn wait() {
    let mut backoff = Backoff::new();
    loop {
        INSIDE.fetch_sub(1, Ordering::AcqRel);
        backoff.wait();
        if INSIDE.fetch_add(1, Ordering::AcqRel) & CLOSED == 0 {
            return;
        }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Closes the gate, which one thread can at a time, and waits until nobody is behind it; false, and it is not, when that
/// lasts beyond `until_ns`.
pub(super) fn close(until_ns: u64) -> bool {
    let mut backoff = Backoff::new();
    while INSIDE.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED != 0 {
        if monotonic_ns() > until_ns {
            return false;
        }
        backoff.wait();
    }
    while INSIDE.load(Ordering::Acquire) != CLOSED {
        if monotonic_ns() > until_ns {
            open();
            return false;
        }
        backoff.wait();
    }
    true
}

/// The end of [`close`].
pub(super) fn open() {
    INSIDE.fetch_and(!CLOSED, Ordering::AcqRel);
}

/// In a fork child, its only thread: those behind the gate are not there.
pub(super) fn reset() {
    INSIDE.store(0, Ordering::Relaxed);
}
