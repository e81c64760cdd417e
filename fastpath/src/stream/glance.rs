//! What a stream is like, as far as that can be said without a lock and without a system call: for those who look at every
//! connection of a set, and for counts that are hints.

use super::Stream;
use super::look::Readiness;
use crate::endpoint::binding;
use crate::sync::Ordering;

/// Who carries the two directions of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carriers {
    /// The ring carries what we receive, or the far side has switched to it and we have not passed the switch.
    pub receives_by_ring: bool,
    /// The ring carries what we send.
    pub sends_by_ring: bool,
}

impl Stream {
    /// Who carries the two directions.
    #[inline]
    #[must_use]
    pub fn carriers(&self) -> Carriers {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return Carriers::default();
        }
        let rx_ep = endpoint.rx_ep.get();
        let far_ep = self.far().ep().load(Ordering::Acquire);
        Carriers {
            receives_by_ring: rx_ep & 1 == 1
                || (far_ep != rx_ep && endpoint.granted.get() == rx_ep.wrapping_add(1)),
            sends_by_ring: endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0,
        }
    }

    /// True while the kernel carries what the far side sends next, whether we have passed its switch or not.
    #[inline]
    #[must_use]
    pub fn is_far_on_kernel(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || self.far().ep().load(Ordering::Acquire) & 1 == 0
    }

    /// What can be said without a lock or a system call, for a look at every connection of a set. Ends that only the
    /// kernel knows of are not seen: the line's own events tell of them. `None`: only [`Self::readiness`] can tell.
    #[inline]
    #[must_use]
    pub fn glance(&self, ask_writable: bool) -> Option<Readiness> {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return None;
        }
        let far = self.far();
        let rx_ep = endpoint.rx_ep.get();
        if rx_ep & 1 == 0 || far.ep().load(Ordering::Acquire) != rx_ep {
            return None;
        }
        let ended = self.has_far_fin() || endpoint.keof.load(Ordering::Acquire) != 0;
        // Head before tail: another thread's receive in between makes less available, never a negative amount.
        let head = endpoint.rx_head.get();
        let available = far.tail().load(Ordering::Acquire).wrapping_sub(head);
        if ended && (available == 0 || endpoint.reset_due.get() != 0) {
            return None;
        }
        if ask_writable
            && endpoint.write_shut.get() == 0
            && !(endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0 && self.has_room())
        {
            return None;
        }
        let failed = endpoint.error.load(Ordering::Acquire) != 0;
        Some(Readiness {
            readable: available >= u64::from(endpoint.low_water.get().max(1)) || ended || failed,
            writable: ask_writable,
            read_ended: ended,
            hung_up: false,
            failed,
        })
    }

    /// True once the far side has left the channel: an end may be near that the ring does not show.
    #[inline]
    #[must_use]
    pub fn has_far_left(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && self.far().gone().load(Ordering::Acquire) != 0
    }

    /// Bytes the far side ever published here: an edge-triggered watcher compares it with what it saw last.
    #[inline]
    #[must_use]
    pub fn receive_position(&self) -> u64 {
        if self.endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return 0;
        }
        self.far().tail().load(Ordering::Acquire)
    }

    /// Bytes published that the far side has not taken, while nothing of its own could wake us when it leaves: the
    /// direction we receive is on the kernel, so its leaving rings no bell (SWITCH.md §3, bounded sleeps).
    #[must_use]
    pub fn may_be_left_unnoticed(&self) -> bool {
        self.is_bound() && self.endpoint.rx_ep.get() & 1 == 0 && self.unsent_ring_bytes() != 0
    }

    /// Bytes published and not taken by the far side (what SIOCOUTQ shows beside the kernel's own queue).
    #[must_use]
    pub fn unsent_ring_bytes(&self) -> u64 {
        if !self.is_bound() || self.endpoint.over.get() != 0 {
            return 0;
        }
        let used = self
            .endpoint
            .tx_tail
            .get()
            .wrapping_sub(self.far().head().load(Ordering::Acquire));
        used.min(u64::from(self.endpoint.tx_ring_bytes.get()))
    }
}
