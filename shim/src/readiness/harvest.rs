//! From ready bits and kernel events to the program: which members are worth a look, and what they report.
#![expect(unsafe_code, reason = "writes the program's event array")]

use super::fault::{Fault, sound};
use super::instance::Held;
use super::kernel_set::{self, ERR, Event, HUP, IN, OUT, PRI, RDHUP, RDNORM};
use super::links::{By, Kind};
use super::registration::{Registration, flag};
use super::{changes, decide, members, ordinary, tables};
use crate::status;
use fastpath::ready;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::limits::{READY_CHECKS_PER_WAIT, READY_KINDS};

/// Endpoints whose other watchers must hear of something, once the lock is free.
const DEFERRED: usize = 16;

/// What a harvest found out that concerns other instances.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deferred {
    endpoints: [u32; DEFERRED],
    count: usize,
}

impl Deferred {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, endpoint: u32) {
        let known = self.endpoints.iter().take(self.count);
        if known.into_iter().any(|other| *other == endpoint) {
            return;
        }
        if let Some(place) = self.endpoints.get_mut(self.count) {
            *place = endpoint;
            self.count += 1;
        }
    }

    /// Tells the other instances; no lock is held.
    pub fn settle(&self, apart_from: u32) {
        for endpoint in self.endpoints.iter().take(self.count) {
            changes::tell_watchers(*endpoint, Some(apart_from), false);
        }
    }
}

/// The program's event array.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its first event.
    pub events: *mut Event,
    /// Events it has room for.
    pub maximum: usize,
}

impl Target {
    /// Writes an event; false when there is no room.
    #[inline]
    fn write(&self, place: usize, bits: u32, data: u64) -> bool {
        if place >= self.maximum {
            return false;
        }
        // SAFETY: the program's array has room for `maximum` events; packed, so unaligned.
        unsafe {
            self.events.add(place).write_unaligned(Event {
                events: bits,
                u64: data,
            });
        }
        true
    }

    #[inline]
    fn read(&self, place: usize) -> (u32, u64) {
        // SAFETY: an event the kernel has written, below `maximum`.
        let event = unsafe { self.events.add(place).read_unaligned() };
        (event.events, event.u64)
    }
}

/// Moves what far sides have marked to the ready list.
#[inline]
pub fn collect(held: &Held) {
    let instance = held.instance;
    let waiter = instance.waiter.get() as usize;
    held.for_each_joined(|channel, harvest| {
        let (Some(summary), Some(answer)) = (
            channel.far_ready_summary(waiter),
            channel.own_answer_summary(waiter),
        ) else {
            return;
        };
        if !ready::any(summary, answer, harvest) {
            return;
        }
        let channel_index = channel.index();
        let words = channel.layout().ready_words() as u32;
        let taken = ready::collect(
            summary,
            answer,
            words,
            |word| {
                // Below `ready_words`, so both are there.
                (
                    channel
                        .far_ready_word(waiter, word as usize)
                        .unwrap_or(summary),
                    channel
                        .own_answer_word(waiter, word as usize)
                        .unwrap_or(answer),
                )
            },
            harvest,
            READY_CHECKS_PER_WAIT,
            |position| {
                let slot = position / READY_KINDS as u32;
                let key = members::slot_key(channel_index, slot);
                instance
                    .by_slot
                    .find::<()>(By::Slot, u64::from(key), |index, found| {
                        if found.slot_key.get() == key && found.has(flag::HOLDS_WAITER) {
                            held.list(index);
                        }
                        None
                    });
            },
        );
        if taken > 0 {
            instance
                .last_channel
                .store(channel_index + 1, Ordering::Relaxed);
        }
    });
}

/// Reports from the ready list into `target`, from `place` on; the number of events in it afterwards. What still holds
/// goes to the end of the list, so the list rotates.
pub fn report(held: &Held, target: Target, place: usize, deferred: &mut Deferred) -> usize {
    let instance = held.instance;
    let mut filled = place;
    // Those listed while we look have their turn at the next harvest.
    for _ in 0..instance.ready.count() {
        if filled >= target.maximum {
            break;
        }
        let Some(index) = instance.ready.pop(Kind::Ready) else {
            break;
        };
        let Some(registration) = tables::registration(index) else {
            continue;
        };
        if registration.reported_serial.get() == instance.serial.get() {
            // In this call's array already.
            instance.ready.push(Kind::Ready, index);
            continue;
        }
        let bits = look(held, index, registration, deferred);
        if bits == 0 {
            continue;
        }
        target.write(filled, bits, registration.data.get());
        filled += 1;
        registration.reported_serial.set(instance.serial.get());
        reported(held, index, registration);
    }
    instance
        .listed
        .store(instance.ready.count(), Ordering::Relaxed);
    filled
}

/// Drops from the ready list what has nothing to report, and takes the bells that were rung for it: they would keep the
/// set readable. For sets that other waiters see through the kernel.
pub fn prune(held: &Held, deferred: &mut Deferred) {
    let instance = held.instance;
    for _ in 0..instance.ready.count() {
        let Some(index) = instance.ready.pop(Kind::Ready) else {
            break;
        };
        let Some(registration) = tables::registration(index) else {
            continue;
        };
        let urgent = registration.flags.get() & flag::URGENT;
        if look(held, index, registration, deferred) != 0 {
            // Edges are consumed by reporting only: this one is still to be told.
            registration.mark(flag::OTHER_EDGE | urgent);
            instance.ready.push(Kind::Ready, index);
        } else if let Some(stream) = registration.stream(held.me)
            && stream.drain_line() > 0
        {
            deferred.add(registration.endpoint.get());
        }
    }
    instance
        .listed
        .store(instance.ready.count(), Ordering::Relaxed);
}

fn reported(held: &Held, index: u32, registration: &'static Registration) {
    if registration.is_one_shot() {
        registration.mark(flag::SPENT);
        if let Some(stream) = registration.stream(held.me) {
            held.set_watch(registration, &stream);
        }
        held.instance.impatient.remove(Kind::Impatient, index);
        return;
    }
    if !registration.is_edge() {
        held.instance.ready.push(Kind::Ready, index);
    }
}

/// Looks at the real indices of one member and says what it has to report; 0 = nothing.
#[inline]
fn look(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    deferred: &mut Deferred,
) -> u32 {
    if registration.has(flag::GHOST | flag::SPENT) {
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
        if ready.writable {
            if registration.has(flag::OUT_BLOCKED) {
                room = true;
            }
        } else {
            ready.writable = block(held, index, registration, &stream);
            room = ready.writable;
        }
    }
    if registration.has(flag::ENDED) {
        // The kernel shows the far side's end at once, also before what lies in front of it was read.
        ready.read_ended = true;
        ready.readable = true;
    }
    let urgent = if registration.has(flag::URGENT) {
        PRI
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
    registration.seen.set(position);
    registration.clear(flag::FRESH | flag::INPUT_EDGE | flag::OTHER_EDGE | flag::URGENT);
    if room && bits & decide::WRITING != 0 {
        unblock(held, index, registration, &stream);
    }
    bits
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
        status::update_row(stream.endpoint);
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
        held.instance.impatient.push(Kind::Impatient, index);
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
    if !stream.may_be_left_unnoticed() {
        held.instance.impatient.remove(Kind::Impatient, index);
    }
}

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
            held.list(index);
        } else if registration.reported_serial.get() == held.instance.serial.get() {
            // The kernel carries again since we reported it, in this very call: told once is enough.
            accelerated += 1;
            explained = true;
        } else {
            passes += 1;
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
