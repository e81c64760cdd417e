//! The sets at fork and exec.

use super::UNTOLD;
use crate::readiness::instance;
use crate::readiness::links::{By, Kind};
use crate::readiness::registration::flag;
use crate::readiness::tables;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::kernel_call;

/// Before fork: the books are in order, and the kernel's set is what the program thinks it is.
pub fn before_fork() {
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
}

/// After fork, in the parent.
pub fn after_fork(child_exists: bool) {
    instance::unlock_all(|held| {
        if !child_exists {
            return;
        }
        held.instance.forked.set(1);
        held.instance.all.for_each(Kind::All, |index| {
            if let Some(registration) = tables::registration(index) {
                let events = registration.events.get() & !UNTOLD;
                registration.fork_events.set(events);
            }
        });
        // The child may consume bells that were meant for us.
        held.instance
            .accelerated
            .for_each(Kind::Accelerated, |index| {
                held.instance.impatient.push(Kind::Impatient, index);
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
    const F_GETFD: c_int = 1;
    const FD_CLOEXEC: usize = 1;
    for (index, place) in tables::instances() {
        if place.registrations.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let Some(held) = instance::lock_any(index, place) else {
            continue;
        };
        let survives = kernel_call::file_control(place.number.get() as c_int, F_GETFD, 0)
            .is_ok_and(|flags| flags & FD_CLOEXEC == 0);
        if survives && place.inherited.get() == 0 {
            place.all.for_each(Kind::All, |index| {
                if let Some(registration) = tables::registration(index) {
                    held.give_back(index, registration);
                }
            });
        }
    }
}

/// exec has failed: what a ring still carries is ours to look at again.
pub fn after_failed_exec() {
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
