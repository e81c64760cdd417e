//! The lock of an instance, and all of them around a fork.

use super::Instance;
use crate::boundary::me;
use crate::readiness::tables;
use core::sync::atomic::{AtomicU32, Ordering};
use fastpath::kernel_call;
use fastpath::lock::{self, Owner};

/// The lock of an instance, held.
pub struct Held {
    /// The instance.
    pub instance: &'static Instance,
    /// Its index.
    pub index: u32,
    /// Who holds it.
    pub me: Owner,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.instance.lock.unlock(self.me);
    }
}

fn is_alive(owner: Owner) -> bool {
    kernel_call::thread_exists(kernel_call::process_id(), owner.thread)
}

/// Takes the lock of the instance at `index`, if it still has `generation`. Nothing when it has not, or when this very
/// thread holds it (a signal handler above its own interrupted call).
#[must_use]
pub fn lock(index: u32, generation: u32) -> Option<Held> {
    let instance = tables::instance(index)?;
    let held = lock_any(index, instance)?;
    (instance.generation.load(Ordering::Relaxed) == generation
        && instance.in_use.load(Ordering::Relaxed) == 1)
        .then_some(held)
}

/// Takes the lock of an instance, whatever it is now.
#[must_use]
pub fn lock_any(index: u32, instance: &'static Instance) -> Option<Held> {
    let me = me();
    match instance.lock.lock(me, is_alive) {
        lock::Locked::OwnThread => None,
        // A thread that ended inside: the lists are in order after every step, at worst a member is not listed.
        lock::Locked::Taken | lock::Locked::Recovered => Some(Held {
            instance,
            index,
            me,
        }),
    }
}

/// Which instances [`lock_all`] has locked.
static LOCKED: [AtomicU32; tables::INSTANCES] = [const { AtomicU32::new(0) }; tables::INSTANCES];

/// Before fork: every instance in use is locked, so that the child inherits books in order.
pub fn lock_all(each: impl Fn(&Held)) {
    for (index, instance) in tables::instances() {
        if instance.in_use.load(Ordering::Relaxed) == 1
            && let Some(held) = lock_any(index, instance)
            && let Some(locked) = LOCKED.get(index as usize)
        {
            each(&held);
            locked.store(1, Ordering::Relaxed);
            core::mem::forget(held);
        }
    }
}

/// After fork, in the thread that called [`lock_all`] or in the child's only thread: the locks are free again.
pub fn unlock_all(in_child: bool, each: impl Fn(&Held)) {
    for (index, instance) in tables::instances() {
        let Some(locked) = LOCKED.get(index as usize) else {
            continue;
        };
        let was_locked = locked.swap(0, Ordering::Relaxed) == 1;
        if !was_locked && !in_child {
            continue;
        }
        if in_child {
            instance.lock.reset();
        } else {
            instance.lock.unlock(me());
        }
        if was_locked && let Some(held) = lock_any(index, instance) {
            each(&held);
        }
    }
}
