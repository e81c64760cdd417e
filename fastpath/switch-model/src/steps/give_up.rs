//! Giving the slot up while the connection lives: U1 to U9 of `fastpath::stream::unbind`.
//!
//! The calls that do it are those of other connections, or of this one's threads between two of theirs. Nobody may rely on
//! them: a round once begun goes to its end, but none need begin.

use super::outcome::{Now, Outcomes, Step};
use super::slot;
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::place::Place;
use crate::state::{Giving, Half};
use crate::thread::Carried;

/// U7: the rules for ends need the entries.
fn is_ending(now: &Now<'_>) -> bool {
    let (sending, receiving) = (now.sending(), now.receiving());
    sending.over
        || sending.shut
        || sending.write_failed
        || receiving.keof
        || receiving.read_to_end
        || receiving.fin
}

/// The far side has settled, or left the slot.
fn far_has_settled(now: &Now<'_>) -> bool {
    now.far_side().giving == Giving::Settled || now.far_side().half == Half::Left
}

/// Between two rounds.
pub(super) fn idle(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let side = now.own_side();
    if side.left {
        slot::choose(now, out);
        out.push(now.next(), Place::Ended);
        return Ok(());
    }
    if is_ending(now) {
        out.push(now.next(), Place::Ended);
        return Ok(());
    }
    if side.giving == Giving::No {
        if side.gives_left > 0 || now.far_side().told || far_has_settled(now) {
            out.push_optional(now.next(), Place::GiveBegin);
        }
        return Ok(());
    }
    out.push_optional(now.next(), Place::GiveSend);
    if now.rules.configuration.takes_back {
        out.push_optional(now.next(), Place::GiveBackLook);
    }
    Ok(())
}

/// U1, under `tx_lock`, which is given back at once.
pub(super) fn begin(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if now.own_side().tx_lock {
        return Ok(());
    }
    let mut next = now.next();
    if is_ending(now) {
        out.push(next, Place::GiveIdle);
        return Ok(());
    }
    let side = next.own_side();
    side.giving = Giving::Begun;
    side.gives_left = side.gives_left.saturating_sub(1);
    // The accepting side tells whom it evicts.
    let tells = now.me == slot::ACCEPTING && !now.own_side().told;
    out.push(
        next,
        if tells {
            Place::GiveTell
        } else {
            Place::GiveIdle
        },
    );
    Ok(())
}

/// A control event, or none: somebody else writes one, or the far side is to find out by itself.
pub(super) fn tell(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    out.push(now.next(), Place::GiveIdle);
    let mut next = now.next();
    next.own_side().told = true;
    out.push(next, Place::GiveIdle);
    Ok(())
}

/// A round: first the own direction. Back to the kernel, if it is not there.
pub(super) fn send(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if now.own_side().tx_lock {
        return Ok(());
    }
    let mut next = now.next();
    if is_ending(now) {
        out.push(next, Place::GiveIdle);
        return Ok(());
    }
    next.own_side().tx_lock = true;
    if !now.sending().on_ring() {
        out.push(next, Place::GiveSettle);
        return Ok(());
    }
    let stream = next.sending();
    stream.ep += 1;
    stream.want = false;
    stream.count_bell();
    stream.kr = stream.ktx;
    out.push(next, Place::GiveRetreatBell);
    Ok(())
}

/// The closing bell.
pub(super) fn retreat_bell(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.send_bell()?;
    out.push(next, Place::GiveSettle);
    Ok(())
}

/// U2: the far side has passed all: no bell and no ring byte of this direction will follow.
pub(super) fn settle(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    let settled =
        !now.sending().has_unpassed_switch() || now.has(DeliberateBug::SettleBeforePassed);
    if settled {
        next.own_side().giving = Giving::Settled;
    }
    next.unlock_tx();
    next.carry(Carried::Sending { settled });
    out.push(next, Place::GiveReceive);
    Ok(())
}

/// Then the other direction: how does it stand?
pub(super) fn receive(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if now.own_side().rx_lock {
        return Ok(());
    }
    let stream = now.receiving();
    let mut next = now.next();
    if is_ending(now) {
        next.carry(Carried::Nothing);
        out.push(next, Place::GiveIdle);
    } else if stream.has_unpassed_switch() {
        next.own_side().rx_lock = true;
        out.push(next, Place::GivePass);
    } else if stream.reads_ring() {
        next.carry(Carried::Nothing);
        out.push(next, Place::GiveWant);
    } else {
        next.own_side().rx_lock = true;
        behind_receiving(now, next, out);
    }
    Ok(())
}

/// The receiving direction has settled; `rx_lock` is held.
fn behind_receiving(now: &Now<'_>, mut next: super::outcome::Next, out: Outcomes<'_>) {
    let settled = now.thread().carried == Carried::Sending { settled: true };
    next.carry(Carried::Nothing);
    if settled {
        out.push(next, Place::GiveConclude);
    } else {
        next.unlock_rx();
        out.push(next, Place::GiveIdle);
    }
}

/// The switch is passed, if the ring is empty and nobody sleeps on the bells.
pub(super) fn pass(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.receiving();
    let mut next = now.next();
    if !stream.reads_ring() {
        // Of an open grant (U4).
        next.receiving().rx_ep += 1;
        next.carry(Carried::Nothing);
        next.unlock_rx();
        out.push(next, Place::GiveWant);
        return Ok(());
    }
    let is_undrained = stream.has_ring_data() && !now.has(DeliberateBug::GiveWithoutDrain);
    let over_sleeper = stream.krx < stream.kr
        && now.own_side().anybody_asleep()
        && !now.has(DeliberateBug::GiveOverSleeper);
    if !is_undrained && !over_sleeper {
        kernel::consume_bells(next.receiving(), stream.kr)?;
        if next.receiving().krx == stream.kr {
            next.receiving().rx_ep = stream.ep;
            behind_receiving(now, next, out);
            return Ok(());
        }
    }
    next.carry(Carried::Nothing);
    next.unlock_rx();
    out.push(next, Place::GiveWant);
    Ok(())
}

/// Asks the far side to retreat, if it has not; then rings for its writers, who may sleep on a full ring.
pub(super) fn want(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if !now.receiving().on_ring() {
        out.push(next, Place::GiveIdle);
    } else if !now.own_side().tx_lock {
        next.own_side().tx_lock = true;
        next.receiving().want = true;
        out.push(next, Place::RoomBellCompare);
    }
    Ok(())
}

/// U3, under both locks.
pub(super) fn conclude(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if now.own_side().tx_lock {
        return Ok(());
    }
    let far_settled = far_has_settled(now) || now.has(DeliberateBug::ConcludeUnsettled);
    let receiving = now.receiving();
    let at_rest = !now.sending().on_ring()
        && !receiving.reads_ring()
        && !receiving.has_unpassed_switch()
        && now.own_side().giving == Giving::Settled;
    let mut next = now.next();
    next.unlock_rx();
    if far_settled && at_rest && !is_ending(now) {
        next.own_side().left = true;
        out.push(next, Place::SlotLeave);
    } else {
        out.push(next, Place::GiveIdle);
    }
    Ok(())
}

/// U9: has the far side begun? Both locks are taken.
pub(super) fn look_before_taking_back(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if now.own_side().rx_lock || now.own_side().tx_lock {
        return Ok(());
    }
    let mut next = now.next();
    if far_has_settled(now) {
        out.push(next, Place::GiveIdle);
    } else {
        next.own_side().rx_lock = true;
        next.own_side().tx_lock = true;
        next.carry(Carried::Sending {
            settled: now.own_side().giving == Giving::Settled,
        });
        out.push(next, Place::GiveTakeBack);
    }
    Ok(())
}

/// U9: `state=1`.
pub(super) fn take_back(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.own_side().giving = Giving::Begun;
    out.push(next, Place::GiveKeep);
    Ok(())
}

/// U9: the far side has not begun, behind the fence: the slot is kept. Else the promise stands again.
pub(super) fn keep(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let had_settled = now.thread().carried == Carried::Sending { settled: true };
    let mut next = now.next();
    next.carry(Carried::Nothing);
    next.unlock_rx();
    next.unlock_tx();
    next.own_side().giving = if !far_has_settled(now) || now.has(DeliberateBug::TakeBackWithoutLook)
    {
        Giving::No
    } else if had_settled {
        Giving::Settled
    } else {
        Giving::Begun
    };
    out.push(next, Place::GiveIdle);
    Ok(())
}
