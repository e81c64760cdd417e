//! RECV while the kernel carries.

use super::outcome::{Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::looks;
use crate::place::Place;
use crate::state::{BELL, Giving};
use crate::thread::{Carried, Role};
use crate::violation::Violation;

/// Between two calls.
pub(super) fn idle(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let configuration = &now.rules.configuration;
    let stream = now.receiving();
    let mut next = now.next();
    next.carry(Carried::Nothing);
    let has_all = stream.read == configuration.bytes[now.peer];
    if stream.read_to_end || (now.thread().role == Role::ReadsAfterwards && has_all) {
        out.push(next, Place::Ended);
        return Ok(());
    }
    out.push(next, Place::ReceiveLock);
    if configuration.shutdown_read && now.me == 0 && !stream.keof {
        let mut next = now.next();
        next.receiving().keof = true;
        out.push(next, Place::ReceiveIdle);
    }
    if now.own_side().asks_left > 0 && stream.on_ring() {
        let mut next = now.next();
        next.own_side().asks_left -= 1;
        next.receiving().want = true;
        out.push_optional(next, Place::RoomBellLook);
    }
    Ok(())
}

/// RECV 1.
pub(super) fn lock(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.own_side().rx_lock {
        let mut next = now.next();
        next.own_side().rx_lock = true;
        out.push(next, Place::ReceiveLocked);
    }
    Ok(())
}

/// RECV 1 and, while the kernel carries and no grant is open, 2.
pub(super) fn locked(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    if stream.read_to_end {
        next.unlock_rx();
        out.push(next, Place::ReceiveIdle);
        return Ok(());
    }
    if now.own_side().left {
        next.receiving().irx += 1;
        next.unlock_rx();
        out.push(next, Place::ReceiveInKernel);
        return Ok(());
    }
    let owes_rewind = now.owes_rewind() && !now.has(DeliberateBug::ReaderDoesNotRewind);
    if owes_rewind && can_rewind(now) {
        // Under the own `tx_lock` alone.
        if !now.own_side().tx_lock {
            next.unlock_rx();
            next.own_side().tx_lock = true;
            out.push(next, Place::RewindStart);
        }
        return Ok(());
    }
    if stream.reads_ring() {
        out.push(next, Place::RingLook);
        return Ok(());
    }
    let classifies = now.has(DeliberateBug::ClassifyOnReturn);
    if stream.grant == stream.rx_ep + 1 && !classifies {
        out.push(next, Place::GrantedCount);
        return Ok(());
    }
    if may_grant(now) {
        let mut next = now.next();
        next.receiving().grant = stream.rx_ep + 1;
        out.push(next, Place::ReceiveLocked);
    }
    if classifies && stream.on_ring() && stream.irx == 0 {
        next.receiving().rx_ep += 1;
        out.push(next, Place::ReceiveLocked);
    } else if owes_rewind {
        // The rest of the REWIND waits for room; so must not block: read as with a grant.
        out.push(next, Place::GrantedCount);
    } else if is_offered(now) && stream.irx > 0 && !stream.kernel.is_readable() {
        // No grant while another thread is in the kernel; one that finds nothing there sleeps as with a grant.
        next.own_side().readers_asleep += 1;
        next.unlock_rx();
        out.push(next, Place::ReaderAsleep);
    } else {
        next.receiving().irx += 1;
        next.unlock_rx();
        out.push(next, Place::ReceiveInKernel);
    }
    Ok(())
}

/// REWIND can begin, go on, or end.
fn can_rewind(now: &Now<'_>) -> bool {
    let stream = now.sending();
    !stream.on_ring()
        || stream.rewound.is_none()
        || stream.kernel.has_ended()
        || looks::kernel_has_room(&now.rules.configuration, now.state, now.me)
}

/// RECV, even, no grant, 2: an upgrade is offered, and no thread is inside a consuming recv.
fn may_grant(now: &Now<'_>) -> bool {
    let stream = now.receiving();
    let alone = stream.irx == 0
        || now.has(DeliberateBug::GrantWithReceiveInFlight)
        || now.has(DeliberateBug::ClassifyOnReturn);
    is_offered(now) && alone
}

/// A grant would be of use.
fn is_offered(now: &Now<'_>) -> bool {
    let stream = now.receiving();
    let nobody_left = !now.far_side().gone && !now.own_side().gone;
    let stays = now.own_side().giving == Giving::No && !now.own_side().has_given_up();
    stream.grant <= stream.rx_ep && stream.upgrades_left > 0 && nobody_left && stays
}

/// RECV, even, no grant: the program's own recv takes one or two bytes, whatever they are.
pub(super) fn in_kernel(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    for count in 1..=stream.kernel.length().min(2) {
        let mut next = now.next();
        let mut bells = [false; 2];
        for is_bell in &mut bells[..count] {
            let byte = next.receiving().kernel.pop();
            *is_bell = byte == BELL;
            if !(*is_bell && now.has(DeliberateBug::ClassifyOnReturn)) {
                kernel::deliver(next.receiving(), byte)?;
            }
        }
        let count = count as u8;
        next.carry(Carried::Received { count, bells });
        out.push(next, Place::ReceiveCount);
    }
    if stream.kernel.is_at_end() {
        let mut next = now.next();
        let bells = [false; 2];
        next.carry(Carried::Received { count: 0, bells });
        out.push(next, Place::ReceiveCount);
    } else if stream.kernel.is_empty() && wakes_for_rewind(now) {
        let mut next = now.next();
        next.receiving().irx -= 1;
        out.push(next, Place::ReceiveIdle);
    }
    Ok(())
}

/// KSLEEP, bounded: our ring holds unread bytes and the line is on the kernel, so no bell can tell that the peer leaves.
fn wakes_for_rewind(now: &Now<'_>) -> bool {
    let stream = now.sending();
    now.rules.socket_lives_on()
        && stream.on_ring()
        && stream.has_ring_data()
        && now.far_side().gone
        && !now.has(DeliberateBug::UnboundedMixedSleep)
}

/// RECV, even, no grant: `krx+=n`, `irx--`.
pub(super) fn count(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let Carried::Received { count, bells } = now.thread().carried else {
        unreachable!("a recv has come back");
    };
    let classifies = now.has(DeliberateBug::ClassifyOnReturn);
    if classifies {
        // Offsets are looked at when recv returns: too late.
        for (offset, &is_bell) in (stream.krx..).zip(&bells[..usize::from(count)]) {
            let in_span = stream.on_ring() || offset < stream.kr;
            let taken_for_bell = stream.ep > stream.rx_ep && in_span;
            match (is_bell, taken_for_bell) {
                (true, false) => return Err(Violation::BellDelivered),
                (false, true) => return Err(Violation::DataDiscarded(stream.read)),
                _ => {}
            }
        }
    }
    let mut next = now.next();
    next.carry(Carried::Nothing);
    let after = next.receiving();
    after.irx -= 1;
    if !now.own_side().has_given_up() {
        after.krx += count;
    }
    if count == 0 {
        after.keof = true;
        if classifies && stream.on_ring() {
            after.rx_ep = stream.ep;
        } else {
            after.read_to_end = true;
        }
    }
    out.push(next, Place::ReceiveIdle);
    Ok(())
}

/// RECV, even, grant, 2.
pub(super) fn granted_count(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    next.carry(if now.has(DeliberateBug::LookBeforeCount) {
        let switched = stream.has_unpassed_switch();
        Carried::LookedBeforeCount { switched }
    } else {
        let count = stream.kernel.length().min(2) as u8;
        let end = stream.kernel.is_at_end();
        Carried::Counted { count, end }
    });
    out.push(next, Place::GrantedTake);
    Ok(())
}

/// RECV, even, grant, 3 to 5.
pub(super) fn granted_take(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let (count, end, switched) = match now.thread().carried {
        Carried::Counted { count, end } => (count, end, stream.has_unpassed_switch()),
        Carried::LookedBeforeCount { switched } => {
            let count = stream.kernel.length().min(2) as u8;
            (count, stream.kernel.is_at_end(), switched)
        }
        _ => unreachable!("the kernel's bytes were counted"),
    };
    let mut next = now.next();
    next.carry(Carried::Nothing);
    if switched {
        // An upgrade was granted for an empty kernel stream: what is there now are bells.
        next.receiving().rx_ep += 1;
        out.push(next, Place::RingLook);
        return Ok(());
    }
    // A reset may have taken bytes away since they were counted.
    let takes = count.min(stream.kernel.length() as u8);
    if count > 0 && takes == 0 {
        next.unlock_rx();
        out.push(next, Place::ReceiveLock);
    } else if takes > 0 {
        for _ in 0..takes {
            let stream = next.receiving();
            let byte = stream.kernel.pop();
            kernel::deliver(stream, byte)?;
            stream.krx += 1;
        }
        next.unlock_rx();
        out.push(next, Place::ReceiveIdle);
    } else if end {
        next.receiving().keof = true;
        next.receiving().read_to_end = true;
        next.unlock_rx();
        out.push(next, Place::ReceiveIdle);
    } else {
        next.own_side().readers_asleep += 1;
        next.unlock_rx();
        out.push(next, Place::ReaderAsleep);
    }
    Ok(())
}
