//! One member looked at: its real indices, and what they mean for who watches it.

use super::Deferred;
use super::storm;
use crate::readiness::fault::{Fault, sound};
use crate::readiness::instance::Held;
use crate::readiness::kernel_set::PRI;
use crate::readiness::links::Kind;
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{arming, decide};
use crate::status;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::limits::USELESS_MARKS;
use libc::POLLPRI;

/// Looks at the real indices of one member and says what it has to report; 0 = nothing.
#[inline]
pub(super) fn look(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    deferred: &mut Deferred,
) -> u32 {
    if registration.has(flag::GHOST | flag::SPENT) {
        storm::marks_of_the_silent(held, registration, deferred);
        return 0;
    }
    let Some(stream) = registration.stream(held.me) else {
        return 0;
    };
    let asks_writing = registration.asks(decide::WRITING);
    // Before the look: what is published meanwhile is marked again, and is an edge of the next look.
    let position = stream.receive_position();
    let well = registration.has(flag::LOOK_WELL | flag::ENDED);
    let mut ready = None;
    if !well {
        ready = stream.glance(asks_writing);
    }
    let mut ready = match ready {
        Some(ready) => ready,
        None => {
            registration.clear(flag::LOOK_WELL);
            let ready = stream.readiness(asks_writing);
            after_look(held, index, registration, &stream, deferred);
            ready
        }
    };
    let mut room = false;
    if asks_writing {
        if !ready.writable {
            ready.writable = block(held, index, registration, &stream);
        }
        room = ready.writable
            && registration.has(flag::OUT_BLOCKED)
            && tells_room(held, index, registration, &stream);
    }
    if registration.has(flag::ENDED) {
        // The kernel shows the far side's end at once, also before what lies in front of it was read.
        ready.read_ended = true;
        ready.readable = true;
    }
    let urgent = if registration.asks(PRI) {
        urgent_bit(registration, &stream)
    } else {
        0
    };
    if !sound(Fault::BelieveMarks) {
        ready.readable = true;
    }
    let holds = decide::bits_of(ready) | urgent;
    let edges = decide::Edges {
        fresh: registration.has(flag::FRESH),
        input: registration.has(flag::INPUT_EDGE) || registration.seen.get() != position,
        room,
        other: registration.has(flag::OTHER_EDGE),
    };
    let bits = decide::report(
        registration.reportable(),
        registration.is_edge(),
        holds,
        edges,
    );
    if bits != 0 && ready.read_ended {
        // Told: the kernel's own edge of it, which may come later, is none any more.
        registration.mark(flag::ENDED);
    }
    if registration.seen.get() != position {
        registration.marks.set(0);
    } else if registration.marks.get() > USELESS_MARKS {
        storm::weigh_marks(registration, &stream, deferred);
    }
    registration.seen.set(position);
    registration.clear(flag::FRESH | flag::INPUT_EDGE | flag::OTHER_EDGE);
    if urgent == 0 || registration.is_edge() {
        registration.clear(flag::URGENT);
    }
    if bits & decide::WRITING != 0 && registration.has(flag::OUT_BLOCKED) {
        unblock(held, index, registration, &stream);
    }
    bits
}

/// Urgent data. The kernel tells of it once, as of an edge, and another member's event may come before it: what is
/// level-triggered is asked for while it may be there, which is when the kernel carries what is received or has told of it.
#[cold]
fn urgent_bit(registration: &'static Registration, stream: &Stream) -> u32 {
    let told = registration.has(flag::URGENT);
    let holds = if registration.is_edge() {
        told
    } else {
        (told || !stream.carriers().receives_by_ring)
            && kernel_call::poll_one(stream.descriptor, POLLPRI, 0) & POLLPRI != 0
    };
    if holds { PRI } else { 0 }
}

/// True when room that a look finds is an edge. While the kernel carries what is sent, it has an edge of its own, from the
/// same moment on: told by the look it would be told twice.
fn tells_room(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    stream: &Stream,
) -> bool {
    let by_ring = stream.carriers().sends_by_ring;
    if registration.has(flag::SENDS_BY_RING) != by_ring {
        // Another process that holds the connection has switched it.
        held.adjust(index, registration, stream);
    }
    by_ring || !registration.has(flag::ACCELERATED) || registration.has(flag::ZOMBIE)
}

/// A look with the locks may have moved a direction, or taken bells that others sleep for.
fn after_look(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    stream: &Stream,
    deferred: &mut Deferred,
) {
    if stream.switched.get() {
        held.adjust(index, registration, stream);
        status::update_row(stream);
    }
    if stream.switched.get() || stream.drained.get() {
        deferred.add(registration.endpoint.get());
    }
}

/// A sender has no room: the far side is asked to mark space, and then the ring is looked at again. True: there is room.
pub fn block(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    stream: &Stream,
) -> bool {
    registration.mark(flag::OUT_BLOCKED);
    held.set_watch(registration, stream);
    if stream.carriers().sends_by_ring {
        arming::be_impatient(held, index);
        return stream
            .glance(true)
            .map_or_else(|| stream.may_send(), |ready| ready.writable);
    }
    false
}

fn unblock(held: &Held, index: u32, registration: &'static Registration, stream: &Stream) {
    registration.clear(flag::OUT_BLOCKED);
    stream.endpoint.out_blocked.store(0, Ordering::Release);
    held.set_watch(registration, stream);
    if !arming::is_impatient(held, registration) {
        held.instance.impatient.remove(Kind::Impatient, index);
    }
}
