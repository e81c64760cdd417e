//! The two rings of a stream, as this side's own truth describes them, and how bytes in the own one are shown.
//!
//! What is needed to touch them lies in family memory: `ensure_ring` wrote it for the own ring, `pass_upgrade` for the far
//! one, after it had checked what the far side says. Nothing of it is ever read back from memory that another side may
//! write (TRUST.md row 19), also not after a death (see [`super::repair`]).
//!
//! Whoever shows bytes notes them here first, so that what the far side has seen is never ahead of what this side's
//! processes know.
#![expect(unsafe_code, reason = "refers to mapped rings")]

use super::Stream;
use super::bells::Class;
use super::labels::{Label, reached};
use crate::endpoint::{Plain32, Plain64};
use crate::error::Blame;
use crate::ring::{Consumer, Producer, RingBytes};
use crate::sync::Ordering;

/// The ring at an address of family memory; an endpoint that has none is an error of this side's.
#[inline(always)]
fn ring_at(address: &Plain64, ring_bytes: &Plain32) -> Result<RingBytes, Blame> {
    let ring_bytes = ring_bytes.get();
    if ring_bytes == 0 {
        return Err(Blame::Unsupported);
    }
    // SAFETY: `ensure_ring` and `pass_upgrade` store a length only behind the address of a checked ring of that length, in
    // a channel that stays mapped while bound.
    Ok(unsafe { RingBytes::at(address.get() as *mut u8, ring_bytes) })
}

impl Stream {
    /// The bytes of the own ring. Under `tx_lock`, bound.
    ///
    /// # Errors
    /// [`Blame::Unsupported`] where there is none.
    #[inline(always)]
    pub(super) fn own_ring_bytes(&self) -> Result<RingBytes, Blame> {
        ring_at(&self.endpoint.tx_ring, &self.endpoint.tx_ring_bytes)
    }

    /// The writing end of the own ring. Under `tx_lock`, bound.
    ///
    /// # Errors
    /// [`Blame::Unsupported`] where there is none.
    #[inline(always)]
    pub(super) fn own_ring(&self) -> Result<Producer, Blame> {
        let endpoint = self.endpoint;
        Ok(Producer::new(
            self.own_ring_bytes()?,
            endpoint.tx_tail.get(),
            endpoint.tx_head_seen.get(),
            self.own().tail(),
            self.far().head(),
        ))
    }

    /// The reading end of the far ring. Under `rx_lock`, bound.
    ///
    /// # Errors
    /// [`Blame::Unsupported`] where there is none.
    #[inline(always)]
    pub(super) fn far_ring(&self) -> Result<Consumer, Blame> {
        let endpoint = self.endpoint;
        Ok(Consumer::new(
            ring_at(&endpoint.rx_ring, &endpoint.rx_ring_bytes)?,
            endpoint.rx_head.get(),
            endpoint.rx_tail_seen.get(),
            self.own().head(),
            self.far().tail(),
        ))
    }

    /// Shows the far side what a long send has copied so far; wakes nobody.
    #[inline(always)]
    pub(super) fn show_part(&self, ring: &mut Producer) {
        self.endpoint.tx_tail.publish(ring.tail());
        ring.publish();
    }

    /// The end of a send that put `bytes` into the ring: shows them, rings for whoever waits, and sends them again if the
    /// far side has left meanwhile.
    #[inline(always)]
    pub(super) fn show_sent(&self, ring: &mut Producer, bytes: usize) {
        let endpoint = self.endpoint;
        endpoint.tx_head_seen.set(ring.head_seen());
        reached(Label::SendCopy);
        endpoint.full_since_ns.set(0);
        endpoint.tx_tail.publish(ring.tail());
        // Full fence: tail before arm.rx, ready answers, gone (partners: SLEEP step 3, READINESS 5, LEAVE step 1).
        ring.publish_and_fence();
        reached(Label::SendPublish);
        crate::statistics::count_ring_out(endpoint, bytes as u64);
        self.ring_if_armed(Class::Readers);
        if self.far().gone().load(Ordering::Acquire) != 0 {
            // What does not fit the kernel's buffer now goes on at the next call.
            let _ = self.rewind_locked();
        }
    }
}
