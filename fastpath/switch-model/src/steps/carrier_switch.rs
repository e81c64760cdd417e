//! UPGRADE and RETREAT, by the sender, under `tx_lock`.

use super::outcome::{Next, Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::place::Place;
use crate::state::Giving;
use crate::thread::Carried;

/// §2.2, and the configuration's policy.
pub(super) fn may_upgrade(now: &Now<'_>) -> bool {
    let stream = now.sending();
    let ungranted = now.has(DeliberateBug::UpgradeWithoutGrant);
    let granted = stream.grant == stream.ep + 1 || (ungranted && stream.ep > 0);
    let passed = !stream.has_unpassed_switch() || ungranted;
    let quiet = stream.itx == 0 || now.has(DeliberateBug::UpgradeWithSendInFlight);
    let all_read = stream.krx == stream.ktx || now.has(DeliberateBug::UpgradeOverUnread);
    let stays = now.own_side().giving == Giving::No || now.has(DeliberateBug::UpgradeWhileGiving);
    stream.upgrades_left > 0
        && granted
        && passed
        && quiet
        && all_read
        && stays
        && !now.own_side().gone
        && !now.own_side().has_given_up()
}

/// UPGRADE 1 and 2. Where nobody leaves, ANNOUNCE is nothing and the switch follows at once.
pub(super) fn begin_upgrade(now: &Now<'_>, out: Outcomes<'_>) {
    let mut next = now.next();
    next.sending().upgrades_left -= 1;
    if now.rules.somebody_leaves() {
        out.push(next, Place::UpgradeAnnounce);
    } else {
        count_and_switch(now, next, out);
    }
}

/// UPGRADE 2, ANNOUNCE.
pub(super) fn upgrade_announce(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.announce(now.rules);
    out.push(next, Place::UpgradeSwitch);
    Ok(())
}

/// UPGRADE 2 and 3, or back, for the peer has left.
pub(super) fn upgrade_switch(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    if now.far_side().gone && !now.has(DeliberateBug::UpgradeIgnoresGone) {
        next.sending().ringing = false;
        out.push(next, Place::SendLocked);
    } else {
        count_and_switch(now, next, out);
    }
    Ok(())
}

/// `koff=++ktx` and `ep+1` are one step: the receiver looks at `koff` only when it has seen the switch.
fn count_and_switch(now: &Now<'_>, mut next: Next, out: Outcomes<'_>) {
    next.sending().ep += 1;
    if now.has(DeliberateBug::NoOpeningBell) {
        next.sending().ringing = false;
        out.push(next, Place::SendLocked);
    } else {
        next.sending().count_bell();
        out.push(next, Place::UpgradeBell);
    }
}

/// RETREAT 1, ANNOUNCE.
pub(super) fn retreat_announce(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    if !now.rules.somebody_leaves() {
        return retreat_switch(now, out);
    }
    let mut next = now.next();
    next.announce(now.rules);
    out.push(next, Place::RetreatSwitch);
    Ok(())
}

/// RETREAT 1 and 2, or back, for the peer has left.
pub(super) fn retreat_switch(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.carry(Carried::Nothing);
    let stream = next.sending();
    if now.far_side().gone && !now.has(DeliberateBug::RetreatIgnoresGone) {
        stream.ringing = false;
        out.push(next, Place::SendLocked);
        return Ok(());
    }
    stream.ep += 1;
    stream.want = false;
    if now.thread().carried == Carried::Whim {
        stream.retreats_left = stream.retreats_left.saturating_sub(1);
    }
    if now.has(DeliberateBug::NoClosingBell) {
        stream.kr = stream.ktx;
        out.push(next, Place::SendLocked);
    } else if now.has(DeliberateBug::ClosingBellNotCounted) {
        stream.kr = stream.ktx;
        out.push(next, Place::RetreatBell);
    } else {
        stream.count_bell();
        stream.kr = stream.ktx;
        out.push(next, Place::RetreatBell);
    }
    Ok(())
}

/// UPGRADE 4, RETREAT 3: the bell that opens or closes the span of bells.
pub(super) fn bell(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    next.send_bell()?;
    out.push(next, Place::SendLocked);
    Ok(())
}
