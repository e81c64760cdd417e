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
use super::unbind::GivenUp;
use super::{NotLocked, Stream};
use crate::backoff::Backoff;
use crate::channel::table;
use crate::clock::monotonic_ns;
use crate::endpoint::binding;
use crate::kernel_call;
use crate::statistics::count;
use crate::sync::Ordering;
use kmod_interface::limits::{LEAVE_PATIENCE_MS, LEAVE_WAIT_MS};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use libc::POLLOUT;

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

/// What a LEAVE came to, for its caller.
#[must_use]
pub struct Departure {
    /// The binding has ended, in order or by a reset.
    pub left: bool,
    /// The slot, to be left and the channel released by the caller. It is handed out under the endpoint's locks, to one
    /// caller only: behind them another thread may close the last number, and the endpoint begin another life.
    pub given: Option<GivenUp>,
}

/// What became of the binding.
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
    /// far side sends again through the kernel.
    pub fn leave(&self, successor: Successor) -> Departure {
        match self.lock_receiving() {
            Ok(()) => {}
            // Whoever ended the endpoint's life has left, too.
            Err(NotLocked::Stale | NotLocked::Reentered) => {
                return Departure {
                    left: false,
                    given: None,
                };
            }
        }
        let may_send = self.lock_sending().is_ok();
        // A signal handler above the calling thread's own send: a close can still say `gone`, others come later.
        let left = if may_send || successor == Successor::Nobody {
            self.leave_locked(successor, may_send)
        } else {
            Left::No
        };
        let left = left == Left::Yes;
        if left && successor != Successor::Nobody {
            // A negotiation of another thread may be about to bind: not what somebody else has by now.
            self.endpoint.wished.store(0, Ordering::Release);
        }
        let given = if left { self.hand_slot_out() } else { None };
        if may_send {
            self.unlock_sending();
        }
        self.unlock_receiving();
        self.switched.set(true);
        reached(Label::LeaveClose);
        Departure { left, given }
    }

    /// The slot of an endpoint whose binding has ended, if nobody has it yet. Under `rx_lock`, or behind [`Stream::retire`]
    /// before the block is freed.
    pub fn hand_slot_out(&self) -> Option<GivenUp> {
        let index = self.endpoint.channel.take().checked_sub(1)?;
        Some(GivenUp {
            channel: table::get(index)?,
            slot: self.endpoint.slot.get(),
            generation: self.endpoint.slot_generation.get(),
        })
    }

    /// Behind a LEAVE that the process survives: the ring is not wished for any more, for this reason, unless the
    /// connection was reset, which has said why. Nothing is noted of an endpoint that has ended meanwhile.
    pub fn note_departure(&self, reason: Reason) {
        let locked = self.lock_receiving();
        if locked == Err(NotLocked::Stale) {
            return;
        }
        self.endpoint.wished.store(0, Ordering::Release);
        if self.endpoint.binding.load(Ordering::Relaxed) != binding::CONDEMNED {
            self.endpoint.reason.store(reason as u32, Ordering::Relaxed);
        }
        if locked.is_ok() {
            self.unlock_receiving();
        }
    }

    /// Under `rx_lock`, whose owner died within LEAVE: `gone` is written, the far side sends again what was not read
    /// here, and who read that in the ring would get it twice. So LEAVE goes on before anything else does.
    pub(super) fn finish_leave(&self) {
        match self.lock_sending() {
            Ok(()) => {}
            Err(NotLocked::Stale) => return,
            Err(NotLocked::Reentered) => {
                // A signal handler above the calling thread's own send.
                self.leave_by_reset();
                return;
            }
        }
        self.leave_locked(Successor::Ourselves, true);
        self.unlock_sending();
        self.switched.set(true);
    }

    /// Under `rx_lock`, and under `tx_lock` if `may_send`.
    fn leave_locked(&self, successor: Successor, may_send: bool) -> Left {
        if !self.is_bound() {
            return Left::Yes;
        }
        let endpoint = self.endpoint;
        let far = self.far();
        let has_begun = endpoint.gone.get() != 0;
        if successor == Successor::Ourselves
            && !has_begun
            && (self.is_unread_before_newer(far.ep().load(Ordering::Acquire)) || self.owes_rewind())
        {
            return Left::No;
        }
        if !self.is_bound() {
            return Left::Yes;
        }
        if !has_begun {
            count(Counter::Leaves, 1);
            endpoint.gone.publish(1);
        }
        // Partner of the fence: ANNOUNCE writes `ringing`, fence, reads `gone`.
        self.own().gone().publish_and_fence(1);
        reached(Label::LeaveGone);
        if !self.wait_for_ringing(successor) && successor != Successor::Nobody {
            // The far side is stopped between its look at `gone` and the byte that it sends then. Nobody can say where
            // its bells end, and whoever reads on would take one for data.
            return self.leave_by_reset();
        }
        reached(Label::LeaveRingingWait);
        // `ringing` is clear: the far side's ep, koff and fin are final.
        let Ok(ep) = self.far_ep() else {
            self.condemn_misbehaved();
            return Left::Yes;
        };
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
            // The dead announce nothing any more: what they had announced is sent, or never comes.
            if self.is_far_dead() {
                return true;
            }
            if monotonic_ns() > deadline {
                return false;
            }
            backoff.wait();
            self.look_for_death();
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
        // Also behind an end that somebody has seen: bells may lie in front of it, which nobody else may read.
        while endpoint.krx.get() != end {
            match self.consume_to(end) {
                Drained::Bells => {}
                Drained::End => break,
                Drained::Condemned => return false,
            }
            if self.has_line_ended() {
                break;
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
        if self.is_far_dead() {
            // A bell would be answered by a reset, or make an error of the end that is to be read.
            self.send_to_the_dead();
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
