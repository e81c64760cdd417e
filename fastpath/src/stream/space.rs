//! Ring space of a sending direction: how much it has, and when it is given more.
//!
//! Space changes only while the kernel carries and the last segment is passed, so growth is a switch back and an upgrade.

use super::Stream;
use super::switch::RetreatCause;
use crate::sync::Ordering;
use kmod_interface::limits::{RING_BYTES_MIDDLE, RING_BYTES_SMALL};

/// Times that the reader has freed a smallest ring and found it full again, before the direction is given a larger one.
const FULL_BEFORE_GROWTH: u32 = 3;
/// The same, before a larger channel is sought where there is no larger ring.
const FULL_BEFORE_MOVE: u32 = 8;
/// The same, before the kernel's buffers are the better ones where there is no larger ring.
const FULL_BEFORE_BULK: u32 = 64;

impl Stream {
    /// A ring that was full again and again although the reader takes: a larger one, or the kernel's buffers. Under
    /// `tx_lock` with `ep` odd. True: look again.
    pub(super) fn outgrow_ring(&self) -> bool {
        let endpoint = self.endpoint;
        let times = endpoint.full_count.get();
        if endpoint.tx_ring_bytes.get() >= RING_BYTES_MIDDLE || times < FULL_BEFORE_GROWTH {
            return false;
        }
        if endpoint.ring_growth_refused.get() != 0 {
            endpoint
                .wants_space
                .set(u32::from(times >= FULL_BEFORE_MOVE));
            return times >= FULL_BEFORE_BULK && self.retreat(RetreatCause::Bulk);
        }
        if !self.retreat(RetreatCause::Growth) {
            return true; // the far side has left
        }
        // A reader that takes passes the switch and consents again in no time. What is sent before it does goes through
        // the kernel, and a stream that never pauses would stay there.
        if self.hold_for_grant() {
            self.try_upgrade(true);
        }
        true
    }

    /// Gives the sending direction ring space if it has none, or more when it outgrew what it has. Under `tx_lock`
    /// with `ep` even and the last segment passed, so the old space is free.
    pub(super) fn ensure_ring(&self) -> bool {
        let endpoint = self.endpoint;
        let wanted = if endpoint.sent_bytes() > 4 * u64::from(RING_BYTES_SMALL)
            || endpoint.full_count.get() >= FULL_BEFORE_GROWTH
        {
            RING_BYTES_MIDDLE
        } else {
            RING_BYTES_SMALL
        };
        let present = endpoint.tx_ring_bytes.get();
        if present >= wanted {
            return true;
        }
        let Some(channel) = self.channel() else {
            return false;
        };
        for ring_bytes in [wanted, RING_BYTES_SMALL] {
            if present >= ring_bytes {
                return true;
            }
            let Some(offset) = channel.allocate_ring(ring_bytes) else {
                if ring_bytes > RING_BYTES_SMALL {
                    endpoint.ring_growth_refused.set(1);
                }
                continue;
            };
            let Some(ring) = channel.own_ring(offset, ring_bytes) else {
                continue;
            };
            // Who is killed in between leaves no ring, or one that is nobody else's: some space is lost at most.
            let old_offset = endpoint.tx_ring_offset.get();
            endpoint.tx_ring_bytes.publish(0);
            endpoint.tx_ring_offset.set(offset);
            endpoint.tx_ring.set(ring.base() as u64);
            let generation = endpoint.slot_generation.get();
            channel.slot_has_ring(endpoint.slot.get(), generation, offset, ring_bytes);
            self.own().ring_offset().store(offset, Ordering::Relaxed);
            self.own().ring_bytes().store(ring_bytes, Ordering::Relaxed);
            endpoint.tx_ring_bytes.publish(ring_bytes);
            if present != 0 {
                channel.free_ring(old_offset, present);
            }
            return true;
        }
        false
    }
}
