//! Sets that other waiters see through the kernel: registered in another set, polled or selected (READINESS.md 7).
//!
//! Such a set stays armed, so that a bell makes it readable. While its ready list is not empty and no bell does that, one
//! accelerated registration, the *beacon*, asks the kernel for OUT, level-triggered: the epoll descriptor is readable for
//! every poller, however many sets are between.
//!
//! A receive takes bytes without telling the sets, so a beacon may burn, and a bell may lie in the line, for bytes that
//! are gone. Before a call of this process looks through the kernel at a descriptor that may be a set, or may have one
//! in it, [`refresh_all`] puts that right. The way down is never walked: a set does not know who watches it, and few
//! processes have an exposed set with managed sockets at all (one load tells, in the trampoline).

use super::fault::{Fault, sound};
use super::harvest::Deferred;
use super::instance::{self, Held, Instance};
use super::kernel_set::{EDGE, IN, OUT, PRI, RDHUP};
use super::links::Kind;
use super::registration::flag;
use super::trampolines::EXPOSED_SETS;
use super::{arming, harvest, tables};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};
use fastpath::kernel_call;

/// Which instances are exposed, a bit each; the trampolines have the sum.
static EXPOSED: [AtomicU64; tables::INSTANCES / 64] =
    [const { AtomicU64::new(0) }; tables::INSTANCES / 64];

/// Marks an instance, under its lock.
pub fn mark(held: &Held) {
    held.instance.exposed.set(1);
    let bit = 1 << (held.index % 64);
    if let Some(word) = EXPOSED.get(held.index as usize / 64)
        && word.fetch_or(bit, Ordering::AcqRel) & bit == 0
    {
        EXPOSED_SETS.fetch_add(1, Ordering::AcqRel);
    }
}

/// The instance ends.
pub fn unmark(held: &Held) {
    held.instance.exposed.set(0);
    let bit = 1 << (held.index % 64);
    if let Some(word) = EXPOSED.get(held.index as usize / 64)
        && word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    {
        EXPOSED_SETS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The set was added to another one, or is polled or selected: from now on the kernel must know when it has something.
pub fn expose(index: u32, generation: u32) {
    let Some(held) = instance::lock(index, generation) else {
        return;
    };
    mark(&held);
    let mut deferred = Deferred::new();
    refresh(&held, &mut deferred);
    drop(held);
    deferred.settle(index);
}

/// Every exposed set of this process whose look may be out of date says the truth again. `apart_from`: the set that the
/// caller is about to look at itself. No lock is held.
pub fn refresh_all(apart_from: Option<u32>) {
    for (place, word) in EXPOSED.iter().enumerate() {
        let mut bits = word.load(Ordering::Acquire);
        while bits != 0 {
            let index = place as u32 * 64 + bits.trailing_zeros();
            bits &= bits - 1;
            if Some(index) != apart_from {
                refresh_one(index);
            }
        }
    }
}

fn refresh_one(index: u32) {
    let Some(place) = tables::instance(index).filter(|place| may_be_stale(place)) else {
        return;
    };
    let Some(held) = instance::lock_any(index, place) else {
        return;
    };
    let mut deferred = Deferred::new();
    refresh(&held, &mut deferred);
    drop(held);
    deferred.settle(index);
}

/// Without the lock: a beacon burns, or something was marked or listed since the last look.
fn may_be_stale(instance: &Instance) -> bool {
    sound(Fault::BeaconBurnsOn)
        && instance.accelerated.count() != 0
        && (instance.beacon.get() != 0 || instance.sees_something())
}

/// After a harvest of an exposed set, and before a look at it through the kernel: armed, and readable for the kernel if,
/// and only if, it has something.
pub fn refresh(held: &Held, deferred: &mut Deferred) {
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
    } else if instance.beacon.get() == 0 && !is_readable(held) {
        // Not while a bell shows the same: it would be an edge too many for an edge-triggered set outside.
        light(held);
    }
}

/// What a poller sees of the set.
fn is_readable(held: &Held) -> bool {
    kernel_call::poll_one(held.instance.number.get() as c_int, IN as i16, 0) & IN as i16 != 0
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
    let mut lit = !sound(Fault::ExposedWithoutBeacon);
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
