//! REWIND: the peer has left the channel; what is unread in our ring goes through the kernel, before anything newer.

use super::outcome::{Next, Now, Outcomes, Step};
use crate::deliberate_bugs::DeliberateBug;
use crate::looks;
use crate::place::Place;
use crate::thread::{Carried, Role};

/// Where to begin, unless another thread has begun already. Nothing to do while the kernel carries.
pub(super) fn start(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    let mut next = now.next();
    if !stream.on_ring() || now.has(DeliberateBug::NoRewind) {
        finish(now, next, out);
    } else {
        next.sending().rewound = Some(stream.rewound.unwrap_or(stream.head));
        out.push(next, Place::RewindSend);
    }
    Ok(())
}

/// The next byte; or the end of it, also because nobody is there any more to read.
pub(super) fn send(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let configuration = &now.rules.configuration;
    let stream = now.sending();
    let mut next = now.next();
    let unsent = stream.rewound.filter(|&offset| offset < stream.tail);
    let useless = stream.kernel.has_ended() || now.far_side().is_out_of_reach();
    match unsent {
        Some(offset) if !useless => {
            if looks::kernel_has_room(configuration, now.state, now.me) {
                next.send_to_kernel(stream.ring[usize::from(offset % configuration.ring_bytes)])?;
                if configuration.rewinder_dies {
                    out.push(next, Place::RewindCount);
                } else {
                    next.sending().rewound = Some(offset + 1);
                    out.push(next, Place::RewindSend);
                }
            } else {
                next.unlock_tx();
                out.push(next, Place::RewindWait);
            }
        }
        _ => finish(now, next, out),
    }
    Ok(())
}

/// The byte is counted; or a writer is killed first, and its relatives find the lock a dead one's and ask the kernel how
/// far it came.
pub(super) fn count(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let noted = now.sending().rewound;
    let sent = noted.map(|offset| offset + 1);
    let mut next = now.next();
    next.sending().rewound = sent;
    out.push(next, Place::RewindSend);

    let nobody_died = now
        .state
        .threads
        .iter()
        .all(|thread| thread.place != Place::Killed);
    if nobody_died && now.thread().role == Role::Writer {
        let mut next = now.next();
        if !now.has(DeliberateBug::RewindNotRecounted) {
            next.sending().rewound = sent;
        }
        next.unlock_tx();
        next.carry(Carried::Nothing);
        out.push_optional(next, Place::Killed);
    }
    Ok(())
}

/// `over`: plain kernel for ever.
fn finish(now: &Now<'_>, mut next: Next, out: Outcomes<'_>) {
    next.sending().over = true;
    next.sending().rewound = None;
    next.unlock_tx();
    let is_reader = now.thread().role == Role::Reader;
    out.push(
        next,
        if is_reader {
            Place::ReceiveIdle
        } else {
            Place::SendIdle
        },
    );
}

/// A writer sleeps for POLLOUT; a reader goes on with its own call, and carries on here when there is room.
pub(super) fn wait(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let stream = now.sending();
    if now.thread().role == Role::Reader {
        out.push(now.next(), Place::ReceiveLock);
    } else if looks::kernel_has_room(&now.rules.configuration, now.state, now.me)
        || stream.kernel.has_ended()
        || now.far_side().closed
        || stream.over
    {
        out.push(now.next(), Place::SendLock);
    }
    Ok(())
}
