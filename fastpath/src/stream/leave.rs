//! LEAVE (SWITCH.md §4): this side gives the channel up for good, and the socket goes on as a plain one, or ends.
//!
//! A leaver need not be alone: popen() in one thread leaves the sockets on which another sends and receives at full
//! speed. So it holds both locks from `gone` until the binding has ended. Its siblings see the endpoint before LEAVE or
//! behind it, never between: what was taken from the ring when `gone` is written stays all that ever is, for that is
//! where the far side's rewind begins; and whoever looks at an entry under a lock has the binding for as long (U6).
//! Siblings inside a call of the kernel's hold no lock: those that receive there do so while the kernel carries, those
//! that sleep on the line find their bell gone, and are woken by what comes through the kernel instead.

use super::bells::Drained;
use super::labels::{Label, reached};
use super::rewind::Rewound;
use super::switch::RetreatCause;
use super::{NotLocked, Stream, monotonic_ns};
use crate::backoff::Backoff;
use crate::endpoint::binding;
use crate::kernel_call;
use crate::statistics::count;
use crate::sync::Ordering;
use kmod_interface::limits::{LEAVE_PATIENCE_MS, LEAVE_WAIT_MS};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

/// Who has the socket behind a LEAVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Nobody: the kernel's end follows at once.
    Nobody,
    /// Somebody who knows of no ring: what cannot be left in order is reset.
    Stranger,
    /// This process above all: it stays where it is if leaving in order is impossible at this moment.
    Ourselves,
}

impl Successor {
    /// How long the far side is waited for: the kernel's end cannot be taken for data, so whoever closes waits less.
    const fn patience_ms(self) -> u64 {
        match self {
            Successor::Nobody => LEAVE_WAIT_MS,
            Successor::Stranger | Successor::Ourselves => LEAVE_PATIENCE_MS,
        }
    }
}

/// What a LEAVE came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The binding has ended, in order or by a reset.
    Yes,
    /// The binding lasts.
    No,
}

impl Stream {
    /// Under `rx_lock`. `ep` is the far side's: the ring holds unread bytes, and what is newer is in the kernel.
    fn is_unread_before_newer(&self, ep: u32) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let behind = ep != endpoint.rx_ep.get() && ep & 1 == 0;
        let unread = ep != 0 && far.tail().load(Ordering::Acquire) != endpoint.rx_head.get();
        unread && (behind || self.has_far_fin())
    }

    /// LEAVE: close or exit of the last managed holder, exec with a surviving descriptor, or a socket that others are
    /// about to use. Afterwards the endpoint is a plain kernel socket for ever; what of the ring was not read here, the
    /// far side sends again through the kernel. True: the binding has ended, the slot may be given back.
    pub fn leave(&self, successor: Successor) -> bool {
        match self.lock_receiving() {
            Ok(()) => {}
            // Whoever ended the endpoint's life has left, too.
            Err(NotLocked::Stale | NotLocked::Reentered) => return false,
        }
        let may_send = self.lock_sending().is_ok();
        // A signal handler above the calling thread's own send: a close can still say `gone`, others come later.
        let left = if may_send || successor == Successor::Nobody {
            self.leave_locked(successor, may_send)
        } else {
            Left::No
        };
        if may_send {
            self.unlock_sending();
        }
        self.unlock_receiving();
        self.switched.set(true);
        reached(Label::LeaveClose);
        left == Left::Yes
    }

    /// Under `rx_lock`, and under `tx_lock` if `may_send`.
    fn leave_locked(&self, successor: Successor, may_send: bool) -> Left {
        if !self.is_bound() {
            return Left::Yes;
        }
        let endpoint = self.endpoint;
        let far = self.far();
        if successor == Successor::Ourselves
            && (self.is_unread_before_newer(far.ep().load(Ordering::Acquire)) || self.owes_rewind())
        {
            return Left::No;
        }
        if !self.is_bound() {
            return Left::Yes;
        }
        if self.own().gone().load(Ordering::Relaxed) == 0 {
            count(Counter::Leaves, 1);
            // Partner of the fence: ANNOUNCE writes `ringing`, fence, reads `gone`.
            self.own().gone().publish_and_fence(1);
        }
        reached(Label::LeaveGone);
        if !self.wait_for_ringing(successor) && successor != Successor::Nobody {
            // The far side is stopped between its look at `gone` and the byte that it sends then. Nobody can say where
            // its bells end, and whoever reads on would take one for data.
            return self.leave_by_reset();
        }
        reached(Label::LeaveRingingWait);
        // `ringing` is clear: the far side's ep, koff and fin are final.
        let ep = far.ep().load(Ordering::Acquire);
        if ep.wrapping_sub(endpoint.rx_ep.get()) > 2 {
            self.condemn_misbehaved();
            return Left::Yes;
        }
        if self.is_unread_before_newer(ep) {
            if successor == Successor::Ourselves {
                // The far side has switched since the look above. Final words: it never writes to the ring again and
                // has nothing there to send again, so this side may read what is left, and what lies behind it.
                return match self.leave_sending(successor) {
                    Left::Yes => Left::No,
                    Left::No => self.leave_by_reset(),
                };
            }
            // Nobody can put it in order any more. A last holder that closes with unread bytes resets on Linux, too.
            return self.leave_by_reset();
        }
        if !self.consume_last_bells(ep) {
            return if self.is_bound() {
                self.leave_by_reset()
            } else {
                Left::Yes
            };
        }
        reached(Label::LeaveDrain);
        super::line::restore_receiving_options(endpoint, self.descriptor);
        if !may_send {
            return Left::No;
        }
        if self.leave_sending(successor) == Left::No {
            return self.leave_by_reset();
        }
        let _ = endpoint.binding.compare_exchange(
            binding::BOUND,
            binding::LEFT,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        Left::Yes
    }

    fn leave_by_reset(&self) -> Left {
        reached(Label::LeaveReset);
        self.condemn(Reason::LeftBehind);
        Left::Yes
    }

    /// LEAVE 2: true when the far side's words are final.
    fn wait_for_ringing(&self, successor: Successor) -> bool {
        let far = self.far();
        let deadline = monotonic_ns() + successor.patience_ms() * 1_000_000;
        let mut backoff = Backoff::yielding();
        while far.ringing().load(Ordering::Acquire) != 0 {
            if monotonic_ns() > deadline {
                return false;
            }
            backoff.wait();
        }
        true
    }

    /// LEAVE 4: false when a bell does not come, or the connection is condemned.
    fn consume_last_bells(&self, ep: u32) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let end = if ep & 1 == 1 {
            far.koff().load(Ordering::Acquire)
        } else if ep != endpoint.rx_ep.get() {
            far.kr().load(Ordering::Acquire)
        } else {
            return true;
        };
        let deadline = monotonic_ns() + LEAVE_WAIT_MS * 1_000_000;
        while endpoint.krx.get() != end && !self.has_line_ended() {
            match self.consume_to(end) {
                Drained::Bells => {}
                Drained::End => break,
                Drained::Condemned => return false,
            }
            if endpoint.krx.get() != end && monotonic_ns() > deadline {
                return false;
            }
        }
        true
    }

    fn has_line_ended(&self) -> bool {
        self.endpoint.keof.load(Ordering::Acquire) != 0
    }

    /// The far side has left, and what it did not read does not fit the kernel's buffer. Under `tx_lock`.
    fn owes_rewind(&self) -> bool {
        self.far().gone().load(Ordering::Acquire) != 0 && self.rewind_locked() == Rewound::Blocked
    }

    /// LEAVE 5, under `tx_lock`. `No`: bytes of the ring do not find their way into the kernel.
    fn leave_sending(&self, successor: Successor) -> Left {
        let endpoint = self.endpoint;
        // A far side that has shut its writing may have shut its reading, too: Linux resets a connection on which a
        // byte arrives then. The end that close makes at once tells it all it needs, as a death does.
        let told_by_end = successor == Successor::Nobody
            && (self.far().fin().load(Ordering::Acquire) != 0 || self.has_line_ended());
        if endpoint.over.get() != 0
            || endpoint.tx_ep.get() & 1 == 0
            || endpoint.write_shut.get() != 0
            || told_by_end
        {
            return Left::Yes;
        }
        if !self.retreat(RetreatCause::Local) && !self.rewind_patiently(successor) {
            return Left::No;
        }
        reached(Label::LeaveRetreat);
        Left::Yes
    }

    /// The far side has left as well: what it did not read must be in the kernel before this side's end. Under `tx_lock`.
    fn rewind_patiently(&self, successor: Successor) -> bool {
        const POLLOUT: i16 = 4;
        let deadline = monotonic_ns() + successor.patience_ms() * 1_000_000;
        while self.rewind_locked() == Rewound::Blocked {
            if monotonic_ns() > deadline {
                return false;
            }
            kernel_call::poll_one(self.descriptor, POLLOUT, 1);
        }
        true
    }
}
