//! RECV while the ring carries.

use super::outcome::{Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::place::Place;
use crate::state::Stream;
use crate::thread::{Carried, RingEnds};

/// RECV, odd, 2: `ep`, `fin` and `keof`, before `tail` (§2.7).
pub(super) fn look(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    next.carry(if now.has(DeliberateBug::EndsLookedAtAfterData) {
        let found = stream.has_ring_data();
        Carried::LookedForData { found }
    } else {
        Carried::Looked(ends_of(stream))
    });
    out.push(next, Place::RingTake);
    Ok(())
}

fn ends_of(stream: &Stream) -> RingEnds {
    RingEnds {
        switched: stream.has_unpassed_switch(),
        fin: stream.fin,
        keof: stream.keof,
    }
}

/// RECV, odd, 3 to 6: up to two bytes; without any, what was seen before decides.
pub(super) fn take(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let (has_data, ends) = match now.thread().carried {
        Carried::Looked(ends) => (stream.has_ring_data(), ends),
        Carried::LookedForData { found } => (found, ends_of(stream)),
        _ => unreachable!("the ring was looked at"),
    };
    let mut next = now.next();
    next.carry(Carried::Nothing);
    if has_data && !(now.has(DeliberateBug::RetreatWithoutDrain) && ends.switched) {
        let ring_bytes = now.rules.configuration.ring_bytes;
        for offset in (stream.head..stream.tail).take(2) {
            let byte = stream.ring[usize::from(offset % ring_bytes)];
            kernel::deliver(next.receiving(), byte)?;
            next.receiving().head += 1;
        }
        next.unlock_rx();
        out.push(next, Place::RoomBellLook);
    } else if ends.switched {
        out.push(next, Place::RetreatPass);
    } else if ends.fin || ends.keof {
        next.receiving().read_to_end = true;
        next.unlock_rx();
        out.push(next, Place::ReceiveIdle);
    } else {
        out.push(next, Place::ReaderSleepDrain);
    }
    Ok(())
}

/// RECV, odd, 4: the ring is empty and the sender has retreated. The bells of the span are consumed, nothing else.
pub(super) fn pass_retreat(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    if stream.krx < stream.kr
        && now.own_side().anybody_asleep()
        && !now.has(DeliberateBug::PassRetreatOverSleeper)
    {
        next.unlock_rx();
        out.push(next, Place::ReaderBackOff);
        return Ok(());
    }
    let after = next.receiving();
    kernel::consume_bells(after, stream.kr)?;
    if after.krx == stream.kr {
        after.rx_ep = stream.ep;
        out.push(next, Place::ReceiveLocked);
    } else if after.kernel.is_at_end() {
        after.keof = true;
        after.read_to_end = true;
        next.unlock_rx();
        out.push(next, Place::ReceiveIdle);
    } else {
        next.own_side().readers_asleep += 1;
        next.unlock_rx();
        out.push(next, Place::ReaderAsleep);
    }
    Ok(())
}
