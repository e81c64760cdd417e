//! Counters: the process's own, and those of each socket, in a page that other processes of the same user may read.
//!
//! Layout: `kmod_interface::statistics`. Process counters change with locked adds, off the hot path; a socket's words
//! change under its endpoint's lock. Before the page exists (or when it cannot be made) counts go to a private array.
#![expect(unsafe_code, reason = "addresses words of the mapped statistics page")]

mod rows;

pub use rows::Row;

use crate::endpoint::Endpoint;
use crate::sync::{AtomicU64, Ordering};
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

/// Shows totals that the endpoint itself keeps. The caller holds the lock of their direction.
#[inline(always)]
fn show_ring(
    endpoint: &Endpoint,
    bytes_offset: usize,
    calls_offset: usize,
    bytes: u64,
    calls: u64,
) {
    let row = Row::of(endpoint);
    if let (Some(shown_bytes), Some(shown_calls)) =
        (row.word64(bytes_offset), row.word64(calls_offset))
    {
        shown_bytes.store(bytes, Ordering::Relaxed);
        shown_calls.store(calls, Ordering::Relaxed);
    }
}

/// Counts bytes sent through the ring in one call, in the endpoint and in its row. Under `tx_lock`.
#[inline(always)]
pub fn count_ring_out(endpoint: &Endpoint, bytes: u64) {
    let (bytes, calls) = (
        endpoint.bytes_out.add(bytes),
        endpoint.ring_calls_out.add(1),
    );
    show_ring(
        endpoint,
        row::RING_BYTES_OUT,
        row::RING_CALLS_OUT,
        bytes,
        calls,
    );
}
/// Counts bytes received through the ring in one call. Under `rx_lock`; as [`count_ring_out`].
#[inline(always)]
pub fn count_ring_in(endpoint: &Endpoint, bytes: u64) {
    let (bytes, calls) = (endpoint.bytes_in.add(bytes), endpoint.ring_calls_in.add(1));
    show_ring(
        endpoint,
        row::RING_BYTES_IN,
        row::RING_CALLS_IN,
        bytes,
        calls,
    );
}
/// The sending direction moved to the ring. Under its lock, as the three below.
pub fn row_upgraded_out(endpoint: &Endpoint) {
    Row::of(endpoint).add32(row::UPGRADES_OUT, 1);
}
/// The sending direction moved to the kernel.
pub fn row_retreated_out(endpoint: &Endpoint) {
    Row::of(endpoint).add32(row::RETREATS_OUT, 1);
}
/// The receiving direction moved to the ring.
pub fn row_upgraded_in(endpoint: &Endpoint) {
    Row::of(endpoint).add32(row::UPGRADES_IN, 1);
}
/// The receiving direction moved to the kernel.
pub fn row_retreated_in(endpoint: &Endpoint) {
    Row::of(endpoint).add32(row::RETREATS_IN, 1);
}
/// Where the row of a socket shows its part of a counter of the process.
const fn row_offset(counter: Counter) -> Option<usize> {
    Some(match counter {
        Counter::BellsSent => row::BELLS_SENT,
        Counter::BellsReceived => row::BELLS_RECEIVED,
        Counter::SpinsWon => row::SPINS_WON,
        Counter::SpinsLost => row::SPINS_LOST,
        Counter::RetreatsAsked => row::RETREATS_ASKED,
        Counter::RetreatsSpill => row::RETREATS_SPILL,
        Counter::RetreatsDeadLine => row::RETREATS_DEAD_LINE,
        Counter::RetreatsLocal => row::RETREATS_LOCAL,
        _ => return None,
    })
}

/// Counts an event of the process and of one socket, under the lock of the direction that it is about.
#[inline]
pub fn count_of(endpoint: &Endpoint, counter: Counter, amount: u64) {
    count(counter, amount);
    if let Some(offset) = row_offset(counter) {
        Row::of(endpoint).add32(offset, amount as u32);
    }
}

/// The same under no lock, in a call of that life of the endpoint: of two at once one may be missed.
#[inline]
pub fn count_in_life(endpoint: &Endpoint, generation: u32, counter: Counter) {
    count(counter, 1);
    if let Some(offset) = row_offset(counter) {
        Row::in_life(endpoint, generation).add32(offset, 1);
    }
}

/// Counts a sleep in the kernel of a call on one socket, in that life; several threads may fall asleep on it at once.
pub fn count_sleep(endpoint: &Endpoint, generation: u32) {
    count(Counter::KernelSleeps, 1);
    if let Some(word) = Row::in_life(endpoint, generation).word32(row::KERNEL_SLEEPS) {
        word.fetch_add(1, Ordering::Relaxed);
    }
}
