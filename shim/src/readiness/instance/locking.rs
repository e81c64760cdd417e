//! The lock of an instance, and all of them around a fork.

use super::Instance;
use crate::boundary::me;
use crate::readiness::tables;
use core::sync::atomic::{AtomicU32, Ordering};
use fastpath::kernel_call;
use fastpath::lock::{self, LockWord, Owner};

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

/// Whether the owner of a lock of this process's own lives.
pub fn is_alive(owner: Owner) -> bool {
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

/// Held while an instance is made, and from [`lock_all`] to [`unlock_all`]: of a set that several threads make ours at once
/// there is one instance, and none comes into being between the locks of a fork and the fork, whose books the child would
/// take for its own.
static CREATING: LockWord = LockWord::new();
/// 1 while [`lock_all`] holds it.
static CLOSED: AtomicU32 = AtomicU32::new(0);

/// Calls `create` while no other thread makes an instance, and none forks. Nothing when this very thread does one of the two:
/// a signal handler, or a handler of the fork.
pub(super) fn in_creation<T>(create: impl FnOnce() -> Option<T>) -> Option<T> {
    let me = me();
    if CREATING.lock(me, is_alive) == lock::Locked::OwnThread {
        return None;
    }
    let created = create();
    CREATING.unlock(me);
    created
}

/// Held from [`lock_all`] to [`unlock_all`]: threads that fork at a time take turns, for each holds every other lock here.
static FORKING: LockWord = LockWord::new();
/// Forks of the thread that holds it: a signal handler may fork above one.
static DEPTH: AtomicU32 = AtomicU32::new(0);
/// Which instances it has locked.
static LOCKED: [AtomicU32; tables::INSTANCES] = [const { AtomicU32::new(0) }; tables::INSTANCES];

/// Before fork: every instance in use is locked, so that the child inherits books in order.
pub fn lock_all(each: impl Fn(&Held)) {
    let is_nested = FORKING.lock(me(), is_alive) == lock::Locked::OwnThread;
    if is_nested {
        DEPTH.fetch_add(1, Ordering::Relaxed);
        return;
    }
    DEPTH.store(1, Ordering::Relaxed);
    let is_closed = CREATING.lock(me(), is_alive) != lock::Locked::OwnThread;
    CLOSED.store(u32::from(is_closed), Ordering::Relaxed);
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

/// After fork, in the thread that called [`lock_all`]: the locks are free again, each after `each`.
pub fn unlock_all(each: impl Fn(&Held)) {
    let me = me();
    if DEPTH.fetch_sub(1, Ordering::Relaxed) > 1 {
        return;
    }
    for (index, instance) in tables::instances() {
        let is_locked = LOCKED
            .get(index as usize)
            .is_some_and(|locked| locked.swap(0, Ordering::Relaxed) == 1);
        if is_locked {
            // Not taken anew: whoever waits for it may hold others.
            let held = Held {
                instance,
                index,
                me,
            };
            each(&held);
        }
    }
    if CLOSED.swap(0, Ordering::Relaxed) == 1 {
        CREATING.unlock(me);
    }
    FORKING.unlock(me);
}

/// After fork, in the child's only thread: no lock is held, and the books of those that were locked are in order.
pub fn unlock_all_in_child(each: impl Fn(&Held)) {
    for (index, instance) in tables::instances() {
        instance.lock.reset();
        let was_locked = LOCKED
            .get(index as usize)
            .is_some_and(|locked| locked.swap(0, Ordering::Relaxed) == 1);
        if was_locked && let Some(held) = lock_any(index, instance) {
            each(&held);
        }
    }
    DEPTH.store(0, Ordering::Relaxed);
    CLOSED.store(0, Ordering::Relaxed);
    CREATING.reset();
    FORKING.reset();
}
