//! Counters: the process's own, and those of each socket, in a page that other processes of the same user may read.
//!
//! Layout: `kmod_interface::statistics`. Process counters change with locked adds, off the hot path; a socket's words
//! change under its endpoint's lock. Before the page exists (or when it cannot be made) counts go to a private array.
#![expect(unsafe_code, reason = "addresses words of the mapped statistics page")]

use crate::endpoint::Endpoint;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::sync::atomic::AtomicPtr;
use kmod_interface::statistics::{COUNTERS_OFFSET, Counter, PAGE_BYTES, REASONS_OFFSET, row};

static PAGE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static PRIVATE: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static PRIVATE_REASONS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Counts an event of the process.
#[inline]
pub fn count(counter: Counter, amount: u64) {
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        if let Some(word) = PRIVATE.get(counter as usize) {
            word.fetch_add(amount, Ordering::Relaxed);
        }
        return;
    }
    page_word(page, COUNTERS_OFFSET + counter as usize * 8).fetch_add(amount, Ordering::Relaxed);
}

/// The present value of a counter.
#[must_use]
pub fn value(counter: Counter) -> u64 {
    let before = PRIVATE
        .get(counter as usize)
        .map_or(0, |word| word.load(Ordering::Relaxed));
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        return before;
    }
    before + page_word(page, COUNTERS_OFFSET + counter as usize * 8).load(Ordering::Relaxed)
}

/// Counts a socket that stands or ended with a reason.
pub fn count_reason(reason: u32, amount: u64) {
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        if let Some(word) = PRIVATE_REASONS.get(reason as usize) {
            word.fetch_add(amount, Ordering::Relaxed);
        }
    } else if reason < 64 {
        page_word(page, REASONS_OFFSET + reason as usize * 8).fetch_add(amount, Ordering::Relaxed);
    }
}

/// In a fork child: what was counted without a page is the parent's.
pub fn forget_counts() {
    for word in PRIVATE.iter().chain(&PRIVATE_REASONS) {
        word.store(0, Ordering::Relaxed);
    }
}

/// True when something was counted without a page: by a fork child that uses its parent's sockets and opens none.
#[must_use]
pub fn has_private_counts() -> bool {
    PRIVATE.iter().any(|word| word.load(Ordering::Relaxed) != 0)
}

/// The present value of a reason's counter.
#[must_use]
pub fn reason_value(reason: u32) -> u64 {
    let before = PRIVATE_REASONS
        .get(reason as usize)
        .map_or(0, |word| word.load(Ordering::Relaxed));
    let page = PAGE.load(Ordering::Relaxed);
    if page.is_null() || reason >= 64 {
        return before;
    }
    before + page_word(page, REASONS_OFFSET + reason as usize * 8).load(Ordering::Relaxed)
}

/// The mapped page of this process, or null.
#[must_use]
pub fn page() -> *mut u8 {
    PAGE.load(Ordering::Acquire)
}

/// Puts a page in place (at start, or null in a fork child, which makes its own).
///
/// # Safety
/// `page` is null or the start of `PAGE_BYTES` mapped writable for the rest of the process's life.
pub unsafe fn set_page(page: *mut u8) {
    PAGE.store(page, Ordering::Release);
}

fn page_word(page: *mut u8, offset: usize) -> &'static AtomicU64 {
    debug_assert!(offset + 8 <= PAGE_BYTES);
    // SAFETY: set_page promised a page that stays; callers use aligned offsets inside it.
    unsafe { &*page.add(offset.min(PAGE_BYTES - 8)).cast::<AtomicU64>() }
}

#[inline(always)]
fn row_word64(endpoint: &Endpoint, offset: usize) -> Option<&'static AtomicU64> {
    let address = endpoint.row.get() as *mut u8;
    // SAFETY: `row` is 0 or the address of a row in a page that stays mapped.
    (!address.is_null()).then(|| unsafe { &*address.add(offset).cast::<AtomicU64>() })
}

#[inline(always)]
fn row_word32(endpoint: &Endpoint, offset: usize) -> Option<&'static AtomicU32> {
    let address = endpoint.row.get() as *mut u8;
    // SAFETY: as above.
    (!address.is_null()).then(|| unsafe { &*address.add(offset).cast::<AtomicU32>() })
}

/// The caller holds the lock of its direction.
#[inline(always)]
fn add_pair(endpoint: &Endpoint, bytes_offset: usize, calls_offset: usize, bytes: u64) {
    if let (Some(total), Some(calls)) = (
        row_word64(endpoint, bytes_offset),
        row_word64(endpoint, calls_offset),
    ) {
        total.store(
            total.load(Ordering::Relaxed).wrapping_add(bytes),
            Ordering::Relaxed,
        );
        calls.store(
            calls.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }
}

/// As [`add_pair`] for threads that hold no lock.
fn add_pair_unlocked(endpoint: &Endpoint, bytes_offset: usize, calls_offset: usize, bytes: u64) {
    if let (Some(total), Some(calls)) = (
        row_word64(endpoint, bytes_offset),
        row_word64(endpoint, calls_offset),
    ) {
        total.fetch_add(bytes, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

fn add_one(endpoint: &Endpoint, offset: usize) {
    if let Some(word) = row_word32(endpoint, offset) {
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }
}

/// Bytes sent through the ring in one call.
#[inline(always)]
pub fn row_ring_out(endpoint: &Endpoint, bytes: u64) {
    add_pair(endpoint, row::RING_BYTES_OUT, row::RING_CALLS_OUT, bytes);
}
/// Bytes received through the ring in one call.
#[inline(always)]
pub fn row_ring_in(endpoint: &Endpoint, bytes: u64) {
    add_pair(endpoint, row::RING_BYTES_IN, row::RING_CALLS_IN, bytes);
}
/// Bytes sent through the kernel in one call.
pub fn row_kernel_out(endpoint: &Endpoint, bytes: u64) {
    add_pair_unlocked(
        endpoint,
        row::KERNEL_BYTES_OUT,
        row::KERNEL_CALLS_OUT,
        bytes,
    );
}
/// Bytes received through the kernel in one call.
pub fn row_kernel_in(endpoint: &Endpoint, bytes: u64) {
    add_pair_unlocked(endpoint, row::KERNEL_BYTES_IN, row::KERNEL_CALLS_IN, bytes);
}
/// The sending direction moved to the ring.
pub fn row_upgraded_out(endpoint: &Endpoint) {
    add_one(endpoint, row::UPGRADES_OUT);
}
/// The sending direction moved to the kernel.
pub fn row_retreated_out(endpoint: &Endpoint) {
    add_one(endpoint, row::RETREATS_OUT);
}
/// The receiving direction moved to the ring.
pub fn row_upgraded_in(endpoint: &Endpoint) {
    add_one(endpoint, row::UPGRADES_IN);
}
/// The receiving direction moved to the kernel.
pub fn row_retreated_in(endpoint: &Endpoint) {
    add_one(endpoint, row::RETREATS_IN);
}
/// A word of the endpoint's row, eight bytes.
#[must_use]
pub fn row_value64(endpoint: &Endpoint, offset: usize) -> u64 {
    row_word64(endpoint, offset).map_or(0, |word| word.load(Ordering::Relaxed))
}
/// A word of the endpoint's row, four bytes.
#[must_use]
pub fn row_value32(endpoint: &Endpoint, offset: usize) -> u32 {
    row_word32(endpoint, offset).map_or(0, |word| word.load(Ordering::Relaxed))
}
/// Sets a word of the endpoint's row.
pub fn set_row32(endpoint: &Endpoint, offset: usize, value: u32) {
    if let Some(word) = row_word32(endpoint, offset) {
        word.store(value, Ordering::Relaxed);
    }
}
