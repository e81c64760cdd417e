//! One look at everything a set may report: marks of far sides, members, and the kernel's set when its turn has come.

use super::record::Wait;
use super::spin::ticks;
use crate::readiness::harvest::{self, Deferred, Target};
use crate::readiness::instance::Held;
use crate::readiness::{arming, kernel_set};
use core::sync::atomic::Ordering;
use fastpath::sync::time_stamp;

/// The kernel's set is looked at when the last look is this old, also if the ring has events (WAITING.md).
const KERNEL_LOOK_US: u64 = 50;
/// The same before a spin, so that none delays an ordinary descriptor's event for longer.
const KERNEL_LOOK_BEFORE_SPIN_US: u64 = 25;
/// The impatient are visited this often, and so behind every sleep that they bounded.
const VISIT_US: u64 = 10_000;

/// Visits the impatient when their turn has come.
pub(super) fn visit_when_due(held: &Held, now: u64) {
    let instance = held.instance;
    let age = now.wrapping_sub(instance.last_visit_ticks.get());
    if instance.impatient.count() > 0 && age >= ticks(VISIT_US) {
        arming::visit_impatient(held, now);
    }
}

/// One look at everything: marks, members, and the kernel's set when its turn has come. The number of events found. Where
/// there are none, and the call may sleep, the kernel is not asked: the sleep does so, and [`look_before_spin`]. (With room
/// for one event it is, when its turn has come.)
pub(super) fn look(wait: &Wait, held: &Held, deferred: &mut Deferred) -> usize {
    let instance = held.instance;
    instance.serial.set(instance.serial.get().wrapping_add(1));
    let now = time_stamp();
    visit_when_due(held, now);
    harvest::collect(held);
    let target = wait.target();
    let age = now.wrapping_sub(instance.last_look_ticks.load(Ordering::Relaxed));
    let due = wait.is_look_only() || age >= ticks(KERNEL_LOOK_US);
    let kernel_first = target.maximum == 1 && due && instance.kernel_turn.get() != 0;
    let mut found = 0;
    if kernel_first {
        found = look_at_kernel(wait, held, 0, now, deferred);
        instance.kernel_turn.set(0);
        if found > 0 {
            return found;
        }
    }
    // Half of the places are the kernel's, else a few busy rings would starve everything else. What it does not need the
    // rings get afterwards.
    let reserved = if due { target.maximum / 2 } else { 0 };
    let for_ring = Target {
        maximum: target.maximum - reserved,
        ..target
    };
    found = harvest::report(held, for_ring, found, deferred);
    let left_to_sleep = found == 0 && !wait.is_look_only();
    if kernel_first || !due || left_to_sleep || found == target.maximum {
        instance.kernel_turn.set(1);
        return found;
    }
    found = look_at_kernel(wait, held, found, now, deferred);
    harvest::report(held, target, found, deferred)
}

/// The look at the kernel's set that a spin would delay. The number of events found.
pub(super) fn look_before_spin(wait: &Wait, held: &Held, deferred: &mut Deferred) -> usize {
    let now = time_stamp();
    let age = now.wrapping_sub(held.instance.last_look_ticks.load(Ordering::Relaxed));
    if age < ticks(KERNEL_LOOK_BEFORE_SPIN_US) {
        return 0;
    }
    let found = look_at_kernel(wait, held, 0, now, deferred);
    harvest::report(held, wait.target(), found, deferred)
}

fn look_at_kernel(
    wait: &Wait,
    held: &Held,
    from: usize,
    now: u64,
    deferred: &mut Deferred,
) -> usize {
    held.instance.last_look_ticks.store(now, Ordering::Relaxed);
    let target = wait.target();
    // SAFETY: the program's array, behind what was written into it.
    let found = unsafe {
        kernel_set::look(
            wait.set,
            target.events.add(from),
            target.maximum.saturating_sub(from),
        )
    };
    if found == 0 {
        return from;
    }
    let now = held.instance.departed.count();
    harvest::sort(held, target, from..from + found, now, deferred)
}
