//! The receiver's half of a switch (SWITCH.md §3): it grants an upgrade, and passes from one carrier to the other where the
//! sender has switched.

use super::Stream;
use super::bells::Drained;
use super::labels::{Label, reached};
use super::line;
use crate::error::Blame;
use crate::sync::Ordering;
use kmod_interface::limits::UNREAD_BELLS_LIMIT;

/// What passing a retreat came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The switch is behind us: the kernel carries again.
    Behind,
    /// The closing bell has not arrived.
    NotThere,
    /// Others sleep on the line; they must leave before its bells may be consumed.
    OthersAsleep,
    /// The kernel stream ended before the closing bell.
    End,
    /// The far side lied.
    Condemned,
}

impl Stream {
    /// Grants an upgrade of the receiving direction if that is possible now. Under `rx_lock`, `rx_ep` even.
    pub(super) fn try_grant(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.irx.any() || !self.may_grant() {
            return false;
        }
        line::take_receiving_options(endpoint, self.descriptor);
        let Some(taken) = line::taken_offset(self.descriptor) else {
            line::restore_receiving_options(endpoint, self.descriptor);
            return false;
        };
        endpoint.krx.set(taken);
        self.own().krx().store(taken, Ordering::Release);
        let grant = endpoint.rx_ep.get().wrapping_add(1);
        endpoint.granted.publish(grant);
        // Release pairs with the sender's acquire of `grant`: `krx` is exact from here on.
        self.own().grant().store(grant, Ordering::Release);
        reached(Label::ReceiveGrant);
        true
    }

    /// True when nothing but a thread inside a kernel receive can be in the way of a grant.
    pub(super) fn may_grant(&self) -> bool {
        let endpoint = self.endpoint;
        endpoint.wished.load(Ordering::Relaxed) != 0
            && endpoint.keof.load(Ordering::Relaxed) == 0
            && endpoint.unbinding.load(Ordering::Relaxed) == 0
            && self.far().gone().load(Ordering::Acquire) == 0
            && endpoint.gone.get() == 0
    }

    /// The far side's switches: none that were not passed, one, or two (PROTOCOL.md §13). Under `rx_lock`.
    ///
    /// # Errors
    /// [`Blame::PeerMisbehaved`]: more, or fewer than were passed.
    #[inline(always)]
    pub(super) fn far_ep(&self) -> Result<u32, Blame> {
        let ep = self.far().ep().load(Ordering::Acquire);
        if ep.wrapping_sub(self.endpoint.rx_ep.get()) > 2 {
            return Err(Blame::PeerMisbehaved("ep outside rx_ep..=rx_ep+2"));
        }
        Ok(ep)
    }

    /// Passes the switch to the ring, under `rx_lock`, `rx_ep` even, a grant open, the kernel stream read up to the
    /// switch. False: the far side lied, the connection is condemned.
    pub(super) fn pass_upgrade(&self) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let offset = far.ring_offset().load(Ordering::Relaxed);
        let ring_bytes = far.ring_bytes().load(Ordering::Relaxed);
        let Some(ring) = self
            .channel()
            .and_then(|channel| channel.far_ring(offset, ring_bytes))
        else {
            self.condemn_misbehaved();
            return false;
        };
        endpoint.rx_ring.set(ring.base() as u64);
        endpoint.rx_ring_bytes.set(ring.ring_bytes());
        let ep = endpoint.rx_ep.get().wrapping_add(1);
        endpoint.rx_ep.publish(ep);
        self.own().rx_ep().store(ep, Ordering::Release);
        reached(Label::ReceivePass);
        self.switched.set(true);
        crate::statistics::row_upgraded_in(endpoint);
        // The opening bell has done its work. Left unread it would turn a later death of ours into a reset.
        self.consume_arrived();
        true
    }

    /// Passes the switch back to the kernel, under `rx_lock`, `rx_ep` odd, the ring drained.
    pub(super) fn pass_retreat(&self) -> Passed {
        let endpoint = self.endpoint;
        let end = self.far().kr().load(Ordering::Relaxed);
        if end.wrapping_sub(endpoint.krx.get()) > UNREAD_BELLS_LIMIT {
            self.condemn_misbehaved();
            return Passed::Condemned;
        }
        if endpoint.krx.get() != end && endpoint.has_sleepers() {
            return Passed::OthersAsleep;
        }
        match self.consume_to(end) {
            Drained::Condemned => return Passed::Condemned,
            Drained::End => {
                return if endpoint.krx.get() == end {
                    self.passed()
                } else {
                    Passed::End
                };
            }
            Drained::Bells => {}
        }
        if endpoint.krx.get() == end {
            self.passed()
        } else {
            Passed::NotThere
        }
    }

    fn passed(&self) -> Passed {
        let endpoint = self.endpoint;
        let ep = endpoint.rx_ep.get().wrapping_add(1);
        endpoint.rx_ep.publish(ep);
        line::restore_receiving_options(endpoint, self.descriptor);
        line::acknowledge_now(self.descriptor);
        self.own().rx_ep().store(ep, Ordering::Release);
        reached(Label::ReceivePass);
        self.switched.set(true);
        crate::statistics::row_retreated_in(endpoint);
        Passed::Behind
    }

    /// Before a send: a side that only sends consents, too, and passes what the far side has switched, so that its line is
    /// live. Only where it has been seen to receive. The caller holds no lock.
    #[inline]
    pub(super) fn open_line(&self) {
        if self.endpoint.rx_ep.get() & 1 == 0 && self.is_bound() {
            self.open_line_if_possible();
        }
    }

    #[cold]
    fn open_line_if_possible(&self) {
        let endpoint = self.endpoint;
        let rx_ep = endpoint.rx_ep.get();
        let next = rx_ep.wrapping_add(1);
        let is_granted = endpoint.granted.get() == next;
        let is_switched = self.far().ep().load(Ordering::Acquire) != rx_ep;
        let may_grant =
            || endpoint.received_bytes() != 0 && !endpoint.irx.any() && self.may_grant();
        if is_granted != is_switched
            || !(is_granted || may_grant())
            || self.lock_receiving().is_err()
        {
            return;
        }
        if self.is_bound() && endpoint.rx_ep.get() == rx_ep {
            if endpoint.granted.get() != next {
                self.try_grant();
            } else if self.far().ep().load(Ordering::Acquire) == next {
                self.pass_upgrade();
            }
        }
        self.unlock_receiving();
    }
}
