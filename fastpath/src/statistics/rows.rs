//! The row of one socket: where it is.
//!
//! Its address stands in the endpoint, which relatives share, and lies in the page of the process that opened the socket: who
//! holds the socket has that page mapped for good, and nobody else has. So an address is used by who knows that it is of the
//! life of the endpoint in which he was called.
#![expect(unsafe_code, reason = "addresses words of a mapped statistics page")]

use crate::endpoint::Endpoint;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::statistics::row;

/// The row of a socket, if it has one.
#[derive(Clone, Copy)]
pub struct Row(*mut u8);

impl Row {
    /// For who keeps the life from ending, by a lock of the endpoint or by having its block for himself, or asks behind this
    /// whether it has ended.
    #[inline(always)]
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Row {
        Row(endpoint.row.get_published() as *mut u8)
    }

    /// For who was called in the life `generation` and holds no lock; none when that life has ended. The address first: it is
    /// of that life if the life goes on behind it.
    #[inline]
    #[must_use]
    pub fn in_life(endpoint: &Endpoint, generation: u32) -> Row {
        let row = Row::of(endpoint);
        if endpoint.generation.load(Ordering::Acquire) == generation {
            row
        } else {
            Row(core::ptr::null_mut())
        }
    }

    #[inline(always)]
    pub(super) fn word64(self, offset: usize) -> Option<&'static AtomicU64> {
        // SAFETY: a row in a page that stays mapped, as the type says.
        (!self.0.is_null()).then(|| unsafe { &*self.0.add(offset).cast::<AtomicU64>() })
    }

    #[inline(always)]
    pub(super) fn word32(self, offset: usize) -> Option<&'static AtomicU32> {
        // SAFETY: as above.
        (!self.0.is_null()).then(|| unsafe { &*self.0.add(offset).cast::<AtomicU32>() })
    }

    /// One of its words, eight bytes.
    #[must_use]
    pub fn value64(self, offset: usize) -> u64 {
        self.word64(offset)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// One of its words, four bytes.
    #[must_use]
    pub fn value32(self, offset: usize) -> u32 {
        self.word32(offset)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Sets one of its words.
    pub fn set32(self, offset: usize, value: u32) {
        if let Some(word) = self.word32(offset) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Without a locked instruction.
    pub(super) fn add32(self, offset: usize, amount: u32) {
        if let Some(word) = self.word32(offset) {
            let before = word.load(Ordering::Relaxed);
            word.store(before.wrapping_add(amount), Ordering::Relaxed);
        }
    }

    /// Shows calls by the kernel, and `bytes`, that the endpoint itself keeps, so that nothing here needs a locked
    /// instruction. Of two threads the later one may show less than the other did: until the next call. What is summed up
    /// in the end is the endpoint's own count.
    #[inline(always)]
    fn show_pair(self, bytes_offset: usize, calls_offset: usize, bytes: u64, calls: u32) {
        if let (Some(total), Some(shown)) = (self.word64(bytes_offset), self.word64(calls_offset)) {
            total.store(bytes, Ordering::Relaxed);
            let before = shown.load(Ordering::Relaxed);
            // Known modulo 2³²; one that comes late is behind.
            let more = calls.wrapping_sub(before as u32) as i32;
            if more > 0 {
                shown.store(before + more as u64, Ordering::Relaxed);
            }
        }
    }

    /// Shows what was sent through the kernel; `calls`: of this life, modulo 2³².
    #[inline(always)]
    pub fn show_kernel_out(self, endpoint: &Endpoint, calls: u32) {
        let bytes = endpoint.kernel_bytes_out.load(Ordering::Relaxed);
        self.show_pair(row::KERNEL_BYTES_OUT, row::KERNEL_CALLS_OUT, bytes, calls);
    }

    /// Shows what was received through the kernel; `calls`: of this life, modulo 2³².
    #[inline(always)]
    pub fn show_kernel_in(self, endpoint: &Endpoint, calls: u32) {
        let bytes = endpoint.kernel_bytes_in.load(Ordering::Relaxed);
        self.show_pair(row::KERNEL_BYTES_IN, row::KERNEL_CALLS_IN, bytes, calls);
    }

    /// Calls by the kernel, both ways, exact where what is shown may be behind.
    #[inline]
    #[must_use]
    pub fn kernel_calls(self, endpoint: &Endpoint) -> u64 {
        let sum = |offset, calls: u32| {
            let shown = self.value64(offset);
            shown + calls.wrapping_sub(shown as u32).cast_signed().max(0) as u64
        };
        sum(row::KERNEL_CALLS_OUT, endpoint.itx.calls())
            + sum(row::KERNEL_CALLS_IN, endpoint.irx.calls())
    }
}
