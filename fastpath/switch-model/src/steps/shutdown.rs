//! shutdown(WR), of a program that has written all (SWITCH.md §4).

use super::outcome::{Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel::KernelEnd;
use crate::place::Place;

/// `tx_lock`, no send in flight, ANNOUNCE.
pub(super) fn announce(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.own_side().tx_lock {
        let mut next = now.next();
        next.own_side().tx_lock = true;
        next.announce(now.rules);
        out.push(next, Place::ShutdownPublish);
    }
    Ok(())
}

/// `fin` if odd; or REWIND first, for the peer has left.
pub(super) fn publish(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let mut next = now.next();
    if now.owes_rewind() && !now.has(DeliberateBug::FinIgnoresGone) {
        next.sending().ringing = false;
        next.sending().shut = false;
        out.push(next, Place::RewindStart);
    } else {
        next.sending().fin |= stream.on_ring() && !stream.over && !now.own_side().has_given_up();
        out.push(next, Place::ShutdownKernel);
    }
    Ok(())
}

/// The kernel's shutdown, at once.
pub(super) fn kernel(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    let stream = next.sending();
    stream.kernel.end = stream.kernel.end.max(KernelEnd::Fin);
    stream.ringing = false;
    next.unlock_tx();
    out.push(next, Place::Ended);
    Ok(())
}
