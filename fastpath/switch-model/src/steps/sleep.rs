//! SLEEP and KSLEEP, of writers on a full ring and readers on an empty one. Both sleep on the line that this side
//! receives on, under its `rx_lock`.

use super::outcome::{Next, Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::looks;
use crate::place::Place;
use crate::state::Epoch;
use crate::thread::{Carried, Role};

/// A new odd value.
fn arm(now: &Now<'_>, epoch: &mut Epoch) {
    if !(now.has(DeliberateBug::RearmSameValue) && *epoch == Epoch::Rung) {
        *epoch = Epoch::Armed;
    }
}

/// Bells are unread, and others sleep on them (§2.4).
fn must_back_off(now: &Now<'_>) -> bool {
    let line = now.receiving();
    line.krx < line.koff
        && now.own_side().anybody_asleep()
        && !now.has(DeliberateBug::DrainWhileOthersSleep)
}

/// SLEEP(tx) 1.
pub(super) fn writer_lock(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.own_side().rx_lock {
        let mut next = now.next();
        next.own_side().rx_lock = true;
        out.push(next, Place::WriterSleepDrain);
    }
    Ok(())
}

/// SLEEP(tx) 2, and `asleep++`.
pub(super) fn writer_drain(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let line = now.receiving();
    let mut next = now.next();
    if (!line.is_live_line() && !now.has(DeliberateBug::SleepOnDeadLine)) || now.own_side().left {
        next.unlock_rx();
        out.push(next, Place::SendLock);
        return Ok(());
    }
    if line.reads_ring() {
        if must_back_off(now) {
            next.unlock_rx();
            out.push(next, Place::WriterBackOff);
            return Ok(());
        }
        kernel::consume_bells(next.receiving(), line.koff)?;
    }
    if next.receiving().kernel.is_at_end() {
        next.receiving().keof = true;
        next.unlock_rx();
        out.push(next, Place::SendLock);
        return Ok(());
    }
    next.own_side().writers_asleep += 1;
    next.carry(Carried::Nothing);
    out.push(next, Place::WriterSleepArm);
    Ok(())
}

/// SLEEP(tx) 3.
pub(super) fn writer_arm(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    arm(now, &mut next.own_side().arm_tx);
    out.push(next, Place::WriterSleepLook);
    Ok(())
}

/// SLEEP(tx) 4 and 5.
pub(super) fn writer_look(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let configuration = &now.rules.configuration;
    let has_cause = if now.has(DeliberateBug::SleepOnDeadLine) {
        looks::ring_has_room(configuration, now.state, now.me) || !now.sending().on_ring()
    } else {
        looks::writer_has_cause(configuration, now.state, now.me)
    };
    let mut next = now.next();
    next.unlock_rx();
    if has_cause && !now.has(DeliberateBug::NoSecondLookWriting) {
        let side = next.own_side();
        side.writers_asleep -= 1;
        if side.writers_asleep == 0 {
            side.arm_tx = Epoch::Quiet;
        }
        out.push(next, Place::SendLock);
    } else {
        out.push(next, Place::WriterAsleep);
    }
    Ok(())
}

/// SLEEP(tx) 2, without a lock.
pub(super) fn writer_back_off(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let has_cause = looks::writer_has_cause(&now.rules.configuration, now.state, now.me);
    if !now.own_side().anybody_asleep() || has_cause {
        out.push(now.next(), Place::SendLock);
    }
    Ok(())
}

/// KSLEEP of a writer: a bell, an end, or (where that is modelled) 10 ms without room.
pub(super) fn writer_asleep(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let line = now.receiving();
    let awake = || {
        let mut next = now.next();
        next.own_side().writers_asleep -= 1;
        next
    };
    // A writer's sleep is bounded: 10 ms later it finds that its side has left.
    if line.kernel.is_readable() || line.keof || now.own_side().left {
        out.push(awake(), Place::SendLock);
    } else if now.rules.configuration.spill && !now.has(DeliberateBug::NoSpill) {
        let mut next = awake();
        next.carry(Carried::SleptLong);
        out.push(next, Place::SendLock);
    }
    if now.state.interruptions_left > 0 {
        let mut next = awake();
        next.state.interruptions_left -= 1;
        if now.has(DeliberateBug::InterruptedDisarms) {
            next.own_side().arm_tx = Epoch::Quiet;
        }
        out.push_optional(next, Place::SendLock);
    }
    Ok(())
}

/// SLEEP(rx) 2, and `asleep++`. The lock is held since RECV 1.
pub(super) fn reader_drain(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let line = now.receiving();
    let mut next = now.next();
    if must_back_off(now) {
        next.unlock_rx();
        out.push(next, Place::ReaderBackOff);
        return Ok(());
    }
    kernel::consume_bells(next.receiving(), line.koff)?;
    if next.receiving().kernel.is_at_end() {
        next.receiving().keof = true;
        if now.has(DeliberateBug::EndWithoutLastLook) {
            next.receiving().read_to_end = true;
            next.unlock_rx();
            out.push(next, Place::ReceiveIdle);
        } else {
            out.push(next, Place::RingLook);
        }
    } else {
        next.own_side().readers_asleep += 1;
        out.push(next, Place::ReaderSleepArm);
    }
    Ok(())
}

/// SLEEP(rx) 3.
pub(super) fn reader_arm(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    arm(now, &mut next.own_side().arm_rx);
    out.push(next, Place::ReaderSleepLook);
    Ok(())
}

/// SLEEP(rx) 4 and 5.
pub(super) fn reader_look(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if looks::reader_has_cause(now.state, now.me) && !now.has(DeliberateBug::NoSecondLookReading) {
        let side = next.own_side();
        side.readers_asleep -= 1;
        if side.readers_asleep == 0 {
            side.arm_rx = Epoch::Quiet;
        }
        out.push(next, Place::RingLook);
    } else {
        next.unlock_rx();
        out.push(next, Place::ReaderAsleep);
    }
    Ok(())
}

/// SLEEP(rx) 2, without a lock.
pub(super) fn reader_back_off(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let line = now.receiving();
    let has_cause = line.has_ring_data() || line.fin || line.keof || now.own_side().left;
    if !now.own_side().anybody_asleep() || has_cause {
        out.push(now.next(), Place::ReceiveLock);
    }
    Ok(())
}

/// KSLEEP of a reader: a byte or an end in the kernel, or (bounded sleep) room for the REWIND that this side owes.
pub(super) fn reader_asleep(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let line = now.receiving();
    let awake = || {
        let mut next = now.next();
        next.own_side().readers_asleep -= 1;
        next
    };
    let can_go_on_rewinding = now.owes_rewind()
        && now.sending().rewound.is_some()
        && looks::kernel_has_room(&now.rules.configuration, now.state, now.me);
    if line.kernel.is_readable() || line.keof || can_go_on_rewinding {
        out.push(awake(), Place::ReceiveLock);
    }
    if now.state.interruptions_left > 0 {
        let mut next: Next = awake();
        next.state.interruptions_left -= 1;
        if now.has(DeliberateBug::InterruptedDisarms) {
            next.own_side().arm_rx = Epoch::Quiet;
        }
        // With a second reader about, the interrupted one leaves for good.
        let may_stay_away = running_readers(now) > 1;
        let place = if may_stay_away {
            Place::Ended
        } else {
            Place::ReceiveLock
        };
        out.push_optional(next, place);
    }
    Ok(())
}

fn running_readers(now: &Now<'_>) -> usize {
    let threads = now.state.threads.iter();
    threads
        .filter(|thread| {
            thread.is_of(now.me) && thread.role == Role::Reader && thread.place != Place::Ended
        })
        .count()
}
