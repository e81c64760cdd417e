//! Ends: shutdown, leaving for good, and what the far side's end looks like here (SWITCH.md §4).

use super::bells::Drained;
use super::labels::{Label, reached};
use super::receive::Received;
use super::rewind::Rewound;
use super::switch::RetreatCause;
use super::{Stream, monotonic_ns};
use crate::endpoint::{binding, kernel_end};
use crate::kernel_call;
use crate::statistics::count;
use crate::sync::Ordering;
use kmod_interface::ict::{FIN_ON_KERNEL, FIN_ON_RING};
use kmod_interface::limits::LEAVE_WAIT_MS;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

/// Where an end was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `fin` behind the last byte of the ring.
    Shutdown,
    /// The kernel stream ended and the ring is drained.
    Kernel,
    /// The connection was condemned.
    Condemned,
}

impl Stream {
    /// End of stream or reset, as TCP would show it. Under `rx_lock`.
    pub(super) fn show_end(&self, end: End) -> Received {
        let endpoint = self.endpoint;
        if end == End::Kernel {
            self.notice_unread_close();
            self.show_reset();
        }
        let mut error = endpoint.error.swap(0, Ordering::AcqRel) as i32;
        if error == 0 && end == End::Kernel && endpoint.reset_shown.get() != 0 {
            error = super::line::take_error(self.descriptor)
                .filter(|errno| super::line::is_reset(*errno))
                .unwrap_or(0);
        }
        if error == 0 {
            Received::End
        } else {
            Received::Failed(error)
        }
    }

    /// The far side closed in order, with bytes of ours unread and without shutdown: on Linux that is a reset.
    fn notice_unread_close(&self) {
        let endpoint = self.endpoint;
        let far = self.far();
        if !self.is_far_dead()
            && endpoint.tx_ep.get() & 1 == 1
            && endpoint.over.get() == 0
            && endpoint.write_shut.get() == 0
            && endpoint.read_shut.get() == 0
            && far.head().load(Ordering::Acquire) != endpoint.tx_tail.get()
            && far.fin().load(Ordering::Acquire) == 0
        {
            endpoint.reset_due.set(1);
        }
    }

    /// The far side's stream ends behind the last byte of its ring.
    #[inline]
    pub(super) fn has_far_fin(&self) -> bool {
        !matches!(self.far().fin().load(Ordering::Acquire), 0 | FIN_ON_KERNEL)
    }

    /// shutdown(WR): `fin` on the ring; the caller makes the kernel's shutdown between [`Self::begin_shutdown`] and
    /// [`Self::end_shutdown`]. `true`: `end_shutdown` must follow, the sending lock is held.
    pub fn begin_shutdown(&self) -> bool {
        // No thread of this side may be inside a kernel send: its bytes belong before the end.
        for round in 0..200 {
            if self.lock_sending().is_err() {
                return false;
            }
            if !self.is_bound() {
                self.unlock_sending();
                return false;
            }
            if self.endpoint.itx.load(Ordering::Acquire) != 0 && round < 100 {
                self.unlock_sending();
                rustix::thread::sched_yield();
                continue;
            }
            if self.endpoint.over.get() == 0 && !self.announce() {
                match self.rewind_locked() {
                    Rewound::Over => {}
                    Rewound::Condemned => {
                        self.unlock_sending();
                        return false;
                    }
                    Rewound::Blocked => {
                        self.unlock_sending();
                        kernel_call::poll_one(self.descriptor, 4, 1);
                        continue;
                    }
                }
            }
            if self.endpoint.over.get() == 0 {
                let on_ring = self.endpoint.tx_ep.get() & 1 == 1;
                let fin = if on_ring { FIN_ON_RING } else { FIN_ON_KERNEL };
                self.own().fin().store(fin, Ordering::Release);
                if on_ring {
                    reached(Label::FinPublish);
                }
            }
            self.endpoint.write_shut.set(1);
            return true;
        }
        false
    }

    /// After the kernel's shutdown.
    pub fn end_shutdown(&self) {
        reached(Label::FinKernel);
        self.own().ringing().store(0, Ordering::Release);
        self.unlock_sending();
        self.switched.set(true);
    }

    /// shutdown(RD): what is in the ring stays readable, then the stream has ended.
    pub fn shut_reading(&self) {
        self.endpoint.read_shut.set(1);
        self.endpoint
            .keof
            .fetch_max(kernel_end::ENDED, Ordering::AcqRel);
        self.switched.set(true);
    }

    /// True when leaving now would reset the connection: the ring holds unread bytes, and what is newer is in the kernel.
    #[must_use]
    pub fn would_reset_by_leaving(&self) -> bool {
        if self.lock_receiving().is_err() {
            return false;
        }
        let would = self.is_bound()
            && self.own().gone().load(Ordering::Relaxed) == 0
            && self.is_unread_before_newer(self.far().ep().load(Ordering::Acquire));
        self.unlock_receiving();
        would
    }

    /// Under `rx_lock`. `ep` is the far side's.
    fn is_unread_before_newer(&self, ep: u32) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let behind = ep != endpoint.rx_ep.get() && ep & 1 == 0;
        let unread = ep != 0 && far.tail().load(Ordering::Acquire) != endpoint.rx_head.get();
        unread && (behind || self.has_far_fin())
    }

    /// LEAVE: close or exit of the last managed holder, or exec with a surviving descriptor. Afterwards the endpoint is
    /// a plain kernel socket for ever; what of the ring was not read here, the far side sends again through the kernel.
    /// `descriptor_closes`: the kernel's end follows at once, nobody goes on with the socket.
    pub fn leave(&self, descriptor_closes: bool) {
        if self.lock_receiving().is_err() {
            return;
        }
        if !self.is_bound() || self.own().gone().load(Ordering::Relaxed) != 0 {
            self.unlock_receiving();
            return;
        }
        count(Counter::Leaves, 1);
        let endpoint = self.endpoint;
        let far = self.far();
        // Partner of the fence: ANNOUNCE writes `ringing`, fence, reads `gone`.
        self.own().gone().publish_and_fence(1);
        reached(Label::LeaveGone);
        let deadline = monotonic_ns() + LEAVE_WAIT_MS * 1_000_000;
        while far.ringing().load(Ordering::Acquire) != 0 && monotonic_ns() < deadline {
            rustix::thread::sched_yield();
        }
        reached(Label::LeaveRingingWait);
        // `ringing` is clear: the far side's ep, koff and fin are final.
        let ep = far.ep().load(Ordering::Acquire);
        let unpassed = ep != endpoint.rx_ep.get();
        if ep.wrapping_sub(endpoint.rx_ep.get()) > 2 {
            self.condemn_misbehaved();
            self.unlock_receiving();
            return;
        }
        let behind = unpassed && ep & 1 == 0;
        if self.is_unread_before_newer(ep) {
            // Nobody can put it in order any more. A last holder that closes with unread bytes resets on Linux, too.
            reached(Label::LeaveReset);
            self.condemn(Reason::LeftBehind);
            self.unlock_receiving();
            return;
        }
        let end = if behind {
            far.kr().load(Ordering::Acquire)
        } else if ep & 1 == 1 {
            far.koff().load(Ordering::Acquire)
        } else {
            endpoint.krx.get()
        };
        let deadline = monotonic_ns() + LEAVE_WAIT_MS * 1_000_000;
        while endpoint.krx.get() != end && endpoint.keof.load(Ordering::Acquire) == 0 {
            match self.consume_to(end) {
                Drained::Bells => {}
                Drained::End => break,
                Drained::Condemned => {
                    self.unlock_receiving();
                    return;
                }
            }
            if endpoint.krx.get() != end && monotonic_ns() > deadline {
                reached(Label::LeaveReset);
                self.condemn(Reason::LeftBehind);
                self.unlock_receiving();
                return;
            }
        }
        reached(Label::LeaveDrain);
        super::line::restore_receiving_options(endpoint, self.descriptor);
        self.unlock_receiving();
        if self.lock_sending().is_ok() {
            // A far side that has shut its writing may have shut its reading, too: Linux resets a connection on which a
            // byte arrives then. The end that close makes at once tells it all it needs, as a death does.
            let told_by_end = descriptor_closes
                && (far.fin().load(Ordering::Acquire) != 0
                    || endpoint.keof.load(Ordering::Acquire) != 0);
            if self.is_bound()
                && endpoint.over.get() == 0
                && endpoint.tx_ep.get() & 1 == 1
                && endpoint.write_shut.get() == 0
                && !told_by_end
            {
                if !self.retreat(RetreatCause::Local) {
                    let _ = self.rewind_locked();
                }
                reached(Label::LeaveRetreat);
            }
            let _ = endpoint.binding.compare_exchange(
                binding::BOUND,
                binding::LEFT,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            self.unlock_sending();
        }
        self.switched.set(true);
        reached(Label::LeaveClose);
    }
}
