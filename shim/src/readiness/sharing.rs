//! Sets that others see: nested or polled ones (READINESS.md 7), and those of two processes (READINESS.md 8).
//!
//! After a fork the parent goes on as before: the kernel's set is one, but a child that never uses it changes nothing.
//! The child's copy of the books is inert. If the child does use the set, a word that both see says so, every member is
//! given up, the kernel gets the program's own masks back, and until the last ring is drained both look for themselves.

use super::instance::{self, Held, Instance};
use super::kernel_set::{EDGE, IN, OUT, PRI, RDHUP};
use super::links::{By, Kind};
use super::registration::flag;
use super::{arming, harvest, tables};
use crate::upgrade;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::kernel_call;
use kmod_interface::reason::Reason;

/// True while its members must stay on the kernel.
#[inline]
#[must_use]
pub fn is_foreign(instance: &Instance) -> bool {
    instance.shared.get() != 0 || instance.inherited.get() != 0
}

/// True when this use of the set makes, or finds, it one of two processes.
#[inline]
#[must_use]
pub fn must_share(instance: &Instance) -> bool {
    if instance.shared.get() != 0 {
        return false;
    }
    instance.inherited.get() != 0
        || (instance.forked.get() != 0
            && tables::family_word(instance.family_word.get())
                .is_some_and(|word| word.load(Ordering::Acquire) != 0))
}

/// Two processes use the set: all members go back to the kernel, and stay there. No lock is held.
pub fn share(index: u32, generation: u32) {
    {
        let Some(held) = instance::lock(index, generation) else {
            return;
        };
        if let Some(word) = tables::family_word(held.instance.family_word.get()) {
            word.store(1, Ordering::Release);
        }
        held.instance.shared.set(1);
        held.instance.all.for_each(Kind::All, |place| {
            if let Some(registration) = tables::registration(place) {
                registration.clear(flag::GIVEN_UP);
                held.give_back(place, registration);
            }
        });
    }
    // One by one: giving up takes the locks of the connection and comes back here.
    for _ in 0..tables::REGISTRATIONS {
        let Some(held) = instance::lock(index, generation) else {
            return;
        };
        let mut next = None;
        held.instance.all.for_each(Kind::All, |place| {
            if let (None, Some(registration)) = (&next, tables::registration(place))
                && !registration.has(flag::GIVEN_UP)
            {
                registration.mark(flag::GIVEN_UP);
                next = registration
                    .stream(held.me)
                    .map(|stream| (place, registration, stream));
            }
        });
        let Some((place, registration, stream)) = next else {
            return;
        };
        held.adjust(place, registration, &stream);
        drop(held);
        upgrade::give_up(&stream, Reason::EpollShared);
    }
}

/// The set is sent to another process, or to stdio: it is one of two processes from now on.
pub fn handed_over(number: c_int) {
    if let Some((index, generation, known)) = instance::of_number(number)
        && known.shared.get() == 0
    {
        share(index, generation);
    }
}

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
    instance::unlock_all(false, |held| {
        if !child_exists {
            return;
        }
        held.instance.forked.set(1);
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
    instance::unlock_all(true, |held| {
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

/// The set was added to another one, or is polled or selected: from now on the kernel must know when it has something.
pub fn expose(index: u32, generation: u32) {
    let Some(held) = instance::lock(index, generation) else {
        return;
    };
    held.instance.exposed.set(1);
    let mut deferred = harvest::Deferred::new();
    refresh(&held, &mut deferred);
    drop(held);
    deferred.settle(index);
}

/// After a harvest of an exposed set: armed, and readable for the kernel as long as it has something.
pub fn refresh(held: &Held, deferred: &mut harvest::Deferred) {
    let instance = held.instance;
    if instance.exposed.get() == 0 || instance.accelerated.count() == 0 {
        return;
    }
    arming::arm(held);
    let _ = arming::arm_own(held);
    if instance.sleepers.get() == 0 {
        // Armed, but nobody sleeps: whoever drains a line tells us (`light_if_listed`).
        arming::disarm_all_own(held);
    }
    harvest::collect(held);
    harvest::prune(held, deferred);
    if instance.ready.count() == 0 {
        dim(held);
    } else if instance.beacon.get() == 0 {
        light(held);
    }
}

/// The set has nothing: it is not readable for the kernel any more, and its own sleepers can sleep.
pub fn dim(held: &Held) {
    let Some(index) = held.instance.beacon.get().checked_sub(1) else {
        return;
    };
    held.instance.beacon.set(0);
    if let Some(registration) = tables::registration(index)
        && let Some(stream) = registration.stream(held.me)
    {
        registration.clear(flag::BEACON);
        held.change_kernel(index, registration, IN | RDHUP | EDGE);
        held.tell_kernel(index, registration, true, stream.carriers().sends_by_ring);
    }
}

/// Another call has listed a member of an exposed set.
pub fn light_if_listed(held: &Held) {
    let instance = held.instance;
    if instance.exposed.get() != 0 && instance.beacon.get() == 0 && instance.ready.count() > 0 {
        light(held);
    }
}

fn light(held: &Held) {
    let instance = held.instance;
    let mut lit = false;
    instance.accelerated.for_each(Kind::Accelerated, |index| {
        let Some(registration) = tables::registration(index).filter(|_| !lit) else {
            return;
        };
        if registration.has(flag::ZOMBIE | flag::GHOST) {
            return;
        }
        let number = registration.number.get() as c_int;
        if kernel_call::poll_one(number, OUT as i16, 0) & OUT as i16 == 0 {
            return;
        }
        registration.mark(flag::BEACON);
        instance.beacon.set(index + 1);
        let urgent = registration.events.get() & PRI;
        held.change_kernel(index, registration, IN | RDHUP | OUT | urgent);
        lit = true;
    });
}
