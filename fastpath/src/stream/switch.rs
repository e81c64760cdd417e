//! The sender moves its direction from one carrier to the other: UPGRADE, RETREAT (SWITCH.md §3). Its receiver grants the
//! one and passes both in [`super::passing`].

use super::Stream;
use super::bells::Class;
use super::labels::{Label, reached};
use super::line;
use super::pace::Attempt;
use crate::clock::monotonic_ns;
use crate::statistics::{count, count_of};
use crate::sync::{Ordering, full_fence};
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
            || endpoint.gone.get() != 0
            // Unbind U1: no upgrade any more.
            || endpoint.unbinding.load(Ordering::Relaxed) != 0
            || endpoint.itx.any()
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
        endpoint.tx_ep.publish(ep.wrapping_add(1));
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
        endpoint.kr.set(end);
        own.kr().store(end, Ordering::Relaxed);
        own.koff().store(end, Ordering::Release);
        reached(Label::RetreatCount);
        let ep = endpoint.tx_ep.get().wrapping_add(1);
        endpoint.tx_ep.publish(ep);
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
        count_of(
            endpoint,
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
