//! The registrations of one endpoint, in all instances of this process.
//!
//! A lock of its own guards the list; it is taken inside the lock of an instance, and nothing is taken inside it. Who
//! comes from the endpoint copies the list first, and then locks one instance after the other.

use super::instance::{Held, is_alive};
use super::registration::Registration;
use super::tables;
use core::sync::atomic::Ordering;
use fastpath::lock::Owner;

/// Registrations an endpoint can have in this process; with more it stays on the kernel.
pub const WATCHERS: usize = 16;

fn with_list<T>(
    endpoint: u32,
    me: Owner,
    action: impl FnOnce(&core::sync::atomic::AtomicU32) -> T,
) -> Option<T> {
    let (head, lock) = (
        tables::watcher_head(endpoint)?,
        tables::watcher_lock(endpoint)?,
    );
    // The holder runs a few instructions; a signal handler above it must not wait for itself.
    match lock.lock(me, is_alive) {
        fastpath::lock::Locked::OwnThread => return None,
        fastpath::lock::Locked::Taken | fastpath::lock::Locked::Recovered => {}
    }
    let result = action(head);
    lock.unlock(me);
    Some(result)
}

/// Adds a registration to the list of its endpoint; false when the list is full.
pub fn add(held: &Held, index: u32, registration: &Registration) -> bool {
    with_list(registration.endpoint.get(), held.me, |head| {
        let mut count = 0;
        let mut next = head.load(Ordering::Relaxed);
        while let Some(place) = next.checked_sub(1).and_then(tables::registration) {
            count += 1;
            if count >= WATCHERS {
                return false;
            }
            next = place.next_watcher.get();
        }
        registration.next_watcher.set(head.load(Ordering::Relaxed));
        head.store(index + 1, Ordering::Release);
        true
    })
    .unwrap_or(false)
}

/// Takes a registration out of the list of its endpoint.
pub fn remove(held: &Held, index: u32, registration: &Registration) {
    with_list(registration.endpoint.get(), held.me, |head| {
        let behind = registration.next_watcher.get();
        if head.load(Ordering::Relaxed) == index + 1 {
            head.store(behind, Ordering::Release);
            return;
        }
        let mut next = head.load(Ordering::Relaxed);
        for _ in 0..WATCHERS {
            let Some(place) = next.checked_sub(1).and_then(tables::registration) else {
                return;
            };
            if place.next_watcher.get() == index + 1 {
                place.next_watcher.set(behind);
                return;
            }
            next = place.next_watcher.get();
        }
    });
}

/// A registration as it was seen without the lock of its instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Index of the registration.
    pub registration: u32,
    /// Index of its instance.
    pub instance: u32,
}

/// True when an endpoint has no registration at all: one load.
#[inline(always)]
#[must_use]
pub fn is_unwatched(endpoint: u32) -> bool {
    tables::watcher_head(endpoint).is_none_or(|head| head.load(Ordering::Acquire) == 0)
}

/// A copy of the list of an endpoint.
pub fn copy(endpoint: u32, me: Owner) -> ([Seen; WATCHERS], usize) {
    let mut seen = [Seen::default(); WATCHERS];
    let mut count = 0;
    with_list(endpoint, me, |head| {
        let mut next = head.load(Ordering::Relaxed);
        while let Some(index) = next.checked_sub(1)
            && let Some(place) = tables::registration(index)
            && let Some(target) = seen.get_mut(count)
        {
            *target = Seen {
                registration: index,
                instance: place.instance.get().wrapping_sub(1),
            };
            count += 1;
            next = place.next_watcher.get();
        }
    });
    (seen, count)
}
