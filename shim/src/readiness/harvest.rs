//! From ready bits and kernel events to the program: which members are worth a look, and what they report.
#![expect(unsafe_code, reason = "writes the program's event array")]

mod doubtful;
mod kernel_events;
mod look;
mod storm;

pub use kernel_events::sort;
pub use look::block;

use super::instance::Held;
use super::kernel_set::Event;
use super::links::{By, Kind};
use super::registration::{Registration, flag};
use super::{changes, members, tables};
use fastpath::ready;
use fastpath::sync::Ordering;
use kmod_interface::limits::{READY_CHECKS_PER_WAIT, READY_KINDS};
use look::look;

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
    #[inline]
    pub fn settle(&self, apart_from: u32) {
        if self.count != 0 {
            self.settle_some(apart_from);
        }
    }

    #[inline(never)]
    fn settle_some(&self, apart_from: u32) {
        for endpoint in self.endpoints.iter().take(self.count) {
            changes::tell_watchers(*endpoint, Some(apart_from));
            storm::give_up_if_due(*endpoint);
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
    held.for_each_joined_with(|joined, channel, harvest| {
        let mut strays = 0;
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
                let mut is_stray = true;
                instance
                    .by_slot
                    .find::<()>(By::Slot, u64::from(key), |index, found| {
                        if found.slot_key.get() == key && found.has(flag::HOLDS_WAITER) {
                            found.marks.add(1);
                            held.list(index);
                            is_stray = false;
                        }
                        None
                    });
                strays += i32::from(is_stray);
            },
        );
        if strays > 0 {
            storm::weigh_strays(held, channel_index, joined, strays);
        }
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
    // The look may have found that the kernel carries again: from now on the kernel tells, and only it.
    let is_ours = held.looks_at(registration);
    if registration.is_one_shot() {
        registration.mark(flag::SPENT);
        if !is_ours {
            held.tell_kernel(index, registration, false, false);
        }
        if let Some(stream) = registration.stream(held.me) {
            held.set_watch(registration, &stream);
        }
        held.instance.impatient.remove(Kind::Impatient, index);
        return;
    }
    if is_ours && !registration.is_edge() {
        held.instance.ready.push(Kind::Ready, index);
    }
}
