//! The sets at fork and exec.

use super::{UNTOLD, is_foreign, words};
use crate::readiness::links::{By, Kind};
use crate::readiness::registration::flag;
use crate::readiness::tables;
use crate::readiness::{arming, instance};
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::family;
use fastpath::kernel_call;
use libc::{F_GETFD, FD_CLOEXEC};

/// Before fork: the books are in order, and the kernel's set is what the program thinks it is. `child` is the name that the
/// child will have, if it gets one.
pub fn before_fork(child: Option<u32>) {
    instance::lock_all(|held| {
        if held.instance.inherited.get() != 0 {
            return;
        }
        held.instance.all.for_each(Kind::All, |index| {
            if let Some(registration) = tables::registration(index)
                && registration.has(flag::GHOST)
            {
                held.forget_ghost(index, registration);
            }
        });
    });
    for_each_word(|word| words::share_with(word, child));
}

/// The words of this process's sets.
fn for_each_word(mut each: impl FnMut(u32)) {
    for (_, set) in tables::instances() {
        if set.is_in_use() {
            each(set.family_word.get());
        }
    }
}

/// After fork, in the parent. `child` as before it.
pub fn after_fork(child_exists: bool, child: Option<u32>) {
    if let Some(child) = child.filter(|_| !child_exists) {
        for_each_word(|word| words::give_back(word, child));
    }
    instance::unlock_all(|held| {
        if !child_exists {
            return;
        }
        held.instance.forked.set(1);
        held.instance.departed.forget_closing();
        held.instance.all.for_each(Kind::All, |index| {
            if let Some(registration) = tables::registration(index) {
                let events = registration.events.get() & !UNTOLD;
                registration.fork_events.set(events);
            }
        });
        // The child may consume bells that were meant for us; those that need no look for it leave the list again.
        held.instance.all.for_each(Kind::All, |index| {
            if let Some(registration) = tables::registration(index)
                && !is_foreign(held.instance)
                && registration
                    .stream(held.me)
                    .is_some_and(|stream| stream.is_bound())
            {
                arming::be_impatient(held, index);
            }
        });
    });
}

/// In a fork child: the books are a copy, the waiter's words and the kernel's masks are the parent's.
pub fn on_fork_child() {
    instance::unlock_all_in_child(|held| {
        let set = held.instance;
        set.all.for_each(Kind::All, |index| {
            let Some(registration) = tables::registration(index) else {
                return;
            };
            set.ready.remove(Kind::Ready, index);
            set.impatient.remove(Kind::Impatient, index);
            set.accelerated.remove(Kind::Accelerated, index);
            if registration.has(flag::HOLDS_WAITER) {
                let key = u64::from(registration.slot_key.get());
                set.by_slot.remove(By::Slot, key, index);
            }
            registration.clear(
                flag::ACCELERATED
                    | flag::SENDS_BY_RING
                    | flag::HOLDS_WAITER
                    | flag::BEACON
                    | flag::ARMED_COUNTED
                    | flag::ARMED_READERS
                    | flag::ARMED_WRITERS,
            );
        });
        instance::disown(set);
    });
    instance::forget_waiters();
}

/// Before exec: a set that survives is the kernel's alone.
pub fn before_exec() {
    for (index, place) in tables::instances() {
        if place.registrations.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let Some(held) = instance::lock_any(index, place) else {
            continue;
        };
        let survives = kernel_call::file_control(place.number.get() as c_int, F_GETFD, 0)
            .is_ok_and(|flags| flags & FD_CLOEXEC as usize == 0);
        if survives && place.inherited.get() == 0 {
            place.all.for_each(Kind::All, |index| {
                if let Some(registration) = tables::registration(index) {
                    held.give_back(index, registration);
                }
            });
        }
    }
}

/// exec has failed: what a ring still carries is ours to look at again. `name` is the one that this process had before.
pub fn after_failed_exec(name: Option<u32>) {
    if let (Some(before), Some(now)) = (name, family::process_place())
        && before != now
    {
        for (_, set) in tables::instances() {
            let word = set.family_word.get();
            if set.is_in_use() {
                set.family_word
                    .set(words::under_new_name(word, before, now));
            }
        }
    }
    for (index, place) in tables::instances() {
        if place.registrations.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let Some(held) = instance::lock_any(index, place) else {
            continue;
        };
        place.all.for_each(Kind::All, |index| {
            if let Some(registration) = tables::registration(index)
                && let Some(stream) = registration.stream(held.me)
            {
                held.adjust(index, registration, &stream);
            }
        });
    }
}
