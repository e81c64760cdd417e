//! Am I the process that made this, or a fork child's copy of it?
//!
//! One word on a page that the kernel wipes in every fork child (`MADV_WIPEONFORK`, also for raw clone). Each process
//! puts its own token there; what was made under another token belongs to an ancestor. No system call to look.
//! A vfork child shares the page and counts as its parent: nothing is done on its behalf.
#![expect(unsafe_code, reason = "reads and writes a word on a page of its own")]

use crate::sync::{AtomicU64, Ordering, time_stamp};
use core::ptr::null_mut;
use core::sync::atomic::AtomicPtr;
use rustix::mm::{Advice, MapFlags, ProtFlags};

const PAGE_BYTES: usize = 4096;
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

fn word() -> Option<&'static AtomicU64> {
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: null, or the page published below, which is never unmapped.
    unsafe { page.as_ref() }
}

fn make_word() -> Option<&'static AtomicU64> {
    if let Some(word) = word() {
        return Some(word);
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh private page, never unmapped once published.
    let page = unsafe {
        let page =
            rustix::mm::mmap_anonymous(null_mut(), PAGE_BYTES, protection, MapFlags::PRIVATE)
                .ok()?;
        if rustix::mm::madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork).is_err() {
            let _ = rustix::mm::munmap(page, PAGE_BYTES);
            return None;
        }
        page
    };
    // Release, partner: the acquire in `word`.
    let published =
        PAGE.compare_exchange(null_mut(), page.cast(), Ordering::AcqRel, Ordering::Acquire);
    if published.is_err() {
        // SAFETY: another thread was first; nobody has seen this page.
        let _ = unsafe { rustix::mm::munmap(page, PAGE_BYTES) };
    }
    word()
}

/// This process's token, made at the first call; nothing when the kernel lacks wiping (before 4.14).
#[must_use]
pub fn token() -> Option<u64> {
    let word = make_word()?;
    let current = word.load(Ordering::Relaxed);
    if current != 0 {
        return Some(current);
    }
    // Different from every ancestor's: the time stamp alone would do, the process id keeps two CPUs apart.
    let process = u64::from(crate::kernel_call::process_id());
    let fresh = (process << 40) ^ time_stamp() | 1;
    match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Some(fresh),
        Err(other) => Some(other),
    }
}

/// True when `token` is this process's own.
#[inline]
#[must_use]
pub fn is_current(token: u64) -> bool {
    token != 0 && word().is_some_and(|word| word.load(Ordering::Relaxed) == token)
}
