//! The writing end of a ring.
#![expect(unsafe_code, reason = "passes caller memory on to the ring's copies")]

use super::RingBytes;
use crate::error::Blame;
use crate::fault::{Fault, sound};
use crate::sync::{FarWord64, Ordering, OwnWord64};

/// The writing end for the length of one call. Nothing survives it but what the caller reads back with
/// [`tail`](Self::tail) and [`head_seen`](Self::head_seen).
#[derive(Debug)]
pub struct Producer {
    bytes: RingBytes,
    tail: u64,
    head_seen: u64,
    tail_word: OwnWord64,
    head_word: FarWord64,
}

impl Producer {
    /// The writing end as the caller's own state describes it: `tail` bytes ever written, `head_seen` the last checked
    /// far head.
    #[inline]
    #[must_use]
    pub fn new(
        bytes: RingBytes,
        tail: u64,
        head_seen: u64,
        tail_word: OwnWord64,
        head_word: FarWord64,
    ) -> Self {
        Self {
            bytes,
            tail,
            head_seen,
            tail_word,
            head_word,
        }
    }

    /// Bytes that are free as far as is known without a load.
    #[inline(always)]
    fn known_room(&self) -> u64 {
        u64::from(self.bytes.ring_bytes()).saturating_sub(self.tail.wrapping_sub(self.head_seen))
    }

    /// Free bytes; looks at the far head only when what is known does not cover `wanted`.
    ///
    /// # Errors
    /// [`Blame::PeerMisbehaved`] when the far head went back or past the tail (I2); the own state is unchanged.
    #[inline]
    pub fn room(&mut self, wanted: u64) -> Result<u64, Blame> {
        let known = self.known_room();
        if known >= wanted {
            return Ok(known);
        }
        self.look()?;
        Ok(self.known_room())
    }

    /// Loads and checks the far head.
    ///
    /// # Errors
    /// As for [`room`](Self::room).
    #[inline]
    pub fn look(&mut self) -> Result<(), Blame> {
        let order = if sound(Fault::FarIndexWithoutAcquire) {
            // Acquire, partner: the release in `Consumer::publish` and `publish_and_fence`: the reader is done with the
            // bytes we are about to write over.
            Ordering::Acquire
        } else {
            Ordering::Relaxed
        };
        let head = self.head_word.load(order);
        // I2: head_seen <= head <= tail, as distances so that one branch checks both ends.
        if sound(Fault::FarIndexUnchecked)
            && head.wrapping_sub(self.head_seen) > self.tail.wrapping_sub(self.head_seen)
        {
            return Err(Blame::PeerMisbehaved("head outside head_seen..=tail"));
        }
        self.head_seen = head;
        Ok(())
    }

    /// Copies bytes behind the tail; the far side sees them after the next publish.
    ///
    /// # Safety
    /// `source` is readable for `bytes`, and `bytes` is no more than the last answer of [`room`](Self::room) less what was
    /// copied in since.
    #[inline]
    pub unsafe fn copy_in(&mut self, source: *const u8, bytes: usize) {
        // SAFETY: the caller checked room, so the span is free and no longer than the ring.
        unsafe { self.bytes.copy_in(self.tail, source, bytes) };
        self.tail = self.tail.wrapping_add(bytes as u64);
    }

    /// The free bytes behind the tail, in one or two pieces, to be written by the kernel; then [`advance`](Self::advance).
    /// `bytes` is no more than [`room`](Self::room) said.
    #[cfg(not(loom))]
    #[must_use]
    pub fn free_pieces(&self, bytes: usize) -> [(*mut u8, usize); 2] {
        self.bytes
            .pieces(self.tail, bytes)
            .map(|(base, bytes)| (base.cast_mut(), bytes))
    }

    /// So many bytes behind the tail were written by other means than [`copy_in`](Self::copy_in).
    #[cfg(not(loom))]
    pub fn advance(&mut self, bytes: usize) {
        self.tail = self.tail.wrapping_add(bytes as u64);
    }

    /// Shows the bytes to the far side, inside a long write; wakes nobody.
    #[inline]
    pub fn publish(&mut self) {
        let order = if sound(Fault::PublishWithoutRelease) {
            // Release, partner: the acquire in `Consumer::look`: the bytes are there when the index is.
            Ordering::Release
        } else {
            Ordering::Relaxed
        };
        self.tail_word.store(self.tail, order);
    }

    /// Shows the bytes, then a full fence (I5): `tail` -> `arm.rx`, `gone` of SWITCH.md §3. Once per call.
    #[inline]
    pub fn publish_and_fence(&mut self) {
        // Also the release that `Consumer::look` acquires.
        self.tail_word.publish_and_fence(self.tail);
    }

    /// Bytes ever written, published or not.
    #[inline]
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The last checked far head.
    #[inline]
    #[must_use]
    pub fn head_seen(&self) -> u64 {
        self.head_seen
    }
}
