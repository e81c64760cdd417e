//! BELL: waking the peer's readers after publishing `tail`, its writers after publishing `head`.
//!
//! Looking at `gone` and counting the bell run as one step, since a leaver reads `koff` only while `ringing` is clear;
//! the deliberate bug that omits that wait splits them.

use super::outcome::{Next, Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::place::Place;
use crate::state::{BELL, Epoch};
use crate::thread::{Carried, Role};

/// What the ringer leaves behind in the epoch it has rung for.
fn rung(now: &Now<'_>) -> Epoch {
    if now.has(DeliberateBug::RearmSameValue) {
        Epoch::Rung
    } else {
        Epoch::Quiet
    }
}

/// BELL(rx) 1, by a writer under `tx_lock`; then ANNOUNCE. Nobody to ring for: the look at `gone` that ends SEND, odd, 3.
pub(super) fn compare_for_reader(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.far_side().arm_rx == Epoch::Armed {
        if !now.has(DeliberateBug::RungAfterBell) {
            next.far_side().arm_rx = rung(now);
        }
        next.announce(now.rules);
        out.push(next, Place::SendBellCount);
    } else if now.far_side().gone {
        out.push(next, Place::RewindStart);
    } else {
        next.unlock_tx();
        out.push(next, Place::SendIdle);
    }
    Ok(())
}

/// BELL(rx) 2 and 3.
pub(super) fn count_for_reader(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.far_side().gone && !now.has(DeliberateBug::BellIgnoresGone) {
        next.sending().ringing = false;
        out.push(next, Place::RewindStart);
        return Ok(());
    }
    count(
        now,
        next,
        Place::SendBellCountAlone,
        Place::SendBellSend,
        out,
    )
}

/// BELL(rx) 4.
pub(super) fn send_for_reader(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.has(DeliberateBug::RungAfterBell) {
        if now.thread().carried != Carried::RangFirst {
            next.send_to_kernel(BELL)?;
            next.carry(Carried::RangFirst);
            out.push(next, Place::SendBellSend);
            return Ok(());
        }
        next.carry(Carried::Nothing);
        next.far_side().arm_rx = Epoch::Quiet;
    } else {
        send_or_count(now, &mut next)?;
    }
    next.unlock_tx();
    out.push(next, Place::SendIdle);
    Ok(())
}

/// After `head` was published or `want` written: is there a writer to ring for? No lock is held.
pub(super) fn look_for_writer(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.far_side().arm_tx != Epoch::Armed || now.far_side().gone {
        out.push(next, Place::ReceiveIdle);
    } else if !now.own_side().tx_lock {
        next.own_side().tx_lock = true;
        out.push(next, Place::RoomBellCompare);
    }
    Ok(())
}

/// BELL(tx) 1, by a reader under `tx_lock`; then ANNOUNCE. Not while the own direction is on the kernel, or after its
/// FIN (§2.6): whoever slept on that line is woken by the switch or the FIN itself.
pub(super) fn compare_for_writer(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let is_bound = !now.own_side().has_given_up();
    let may_ring =
        is_bound && stream.on_ring() && !stream.fin || now.has(DeliberateBug::BellInKernelMode);
    let mut next = now.next();
    if may_ring && now.far_side().arm_tx == Epoch::Armed {
        next.far_side().arm_tx = rung(now);
        next.announce(now.rules);
        out.push(next, Place::RoomBellCount);
    } else {
        next.unlock_tx();
        out.push(next, behind(now));
    }
    Ok(())
}

/// BELL(tx) 2 and 3.
pub(super) fn count_for_writer(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.far_side().gone && !now.has(DeliberateBug::BellIgnoresGone) {
        next.sending().ringing = false;
        next.unlock_tx();
        out.push(next, behind(now));
        return Ok(());
    }
    count(
        now,
        next,
        Place::RoomBellCountAlone,
        Place::RoomBellSend,
        out,
    )
}

/// BELL(tx) 4.
pub(super) fn send_for_writer(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    send_or_count(now, &mut next)?;
    next.unlock_tx();
    out.push(next, behind(now));
    Ok(())
}

/// Where whoever rings for writers goes on.
fn behind(now: &Now<'_>) -> Place {
    if now.thread().role == Role::Giver {
        Place::GiveIdle
    } else {
        Place::ReceiveIdle
    }
}

/// BELL 3, after the look at `gone`.
fn count(now: &Now<'_>, mut next: Next, alone: Place, send: Place, out: Outcomes<'_>) -> Step {
    if now.has(DeliberateBug::NoRingingWait) {
        out.push(next, alone);
        return Ok(());
    }
    if now.has(DeliberateBug::BellSentBeforeCounted) {
        next.send_to_kernel(BELL)?;
    } else {
        next.sending().count_bell();
    }
    if now.has(DeliberateBug::RingingClearedEarly) {
        next.sending().ringing = false;
    }
    out.push(next, send);
    Ok(())
}

/// BELL 3, a step after the look at `gone`.
pub(super) fn count_alone(now: &Now<'_>, send: Place, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.sending().count_bell();
    out.push(next, send);
    Ok(())
}

/// BELL 4; the other way round where the bell is sent before it is counted.
fn send_or_count(now: &Now<'_>, next: &mut Next) -> Step {
    if now.has(DeliberateBug::BellSentBeforeCounted) {
        next.sending().count_bell();
        next.sending().ringing = false;
        Ok(())
    } else {
        next.send_bell()
    }
}
