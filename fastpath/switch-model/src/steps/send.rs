//! SEND: how a writer chooses its carrier.

use super::carrier_switch;
use super::outcome::{Next, Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::looks;
use crate::place::Place;
use crate::state::Epoch;
use crate::thread::{Carried, Role};

/// Between two calls.
pub(super) fn idle(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let mut next = now.next();
    next.carry(Carried::Nothing);
    if stream.write_failed {
        out.push(next, Place::Ended);
        return Ok(());
    }
    if now.all_written() {
        if now.thread().role == Role::WritesFirst {
            next.thread().role = Role::ReadsAfterwards;
            out.push(next, Place::ReceiveIdle);
            return Ok(());
        }
        if stream.shut {
            out.push(next, Place::Ended);
            return Ok(());
        }
        if stream.itx == 0 && fin_is_due(now) {
            next.sending().shut = true;
            out.push(next, Place::ShutdownAnnounce);
        }
    } else {
        out.push(next, Place::SendLock);
    }
    if stream.retreats_left > 0 && stream.on_ring() && !now.far_side().gone {
        let mut next = now.next();
        next.carry(Carried::Whim);
        out.push_optional(next, Place::SendLock);
    }
    Ok(())
}

/// The program calls shutdown(WR). A leaver that closes does without.
fn fin_is_due(now: &Now<'_>) -> bool {
    let configuration = &now.rules.configuration;
    let stream = &now.state.stream;
    let all_arrived = (0..2).all(|d| stream[d].read == configuration.bytes[d]);
    let closes = configuration.departure == crate::configuration::Departure::Close && now.me == 0;
    let nobody_waits = now.receiving().write_failed || now.far_side().is_out_of_reach();
    (configuration.early_fin || nobody_waits || all_arrived) && !closes
}

/// SEND 1.
pub(super) fn lock(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.own_side().tx_lock {
        let mut next = now.next();
        next.own_side().tx_lock = true;
        out.push(next, Place::SendLocked);
    }
    Ok(())
}

/// SEND 1 to 4, decided under `tx_lock`.
pub(super) fn locked(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let carried = now.thread().carried;
    let whim = carried == Carried::Whim;
    let mut next = now.next();
    if now.owes_rewind() && !stream.write_failed && !now.has(DeliberateBug::RewindLate) {
        next.carry(Carried::Nothing);
        out.push(next, Place::RewindStart);
        return Ok(());
    }
    let done = now.all_written() && (stream.over || !whim || !stream.on_ring());
    if done || stream.write_failed {
        next.carry(Carried::Nothing);
        next.unlock_tx();
        out.push(next, Place::SendIdle);
        return Ok(());
    }
    // The words of a slot that was given up are no longer this connection's.
    if stream.over || now.own_side().has_given_up() {
        next.carry(Carried::Nothing);
        enter_kernel(next, out);
        return Ok(());
    }
    if !stream.on_ring() {
        if carrier_switch::may_upgrade(now) {
            carrier_switch::begin_upgrade(now, out);
        }
        enter_kernel(next, out);
        return Ok(());
    }

    let room = looks::ring_has_room(&now.rules.configuration, now.state, now.me);
    let gives_up = carried == Carried::SleptLong && !room;
    if whim || stream.want || gives_up {
        out.push(next, Place::RetreatAnnounce);
    } else if room {
        copy_and_publish(now, next, out);
    } else if !now.receiving().is_live_line() && !now.has(DeliberateBug::SleepOnDeadLine) {
        out.push(next, Place::RetreatAnnounce);
    } else {
        next.unlock_tx();
        out.push(next, Place::WriterSleepLock);
    }
    Ok(())
}

/// SEND, even, 3.
fn enter_kernel(mut next: Next, out: Outcomes<'_>) {
    next.sending().itx += 1;
    next.unlock_tx();
    out.push(next, Place::SendInKernel);
}

/// SEND, odd, 3. Nobody reads the ring beyond `tail`, so that copying and publishing are one step here.
fn copy_and_publish(now: &Now<'_>, mut next: Next, out: Outcomes<'_>) {
    let carried = now.thread().carried;
    let compares_first = now.has(DeliberateBug::CompareBeforePublish);
    if compares_first && !matches!(carried, Carried::Compared(_)) {
        let armed = now.far_side().arm_rx == Epoch::Armed;
        next.carry(Carried::Compared(armed));
        out.push(next, Place::SendLocked);
        return;
    }
    let slot = now.sending().tail % now.rules.configuration.ring_bytes;
    let stream = next.sending();
    stream.ring[usize::from(slot)] = stream.written;
    stream.tail += 1;
    stream.written += 1;
    if compares_first {
        next.carry(Carried::Nothing);
        if carried == Carried::Compared(false) {
            next.unlock_tx();
            out.push(next, Place::SendIdle);
            return;
        }
    }
    out.push(next, Place::SendBellCompare);
}

/// SEND, even, 4: waits for the kernel, takes one byte, or learns that nobody reads.
pub(super) fn in_kernel(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let mut next = now.next();
    if now.far_side().is_out_of_reach() || stream.kernel.has_ended() {
        next.sending().write_failed = true;
        next.sending().itx -= 1;
        out.push(next, Place::SendIdle);
    } else if now.all_written() {
        next.sending().itx -= 1;
        out.push(next, Place::SendIdle);
    } else if looks::kernel_has_room(&now.rules.configuration, now.state, now.me) {
        next.send_to_kernel(stream.written)?;
        next.sending().written += 1;
        out.push(next, Place::SendCount);
    }
    Ok(())
}

/// SEND, even, 5.
pub(super) fn count(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.sending().ktx += 1;
    next.sending().itx -= 1;
    out.push(next, Place::SendIdle);
    Ok(())
}
