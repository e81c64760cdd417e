//! The atomic steps of SWITCH.md §3 and §4: which states may follow a state.
//!
//! One function a place; it looks at `Now` and pushes every outcome. A step that has to wait pushes nothing. The
//! functions run under sequential consistency: weak memory is what the loom tests of `fastpath` are for.

mod bell;
mod carrier_switch;
mod give_up;
mod leave;
mod outcome;
mod receive;
mod rewind;
mod ring_receive;
mod send;
mod shutdown;
mod sleep;
mod slot;
mod stranger;

use crate::configuration::Rules;
use crate::kernel;
use crate::place::Place;
use crate::search::{Transition, Transitions};
use crate::state::State;
use crate::thread::Carried;
use outcome::{Now, Outcomes, Step};

/// Every step that can follow `state`, threads in order of what they are rather than which.
pub fn successors(rules: &Rules, state: &State, out: Outcomes<'_>) -> Step {
    for index in 0..state.threads.len() {
        run_on(rules, state, index, out)?;
    }
    kill(rules, state, out);
    for transition in &mut out.0 {
        transition.after = transition.after.in_order();
    }
    Ok(())
}

/// Runs one step of a thread, and those behind it that nobody can come between.
///
/// Taking a lock commutes with every step of the others (it is a right mover), and so does reading one's own side's
/// words under its lock: such a step runs together with the one behind it, unless that one has to wait.
fn run_on(rules: &Rules, state: &State, index: usize, out: Outcomes<'_>) -> Step {
    let before = state.threads[index].place;
    let mut outcomes = Transitions(Vec::with_capacity(4));
    step(&Now::new(rules, state, index), &mut outcomes)?;
    for outcome in outcomes.0 {
        let found = out.0.len();
        if is_right_mover(before, outcome.after.threads[index].place) {
            run_on(rules, &outcome.after, index, out)?;
        }
        if out.0.len() == found {
            out.0.push(outcome);
        } else if outcome.optional {
            for transition in &mut out.0[found..] {
                transition.optional = true;
            }
        }
    }
    Ok(())
}

fn is_right_mover(before: Place, after: Place) -> bool {
    use Place::*;
    matches!(
        (before, after),
        (SendIdle, SendLock | ShutdownAnnounce)
            | (SendLock, SendLocked)
            | (ReceiveIdle, ReceiveLock)
            | (ReceiveLock, ReceiveLocked)
            | (ReceiveLocked, RingLook | GrantedCount)
            | (WriterSleepLock, WriterSleepDrain)
            | (GiveIdle, GiveBegin | GiveSend | GiveBackLook)
            | (GiveSend, GiveSettle)
    )
}

fn step(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    match now.thread().place {
        Place::Ended | Place::Killed | Place::LeftBehind => Ok(()),

        Place::SendIdle => send::idle(now, out),
        Place::SendLock => send::lock(now, out),
        Place::SendLocked => send::locked(now, out),
        Place::SendInKernel => send::in_kernel(now, out),
        Place::SendCount => send::count(now, out),

        Place::SendBellCompare => bell::compare_for_reader(now, out),
        Place::SendBellCount => bell::count_for_reader(now, out),
        Place::SendBellCountAlone => bell::count_alone(now, Place::SendBellSend, out),
        Place::SendBellSend => bell::send_for_reader(now, out),
        Place::RoomBellLook => bell::look_for_writer(now, out),
        Place::RoomBellCompare => bell::compare_for_writer(now, out),
        Place::RoomBellCount => bell::count_for_writer(now, out),
        Place::RoomBellCountAlone => bell::count_alone(now, Place::RoomBellSend, out),
        Place::RoomBellSend => bell::send_for_writer(now, out),

        Place::UpgradeAnnounce => carrier_switch::upgrade_announce(now, out),
        Place::UpgradeSwitch => carrier_switch::upgrade_switch(now, out),
        Place::RetreatAnnounce => carrier_switch::retreat_announce(now, out),
        Place::RetreatSwitch => carrier_switch::retreat_switch(now, out),
        Place::UpgradeBell | Place::RetreatBell => carrier_switch::bell(now, out),

        Place::WriterSleepLock => sleep::writer_lock(now, out),
        Place::WriterSleepDrain => sleep::writer_drain(now, out),
        Place::WriterSleepArm => sleep::writer_arm(now, out),
        Place::WriterSleepLook => sleep::writer_look(now, out),
        Place::WriterBackOff => sleep::writer_back_off(now, out),
        Place::WriterAsleep => sleep::writer_asleep(now, out),
        Place::ReaderSleepDrain => sleep::reader_drain(now, out),
        Place::ReaderSleepArm => sleep::reader_arm(now, out),
        Place::ReaderSleepLook => sleep::reader_look(now, out),
        Place::ReaderBackOff => sleep::reader_back_off(now, out),
        Place::ReaderAsleep => sleep::reader_asleep(now, out),

        Place::ShutdownAnnounce => shutdown::announce(now, out),
        Place::ShutdownPublish => shutdown::publish(now, out),
        Place::ShutdownKernel => shutdown::kernel(now, out),

        Place::RewindStart => rewind::start(now, out),
        Place::RewindSend => rewind::send(now, out),
        Place::RewindCount => rewind::count(now, out),
        Place::RewindWait => rewind::wait(now, out),

        Place::LeaveGone => leave::gone(now, out),
        Place::LeaveRingingWait => leave::ringing_wait(now, out),
        Place::LeaveDrain => leave::drain(now, out),
        Place::LeaveRetreat => leave::retreat(now, out),
        Place::LeaveBell => leave::bell(now, out),
        Place::LeaveClose => leave::close(now, out),
        Place::StrangerWrites => stranger::writes(now, out),
        Place::StrangerReads => stranger::reads(now, out),

        Place::GiveIdle => give_up::idle(now, out),
        Place::GiveBegin => give_up::begin(now, out),
        Place::GiveTell => give_up::tell(now, out),
        Place::GiveSend => give_up::send(now, out),
        Place::GiveRetreatBell => give_up::retreat_bell(now, out),
        Place::GiveSettle => give_up::settle(now, out),
        Place::GiveReceive => give_up::receive(now, out),
        Place::GivePass => give_up::pass(now, out),
        Place::GiveWant => give_up::want(now, out),
        Place::GiveConclude => give_up::conclude(now, out),
        Place::GiveBackLook => give_up::look_before_taking_back(now, out),
        Place::GiveTakeBack => give_up::take_back(now, out),
        Place::GiveKeep => give_up::keep(now, out),
        Place::SlotLeave => slot::leave(now, out),
        Place::SlotFree => slot::free(now, out),
        Place::SlotBind => slot::bind(now, out),
        Place::SlotUse => slot::use_it(now, out),

        Place::ReceiveIdle => receive::idle(now, out),
        Place::ReceiveLock => receive::lock(now, out),
        Place::ReceiveLocked => receive::locked(now, out),
        Place::ReceiveInKernel => receive::in_kernel(now, out),
        Place::ReceiveCount => receive::count(now, out),
        Place::GrantedCount => receive::granted_count(now, out),
        Place::GrantedTake => receive::granted_take(now, out),
        Place::RingLook => ring_receive::look(now, out),
        Place::RingTake => ring_receive::take(now, out),
        Place::RetreatPass => ring_receive::pass_retreat(now, out),
    }
}

/// SIGKILL of the side that the configuration gives up, at any moment.
fn kill(rules: &Rules, state: &State, out: Outcomes<'_>) {
    let Some(victim) = rules.configuration.killed.map(usize::from) else {
        return;
    };
    if state.side[victim].is_out_of_reach() {
        return;
    }
    let mut after = *state;
    after.side[victim].dead = true;
    for thread in after
        .threads
        .iter_mut()
        .filter(|thread| thread.is_of(victim))
    {
        thread.place = Place::Killed;
        thread.carried = Carried::Nothing;
    }
    for after in kernel::close(&after, victim) {
        out.0.push(Transition {
            after,
            optional: true,
        });
    }
}
