//! SEND and RECV of one plain buffer while nothing but the ring is concerned: the common call, without the general one's
//! pieces and outcomes.
//!
//! The steps and their order are those of [`super::send`] and [`super::receive`]. Whatever they would do beyond copying
//! (a switch, a rewind, an end, a full or empty ring, a lock that is taken) makes these return `None` before anything was
//! changed, and the general call is made.
#![expect(unsafe_code, reason = "copies between rings and the program's buffers")]

use super::Stream;
use super::labels::{Label, reached};
use crate::endpoint::binding;
use crate::kernel_call;
use crate::ring::Producer;
use crate::sync::Ordering;
use core::ffi::c_int;

/// Longer buffers are shown to the reader in portions, by the general call.
const BYTES_MOST: usize = 16 * 1024;
/// Of a file so much is read before the reader is shown it.
const FILE_BYTES_AT_ONCE: usize = 32 * 1024;

impl Stream {
    /// Puts all of a buffer into the ring.
    ///
    /// # Safety
    /// `source` is readable for `bytes`.
    #[inline]
    pub unsafe fn send_quickly(&self, source: *const u8, bytes: usize) -> Option<usize> {
        let endpoint = self.endpoint;
        // Where another carrier or no channel is usual: not worth a lock.
        if bytes == 0 || bytes > BYTES_MOST || endpoint.tx_ep.get() & 1 == 0 {
            return None;
        }
        reached(Label::SendLock);
        if !endpoint.tx_lock.try_lock(self.me) {
            return None;
        }
        // SAFETY: as promised by the caller.
        let sent = unsafe { self.send_quickly_locked(source, bytes) };
        self.unlock_sending();
        sent
    }

    #[inline(always)]
    unsafe fn send_quickly_locked(&self, source: *const u8, bytes: usize) -> Option<usize> {
        let mut ring = self.own_ring_if_plain()?;
        // An impossible head is found again, and judged, by the general call.
        if ring.room(bytes as u64).ok()? < bytes as u64 {
            return None;
        }
        // SAFETY: the caller's promise; there is room.
        unsafe { ring.copy_in(source, bytes) };
        self.show_sent(&mut ring, bytes);
        Some(bytes)
    }

    /// The own ring, if it carries and no switch, end or rewind is due. Under `tx_lock`.
    #[inline(always)]
    fn own_ring_if_plain(&self) -> Option<Producer> {
        let endpoint = self.endpoint;
        let ep = endpoint.tx_ep.get();
        if self.is_stale()
            || endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || ep & 1 == 0
            || endpoint.over.get() | endpoint.write_shut.get() | endpoint.broken.get() != 0
            || endpoint.wished.load(Ordering::Relaxed) == 0
            || endpoint.keof.load(Ordering::Acquire) != 0
        {
            return None;
        }
        let far = self.far();
        if far.gone().load(Ordering::Acquire) != 0 || far.want().load(Ordering::Acquire) == ep {
            return None;
        }
        self.own_ring().ok()
    }

    /// Reads at most `bytes` of a file at `position` straight into the ring: as much as there is room for and is in memory
    /// already, for under the lock nothing may wait for a disk.
    #[must_use]
    pub fn send_file_quickly(&self, file: c_int, position: i64, bytes: usize) -> Option<usize> {
        let endpoint = self.endpoint;
        if bytes == 0 || endpoint.tx_ep.get() & 1 == 0 {
            return None;
        }
        reached(Label::SendLock);
        if !endpoint.tx_lock.try_lock(self.me) {
            return None;
        }
        let sent = self.send_file_quickly_locked(file, position, bytes);
        self.unlock_sending();
        sent
    }

    fn send_file_quickly_locked(&self, file: c_int, position: i64, bytes: usize) -> Option<usize> {
        let mut ring = self.own_ring_if_plain()?;
        let mut total: usize = 0;
        while total < bytes {
            let left = bytes - total;
            // An impossible head is for the next call to judge: what was shown before is sent.
            let Ok(room) = ring.room(left as u64) else {
                break;
            };
            let part = left.min(room as usize).min(FILE_BYTES_AT_ONCE);
            let Some(at) = position.checked_add(total as i64) else {
                break;
            };
            if part == 0 {
                break;
            }
            // SAFETY: `part` bytes behind the tail are free, and both pieces lie in the own ring.
            let read = unsafe { kernel_call::read_cached(file, ring.free_pieces(part), at) };
            let Ok(read @ 1..) = read else { break };
            let read = read.min(part);
            ring.advance(read);
            self.show_part(&mut ring);
            total += read;
            if read < part {
                break;
            }
        }
        if total == 0 {
            return None;
        }
        self.show_sent(&mut ring, total);
        Some(total)
    }

    /// Takes what the ring has, at most `bytes`.
    ///
    /// # Safety
    /// `target` is writable for `bytes`.
    #[inline]
    pub unsafe fn receive_quickly(&self, target: *mut u8, bytes: usize) -> Option<usize> {
        let endpoint = self.endpoint;
        if bytes == 0 || endpoint.rx_ep.get() & 1 == 0 || !self.is_bound() || self.must_rewind() {
            return None;
        }
        // A first look without the lock: the general call waits, or says that there is nothing.
        if self.far().tail().load(Ordering::Relaxed) == endpoint.rx_head.get() {
            return None;
        }
        reached(Label::ReceiveLock);
        if !endpoint.rx_lock.try_lock(self.me) {
            return None;
        }
        // SAFETY: as promised by the caller.
        let received = unsafe { self.receive_quickly_locked(target, bytes) };
        self.unlock_receiving();
        let (taken, ring_writers) = received?;
        if ring_writers {
            self.ring_writers();
        }
        Some(taken)
    }

    #[inline(always)]
    unsafe fn receive_quickly_locked(
        &self,
        target: *mut u8,
        bytes: usize,
    ) -> Option<(usize, bool)> {
        let endpoint = self.endpoint;
        let rx_ep = endpoint.rx_ep.get();
        if self.is_stale()
            || endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || rx_ep & 1 == 0
            || endpoint.low_water.get() > 1
            || endpoint.write_shut.get() != 0
        {
            return None;
        }
        let far = self.far();
        // Invariant 7: ep, fin and keof before tail. A switch that comes later is for the next call.
        if far.ep().load(Ordering::Acquire) != rx_ep
            || far.fin().load(Ordering::Acquire) | endpoint.keof.load(Ordering::Acquire) != 0
        {
            return None;
        }
        let ring_bytes = endpoint.rx_ring_bytes.get();
        let mut ring = self.far_ring().ok()?;
        // As much as was asked for: what was published meanwhile belongs to this call, too.
        let available = ring.available(bytes as u64).ok()?;
        reached(Label::ReceiveLook);
        if available == 0 {
            return None;
        }
        let part = (bytes as u64).min(available);
        // SAFETY: `available` was checked against the far tail; the caller's promise.
        unsafe { ring.copy_out(target, part as usize) };
        endpoint.rx_tail_seen.set(ring.tail_seen());
        reached(Label::ReceiveCopy);
        endpoint.rx_head.publish(ring.head());
        // Full fence: head before arm.tx (partner: SLEEP(tx) step 3).
        ring.publish_and_fence();
        reached(Label::ReceivePublish);
        crate::statistics::count_ring_in(endpoint, part);
        // A blocked writer is woken when a quarter of its ring is free (WAITING.md "Ring geometry").
        let left = available - part;
        let mostly_free = u64::from(ring_bytes).saturating_sub(left) >= u64::from(ring_bytes / 4);
        Some((part as usize, mostly_free && self.wants_writers_rung()))
    }
}
