//! The life of a slot behind a connection that has given it up (PROTOCOL.md §11): both sides leave, both halves are
//! zeroed, and another connection takes them. That one is modelled as far as what it finds in them.

use super::outcome::{Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::place::Place;
use crate::state::{Epoch, Giving, Half, RING_SLOTS, State};
use crate::violation::Violation;

/// The side that hands slots out.
pub(super) const ACCEPTING: usize = 0;
/// The byte that the next connection of the slot sends.
const BYTE_OF_ANOTHER: u8 = 0x7f;

/// What may be done with the slot now. Nobody may rely on it.
pub(super) fn choose(now: &Now<'_>, out: Outcomes<'_>) {
    let (own, far) = (now.own_side().half, now.far_side().half);
    let accepts = now.me == ACCEPTING;
    let place = match own {
        Half::Left if accepts => (far == Half::Left || now.has(DeliberateBug::FreeBeforeBothLeft))
            .then_some(Place::SlotFree),
        Half::Left => (far >= Half::Free).then_some(Place::SlotFree),
        Half::Free if accepts => {
            (far == Half::Free || now.has(DeliberateBug::BindBeforeEcho)).then_some(Place::SlotBind)
        }
        Half::Free => (far == Half::Taken).then_some(Place::SlotBind),
        Half::Taken if accepts => (far == Half::Taken).then_some(Place::SlotUse),
        Half::Taken => (far == Half::Used).then_some(Place::SlotUse),
        Half::Bound | Half::Used => None,
    };
    if let Some(place) = place {
        out.push_optional(now.next(), place);
    }
}

/// `leaving=g`.
pub(super) fn leave(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.own_side().half = Half::Left;
    out.push(next, Place::GiveIdle);
    Ok(())
}

/// The own half is zeroed; then the next generation.
pub(super) fn free(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let (me, mut next) = (now.me, now.next());
    let sending = next.sending();
    (sending.tail, sending.ep, sending.kr, sending.koff) = (0, 0, 0, 0);
    sending.fin = false;
    sending.ring = [0; RING_SLOTS];
    let receiving = next.receiving();
    (
        receiving.head,
        receiving.rx_ep,
        receiving.grant,
        receiving.krx,
    ) = (0, 0, 0, 0);
    receiving.want = false;
    let side = &mut next.state.side[me];
    (side.arm_rx, side.arm_tx) = (Epoch::Quiet, Epoch::Quiet);
    side.giving = Giving::No;
    side.half = Half::Free;
    out.push(next, Place::GiveIdle);
    Ok(())
}

/// Words of both halves, as a connection finds them that has not used them.
fn is_clean(state: &State) -> bool {
    let streams_are_clean = state.stream.iter().all(|stream| {
        (stream.tail, stream.ep, stream.kr, stream.koff) == (0, 0, 0, 0)
            && (stream.head, stream.rx_ep, stream.grant, stream.krx) == (0, 0, 0, 0)
            && !stream.fin
            && !stream.want
    });
    streams_are_clean
        && state.side.iter().all(|side| {
            side.giving == Giving::No && side.arm_rx == Epoch::Quiet && side.arm_tx == Epoch::Quiet
        })
}

/// Another connection has the slot: `state=1`, then `generation=g+1`.
pub(super) fn bind(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !is_clean(now.state) {
        return Err(Violation::SlotNotClean);
    }
    let mut next = now.next();
    next.own_side().half = Half::Taken;
    out.push(next, Place::GiveIdle);
    Ok(())
}

/// It sends a byte by the ring; it receives that byte, and finds nothing else.
pub(super) fn use_it(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.own_side().half = Half::Used;
    if now.me == ACCEPTING {
        if !is_clean(now.state) {
            return Err(Violation::SlotNotClean);
        }
        let stream = next.sending();
        stream.ring[0] = BYTE_OF_ANOTHER;
        stream.tail = 1;
        stream.ep = 1;
    } else {
        let stream = next.receiving();
        let sent = (stream.ring[0], stream.tail, stream.ep) == (BYTE_OF_ANOTHER, 1, 1);
        (stream.ring[0], stream.tail, stream.ep) = (0, 0, 0);
        if !sent || !is_clean(&next.state) {
            return Err(Violation::SlotNotClean);
        }
    }
    out.push(next, Place::GiveIdle);
    Ok(())
}
