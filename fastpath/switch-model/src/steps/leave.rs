//! LEAVE: close of the last managed holder, or exec with a surviving descriptor. Side 0 does it, at most once.

use super::outcome::{Now, Outcomes, Step};
use crate::configuration::Departure;
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::kernel::KernelEnd;
use crate::place::Place;
use crate::search::Transition;
use crate::state::{BELL, State};
use crate::thread::{Carried, Role, Thread};
use crate::violation::Violation;

/// LEAVE 1; or never, if the streams are at an end. A leaver whose siblings go on takes both locks. The others are the
/// last thread that does anything: the rest stand between two calls or sleep.
pub(super) fn gone(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let configuration = &now.rules.configuration;
    let mut next = now.next();
    if !now.state.leave_ahead {
        out.push(next, Place::Ended);
        return Ok(());
    }
    if configuration.departure == Departure::Stranger && is_too_late(now) {
        next.state.leave_ahead = false;
        out.push(next, Place::Ended);
        return Ok(());
    }
    let unlocked = !now.own_side().rx_lock && !now.own_side().tx_lock;
    if configuration.departure == Departure::Siblings {
        let takes_turns = now.has(DeliberateBug::LeaveLocksInTurn);
        if is_too_late(now) {
            next.state.leave_ahead = false;
            out.push(next, Place::Ended);
        } else if unlocked || (takes_turns && !now.own_side().rx_lock) {
            next.state.leave_ahead = false;
            let side = next.own_side();
            side.gone = true;
            side.rx_lock = true;
            side.tx_lock |= !takes_turns;
            out.push(next, Place::LeaveRingingWait);
        }
        return Ok(());
    }
    let may_go = configuration.departure != Departure::Close || now.all_written();
    if !(all_others_rest(now) && unlocked && may_go) {
        return Ok(());
    }
    next.state.leave_ahead = false;
    let side = next.own_side();
    side.gone = true;
    side.readers_asleep = 0;
    side.writers_asleep = 0;
    next.sending().itx = 0;
    next.receiving().irx = 0;
    for thread in others_of(&mut next.state, now.me) {
        if thread.place != Place::Ended {
            thread.place = Place::LeftBehind;
            thread.carried = Carried::Nothing;
        }
    }
    out.push(next, Place::LeaveRingingWait);
    Ok(())
}

/// An end is near: the leave would show nothing new.
fn is_too_late(now: &Now<'_>) -> bool {
    let sending = now.sending();
    let receiving = now.receiving();
    let peer_ends = receiving.shut && !now.rules.configuration.early_fin;
    receiving.read_to_end || sending.write_failed || sending.shut || peer_ends
}

fn all_others_rest(now: &Now<'_>) -> bool {
    use Place::*;
    let mut others = now
        .state
        .threads
        .iter()
        .filter(|thread| thread.is_of(now.me));
    others.all(|thread| {
        thread.role == Role::Leaver
            || matches!(
                thread.place,
                SendIdle
                    | ReceiveIdle
                    | ReaderAsleep
                    | WriterAsleep
                    | ReceiveInKernel
                    | SendInKernel
                    | Ended
                    | LeftBehind
            )
    })
}

fn others_of(state: &mut State, side: usize) -> impl Iterator<Item = &mut Thread> {
    let threads = state.threads.iter_mut();
    threads.filter(move |thread| thread.is_of(side) && thread.role != Role::Leaver)
}

/// LEAVE 2.
pub(super) fn ringing_wait(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.receiving().ringing || now.has(DeliberateBug::NoRingingWait) {
        out.push(now.next(), Place::LeaveDrain);
    }
    Ok(())
}

/// LEAVE 3 and 4, a bell at a time.
pub(super) fn drain(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    let unpassed_retreat = stream.has_unpassed_switch() && !stream.on_ring();
    let bells_below = if stream.on_ring() {
        stream.koff
    } else if unpassed_retreat {
        stream.kr
    } else {
        0
    };
    let spilled = unpassed_retreat && !now.has(DeliberateBug::LeaveOverSpilled);
    let finished = stream.fin && !now.has(DeliberateBug::LeaveOverFin);
    let unread_before_newer = stream.has_ring_data() && (spilled || finished);
    if unread_before_newer && now.rules.configuration.departure == Departure::Stranger {
        reset(&mut next.state, now.me);
        out.push(next, Place::Ended);
    } else if unread_before_newer && now.rules.configuration.departure == Departure::Siblings {
        // They read it, and what lies behind it; only what they send leaves now.
        out.push(next, Place::LeaveRetreat);
    } else if stream.krx >= bells_below
        || stream.kernel.is_at_end()
        || now.has(DeliberateBug::LeaveWithoutDrain)
    {
        if now.has(DeliberateBug::LeaveLocksInTurn) {
            next.unlock_rx();
        }
        out.push(next, Place::LeaveRetreat);
    } else if !stream.kernel.is_empty() {
        kernel::consume_bell(next.receiving())?;
        out.push(next, Place::LeaveDrain);
    }
    Ok(())
}

/// LEAVE 3: bytes that nobody can put in order any more. Both ends see a reset.
fn reset(state: &mut State, side: usize) {
    for thread in state.threads.iter_mut().filter(|thread| thread.is_of(side)) {
        thread.place = Place::Ended;
    }
    state.side[side].closed = true;
    for stream in &mut state.stream {
        stream.kernel.end = KernelEnd::Reset;
        stream.kernel.lose_newest(stream.kernel.length());
    }
}

/// LEAVE 5.
pub(super) fn retreat(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    let on_ring = now.sending().on_ring();
    if now.has(DeliberateBug::LeaveLocksInTurn) {
        if now.own_side().tx_lock {
            return Ok(());
        }
        next.own_side().tx_lock = true;
    }
    if now.has(DeliberateBug::FinAtLeave) {
        next.sending().fin |= on_ring;
        out.push(next, Place::LeaveClose);
    } else if on_ring && !now.sending().fin {
        let stream = next.sending();
        stream.count_bell();
        stream.kr = stream.ktx;
        stream.ep += 1;
        out.push(next, Place::LeaveBell);
    } else {
        out.push(next, Place::LeaveClose);
    }
    Ok(())
}

/// LEAVE 5, the closing bell.
pub(super) fn bell(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.send_to_kernel(BELL)?;
    out.push(next, Place::LeaveClose);
    Ok(())
}

/// LEAVE 6: the program's threads go on without the channel, become strangers, or the socket is closed.
pub(super) fn close(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.rules.configuration.departure == Departure::Siblings {
        let stream = now.receiving();
        let reads_on = stream.has_ring_data()
            && (stream.fin || stream.has_unpassed_switch() && !stream.on_ring());
        let side = next.own_side();
        side.left = !reads_on || now.has(DeliberateBug::LeaveLocksInTurn);
        side.tx_lock = false;
        if !now.has(DeliberateBug::LeaveLocksInTurn) {
            side.rx_lock = false;
        }
        out.push(next, Place::Ended);
        return Ok(());
    }
    if now.rules.configuration.departure == Departure::Stranger {
        for thread in &mut next.state.threads {
            if thread.place == Place::LeftBehind {
                thread.place = match thread.role {
                    Role::Reader => Place::StrangerReads,
                    _ => Place::StrangerWrites,
                };
            }
        }
        out.push(next, Place::Ended);
        return Ok(());
    }
    if now.receiving().kernel.bells() > 0 {
        return Err(Violation::ClosedOverBell);
    }
    next.own_side().closed = true;
    for thread in next
        .state
        .threads
        .iter_mut()
        .filter(|thread| thread.is_of(now.me))
    {
        thread.place = Place::Ended;
    }
    // A FIN or RST that is there already stays.
    let end = now.sending().kernel.end;
    for mut after in kernel::close(&next.state, now.me) {
        let kernel = &mut after.stream[now.me].kernel;
        kernel.end = kernel.end.max(end);
        out.0.push(Transition {
            after,
            optional: false,
        });
    }
    Ok(())
}
