//! Events that the kernel has told: the program's, or of the line of a member. Of those that may be out of date
//! [`doubtful`](super::doubtful) says what holds.

use super::doubtful::{is_gone, what_still_shows};
use super::{Deferred, Target};
use crate::readiness::instance::Held;
use crate::readiness::kernel_set::{self, ERR, HUP, IN, OUT, PRI, RDHUP, RDNORM};
use crate::readiness::links::By;
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{ordinary, tables};
use crate::status;
use core::ops::Range;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

/// What the kernel tells unasked.
pub(super) const UNASKED: u32 = ERR | HUP;

/// Sorts the events that the kernel has put into `target` at `places`: those of ordinary descriptors stay, in order,
/// those of accelerated registrations become members worth a look. `since`: what had left a ring before the kernel was
/// asked for them. The number of events in `target` afterwards.
pub fn sort(
    held: &Held,
    target: Target,
    places: Range<usize>,
    since: u32,
    deferred: &mut Deferred,
) -> usize {
    let mut filled = places.start;
    for place in places {
        let (mut bits, data) = target.read(place);
        let is_doubtful = held.instance.departed.may_mean(data, since);
        if is_doubtful {
            bits = what_still_shows(held, bits, data);
        }
        if bits == 0 || is_ours(held, bits, data, is_doubtful, deferred) {
            continue;
        }
        target.write(filled, bits, data);
        filled += 1;
    }
    filled
}

/// True when an event says something about accelerated registrations only.
fn is_ours(held: &Held, bits: u32, data: u64, is_doubtful: bool, deferred: &mut Deferred) -> bool {
    let mut accelerated = 0;
    let mut passes = 0;
    let mut explained = false;
    let mut next = first_with(held, data, None);
    if next.is_none() {
        return held.instance.departed.count() != 0 && is_gone(held, data, is_doubtful);
    }
    while let Some(index) = next {
        let Some(registration) = tables::registration(index) else {
            break;
        };
        next = first_with(held, data, Some(index));
        let Some(stream) = registration.stream(held.me) else {
            continue;
        };
        if !registration.has(flag::ACCELERATED) {
            // The far side may have switched since: its first byte is a bell.
            if stream.carriers().receives_by_ring {
                held.adjust(index, registration, &stream);
                deferred.add(registration.endpoint.get());
            }
        }
        if registration.has(flag::ACCELERATED) {
            accelerated += 1;
            explained |= heard(held, index, registration, &stream, bits);
            after_hearing(&stream, registration, deferred);
            passes += u32::from(registration.has(flag::DATA_SHARED) && is_foreign(held, data));
        } else if held.looks_at(registration) {
            // A set of two processes: the ring may still carry.
            accelerated += 1;
            explained = true;
            registration.mark(flag::LOOK_WELL | flag::INPUT_EDGE);
            if bits & !(IN | RDNORM) != 0 {
                registration.mark(flag::OTHER_EDGE);
            }
            held.list(index);
        } else if registration.has(flag::SPENT)
            && (is_doubtful || registration.kernel_events.get() != registration.events.get())
        {
            // An end, which the kernel cannot be asked to keep to itself; or told before the kernel carried again, or was
            // asked again.
            accelerated += 1;
        } else if registration.reported_serial.get() == held.instance.serial.get() {
            // The kernel carries again since we reported it, in this very call: told once is enough.
            accelerated += 1;
            explained = true;
        } else {
            passes += 1;
            if bits & OUT != 0 {
                registration.clear(flag::OUT_BLOCKED);
            }
            // Should a look in this very call find a ring again: told once is enough.
            registration.reported_serial.set(held.instance.serial.get());
            if registration.is_one_shot() {
                registration.mark(flag::SPENT);
                if registration.has(flag::ASKED_AGAIN) {
                    // It may tell it to another thread, too. What that brings is doubted from here on.
                    registration.clear(flag::ASKED_AGAIN);
                    held.tell_kernel(index, registration, false, false);
                    held.instance.departed.note(data);
                }
            }
        }
    }
    if accelerated == 0 || passes != 0 {
        return false;
    }
    explained || !is_foreign(held, data)
}

pub(super) fn first_with(held: &Held, data: u64, behind: Option<u32>) -> Option<u32> {
    let mut passed = behind.is_none();
    held.instance
        .by_data
        .find(By::Data, data, |index, registration| {
            if passed && registration.data.get() == data {
                return Some(index);
            }
            passed |= behind == Some(index);
            None
        })
}

fn after_hearing(stream: &Stream, registration: &Registration, deferred: &mut Deferred) {
    status::after_switch(stream);
    if stream.drained.get() || stream.switched.get() {
        deferred.add(registration.endpoint.get());
    }
}

/// The kernel has told something of an accelerated registration's line. True when it is known what.
fn heard(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    stream: &Stream,
    bits: u32,
) -> bool {
    let carriers = stream.carriers();
    let mut explained = bits & (HUP | ERR | RDHUP | PRI | OUT) != 0;
    let mut drained = false;
    if bits & (IN | RDNORM) != 0 {
        if carriers.receives_by_ring {
            drained = stream.drain_line() > 0;
            explained |= drained;
            // Behind a switch back the same edge may have told of bytes that lie behind the closing bell.
            if stream.is_far_on_kernel() {
                registration.mark(flag::INPUT_EDGE);
            }
        } else {
            registration.mark(flag::INPUT_EDGE);
            explained = true;
        }
    }
    if registration.has(flag::GHOST) {
        // It keeps coming in although the program has removed it: out of the kernel's set.
        let asked = bits & (registration.kernel_events.get() | UNASKED);
        let is_its_own = drained
            || kernel_call::poll_one(stream.descriptor, asked as i16, 0) as u16 as u32 & asked != 0;
        held.forget_ghost(index, registration);
        // Else it is of what has come with the same data since.
        return is_its_own;
    }
    if bits & OUT != 0 && !carriers.sends_by_ring {
        registration.mark(flag::OTHER_EDGE);
    }
    if bits & (HUP | ERR) != 0 {
        registration.mark(flag::OTHER_EDGE);
    }
    if bits & RDHUP != 0 && !registration.has(flag::ENDED) {
        registration.mark(flag::ENDED | flag::OTHER_EDGE);
    }
    if bits & PRI != 0 {
        registration.mark(flag::URGENT);
    }
    // A bell, and nothing else, of a far side that is still there: what it rings for is in the ring. An end that only the
    // kernel knows of would have been told beside it, or will be.
    // (Not of a zombie, of which the kernel tells what the program asked for.)
    let is_of_the_ring = drained && bits & !(IN | RDNORM) == 0 && !registration.has(flag::ZOMBIE);
    if !is_of_the_ring || stream.is_far_on_kernel() || stream.has_far_left() {
        registration.mark(flag::LOOK_WELL);
    }
    held.list(index);
    explained
}

/// An event that no accelerated member explains: does an ordinary descriptor use the same data? The kernel knows all
/// registrations; it is asked once for each change of them.
pub(super) fn is_foreign(held: &Held, data: u64) -> bool {
    if !ordinary::may_have(held, data) {
        return false;
    }
    let instance = held.instance;
    let changes = instance
        .control_count
        .load(Ordering::Relaxed)
        .wrapping_add(1);
    let known = first_with(held, data, None).and_then(tables::registration);
    if known.is_some_and(|registration| registration.compared_count.get() == changes) {
        return known.is_some_and(|registration| registration.has(flag::DATA_SHARED));
    }
    let mut in_kernel = 0;
    let readable = kernel_set::for_each_registration(instance.number.get() as i32, |told| {
        in_kernel += u32::from(told.data == data);
    });
    let mut in_books = 0;
    let mut next = first_with(held, data, None);
    while let Some(index) = next {
        in_books += 1;
        next = first_with(held, data, Some(index));
    }
    let foreign = readable && in_kernel > in_books;
    let mut next = first_with(held, data, None);
    while let Some(index) = next {
        if let Some(registration) = tables::registration(index) {
            registration.compared_count.set(changes);
            registration.clear(flag::DATA_SHARED);
            if foreign {
                registration.mark(flag::DATA_SHARED);
            }
        }
        next = first_with(held, data, Some(index));
    }
    foreign
}
