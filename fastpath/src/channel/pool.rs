//! Ring space of this side's own region, in pages (CHANNEL.md "Ring space").
//!
//! P1. Only the home allocates. Any relative frees, without a lock: it sets bits of `returned`, which the home collects
//!     before it looks for space; so the death of a relative at any step loses at most the space it was about to free.
//! P2. Last freed first: a page that was just in use is in the caches and in both page tables (WAITING.md: a fresh page
//!     costs 2.5 µs, a used one nothing).
//! P3. A page is kept for each slot that has no ring yet: long rings of a few must not keep the others off the ring. In
//!     the smallest class, which one stream may have for itself, for half of the slots.
//! P4. The home's threads exclude each other by a flag that is never waited for long: a signal handler above the holder
//!     gets "no space" instead of a dead lock.

use super::Channel;
use crate::ring::RingBytes;
use crate::sync::{AtomicU32, AtomicU64, Ordering, spin_pause};
use kmod_interface::channel_layout::{CLASSES, RegionLayout};
use kmod_interface::limits::POOL_PAGE_BYTES;
use kmod_interface::ring_layout::{is_inside_pool, is_ring_length};

#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const PAGE_WORDS: usize = {
    let last = CLASSES[CLASSES.len() - 1];
    ((last.pool_bytes() / POOL_PAGE_BYTES) as usize).div_ceil(64)
};
/// Rings remembered for P2.
const RECENT: usize = 16;
/// Looks at the flag before giving up.
const LOCK_TRIES: u32 = 1000;

/// The pool's part of family memory.
#[repr(C)]
pub(super) struct PoolTruth {
    flag: AtomicU32,
    recent_next: AtomicU32,
    /// First page and number of pages of rings freed lately, 0 = nothing: a hint, checked against `taken`.
    recent: [AtomicU64; RECENT],
    taken: [AtomicU64; PAGE_WORDS],
    returned: [AtomicU64; PAGE_WORDS],
}

/// Sets or clears pages `[first, first + count)` word by word.
fn for_each_word(first: u32, count: u32, mut act: impl FnMut(usize, u64)) {
    let mut page = first;
    let end = first.saturating_add(count);
    while page < end {
        let bit = page % 64;
        let here = (64 - bit).min(end - page);
        let mask = if here == 64 {
            u64::MAX
        } else {
            ((1 << here) - 1) << bit
        };
        act((page / 64) as usize, mask);
        page += here;
    }
}

impl PoolTruth {
    fn lock(&self) -> bool {
        for _ in 0..LOCK_TRIES {
            // Acquire, partner: the release in `unlock`.
            if self
                .flag
                .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return true;
            }
            spin_pause();
        }
        false
    }
    fn unlock(&self) {
        self.flag.store(0, Ordering::Release);
    }

    /// Holder only: what relatives and this process gave back is free again.
    fn collect(&self) {
        for (taken, returned) in self.taken.iter().zip(&self.returned) {
            if returned.load(Ordering::Relaxed) != 0 {
                // Acquire, partner: the release in `give_back`: the last access to the ring came before.
                let pages = returned.swap(0, Ordering::Acquire);
                taken.store(taken.load(Ordering::Relaxed) & !pages, Ordering::Relaxed);
            }
        }
    }
    fn is_free(&self, first: u32, count: u32) -> bool {
        let mut free = true;
        for_each_word(first, count, |word, mask| {
            free &= self
                .taken
                .get(word)
                .is_some_and(|taken| taken.load(Ordering::Relaxed) & mask == 0);
        });
        free
    }
    fn take(&self, first: u32, count: u32) {
        for_each_word(first, count, |word, mask| {
            if let Some(taken) = self.taken.get(word) {
                taken.store(taken.load(Ordering::Relaxed) | mask, Ordering::Relaxed);
            }
        });
    }

    fn free_pages(&self, pages: u32) -> u32 {
        let taken: u32 = self
            .taken
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones())
            .sum();
        pages.saturating_sub(taken)
    }

    /// Holder only: pages for a ring, out of `pages`, such that `kept` are left unless it is the shortest.
    fn find(&self, count: u32, pages: u32, kept: u32) -> Option<u32> {
        self.collect();
        if count > 1 && self.free_pages(pages) < count + kept {
            return None;
        }
        // Newest first (P2).
        let newest = self.recent_next.load(Ordering::Relaxed);
        for back in 1..=RECENT as u32 {
            let place = self
                .recent
                .get(newest.wrapping_sub(back) as usize % RECENT)?;
            let recent = place.load(Ordering::Relaxed);
            if recent as u32 != count {
                continue;
            }
            let first = (recent >> 32) as u32;
            place.store(0, Ordering::Relaxed);
            if first + count <= pages && self.is_free(first, count) {
                return Some(first);
            }
        }
        // Small rings from the end, larger ones from the start at multiples of their length, so that the small ones do
        // not break up the room of the large ones.
        if count == 1 {
            return (0..pages).rev().find(|&page| self.is_free(page, 1));
        }
        (0..=pages.checked_sub(count)?)
            .step_by(count as usize)
            .find(|&first| self.is_free(first, count))
    }

    /// Any relative: gives pages back (P1).
    fn give_back(&self, first: u32, count: u32) {
        for_each_word(first, count, |word, mask| {
            if let Some(returned) = self.returned.get(word) {
                // Release, partner: the acquire in `collect`.
                returned.fetch_or(mask, Ordering::Release);
            }
        });
        let place = self.recent_next.fetch_add(1, Ordering::Relaxed) as usize % RECENT;
        if let Some(place) = self.recent.get(place) {
            place.store(u64::from(first) << 32 | u64::from(count), Ordering::Relaxed);
        }
    }
}

fn pages_of(layout: RegionLayout, offset: u32, ring_bytes: u32) -> Option<(u32, u32)> {
    let pool = layout.pool_offset();
    if !is_inside_pool(offset, ring_bytes, pool, layout.pool_bytes()) {
        return None;
    }
    Some((
        (offset - pool) / POOL_PAGE_BYTES,
        ring_bytes / POOL_PAGE_BYTES,
    ))
}

impl Channel {
    /// Ring space in this side's region: its offset there. Nothing when there is none, when the length is no ring's, or
    /// when this process is not the home.
    #[must_use]
    pub fn allocate_ring(&self, ring_bytes: u32) -> Option<u32> {
        let parts = self.parts.get()?;
        if !is_ring_length(ring_bytes) || !self.is_home() {
            return None;
        }
        let layout = parts.own().layout();
        let count = ring_bytes / POOL_PAGE_BYTES;
        let block = parts.truth.block();
        let pool = &block.pool;
        let without = layout
            .slots
            .saturating_sub(block.rings.load(Ordering::Relaxed));
        let kept = if parts.own().class() == 0 {
            without.min(layout.slots / 2)
        } else {
            without
        };
        if !pool.lock() {
            return None;
        }
        let first = pool.find(count, layout.pool_bytes() / POOL_PAGE_BYTES, kept);
        if let Some(first) = first {
            pool.take(first, count);
        }
        pool.unlock();
        Some(layout.pool_offset() + first? * POOL_PAGE_BYTES)
    }

    /// Gives ring space back. The caller knows that the far side has passed the segment (CHANNEL.md "Ring space").
    pub fn free_ring(&self, offset: u32, ring_bytes: u32) {
        let Some(parts) = self.parts.get() else {
            return;
        };
        if let Some((first, count)) = pages_of(parts.own().layout(), offset, ring_bytes) {
            parts.truth.block().pool.give_back(first, count);
        }
    }

    /// The bytes of a ring of ours, or nothing when it does not lie in our pool.
    #[must_use]
    pub fn own_ring(&self, offset: u32, ring_bytes: u32) -> Option<RingBytes> {
        let own = self.parts.get()?.own();
        pages_of(own.layout(), offset, ring_bytes)?;
        Some(ring::at(own.base(), offset, ring_bytes))
    }
    /// The bytes of a ring of the far side, whose words `offset` and `ring_bytes` may be lies: nothing unless they lie in
    /// its pool. They are mapped read-only.
    #[must_use]
    pub fn far_ring(&self, offset: u32, ring_bytes: u32) -> Option<RingBytes> {
        let far = self.parts.get()?.far();
        pages_of(far.layout(), offset, ring_bytes)?;
        Some(ring::at(far.base(), offset, ring_bytes))
    }
}

mod ring {
    //! Handles of rings that were checked to lie in a pool.
    #![expect(unsafe_code, reason = "computes the address of a ring")]

    use crate::ring::RingBytes;

    pub(super) fn at(base: *mut u8, offset: u32, ring_bytes: u32) -> RingBytes {
        // SAFETY: the caller checked offset and length against the layout of the region mapped at `base`.
        unsafe { RingBytes::at(base.add(offset as usize), ring_bytes) }
    }
}
