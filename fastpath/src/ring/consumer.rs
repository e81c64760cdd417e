//! The reading end of a ring.
#![expect(unsafe_code, reason = "passes caller memory on to the ring's copies")]

use super::RingBytes;
use crate::error::Blame;
use crate::fault::{Fault, sound};
use crate::sync::{FarWord64, Ordering, OwnWord64};

/// The reading end for the length of one call. Nothing survives it but what the caller reads back with
/// [`head`](Self::head) and [`tail_seen`](Self::tail_seen).
#[derive(Debug)]
pub struct Consumer {
    bytes: RingBytes,
    head: u64,
    tail_seen: u64,
    head_word: OwnWord64,
    tail_word: FarWord64,
}

impl Consumer {
    /// The reading end as the caller's own state describes it: `head` bytes ever taken, `tail_seen` the last checked far
    /// tail.
    #[inline]
    #[must_use]
    pub fn new(
        bytes: RingBytes,
        head: u64,
        tail_seen: u64,
        head_word: OwnWord64,
        tail_word: FarWord64,
    ) -> Self {
        Self {
            bytes,
            head,
            tail_seen,
            head_word,
            tail_word,
        }
    }

    /// Bytes that are there as far as is known without a load. Never more than a ring, whatever state this end was made of.
    #[inline(always)]
    fn known(&self) -> u64 {
        let known = self.tail_seen.wrapping_sub(self.head);
        known.min(u64::from(self.bytes.ring_bytes()))
    }

    /// Readable bytes; looks at the far tail only when fewer than `wanted` are known.
    ///
    /// # Errors
    /// [`Blame::PeerMisbehaved`] when the far tail went back or more than a ring ahead (I2); the own state is unchanged.
    #[inline]
    pub fn available(&mut self, wanted: u64) -> Result<u64, Blame> {
        let known = self.known();
        if known >= wanted {
            return Ok(known);
        }
        self.look()?;
        Ok(self.known())
    }

    /// Loads and checks the far tail.
    ///
    /// # Errors
    /// As for [`available`](Self::available).
    #[inline]
    pub fn look(&mut self) -> Result<(), Blame> {
        let order = if sound(Fault::FarIndexWithoutAcquire) {
            // Acquire, partner: the release in `Producer::publish` and `publish_and_fence`: the bytes are there.
            Ordering::Acquire
        } else {
            Ordering::Relaxed
        };
        let tail = self.tail_word.load(order);
        // I2: tail_seen <= tail <= head + ring_bytes, as distances so that one branch checks both ends.
        let allowed = u64::from(self.bytes.ring_bytes()).saturating_sub(self.known());
        if sound(Fault::FarIndexUnchecked) && tail.wrapping_sub(self.tail_seen) > allowed {
            return Err(Blame::PeerMisbehaved(
                "tail outside tail_seen..=head+ring_bytes",
            ));
        }
        self.tail_seen = tail;
        Ok(())
    }

    /// Copies bytes from the head on and takes them; the far side may write over them after the next publish.
    ///
    /// # Safety
    /// `target` is writable for `bytes`, and `bytes` is no more than the last answer of [`available`](Self::available)
    /// less what was taken since.
    #[inline]
    pub unsafe fn copy_out(&mut self, target: *mut u8, bytes: usize) {
        // SAFETY: the caller checked that the bytes are there, so the span is no longer than the ring.
        unsafe { self.bytes.copy_out(self.head, target, bytes) };
        self.head = self.head.wrapping_add(bytes as u64);
    }

    /// Copies bytes that lie `ahead` of the head without taking them (`MSG_PEEK`).
    ///
    /// # Safety
    /// As for [`copy_out`](Self::copy_out), with `ahead + bytes` no more than what is available.
    #[inline]
    pub unsafe fn peek(&self, ahead: u64, target: *mut u8, bytes: usize) {
        // SAFETY: the caller checked that the bytes are there.
        unsafe {
            self.bytes
                .copy_out(self.head.wrapping_add(ahead), target, bytes);
        }
    }

    /// Takes bytes without copying them (`MSG_TRUNC`, bytes that were peeked). No more than are known to be there.
    #[inline]
    pub fn skip(&mut self, bytes: u64) {
        self.head = self.head.wrapping_add(bytes.min(self.known()));
    }

    /// Gives the room back to the far side; wakes nobody.
    #[inline]
    pub fn publish(&mut self) {
        let order = if sound(Fault::PublishWithoutRelease) {
            // Release, partner: the acquire in `Producer::look`: we are done reading what it may write over.
            Ordering::Release
        } else {
            Ordering::Relaxed
        };
        self.head_word.store(self.head, order);
    }

    /// Gives the room back, then a full fence (I5): `head` -> `arm.tx` of SWITCH.md §3. Once per call.
    #[inline]
    pub fn publish_and_fence(&mut self) {
        // Also the release that `Producer::look` acquires.
        self.head_word.publish_and_fence(self.head);
    }

    /// Bytes ever taken, published or not.
    #[inline]
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The last checked far tail.
    #[inline]
    #[must_use]
    pub fn tail_seen(&self) -> u64 {
        self.tail_seen
    }
}
