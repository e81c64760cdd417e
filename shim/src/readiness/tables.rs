//! Where instances and registrations live: one private mapping, made when the first managed socket enters an epoll set,
//! never moved, never unmapped. Pages appear when they are touched. All zero bytes are "nothing there".
#![expect(
    unsafe_code,
    reason = "maps the tables and hands out references to their places, which are made of atomics"
)]

use super::instance::Instance;
use super::registration::Registration;
use super::sharing;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use fastpath::family::ENDPOINTS;
use fastpath::lock::LockWord;
use rustix::mm::{MapFlags, ProtFlags};

/// Epoll files of one process that can have managed members.
pub const INSTANCES: usize = 256;
/// Registrations of managed sockets in all of them.
pub const REGISTRATIONS: usize = 65536;
/// Locks over the lists of watchers, by endpoint.
pub const WATCHER_LOCKS: usize = 64;

#[repr(C)]
struct Tables {
    free_head: AtomicU64,
    used: AtomicU32,
    watcher_locks: [LockWord; WATCHER_LOCKS],
    watchers: [AtomicU32; ENDPOINTS as usize],
    registrations: [Registration; REGISTRATIONS],
    instances: [Instance; INSTANCES],
}

static TABLES: AtomicPtr<Tables> = AtomicPtr::new(core::ptr::null_mut());

fn map(bytes: usize, flags: MapFlags) -> Option<*mut u8> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            flags | MapFlags::NORESERVE,
        )
    }
    .ok()
    .map(<*mut core::ffi::c_void>::cast)
}

/// Maps a `T`, all zero bytes, if nobody has; false without memory.
pub(super) fn publish<T>(place: &AtomicPtr<T>, flags: MapFlags) -> bool {
    if !place.load(Ordering::Acquire).is_null() {
        return true;
    }
    let Some(fresh) = map(size_of::<T>(), flags) else {
        return false;
    };
    // Release, partner: the acquire of every reader.
    let won = place.compare_exchange(
        core::ptr::null_mut(),
        fresh.cast(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    if won.is_err() {
        // SAFETY: another thread was first; nobody has seen this mapping.
        let _ = unsafe { rustix::mm::munmap(fresh.cast(), size_of::<T>()) };
    }
    true
}

/// Maps the tables if they are not there; false without memory.
pub fn ensure() -> bool {
    sharing::words::ensure() && publish(&TABLES, MapFlags::PRIVATE)
}

#[inline(always)]
fn tables() -> Option<&'static Tables> {
    // SAFETY: null or the mapping above, zero-filled, never unmapped, made of atomics.
    unsafe { TABLES.load(Ordering::Acquire).as_ref() }
}

/// The instance at an index.
#[inline(always)]
#[must_use]
pub fn instance(index: u32) -> Option<&'static Instance> {
    tables()?.instances.get(index as usize)
}

/// Every place for an instance; nothing before the first.
pub fn instances() -> impl Iterator<Item = (u32, &'static Instance)> {
    tables()
        .map_or(&[][..], |tables| &tables.instances[..])
        .iter()
        .enumerate()
        .map(|(index, instance)| (index as u32, instance))
}

/// The registration at an index.
#[inline(always)]
#[must_use]
pub fn registration(index: u32) -> Option<&'static Registration> {
    tables()?.registrations.get(index as usize)
}

/// First registration of an endpoint, plus one.
#[inline(always)]
#[must_use]
pub fn watcher_head(endpoint: u32) -> Option<&'static AtomicU32> {
    tables()?.watchers.get(endpoint as usize)
}

/// The lock over an endpoint's list of registrations.
#[must_use]
pub fn watcher_lock(endpoint: u32) -> Option<&'static LockWord> {
    tables()?
        .watcher_locks
        .get(endpoint as usize % WATCHER_LOCKS)
}

/// Takes a free registration.
#[must_use]
pub fn allocate_registration() -> Option<(u32, &'static Registration)> {
    let tables = tables()?;
    loop {
        // Low half: index + 1 of the first free one; high half: a count against ABA.
        let head = tables.free_head.load(Ordering::Acquire);
        let Some(first) = (head as u32).checked_sub(1) else {
            let used = tables.used.load(Ordering::Relaxed);
            if used as usize >= REGISTRATIONS {
                return None;
            }
            if tables
                .used
                .compare_exchange(used, used + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            return registration(used).map(|place| (used, place));
        };
        let place = registration(first)?;
        let next = (head >> 32).wrapping_add(1) << 32 | u64::from(place.next_free.get());
        if tables
            .free_head
            .compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return Some((first, place));
        }
    }
}

/// Gives a registration back; it is in no list any more.
pub fn free_registration(index: u32) {
    let (Some(tables), Some(place)) = (tables(), registration(index)) else {
        return;
    };
    place.instance.set(0);
    loop {
        let head = tables.free_head.load(Ordering::Acquire);
        place.next_free.set(head as u32);
        let next = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
        if tables
            .free_head
            .compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return;
        }
    }
}
