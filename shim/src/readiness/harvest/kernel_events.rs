//! Events that the kernel has told: the program's, or of the line of a member.

use super::{Deferred, Target};
use crate::readiness::instance::Held;
use crate::readiness::kernel_set::{self, ERR, HUP, IN, OUT, PRI, RDHUP, RDNORM};
use crate::readiness::links::{By, Kind};
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{ordinary, tables};
use crate::status;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

/// Sorts the events that the kernel has put into `target` at `from..to`: those of ordinary descriptors stay, in order,
/// those of accelerated registrations become members worth a look. The number of events in `target` afterwards.
pub fn sort(held: &Held, target: Target, from: usize, to: usize, deferred: &mut Deferred) -> usize {
    let mut filled = from;
    for place in from..to {
        let (bits, data) = target.read(place);
        if is_ours(held, bits, data, deferred) {
            continue;
        }
        target.write(filled, bits, data);
        filled += 1;
    }
    filled
}

/// True when an event says something about accelerated registrations only.
fn is_ours(held: &Held, bits: u32, data: u64, deferred: &mut Deferred) -> bool {
    let mut accelerated = 0;
    let mut passes = 0;
    let mut explained = false;
    let mut next = first_with(held, data, None);
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
        } else if held.instance.impatient.count() != 0 && registration.is_in(Kind::Impatient) {
            // A set of two processes: the ring may still carry.
            accelerated += 1;
            explained = true;
            registration.mark(flag::LOOK_WELL | flag::INPUT_EDGE);
            if bits & !(IN | RDNORM) != 0 {
                registration.mark(flag::OTHER_EDGE);
            }
            held.list(index);
        } else if registration.reported_serial.get() == held.instance.serial.get() {
            // The kernel carries again since we reported it, in this very call: told once is enough.
            accelerated += 1;
            explained = true;
        } else {
            passes += 1;
            // Should a look in this very call find a ring again: told once is enough.
            registration.reported_serial.set(held.instance.serial.get());
            if registration.is_one_shot() {
                registration.mark(flag::SPENT);
            }
        }
    }
    if accelerated == 0 || passes != 0 {
        return false;
    }
    explained || !is_foreign(held, data)
}

fn first_with(held: &Held, data: u64, behind: Option<u32>) -> Option<u32> {
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
    if bits & (IN | RDNORM) != 0 {
        if carriers.receives_by_ring {
            explained |= stream.drain_line() > 0;
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
        held.forget_ghost(index, registration);
        return true;
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
    registration.mark(flag::LOOK_WELL);
    held.list(index);
    explained
}

/// An event that no accelerated member explains: does an ordinary descriptor use the same data? The kernel knows all
/// registrations; it is asked once for each change of them.
fn is_foreign(held: &Held, data: u64) -> bool {
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
