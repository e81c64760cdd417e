//! Moving a direction from one carrier to the other: UPGRADE, RETREAT, grant and pass (SWITCH.md §3).

use super::bells::{Class, Drained};
use super::labels::{Label, reached};
use super::line;
use super::pace::Attempt;
use super::{Stream, monotonic_ns};
use crate::statistics::count;
use crate::sync::{Ordering, full_fence};
use kmod_interface::limits::UNREAD_BELLS_LIMIT;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

/// Why a direction goes back to the kernel, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetreatCause {
    /// The far side asked.
    Asked,
    /// The reader made no progress.
    Spill,
    /// Nobody could be woken: the opposite direction is no live line.
    DeadLine,
    /// This process wants it: ioctl, dup, eviction.
    Local,
    /// The kernel moves what comes next with less effort: a file (sendfile), a stream for which there is no larger ring.
    Bulk,
    /// For a larger ring, at once.
    Growth,
}

impl Stream {
    /// True when the direction we receive is a live line: bells on it wake our writers (SWITCH.md invariant 5).
    pub(super) fn is_line_live(&self) -> bool {
        let far = self.far();
        let ep = far.ep().load(Ordering::Acquire);
        ep & 1 == 1
            && self.endpoint.rx_ep.get() == ep
            && !self.has_far_fin()
            && self.endpoint.keof.load(Ordering::Acquire) == 0
    }

    /// True when the far side has upgraded the line and this side has not passed it: it is one step from being live.
    #[inline]
    pub(super) fn is_line_switched(&self) -> bool {
        let endpoint = self.endpoint;
        self.is_bound()
            && endpoint.rx_ep.get() & 1 == 0
            && self.far().ep().load(Ordering::Acquire) != endpoint.rx_ep.get()
    }

    /// True when the line can never be live again: the far side sends nothing more.
    pub(super) fn is_line_dead_for_good(&self) -> bool {
        self.has_far_fin() || self.endpoint.keof.load(Ordering::Acquire) != 0
    }

    /// A receive has come to a rest: a direction in which nothing is sent goes to the ring, too, since it is the line on
    /// which the far side's writers are woken (invariant 5; SWITCH.md §8: both directions in one call). Only where both
    /// halves have been seen in use, so that no program that sends in a way that is not seen finds its bytes taken for
    /// bells. The caller holds no lock.
    #[inline]
    pub(super) fn upgrade_idle_direction(&self) {
        let ep = self.endpoint.tx_ep.get();
        if ep & 1 == 0
            && self.is_bound()
            && self.far().grant().load(Ordering::Acquire) == ep.wrapping_add(1)
        {
            self.upgrade_idle();
        }
    }

    #[cold]
    fn upgrade_idle(&self) {
        let endpoint = self.endpoint;
        if endpoint.sent_bytes() == 0 || endpoint.over.get() != 0 || self.lock_sending().is_err() {
            return;
        }
        if self.is_bound() && endpoint.over.get() == 0 && endpoint.tx_ep.get() & 1 == 0 {
            self.try_upgrade(false);
        }
        self.unlock_sending();
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
        let may_grant = || {
            endpoint.received_bytes() != 0
                && endpoint.irx.load(Ordering::Acquire) == 0
                && self.may_grant()
        };
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

    /// UPGRADE, under `tx_lock` with `ep` even: true when the ring carries now. `may_hold`: a send waits, which may be held
    /// back for its reader.
    pub(super) fn try_upgrade(&self, may_hold: bool) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let ep = endpoint.tx_ep.get();
        if endpoint.wished.load(Ordering::Relaxed) == 0
            || endpoint.write_shut.get() != 0
            || endpoint.broken.get() != 0
            || endpoint.keof.load(Ordering::Relaxed) != 0
            || far.grant().load(Ordering::Acquire) != ep.wrapping_add(1)
            || far.rx_ep().load(Ordering::Acquire) != ep
            || far.gone().load(Ordering::Acquire) != 0
            || self.own().gone().load(Ordering::Relaxed) != 0
            // Unbind U1: no upgrade any more.
            || endpoint.unbinding.load(Ordering::Relaxed) != 0
            || endpoint.itx.load(Ordering::Acquire) != 0
        {
            return false;
        }
        match self.upgrade_attempt() {
            Attempt::None => false,
            Attempt::Look => self.upgrade(ep, false),
            Attempt::Hold => may_hold && self.upgrade(ep, true),
        }
    }

    fn upgrade(&self, ep: u32, holds: bool) -> bool {
        let endpoint = self.endpoint;
        let own = self.own();
        let far = self.far();
        // §7: nobody of ours is inside a kernel send, so the offset is exact.
        let Some(sent) = line::sent_offset(self.descriptor) else {
            return false;
        };
        self.know_kernel_sent(sent);
        reached(Label::UpgradeVerify);
        // Nothing of ours may be unread in the kernel (invariant 2).
        if far.krx().load(Ordering::Acquire) != sent && !(holds && self.hold_for_reader(sent)) {
            return false;
        }
        if !line::is_writable(self.descriptor) || !self.ensure_ring() {
            return false;
        }
        line::take_sending_options(endpoint, self.descriptor);
        if !self.announce() {
            line::restore_sending_options(endpoint, self.descriptor);
            return false;
        }
        endpoint.ktx.set(sent.wrapping_add(1));
        own.koff().store(endpoint.ktx.get(), Ordering::Release);
        reached(Label::UpgradeCount);
        endpoint.tx_ep.set(ep.wrapping_add(1));
        // Release pairs with the receiver's acquire of `ep`: ring offset and length, koff and tail are in place.
        own.ep().store(ep.wrapping_add(1), Ordering::Release);
        reached(Label::UpgradeSwitch);
        self.send_switching_bell();
        reached(Label::UpgradeBell);
        own.ringing().store(0, Ordering::Release);
        endpoint.full_since_ns.set(0);
        endpoint.full_count.set(0);
        endpoint.upgraded_ns.set(monotonic_ns());
        endpoint.switches.add(1);
        for passing in [Reason::ReaderStuck, Reason::PeerAsked] {
            let _ = endpoint.reason.compare_exchange(
                passing as u32,
                Reason::None as u32,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        self.switched.set(true);
        count(Counter::Upgrades, 1);
        crate::statistics::row_upgraded_out(endpoint);
        true
    }

    /// RETREAT, under `tx_lock` with `ep` odd. False: the far side has left, rewind instead.
    pub(super) fn retreat(&self, cause: RetreatCause) -> bool {
        if !self.announce() {
            return false;
        }
        let endpoint = self.endpoint;
        let own = self.own();
        let end = endpoint.ktx.add(1);
        own.kr().store(end, Ordering::Relaxed);
        own.koff().store(end, Ordering::Release);
        reached(Label::RetreatCount);
        let ep = endpoint.tx_ep.get().wrapping_add(1);
        endpoint.tx_ep.set(ep);
        // Release pairs with the receiver's acquire of `ep`: `kr` and the last `tail` are in place.
        own.ep().store(ep, Ordering::Release);
        reached(Label::RetreatSwitch);
        self.send_switching_bell();
        reached(Label::RetreatBell);
        own.ringing().store(0, Ordering::Release);
        line::restore_sending_options(endpoint, self.descriptor);
        self.know_kernel_sent(end);
        self.pause_upgrades(cause);
        let reason = match cause {
            RetreatCause::Spill | RetreatCause::DeadLine => Reason::ReaderStuck,
            RetreatCause::Asked => Reason::PeerAsked,
            RetreatCause::Local | RetreatCause::Bulk | RetreatCause::Growth => Reason::None,
        };
        // A better reason stays.
        let _ = endpoint.reason.compare_exchange(
            Reason::None as u32,
            reason as u32,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.switched.set(true);
        count(Counter::Retreats, 1);
        count(
            match cause {
                RetreatCause::Asked => Counter::RetreatsAsked,
                RetreatCause::Spill => Counter::RetreatsSpill,
                RetreatCause::DeadLine => Counter::RetreatsDeadLine,
                RetreatCause::Local | RetreatCause::Bulk | RetreatCause::Growth => {
                    Counter::RetreatsLocal
                }
            },
            1,
        );
        crate::statistics::row_retreated_out(endpoint);
        true
    }

    /// Grants an upgrade of the receiving direction if that is possible now. Under `rx_lock`, `rx_ep` even.
    pub(super) fn try_grant(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.irx.load(Ordering::Acquire) != 0 || !self.may_grant() {
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
        endpoint.granted.set(grant);
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
            && self.own().gone().load(Ordering::Relaxed) == 0
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
        endpoint.rx_ep.set(ep);
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
        endpoint.rx_ep.set(ep);
        line::restore_receiving_options(endpoint, self.descriptor);
        self.own().rx_ep().store(ep, Ordering::Release);
        reached(Label::ReceivePass);
        self.switched.set(true);
        crate::statistics::row_retreated_in(endpoint);
        Passed::Behind
    }

    pub(super) fn condemn_misbehaved(&self) {
        count(Counter::PeersMisbehaved, 1);
        self.condemn(Reason::PeerMisbehaved);
    }

    /// The receiver asks the far side to go back to the kernel: `want`, full fence, bell for its sleeping writers.
    /// Takes `tx_lock`; the caller holds no lock.
    pub fn ask_for_retreat(&self) {
        // Under the lock, so that the entry is still this connection's when it is written.
        if !self.is_bound() || self.lock_sending().is_err() {
            return;
        }
        if self.is_bound() {
            let ep = self.far().ep().load(Ordering::Acquire);
            if ep & 1 == 1 {
                self.own().want().store(ep, Ordering::Release);
                reached(Label::WantWrite);
                // Partner: SLEEP(tx) arms, fence, looks at `want`.
                full_fence();
                self.ring_if_armed(Class::Writers);
            }
        }
        self.unlock_sending();
    }

    /// A grant outlives the wish: the far side may use it when the ring is wished for no more, and nobody has asked it
    /// back then. After a call that may have passed that upgrade; the caller holds no lock.
    #[inline]
    pub(super) fn ask_back_if_released(&self) {
        if self.switched.get() && self.endpoint.wished.load(Ordering::Relaxed) == 0 {
            self.ask_for_retreat();
        }
    }

    /// Both directions back to the kernel, at once for what this side sends, as soon as the far side calls for the rest.
    /// A grant that is open stays so: an upgrade by it is asked back when it is passed.
    pub fn release(&self) {
        self.endpoint.wished.store(0, Ordering::Release);
        if !self.is_bound() {
            return;
        }
        if self.lock_sending().is_ok() {
            if self.is_bound()
                && self.endpoint.tx_ep.get() & 1 == 1
                && self.endpoint.over.get() == 0
            {
                self.retreat(RetreatCause::Local);
            }
            self.unlock_sending();
        }
        self.ask_for_retreat();
    }

    /// Test builds: what this side sends goes back to the kernel, and may come again.
    #[cfg(feature = "test-paths")]
    pub fn retreat_once(&self) {
        if self.lock_sending().is_err() {
            return;
        }
        let is_on_ring = self.is_bound() && self.endpoint.tx_ep.get() & 1 == 1;
        if is_on_ring && self.endpoint.over.get() == 0 && self.endpoint.write_shut.get() == 0 {
            self.retreat(RetreatCause::Local);
        }
        self.unlock_sending();
    }

    /// The ring is wanted (again).
    pub fn wish(&self) {
        self.endpoint.wished.store(1, Ordering::Release);
        self.endpoint.upgrade_after_ns.set(0);
    }
}

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
