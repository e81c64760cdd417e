//! Bells: ANNOUNCE and BELL of SWITCH.md §3 by the side that rings, and taking them from the line by the side that was
//! woken.
//!
//! A bell is counted before it is sent, so that a stranger's byte never passes for one, and consumed only under
//! `rx_lock`, below `koff`, with nobody asleep on the line (SWITCH.md invariant 4).

use super::Stream;
use super::labels::{Label, reached};
use super::line::{self, Consumed};
use crate::bell;
use crate::channel::Channel;
use crate::kernel_call;
use crate::statistics::count_of;
use crate::sync::{Ordering, time_stamp};
use kmod_interface::ict::{KIND_DATA, KIND_SPACE};
use kmod_interface::limits::{BELL_PATIENCE_MS, UNREAD_BELLS_LIMIT};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use libc::{EAGAIN, POLLOUT};

/// Unread bells that say that the far side lacks processors: a few are always on their way.
const MANY_UNREAD_BELLS: u64 = 16;

/// What sending a bell came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentBell {
    /// It is on its way.
    Sent,
    /// There is no room for it, and has not been for long.
    Full,
    /// The socket takes nothing any more.
    Broken,
}

/// Which sleepers of the far side a bell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Readers: data was published.
    Readers,
    /// Writers: room was made.
    Writers,
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

    /// Sends a byte of the line that was counted (count before send: a stranger's byte never passes for a bell).
    pub(super) fn send_counted_bell(&self) -> SentBell {
        let offset = self.endpoint.ktx.get().wrapping_sub(1);
        count_of(self.endpoint, Counter::BellsSent, 1);
        let mut sent = line::send_bell(self.descriptor, offset);
        if sent == Err(EAGAIN) {
            sent = self.send_bell_patiently(offset);
        }
        match sent {
            Ok(()) => SentBell::Sent,
            Err(EAGAIN) => SentBell::Full,
            Err(_) => {
                // EPIPE or ECONNRESET: the kernel will say so again to the next call that asks it.
                self.endpoint.broken.set(1);
                SentBell::Broken
            }
        }
    }

    /// No bell was sent, or will be, at offset `sent` and behind: what was counted there is not any more. Under `tx_lock`,
    /// announced.
    pub(super) fn count_back(&self, sent: u64) {
        self.endpoint.ktx.set(sent);
        self.own().koff().store(sent, Ordering::Release);
    }

    /// The bell of a switch, for which no other can stand. Without room for it the connection ends.
    pub(super) fn send_switching_bell(&self) {
        if self.send_counted_bell() == SentBell::Full {
            self.endpoint.broken.set(1);
        }
    }

    /// The socket was writable at the upgrade, but bells for epoll sets that something else woke first may lie unread,
    /// and each takes as much of a small SO_SNDBUF as a packet, until the far kernel has acknowledged it.
    #[cold]
    fn send_bell_patiently(&self, offset: u64) -> Result<(), i32> {
        for _ in 0..BELL_PATIENCE_MS {
            kernel_call::poll_one(self.descriptor, POLLOUT, 1);
            let sent = line::send_bell(self.descriptor, offset);
            if sent != Err(EAGAIN) {
                return sent;
            }
        }
        Err(EAGAIN)
    }

    /// BELL steps 2 to 4, under `tx_lock`, with `ep` odd and no `fin`.
    pub(super) fn ring(&self) {
        self.ring_for(true, None);
    }

    /// The same for the connection's own sleepers if `is_due`, and for an epoll set of the far side. That the set is rung
    /// for is noted only where the bell can come: elsewhere the set's next connection rings.
    fn ring_for(&self, is_due: bool, set: Option<(&Channel, usize)>) {
        if !self.announce() {
            return;
        }
        let noted = set.filter(|(channel, waiter)| channel.note_rung(*waiter));
        if !is_due && noted.is_none() {
            self.own().ringing().store(0, Ordering::Release);
            return;
        }
        let counted = self.endpoint.ktx.add(1);
        self.own().koff().store(counted, Ordering::Release);
        reached(Label::BellCount);
        let forget = || {
            if let Some((channel, waiter)) = noted {
                channel.forget_rung(waiter);
            }
        };
        match self.send_counted_bell() {
            SentBell::Sent => {}
            SentBell::Full => {
                // The far kernel takes no more: bells lie unread there, which wake whoever sleeps. This one need not
                // come. Its place is the next bell's, whichever kind that is, so whoever has seen it counted waits for
                // that one. A set is woken once for what lies there, and may have had that: its next connection rings.
                self.count_back(counted.wrapping_sub(1));
                forget();
            }
            SentBell::Broken => forget(),
        }
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
        let due = bell::due(arm, &mut last);
        if due {
            rung.set(last);
            self.own().stamp().store(time_stamp(), Ordering::Relaxed);
            self.own()
                .cpu()
                .store(crate::wait::current_cpu(), Ordering::Relaxed);
        }
        let mut set = None;
        let waiter = far.waiter().load(Ordering::Acquire);
        if waiter != 0
            && far.watch().load(Ordering::Acquire) & (1 << kind) != 0
            && let Some(channel) = self.channel()
            && channel.notify_waiter(waiter as usize, endpoint.slot.get(), kind)
        {
            set = Some((channel, waiter as usize));
        }
        reached(Label::BellCompare);
        if due || set.is_some() {
            self.ring_for(due, set);
        }
    }

    /// Room was made, and the far side's writers may sleep: BELL(tx), with no lock held. The binding may have ended since
    /// the room was made, and the entry may be another connection's.
    pub(super) fn ring_writers(&self) {
        if self.lock_sending().is_err() {
            return;
        }
        if self.is_bound() {
            self.ring_if_armed(Class::Writers);
        }
        self.unlock_sending();
    }

    /// Consumes the bells that have arrived on a live line, if nobody sleeps on it. Under `rx_lock`, `rx_ep` odd.
    pub(super) fn consume_arrived(&self) {
        let far = self.far();
        if !self.endpoint.has_sleepers()
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
            count_of(endpoint, Counter::BellsReceived, taken);
            self.own()
                .krx()
                .store(endpoint.krx.add(taken), Ordering::Release);
            if !self.weigh_bells(taken) {
                return Drained::Condemned;
            }
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
}
