//! The words of an entry that say which set watches it, and for what. One set watches an entry, the first; another one
//! uses the connection's own epochs.

use crate::readiness::decide;
use crate::readiness::instance::Held;
use crate::readiness::kernel_set::HUP;
use crate::readiness::links::By;
use crate::readiness::registration::{Registration, flag};
use fastpath::channel::Channel;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::ict::{KIND_DATA, KIND_SPACE};
use kmod_interface::limits::SLOTS_MAX;

/// Key of a slot in the chains.
#[inline(always)]
#[must_use]
pub fn slot_key(channel: u32, slot: u32) -> u32 {
    channel.wrapping_mul(SLOTS_MAX).wrapping_add(slot)
}

impl Held {
    pub(super) fn take_waiter_word(
        &self,
        index: u32,
        registration: &'static Registration,
        stream: &Stream,
    ) -> bool {
        let waiter = self.instance.waiter.get();
        let Some(channel) = stream.channel().filter(|_| waiter != 0) else {
            return false;
        };
        // Waiters of a channel are its home's: relatives' indices could be the same.
        if !channel.is_home() {
            return false;
        }
        let slot = stream.endpoint.slot.get();
        let Some(entry) = channel.own_entry(slot) else {
            return false;
        };
        // One set watches an entry, the first; another uses the connection's own epochs.
        let channel_index = channel.index();
        let key = slot_key(channel_index, slot);
        let first = entry
            .waiter()
            .compare_exchange(0, waiter, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !first && !self.watches_slot(key) {
            return false;
        }
        match self.join(channel_index) {
            Some(true) => self.tell_epoch(channel),
            Some(false) => {}
            None => {
                if first {
                    entry.waiter().store(0, Ordering::Release);
                }
                return false;
            }
        }
        registration.mark(flag::HOLDS_WAITER);
        registration.slot_key.set(key);
        self.instance
            .by_slot
            .insert(By::Slot, u64::from(key), index);
        true
    }

    /// True while a registration of this instance holds the waiter of a slot.
    fn watches_slot(&self, key: u32) -> bool {
        self.instance
            .by_slot
            .find(By::Slot, u64::from(key), |_, found| {
                (found.slot_key.get() == key).then_some(())
            })
            .is_some()
    }

    fn tell_epoch(&self, channel: &Channel) {
        let waiter = self.instance.waiter.get() as usize;
        if let Some(word) = channel.own_waiter_epoch(waiter) {
            word.publish_and_fence(self.instance.epoch.get());
        }
    }

    /// The entry names our waiter no more; false when it did not.
    pub fn release_waiter_word(&self, index: u32, registration: &'static Registration) -> bool {
        if !registration.has(flag::HOLDS_WAITER) {
            return false;
        }
        let instance = self.instance;
        registration.clear(flag::HOLDS_WAITER);
        let key = registration.slot_key.get();
        instance.by_slot.remove(By::Slot, u64::from(key), index);
        let channel_index = key / SLOTS_MAX;
        let channel = fastpath::channel::table::get(channel_index);
        if let Some(entry) = channel.and_then(|channel| channel.own_entry(key % SLOTS_MAX)) {
            entry
                .watch()
                .store(self.kinds_of_slot(key), Ordering::Release);
            if !self.watches_slot(key) {
                entry.waiter().store(0, Ordering::Release);
            }
        }
        if self.part(channel_index)
            && let Some(epoch) =
                channel.and_then(|channel| channel.own_waiter_epoch(instance.waiter.get() as usize))
        {
            epoch.store(instance.epoch.get() & !1, Ordering::Release);
        }
        true
    }

    /// Writes which kinds are worth a mark for this registration, with a full fence if that has changed. The caller looks
    /// at the indices afterwards (partner: the ringer publishes an index, fence, reads `watch`).
    pub fn set_watch(&self, registration: &Registration, stream: &Stream) {
        if !registration.has(flag::HOLDS_WAITER) {
            return;
        }
        let Some(entry) = stream
            .channel()
            .and_then(|channel| channel.own_entry(stream.endpoint.slot.get()))
        else {
            return;
        };
        let wanted = self.kinds_of_slot(registration.slot_key.get());
        let word = entry.watch();
        if word.load(Ordering::Relaxed) != wanted {
            word.publish_and_fence(wanted);
        }
    }

    /// Kinds that are worth a mark to one of the registrations of a slot.
    fn kinds_of_slot(&self, key: u32) -> u32 {
        let mut kinds = 0;
        self.instance
            .by_slot
            .find::<()>(By::Slot, u64::from(key), |_, found| {
                if found.slot_key.get() == key {
                    kinds |= watched_kinds(found);
                }
                None
            });
        kinds
    }
}

/// Kinds that are worth a mark.
fn watched_kinds(registration: &Registration) -> u32 {
    if registration.has(flag::GHOST | flag::SPENT) {
        return 0;
    }
    let data = if registration.asks(decide::READING | HUP) {
        1 << KIND_DATA
    } else {
        0
    };
    let space = if registration.has(flag::OUT_BLOCKED) && registration.asks(decide::WRITING) {
        1 << KIND_SPACE
    } else {
        0
    };
    data | space
}
