//! A living connection gives its slot up and goes on as a plain kernel socket (CHANNEL.md "Life of a slot", eviction).
//!
//! Both sides do the same, each at its own calls; nobody waits. A side has *settled* when its own sending direction is
//! on the kernel, passed by the far side, and stays there; it says so in `state`. Who has settled and sees that the far
//! side has ends the binding under both locks, and only then writes `leaving`.
//!
//! ```text
//!   begin      unbinding = 1 (tx_lock): no upgrade, no grant any more
//!   settle     retreat; far rx_ep == ep: state = settled (tx_lock)
//!   receive    want; ring drained, closing bell taken: rx_ep = far ep (rx_lock)
//!   conclude   own and far settled: binding = NONE (both locks); then the slot is left
//! ```
//!
//! Why no byte and no bell is lost or taken for the other:
//!
//! U1. `unbinding` is set, and UPGRADE looks at it, under `tx_lock`. So once `ep` is even behind U1, it stays what it is
//!     as long as the binding lasts; bells are sent only while `ep` is odd, or by the retreat itself: none follows.
//! U2. `settled` is written behind U1, with `ep` even, after `rx_ep == ep` was read from the far side. The far side
//!     writes `rx_ep` after it has emptied the ring and taken every bell below `kr` (PASS). So what the kernel stream of
//!     a settled direction still holds, or will ever hold, is the program's bytes; the ring is empty.
//! U3. Both settled: U2 holds for both directions, neither side's indices can move, and each has passed what the other
//!     switched. A plain kernel socket continues either stream at the right byte.
//! U4. An open grant of a side that has begun is harmless: the far side may still use it, until it has settled; that
//!     upgrade is passed and asked back like any other. Settling of the own direction does not depend on it.
//! U5. `leaving` is written after the binding ended, so entries are zeroed (L1 to L4 of the slots) when neither side looks
//!     at them any more. A side that settled first still reads the far entry as it was left.
//! U6. Whoever looks at an entry under one of the locks has read `binding` under it, and ending it takes both; looks
//!     without a lock are hints, at memory that stays mapped (C4 of the channel).
//! U7. A side that is ending, or whose far side is (`gone`, `over`, a shutdown, an end of the kernel stream), does not
//!     conclude: the rules for ends need the entries. Nor does one whose endpoint other processes hold.
//! U8. A far side that lies about `rx_ep` or `state` finds its own bells among its own bytes.
//!
//! The caller may act for a connection at which no call of the program is under way. Then the number it uses must still
//! mean the endpoint, which it says again (`is_ours`) under each lock; closing a number waits for both locks in turn.

use super::Stream;
use super::labels::{Label, reached};
use super::passing::Passed;
use super::switch::RetreatCause;
use crate::channel::Channel;
use crate::endpoint::binding;
use crate::statistics::count;
use crate::sync::{Ordering, full_fence};
use kmod_interface::ict::{SLOT_BOUND, SLOT_SETTLED};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

/// The slot of a connection that is a plain kernel socket now; to be left, and the channel released, by the caller.
#[derive(Clone, Copy)]
pub struct GivenUp {
    /// The channel, still retained for the connection.
    pub channel: &'static Channel,
    /// The slot.
    pub slot: u32,
    /// Its generation.
    pub generation: u32,
}

/// How an unbinding stands.
#[derive(Clone, Copy)]
pub enum Unbinding {
    /// None is under way, or it cannot come to an end from here.
    None,
    /// The far side, or bytes that the program has not read, must come first.
    Pending,
    /// The binding has ended.
    Done(GivenUp),
}

/// How one direction stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Settled,
    Pending,
    /// U7.
    Ending,
}

impl Stream {
    /// Begins to give the slot up (U1). False when that cannot be.
    pub fn begin_unbinding(&self, is_ours: &dyn Fn() -> bool) -> bool {
        if self.lock_sending().is_err() {
            return false;
        }
        let begun = self.is_bound() && is_ours() && !self.is_ending();
        if begun {
            self.endpoint.unbinding.store(1, Ordering::Release);
            reached(Label::GiveBegin);
        }
        self.unlock_sending();
        begun
    }

    /// True while the slot is being given up.
    #[inline]
    #[must_use]
    pub fn is_unbinding(&self) -> bool {
        self.endpoint.unbinding.load(Ordering::Relaxed) != 0
    }

    /// A hint, without lock: this side has given up its part, and the far side can see that.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.is_bound() && self.own().state().load(Ordering::Relaxed) == SLOT_SETTLED
    }

    /// A hint, without lock: the far side gives the slot up, so this side should.
    #[inline]
    #[must_use]
    pub fn far_is_unbinding(&self) -> bool {
        self.is_bound()
            && (self.far().state().load(Ordering::Relaxed) == SLOT_SETTLED
                || self.far().leaving().load(Ordering::Relaxed)
                    == self.endpoint.slot_generation.get())
    }

    /// A hint, without lock: the far side has published bytes that were not received.
    #[must_use]
    pub fn has_unread_ring_bytes(&self) -> bool {
        self.is_bound()
            && self.endpoint.rx_ep.get() & 1 == 1
            && self.far().tail().load(Ordering::Acquire) != self.endpoint.rx_head.get()
    }

    /// Goes on with giving the slot up, as far as it goes now; takes each lock in turn.
    pub fn unbind_step(&self, is_ours: &dyn Fn() -> bool) -> Unbinding {
        if !self.is_unbinding() || self.lock_sending().is_err() {
            return Unbinding::None;
        }
        let sending = if is_ours() {
            self.settle_sending()
        } else {
            Direction::Ending
        };
        self.unlock_sending();
        if sending == Direction::Ending || self.lock_receiving().is_err() {
            return Unbinding::None;
        }
        let receiving = if is_ours() {
            self.settle_receiving()
        } else {
            Direction::Ending
        };
        let mut given = None;
        if (sending, receiving) == (Direction::Settled, Direction::Settled)
            && self.lock_sending().is_ok()
        {
            given = self.conclude();
            self.unlock_sending();
        }
        self.unlock_receiving();
        if let Some(given) = given {
            return Unbinding::Done(given);
        }
        if receiving == Direction::Pending {
            self.ask_for_retreat();
        }
        if receiving == Direction::Ending {
            Unbinding::None
        } else {
            Unbinding::Pending
        }
    }

    /// U7, as far as it can be seen under one lock.
    fn is_ending(&self) -> bool {
        let endpoint = self.endpoint;
        endpoint.over.get() != 0
            || endpoint.write_shut.get() != 0
            || endpoint.read_shut.get() != 0
            || endpoint.broken.get() != 0
            || endpoint.rewind_position.get() != 0
            || endpoint.keof.load(Ordering::Acquire) != 0
            || endpoint.gone.get() != 0
            || self.far().gone().load(Ordering::Acquire) != 0
            || self.far().fin().load(Ordering::Acquire) != 0
    }

    /// Under `tx_lock`.
    fn settle_sending(&self) -> Direction {
        let endpoint = self.endpoint;
        if !self.is_bound() || !self.is_unbinding() || self.is_ending() {
            return Direction::Ending;
        }
        if endpoint.tx_ep.get() & 1 == 1 && !self.retreat(RetreatCause::Local) {
            return Direction::Ending;
        }
        // Acquire, partner: the release in PASS: the ring was emptied and its bells were taken (U2).
        if self.far().rx_ep().load(Ordering::Acquire) != endpoint.tx_ep.get() {
            return Direction::Pending;
        }
        // Each further step comes by here, too.
        if self.own().state().load(Ordering::Relaxed) != SLOT_SETTLED {
            // Release, partner: the acquire in `conclude`.
            self.own().state().store(SLOT_SETTLED, Ordering::Release);
            reached(Label::GiveSettle);
        }
        Direction::Settled
    }

    /// Under `rx_lock`.
    fn settle_receiving(&self) -> Direction {
        let endpoint = self.endpoint;
        for _ in 0..2 {
            if !self.is_bound() || self.is_ending() {
                return Direction::Ending;
            }
            let far = self.far();
            let rx_ep = endpoint.rx_ep.get();
            // Before `tail` (invariant 7).
            let Ok(ep) = self.far_ep() else {
                self.condemn_misbehaved();
                return Direction::Ending;
            };
            if ep == rx_ep {
                return if rx_ep & 1 == 0 {
                    Direction::Settled
                } else {
                    Direction::Pending
                };
            }
            if rx_ep & 1 == 0 {
                if endpoint.granted.get() != rx_ep.wrapping_add(1) || !self.pass_upgrade() {
                    return Direction::Pending;
                }
                continue;
            }
            if far.tail().load(Ordering::Acquire) != endpoint.rx_head.get() {
                return Direction::Pending;
            }
            match self.pass_retreat() {
                Passed::Behind => {}
                Passed::NotThere | Passed::OthersAsleep => return Direction::Pending,
                Passed::End | Passed::Condemned => return Direction::Ending,
            }
        }
        Direction::Pending
    }

    /// The far side does not follow: the connection keeps its slot. False when the far side has begun, or nothing is under
    /// way: then it goes on.
    ///
    /// U9. Each side writes its own `settled`, fence, then reads the far one's: this one takes its own back, the far one
    ///     concludes. So either this one sees that the far one has settled, and puts its own there again, or the far one
    ///     sees that this one has not, and does not conclude.
    pub fn cancel_unbinding(&self) -> bool {
        if !self.is_unbinding() || self.lock_receiving().is_err() {
            return false;
        }
        let cancelled = self.lock_sending().is_ok() && {
            let cancelled = self.is_bound() && self.is_unbinding() && self.take_back_settled();
            if cancelled {
                self.endpoint.unbinding.store(0, Ordering::Release);
                reached(Label::GiveKeep);
            }
            self.unlock_sending();
            cancelled
        };
        self.unlock_receiving();
        cancelled
    }

    fn take_back_settled(&self) -> bool {
        let (own, far) = (self.own(), self.far());
        let has_begun = || {
            far.state().load(Ordering::Acquire) == SLOT_SETTLED
                || far.leaving().load(Ordering::Acquire) == self.endpoint.slot_generation.get()
        };
        if has_begun() {
            return false;
        }
        if own.state().load(Ordering::Relaxed) != SLOT_SETTLED {
            // Nothing was promised by which the far side could conclude.
            return true;
        }
        own.state().store(SLOT_BOUND, Ordering::Release);
        reached(Label::GiveTakeBack);
        // Partner: the fence in `conclude`.
        full_fence();
        if has_begun() {
            own.state().store(SLOT_SETTLED, Ordering::Release);
            reached(Label::GiveSettle);
            return false;
        }
        true
    }

    /// Under both locks: ends the binding if both sides have settled.
    fn conclude(&self) -> Option<GivenUp> {
        let endpoint = self.endpoint;
        if !self.is_bound() || self.is_ending() {
            return None;
        }
        let far = self.far();
        let generation = endpoint.slot_generation.get();
        // U9: the own `settled` before the far one's. Partner: the fence in `take_back_settled`.
        full_fence();
        // Acquire, partner: the release in the far side's `settle_sending`. A far side that gave the slot up before it
        // ever was bound there says `leaving` only.
        let far_settled = far.state().load(Ordering::Acquire) == SLOT_SETTLED
            || far.leaving().load(Ordering::Acquire) == generation;
        let at_rest = endpoint.tx_ep.get() & 1 == 0
            && endpoint.rx_ep.get() & 1 == 0
            && far.ep().load(Ordering::Acquire) == endpoint.rx_ep.get()
            && self.own().state().load(Ordering::Relaxed) == SLOT_SETTLED;
        if !far_settled || !at_rest || self.endpoint.is_held_elsewhere() {
            return None;
        }
        let given = GivenUp {
            channel: self.channel()?,
            slot: endpoint.slot.get(),
            generation,
        };
        // A grant that was never used has changed options, too.
        super::line::restore_receiving_options(endpoint, self.descriptor);
        super::line::restore_sending_options(endpoint, self.descriptor);
        endpoint.channel.set(0);
        endpoint.tx_ep.set(0);
        endpoint.rx_ep.set(0);
        endpoint.granted.set(0);
        endpoint.tx_ring_bytes.set(0);
        endpoint.rx_ring_bytes.set(0);
        endpoint.switches.set(0);
        endpoint.unbinding.store(0, Ordering::Release);
        endpoint.itx.unbind();
        endpoint.irx.unbind();
        // Last: who sees it may negotiate for another slot. (Who goes into the kernel without a lock before that finds both
        // directions there.)
        endpoint.binding.store(binding::NONE, Ordering::Release);
        reached(Label::GiveConclude);
        endpoint
            .reason
            .store(Reason::SlotEvicted as u32, Ordering::Relaxed);
        self.switched.set(true);
        count(Counter::Evictions, 1);
        Some(given)
    }

    /// Waits until nobody acts for the endpoint under a number that the caller has just taken away.
    pub fn wait_for_helpers(&self) {
        if !self.is_bound() {
            return;
        }
        if self.lock_receiving().is_ok() {
            self.unlock_receiving();
        }
        if self.lock_sending().is_ok() {
            self.unlock_sending();
        }
    }
}
