//! Before a process changes who it is, or confines itself, it parts from its relatives' memory.
//!
//! Family memory holds addresses and locks that relatives believe. A process that is about to trust less in itself (it
//! will read what strangers send) must not be able to write there afterwards, so while it is still honest it puts a copy
//! in the place of the arena (TRUST.md row 17, "Memory, credentials, storms"). It goes on with its copy, and its later
//! children with it.
//!
//! What it shared with others was left before: plain kernel sockets, for which nobody needs the other's words. In the
//! old memory it holds nothing any more; only an endpoint that could not be left without a reset stays as it is, for the
//! one who parts, and is of no use to the others.
#![expect(
    unsafe_code,
    reason = "copies the arena, and maps the copy over it at the same address"
)]

use super::{ARENA, ARENA_BYTES, ENDPOINTS_OFFSET, endpoint, free_endpoint, process_place};
use crate::endpoint::{Endpoint, binding, kernel_end};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ptr::null_mut;
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

/// 1 once a fork was prepared, in parent and child: the arena may be another process's, too.
static HAS_RELATIVES: AtomicU32 = AtomicU32::new(0);

pub(super) fn a_relative_is_born() {
    HAS_RELATIVES.store(1, Ordering::Relaxed);
}

/// Maps a copy of `used` bytes of shared memory at `base`, `bytes` long, over it: anonymous, or a `file` of that length,
/// zero-filled. Between the two, `before` is given the copy's address. False, and nothing has changed, without memory.
///
/// # Safety
/// `base` is the start of a mapping of that length made of atomics, which stays; `used` is a multiple of eight.
pub unsafe fn copy_over(
    base: *mut u8,
    used: usize,
    bytes: usize,
    file: Option<BorrowedFd<'_>>,
    before: impl FnOnce(*mut u8),
) -> bool {
    // Shared again: children yet to come are relatives.
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    let (any, access) = (null_mut(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let fresh = unsafe {
        match file {
            Some(file) => rustix::mm::mmap(any, bytes, access, flags, file, 0),
            None => rustix::mm::mmap_anonymous(any, bytes, access, flags),
        }
    };
    let Ok(fresh) = fresh else {
        return false;
    };
    for offset in (0..used).step_by(size_of::<u64>()) {
        // SAFETY: aligned words inside both mappings; others change theirs by atomic stores.
        unsafe {
            let word = (*base.add(offset).cast::<AtomicU64>()).load(Ordering::Acquire);
            if word != 0 {
                (*fresh.cast::<u8>().add(offset).cast::<AtomicU64>())
                    .store(word, Ordering::Relaxed);
            }
        }
    }
    before(fresh.cast());
    let over = MremapFlags::MAYMOVE;
    // SAFETY: both mappings are ours and of that length; what lies at `base` is replaced by its copy in one step.
    let moved = unsafe { rustix::mm::mremap_fixed(fresh, bytes, bytes, over, base.cast()) };
    if moved.is_err() {
        // SAFETY: the mapping made above.
        let _ = unsafe { rustix::mm::munmap(fresh, bytes) };
    }
    moved.is_ok()
}

/// The calling process parts from its relatives, if there can be any. Its connections were left before, but for those
/// that could not be. False when it could not part.
#[must_use]
pub fn part() -> bool {
    let base = ARENA.load(Ordering::Acquire);
    let Some(own) = process_place() else {
        return base.is_null();
    };
    if base.is_null() || HAS_RELATIVES.swap(0, Ordering::Relaxed) == 0 {
        return true;
    }
    let count = super::endpoints_used();
    let used = (ENDPOINTS_OFFSET + count as usize * size_of::<Endpoint>()).min(ARENA_BYTES);
    let before = |copy: *mut u8| {
        for index in 0..count {
            let offset = ENDPOINTS_OFFSET + index as usize * size_of::<Endpoint>();
            // SAFETY: inside the copy, aligned as in the arena.
            forget_foreign_locks(unsafe { &*copy.add(offset).cast::<Endpoint>() }, own);
            give_up(index, own);
        }
    };
    // SAFETY: the arena has that length, is never unmapped and made of atomics; an endpoint is a multiple of eight bytes.
    let parted = unsafe { copy_over(base, used, ARENA_BYTES, None, before) };
    if !parted {
        HAS_RELATIVES.store(1, Ordering::Relaxed);
    }
    parted
}

/// In the copy: who held a lock in that moment frees the one in the old memory.
fn forget_foreign_locks(endpoint: &Endpoint, own: u32) {
    for lock in [&endpoint.tx_lock, &endpoint.rx_lock] {
        if lock.owner().is_some_and(|owner| owner.process_slot != own) {
            lock.reset();
        }
    }
}

/// In the old memory: the process holds the endpoint no more.
fn give_up(index: u32, own: u32) {
    let Some(endpoint) = endpoint(index) else {
        return;
    };
    let Some(holder) = endpoint.holder(own) else {
        return;
    };
    if !endpoint.clear_the_dead(own) {
        // Nobody's: no call of a relative finds it any more.
        holder.process.store(0, Ordering::Release);
        endpoint.generation.fetch_add(1, Ordering::AcqRel);
        free_endpoint(index);
    } else if endpoint.binding.load(Ordering::Acquire) == binding::BOUND {
        // The one who parts reads on. It stays a holder, so that nobody gives its slot back.
        endpoint
            .reason
            .store(Reason::Confined as u32, Ordering::Relaxed);
        endpoint.keof.fetch_max(kernel_end::ENDED, Ordering::AcqRel);
        endpoint
            .binding
            .store(binding::CONDEMNED, Ordering::Release);
    } else {
        endpoint.free_holder(holder);
    }
}
