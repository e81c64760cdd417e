//! Epochs of an epoll set, the second look, kicks, and how long a sleep may be (READINESS.md 5).

use super::fault::{Fault, sound};
use super::instance::Held;
use super::kernel_set::OUT;
use super::links::Kind;
use super::registration::{Registration, flag};
use super::{decide, tables};
use fastpath::kernel_call;
use fastpath::ready;
use fastpath::stream::Stream;
use fastpath::stream::sleep::{Armed, Sleep};
use fastpath::sync::{Ordering, full_fence};

/// Members looked at for one whose socket can take a kick.
const KICK_TRIES: usize = 8;
/// Longest sleep while a member's stream may need a step that nothing rings for: a sender without room (SWITCH.md
/// invariant 5), a far side that may leave unnoticed, a set of two processes.
const STEP_MS: u32 = 10;
/// Longest sleep while another process holds a member, too: it may consume the bell that was meant for us.
const SHARED_MEMBER_MS: u32 = 50;

/// The next odd epoch in every channel with members, then a full fence: the caller looks again ([`any`]) before it
/// sleeps. Partner: the ringer marks the ready bit, fence, reads the epoch.
pub fn arm(held: &Held) {
    let epoch = if sound(Fault::ArmWithOldEpoch) {
        held.instance.epoch.get().wrapping_add(1) | 1
    } else {
        1
    };
    write_epoch(held, epoch);
    full_fence();
}

/// The next even epoch: nobody sleeps. A ringer that saw the odd one before may still ring.
pub fn disarm(held: &Held) {
    let epoch = held.instance.epoch.get();
    if epoch & 1 == 1 {
        write_epoch(held, epoch.wrapping_add(1));
    }
}

fn write_epoch(held: &Held, epoch: u32) {
    held.set_epoch(epoch);
    let waiter = held.instance.waiter.get() as usize;
    held.for_each_joined(|channel, _| {
        if let Some(word) = channel.own_waiter_epoch(waiter) {
            word.store(epoch, Ordering::Release);
        }
    });
}

/// True when a far side has marked something, or something is left over from the last harvest.
#[must_use]
pub fn any(held: &Held) -> bool {
    let waiter = held.instance.waiter.get() as usize;
    let mut found = false;
    held.for_each_joined(|channel, harvest| {
        if let (Some(summary), Some(answer)) = (
            channel.far_ready_summary(waiter),
            channel.own_answer_summary(waiter),
        ) {
            found |= ready::any(summary, answer, harvest);
        }
    });
    found
}

/// What arming the connections' own epochs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Armed, or nothing to arm; the longest sleep, if there is one.
    Quiet(Option<u32>),
    /// A member has something to look at, and was listed.
    Something,
}

/// Arms the connections' own epochs of the members that another set watches, on behalf of this instance's sleepers.
pub fn arm_own(held: &Held) -> Own {
    let mut limit_ms = None;
    let mut something = false;
    if held.instance.without_waiter.get() == 0 {
        return Own::Quiet(None);
    }
    held.instance
        .accelerated
        .for_each(Kind::Accelerated, |index| {
            let Some(registration) = tables::registration(index) else {
                return;
            };
            if registration.has(flag::HOLDS_WAITER | flag::GHOST | flag::SPENT) {
                return;
            }
            disarm_own(held, registration);
            match arm_one(held, registration) {
                Own::Quiet(bound) => limit_ms = shorter(limit_ms, bound),
                Own::Something => {
                    registration.mark(flag::LOOK_WELL);
                    held.list(index);
                    something = true;
                }
            }
        });
    if something {
        Own::Something
    } else {
        Own::Quiet(limit_ms)
    }
}

fn arm_one(held: &Held, registration: &'static Registration) -> Own {
    let Some(stream) = registration.stream(held.me) else {
        return Own::Quiet(None);
    };
    let readers = registration.asks(decide::READING);
    let writers = registration.has(flag::OUT_BLOCKED) && registration.asks(decide::WRITING);
    let wanted = match (readers, writers) {
        (_, false) => Armed::Readers,
        (false, true) => Armed::Writers,
        (true, true) => Armed::Both,
    };
    let (armed, limit_ms) = match stream.prepare_sleep(wanted) {
        Sleep::Line(armed) => (armed, None),
        Sleep::Bounded {
            armed, limit_ms, ..
        } => (armed, Some(limit_ms)),
        // An edge-triggered member with unread bytes says "retry" for ever; its edge is told by the next look.
        Sleep::Retry if registration.is_edge() => {
            return if registration.seen.get() == stream.receive_position() {
                Own::Quiet(Some(STEP_MS))
            } else {
                Own::Something
            };
        }
        Sleep::Retry => return Own::Something,
        Sleep::Crowded | Sleep::Reentered => return Own::Quiet(Some(1)),
    };
    registration.mark(match armed {
        Armed::Counted => flag::ARMED_COUNTED,
        Armed::Readers => flag::ARMED_READERS,
        Armed::Writers => flag::ARMED_WRITERS,
        Armed::Both => flag::ARMED_READERS | flag::ARMED_WRITERS,
    });
    Own::Quiet(limit_ms)
}

/// Takes back what [`arm_own`] did for one registration.
pub fn disarm_own(held: &Held, registration: &'static Registration) {
    let armed = match (
        registration.has(flag::ARMED_COUNTED),
        registration.has(flag::ARMED_READERS),
        registration.has(flag::ARMED_WRITERS),
    ) {
        (false, false, false) => return,
        (true, _, _) => Armed::Counted,
        (_, true, false) => Armed::Readers,
        (_, false, true) => Armed::Writers,
        (_, true, true) => Armed::Both,
    };
    registration.clear(flag::ARMED_COUNTED | flag::ARMED_READERS | flag::ARMED_WRITERS);
    if let Some(stream) = registration.stream(held.me) {
        stream.finish_sleep(armed);
    }
}

/// Takes back what [`arm_own`] did, when the last sleeper is awake.
pub fn disarm_all_own(held: &Held) {
    if held.instance.without_waiter.get() == 0 {
        return;
    }
    held.instance
        .accelerated
        .for_each(Kind::Accelerated, |index| {
            if let Some(registration) = tables::registration(index) {
                disarm_own(held, registration);
            }
        });
}

fn shorter(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Why a member is among the impatient.
enum Need {
    /// It must be looked at.
    Look,
    /// Sleeps must end, so that marks are looked at: another process may have consumed the bell.
    Wake,
    /// The kernel carries, and another process may move it to a ring and consume the bell that tells of it.
    Adjust,
}

/// True for a registration of the kernel's whose connection another process may move to a ring unseen.
pub fn may_be_moved_unseen(registration: &Registration, stream: &Stream) -> bool {
    !registration.has(flag::ACCELERATED)
        && stream.is_bound()
        && stream.endpoint.over.get() == 0
        && stream.endpoint.is_believed_held_elsewhere()
}

/// True while a member must be among the impatient.
pub fn is_impatient(held: &Held, registration: &'static Registration) -> bool {
    need_of(held, registration).is_some()
}

fn need_of(held: &Held, registration: &'static Registration) -> Option<Need> {
    let instance = held.instance;
    let stream = registration.stream(held.me)?;
    if super::sharing::is_foreign(instance) {
        let carriers = stream.carriers();
        return (carriers.receives_by_ring || carriers.sends_by_ring).then_some(Need::Look);
    }
    if !registration.has(flag::ACCELERATED) {
        return may_be_moved_unseen(registration, &stream).then_some(Need::Adjust);
    }
    if registration.has(flag::OUT_BLOCKED) || stream.may_be_left_unnoticed() {
        return Some(Need::Look);
    }
    if !stream.endpoint.is_believed_held_elsewhere() {
        return None;
    }
    if registration.asks(decide::WRITING) {
        // While a ring carries, room in the kernel is not asked for.
        return Some(Need::Look);
    }
    (instance.forked.get() != 0).then_some(Need::Wake)
}

/// The member is among the impatient from now on, if it was not.
pub fn be_impatient(held: &Held, index: u32) {
    held.instance.impatient.push(Kind::Impatient, index);
    held.instance.patience_ms.set(0);
}

/// The longest sleep that members allow, as of the last visit. No walk: a server with ten thousand connections and a child
/// that saves its data sleeps as often as any other.
pub fn patience_ms(held: &Held) -> Option<u32> {
    let instance = held.instance;
    let limit_ms = match instance.patience_ms.get() {
        0 => STEP_MS,
        visited => visited,
    };
    (instance.impatient.count() > 0).then_some(limit_ms)
}

/// Before a harvest: the impatient are looked at, whatever they were listed for; those that need it no more leave.
/// `now` in time stamp ticks.
pub fn visit_impatient(held: &Held, now: u64) {
    let instance = held.instance;
    instance.last_visit_ticks.set(now);
    let mut limit_ms = None;
    instance.impatient.for_each(Kind::Impatient, |index| {
        let registration = tables::registration(index);
        let need = registration.and_then(|registration| visit(held, index, registration));
        let limit = match need {
            Some(Need::Look) => STEP_MS,
            Some(Need::Wake | Need::Adjust) => SHARED_MEMBER_MS,
            None => {
                instance.impatient.remove(Kind::Impatient, index);
                if let Some(registration) = registration
                    && super::sharing::is_foreign(instance)
                {
                    held.tell_edges_again(index, registration);
                }
                return;
            }
        };
        limit_ms = shorter(limit_ms, Some(limit));
    });
    instance.patience_ms.set(limit_ms.unwrap_or(0));
}

/// What the member still needs, after a visit.
fn visit(held: &Held, index: u32, registration: &'static Registration) -> Option<Need> {
    let is_plain =
        !registration.has(flag::ACCELERATED) && !super::sharing::is_foreign(held.instance);
    if is_plain
        && let Some(stream) = registration.stream(held.me)
        && let carriers = stream.carriers()
        && (carriers.receives_by_ring || carriers.sends_by_ring)
    {
        // Another process has moved it. What stays is left alone: it would go to the end of the list.
        held.adjust(index, registration, &stream);
    }
    let need = need_of(held, registration)?;
    if let Need::Look = need {
        registration.mark(flag::LOOK_WELL);
        held.list(index);
    }
    Some(need)
}

/// Wakes one sleeper: OUT is asked of the kernel for a member whose socket is writable (229 ns, POSIX.md row 12). Any
/// accelerated registration will do, also one that the program has removed.
pub fn kick(held: &Held) {
    let instance = held.instance;
    let mut fallback = None;
    let mut next = instance.accelerated.first();
    for _ in 0..KICK_TRIES {
        let Some(index) = next else { break };
        next = instance.accelerated.after(Kind::Accelerated, index);
        let Some(registration) = tables::registration(index) else {
            break;
        };
        if registration.has(flag::ZOMBIE | flag::BEACON) {
            continue;
        }
        let Some(stream) = registration.stream(held.me) else {
            continue;
        };
        if stream.carriers().sends_by_ring {
            held.change_kernel(index, registration, registration.kernel_events.get() | OUT);
            return;
        }
        if kernel_call::poll_one(stream.descriptor, OUT as i16, 0) & OUT as i16 != 0 {
            fallback = fallback.or(Some((index, registration)));
        }
    }
    if let Some((index, registration)) = fallback {
        held.change_kernel(index, registration, registration.kernel_events.get() | OUT);
    }
}
