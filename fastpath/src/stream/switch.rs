//! Moving a direction from one carrier to the other: ANNOUNCE, BELL, UPGRADE, RETREAT, grant and pass (SWITCH.md §3).

use super::labels::{Label, reached};
use super::line::{self, Consumed};
use super::{Stream, monotonic_ns};
use crate::bell;
use crate::endpoint::binding;
use crate::statistics::count;
use crate::sync::{Ordering, full_fence, spin_pause, time_stamp};
use kmod_interface::ict::{KIND_DATA, KIND_SPACE};
use kmod_interface::limits::{
    RING_BYTES_MIDDLE, RING_BYTES_SMALL, UNREAD_BELLS_LIMIT, UPGRADE_HOLD_MS,
};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

/// Times that the reader has freed a smallest ring and found it full again, before the direction is given a larger one.
const FULL_BEFORE_GROWTH: u32 = 3;
/// The same, before the kernel's buffers are the better ones where there is no larger ring.
const FULL_BEFORE_BULK: u32 = 64;

/// Unread bells that say that the far side lacks processors: a few are always on their way.
const MANY_UNREAD_BELLS: u64 = 16;

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

/// Which sleepers of the far side a bell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Readers: data was published.
    Readers,
    /// Writers: room was made.
    Writers,
}

impl Stream {
    /// ANNOUNCE: `ringing`, full fence, look at the far side's `gone`. False: it has left.
    /// Partner of the fence: `leave` writes `gone`, fence, reads `ringing`.
    pub(super) fn announce(&self) -> bool {
        self.own().ringing().publish_and_fence(1);
        reached(Label::AnnounceRinging);
        if self.far().gone().load(Ordering::Acquire) != 0 {
            self.own().ringing().store(0, Ordering::Release);
            return false;
        }
        true
    }

    /// Counts a byte of the line, then sends it (count before send: a stranger's byte never passes for a bell).
    fn send_counted_bell(&self) {
        let offset = self.endpoint.ktx.get().wrapping_sub(1);
        count(Counter::BellsSent, 1);
        if line::send_bell(self.descriptor, offset).is_err() {
            // EPIPE or ECONNRESET: the kernel will say so again to the next call that asks it. EAGAIN cannot happen:
            // the socket was writable at the upgrade, and unread bells are few, and short.
            self.endpoint.broken.set(1);
        }
    }

    /// BELL steps 2 to 4, under `tx_lock`, with `ep` odd and no `fin`.
    pub(super) fn ring(&self) {
        if !self.announce() {
            return;
        }
        let counted = self.endpoint.ktx.add(1);
        self.own().koff().store(counted, Ordering::Release);
        reached(Label::BellCount);
        self.send_counted_bell();
        reached(Label::BellSend);
        self.own().ringing().store(0, Ordering::Release);
        if counted.wrapping_sub(self.far().krx().load(Ordering::Relaxed)) > MANY_UNREAD_BELLS {
            // Somebody over there was woken and does not come to run, so that others may not take the bells away.
            rustix::thread::sched_yield();
        }
    }

    /// BELL step 1 and the rest: rings for the far side's sleepers of a class if they are armed and were not rung for.
    /// Under `tx_lock`; the index was published and a full fence passed (partner: SLEEP step 3).
    #[inline]
    pub(super) fn ring_if_armed(&self, class: Class) {
        let endpoint = self.endpoint;
        if endpoint.tx_ep.get() & 1 == 0
            || endpoint.write_shut.get() != 0
            || endpoint.over.get() != 0
        {
            return;
        }
        let far = self.far();
        let (arm, rung, kind) = match class {
            Class::Readers => (far.arm_rx(), &endpoint.rung_rx, KIND_DATA),
            Class::Writers => (far.arm_tx(), &endpoint.rung_tx, KIND_SPACE),
        };
        let mut last = rung.get();
        let mut due = bell::due(arm, &mut last);
        if due {
            rung.set(last);
            self.own().stamp().store(time_stamp(), Ordering::Relaxed);
            self.own()
                .cpu()
                .store(crate::wait::current_cpu(), Ordering::Relaxed);
        }
        let waiter = far.waiter().load(Ordering::Acquire);
        if waiter != 0
            && far.watch().load(Ordering::Acquire) & (1 << kind) != 0
            && let Some(channel) = self.channel()
        {
            due |= channel.notify_waiter(waiter as usize, endpoint.slot.get(), kind);
        }
        reached(Label::BellCompare);
        if due {
            self.ring();
        }
    }

    /// True when the direction we receive is a live line: bells on it wake our writers (SWITCH.md invariant 5).
    pub(super) fn is_line_live(&self) -> bool {
        let far = self.far();
        let ep = far.ep().load(Ordering::Acquire);
        ep & 1 == 1
            && self.endpoint.rx_ep.get() == ep
            && !self.has_far_fin()
            && self.endpoint.keof.load(Ordering::Acquire) == 0
    }

    /// UPGRADE, under `tx_lock` with `ep` even: true when the ring carries now.
    pub(super) fn try_upgrade(&self) -> bool {
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
        if endpoint.upgrade_pause.get() > 0 {
            endpoint.upgrade_pause.set(endpoint.upgrade_pause.get() - 1);
            return false;
        }
        let upgraded = self.upgrade(ep);
        if upgraded {
            endpoint.upgrade_pause_next.set(0);
        } else {
            let next = (endpoint.upgrade_pause_next.get() * 2).clamp(1, 1024);
            endpoint.upgrade_pause_next.set(next);
            endpoint.upgrade_pause.set(next);
        }
        upgraded
    }

    fn upgrade(&self, ep: u32) -> bool {
        let endpoint = self.endpoint;
        let own = self.own();
        let far = self.far();
        // §7: nobody of ours is inside a kernel send, so the offset is exact.
        let Some(sent) = line::sent_offset(self.descriptor) else {
            return false;
        };
        reached(Label::UpgradeVerify);
        // Nothing of ours may be unread in the kernel (invariant 2). What was just sent may be on its way into the
        // reader: wait for it, at most a millisecond.
        if far.krx().load(Ordering::Acquire) != sent {
            let deadline = monotonic_ns() + UPGRADE_HOLD_MS * 1_000_000 / 4;
            loop {
                for _ in 0..50 {
                    spin_pause();
                }
                if far.krx().load(Ordering::Acquire) == sent {
                    break;
                }
                if monotonic_ns() > deadline {
                    return false;
                }
                rustix::thread::sched_yield();
            }
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
        self.send_counted_bell();
        reached(Label::UpgradeBell);
        own.ringing().store(0, Ordering::Release);
        endpoint.full_since_ns.set(0);
        endpoint.full_count.set(0);
        endpoint.switches.add(1);
        let _ = endpoint.reason.compare_exchange(
            Reason::ReaderStuck as u32,
            Reason::None as u32,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.switched.set(true);
        count(Counter::Upgrades, 1);
        crate::statistics::row_upgraded_out(endpoint);
        true
    }

    /// A ring that was full again and again although the reader takes: a larger one, or the kernel's buffers. Under
    /// `tx_lock` with `ep` odd. True: look again.
    pub(super) fn outgrow_ring(&self) -> bool {
        let endpoint = self.endpoint;
        let times = endpoint.full_count.get();
        if endpoint.tx_ring_bytes.get() >= RING_BYTES_MIDDLE || times < FULL_BEFORE_GROWTH {
            return false;
        }
        if endpoint.ring_growth_refused.get() != 0 {
            return times >= FULL_BEFORE_BULK && self.retreat(RetreatCause::Bulk);
        }
        if !self.retreat(RetreatCause::Growth) {
            return true; // the far side has left
        }
        // A reader that takes passes the switch and consents again in no time. What is sent before it does goes through
        // the kernel, and a stream that never pauses would stay there.
        let far = self.far();
        let ep = endpoint.tx_ep.get();
        let deadline = monotonic_ns() + UPGRADE_HOLD_MS * 1_000_000;
        while far.grant().load(Ordering::Acquire) != ep.wrapping_add(1) {
            if monotonic_ns() > deadline {
                return true;
            }
            rustix::thread::sched_yield();
        }
        endpoint.upgrade_pause.set(0);
        self.try_upgrade();
        true
    }

    /// Gives the sending direction ring space if it has none, or more when it outgrew what it has. Under `tx_lock`
    /// with `ep` even and the last segment passed, so the old space is free.
    fn ensure_ring(&self) -> bool {
        let endpoint = self.endpoint;
        let wanted = if endpoint.bytes_out.get() > 4 * u64::from(RING_BYTES_SMALL)
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
            if present != 0 {
                channel.free_ring(endpoint.tx_ring_offset.get(), present);
            }
            endpoint.tx_ring_offset.set(offset);
            endpoint.tx_ring_bytes.set(ring_bytes);
            let Some(ring) = channel.own_ring(offset, ring_bytes) else {
                continue;
            };
            endpoint.tx_ring.set(ring.base() as u64);
            let generation = endpoint.slot_generation.get();
            channel.slot_has_ring(endpoint.slot.get(), generation, offset, ring_bytes);
            self.own().ring_offset().store(offset, Ordering::Relaxed);
            self.own().ring_bytes().store(ring_bytes, Ordering::Relaxed);
            return true;
        }
        false
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
        self.send_counted_bell();
        reached(Label::RetreatBell);
        own.ringing().store(0, Ordering::Release);
        line::restore_sending_options(endpoint, self.descriptor);
        // After a switch back the next upgrade waits for more evidence (SWITCH.md §8).
        if !matches!(cause, RetreatCause::Asked | RetreatCause::Growth) {
            let next = (endpoint.upgrade_pause_next.get() * 2).clamp(4, 4096);
            endpoint.upgrade_pause_next.set(next);
            endpoint.upgrade_pause.set(if cause == RetreatCause::Local {
                0
            } else {
                next
            });
        }
        if matches!(cause, RetreatCause::Spill | RetreatCause::DeadLine) {
            // A better reason stays.
            let _ = endpoint.reason.compare_exchange(
                Reason::None as u32,
                Reason::ReaderStuck as u32,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
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
        if endpoint.krx.get() != end && endpoint.asleep.load(Ordering::Acquire) > 0 {
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

    /// Consumes the bells that have arrived on a live line, if nobody sleeps on it. Under `rx_lock`, `rx_ep` odd.
    pub(super) fn consume_arrived(&self) {
        let far = self.far();
        if self.endpoint.asleep.load(Ordering::Acquire) == 0
            && far.ep().load(Ordering::Acquire) == self.endpoint.rx_ep.get()
        {
            self.consume_to(far.koff().load(Ordering::Acquire));
        }
    }

    /// Consumes the bells that have arrived below `end` (exclusive). Under `rx_lock`, nobody asleep on the line.
    pub(super) fn consume_to(&self, end: u64) -> Drained {
        let endpoint = self.endpoint;
        let position = endpoint.krx.get();
        let wanted = end.wrapping_sub(position);
        if wanted == 0 {
            return Drained::Bells;
        }
        if wanted > UNREAD_BELLS_LIMIT {
            self.condemn_misbehaved();
            return Drained::Condemned;
        }
        reached(Label::SleepDrain);
        let (taken, end) = match line::consume_bells(self.descriptor, position, wanted) {
            Consumed::Bells(taken) => (taken, None),
            Consumed::End(taken, errno) => (taken, Some(errno)),
            Consumed::Foreign => {
                self.condemn(Reason::UsedBehind);
                return Drained::Condemned;
            }
        };
        if taken > 0 {
            self.drained.set(true);
            count(Counter::BellsReceived, taken);
            self.own()
                .krx()
                .store(endpoint.krx.add(taken), Ordering::Release);
        }
        // A bell that is late is on its way; one that has gone was taken by somebody whose calls are not seen (POSIX.md
        // row 35).
        if end.is_none()
            && taken < wanted
            && line::taken_offset(self.descriptor).is_some_and(|offset| offset > endpoint.krx.get())
        {
            self.condemn(Reason::UsedBehind);
            return Drained::Condemned;
        }
        match end {
            None => Drained::Bells,
            Some(errno) => {
                self.kernel_ended(errno);
                Drained::End
            }
        }
    }

    pub(super) fn condemn_misbehaved(&self) {
        count(Counter::PeersMisbehaved, 1);
        self.condemn(Reason::PeerMisbehaved);
    }

    /// After taking `tx_lock` from a dead owner (SWITCH.md §6): the published words are the truth, the offset is the
    /// kernel's; bells that were counted but not sent are sent, and one more.
    pub(super) fn repair_sending(&self) {
        count(Counter::LocksRecovered, 1);
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return;
        }
        let own = self.own();
        endpoint.tx_tail.set(own.tail().load(Ordering::Acquire));
        endpoint.tx_ep.set(own.ep().load(Ordering::Acquire));
        if endpoint.tx_ep.get() != 0
            && let Some(sent) = line::sent_offset(self.descriptor)
        {
            let counted = own.koff().load(Ordering::Acquire);
            let mut offset = sent;
            while offset.wrapping_sub(counted) > u64::MAX / 2 {
                let _ = line::send_bell(self.descriptor, offset);
                offset = offset.wrapping_add(1);
            }
            endpoint.ktx.set(offset);
            if endpoint.tx_ep.get() & 1 == 1 {
                self.ring();
            }
        }
        own.ringing().store(0, Ordering::Release);
    }

    /// After taking `rx_lock` from a dead owner: published words are the truth, the kernel offset is recomputed.
    pub(super) fn repair_receiving(&self) {
        count(Counter::LocksRecovered, 1);
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return;
        }
        let own = self.own();
        endpoint.rx_head.set(own.head().load(Ordering::Acquire));
        endpoint.rx_ep.set(own.rx_ep().load(Ordering::Acquire));
        endpoint.granted.set(own.grant().load(Ordering::Acquire));
        if let Some(taken) = line::taken_offset(self.descriptor) {
            endpoint.krx.set(taken);
            own.krx().store(taken, Ordering::Release);
        }
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

    /// Both directions back to the kernel, at once for what this side sends, as soon as the far side calls for the rest.
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

    /// The ring is wanted (again).
    pub fn wish(&self) {
        self.endpoint.wished.store(1, Ordering::Release);
        self.endpoint.upgrade_pause.set(0);
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

/// What consuming bells came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// What had arrived was taken.
    Bells,
    /// The kernel stream has ended.
    End,
    /// Condemned.
    Condemned,
}
