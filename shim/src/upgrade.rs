//! Evidence, and when discovery is tried (DESIGN.md D4, TRUST.md "Discovery and identity").
//!
//! Until its second request nothing is done for a connection. The connecting end opens its box just before a send that
//! follows a receive; the accepting end dials when a receive that follows a send has returned bytes: the stream itself
//! orders the two. Both try at the 1st, 8th, 64th and 512th such turn, and at some in between while nothing has come of it;
//! one-way streams count bytes instead. A negotiation that was begun is carried on at each later call on the descriptor, by
//! the process that began it.
//!
//! * [`chances`]: when. [`pair`]: between which addresses. [`negotiation`]: what is begun then.
//! * [`prospects`]: whether it pays, by what became of others. [`reasons`]: why nothing came of it, or why the connection goes back.

mod chances;
mod negotiation;
mod pair;
mod prospects;
mod reasons;

pub use negotiation::drop_negotiation;
pub use pair::{is_connection, known_pair};
pub use prospects::ended;
pub use reasons::{give_up, look_for_trouble, not_managed};

use crate::discovery::{Acceptor, Chance, Connector};
use crate::{eviction, process};
use chances::{NEXT_TURN_FACTOR, may_have_passed_bytes, passed_bytes, take_turn};
use fastpath::endpoint::{Endpoint, binding, role};
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::reason::Reason;
use negotiation::{advance, count_turn, dial, is_negotiator, open_box, take_unheard_back};
use settings::{Mode, Upgrade};

fn is_eager() -> bool {
    process::settings().upgrade == Upgrade::Eager
}

/// A connection was made (or is on its way).
pub fn after_connect(stream: &Stream, connected: bool) {
    if is_eager() && connected && may_discover(stream.endpoint) {
        // S counts its first receive.
        let _ = take_turn(stream.endpoint);
        open_box(stream, Chance::First);
    }
}

/// Before a send on a socket that is not bound yet, or whose last transfer was a receive.
#[inline]
pub fn before_send(stream: &Stream) {
    let endpoint = stream.endpoint;
    if endpoint.binding.load(Ordering::Acquire) != binding::NONE {
        return;
    }
    if endpoint.role.get() == role::CONNECTING && endpoint.last_transfer.get() == 1 {
        eviction::at_turn(stream);
    }
    let negotiation = endpoint.negotiation.load(Ordering::Acquire);
    if negotiation != 0 {
        let is_turn = endpoint.role.get() == role::CONNECTING && endpoint.last_transfer.get() == 1;
        if is_turn {
            endpoint.last_transfer.set(2);
            if count_turn(stream, negotiation) && is_negotiator(endpoint) {
                Connector::from_number(negotiation).renew();
            }
        }
        advance(stream);
        if is_turn && take_unheard_back(stream) && may_discover(endpoint) {
            let seeks = eviction::seeks_now(endpoint);
            open_box(stream, if seeks { Chance::Seek } else { Chance::Later });
        }
        return;
    }
    if endpoint.role.get() != role::CONNECTING {
        return;
    }
    let first_of_all = is_eager() && endpoint.turns.get() == 0;
    if endpoint.last_transfer.get() != 1 && !first_of_all {
        return;
    }
    endpoint.last_transfer.set(2);
    let due = take_turn(endpoint);
    if !may_discover(endpoint) {
        return;
    }
    if eviction::seeks_now(endpoint) {
        open_box(stream, Chance::Seek);
    } else if !is_eager() && !prospects::is_promising(endpoint) {
        // Most of its like have ended soon behind this chance.
    } else if due {
        let first = endpoint.next_turn.get() <= NEXT_TURN_FACTOR && endpoint.unheard.get() == 0;
        open_box(stream, if first { Chance::First } else { Chance::Later });
    } else if known_pair(endpoint).is_some() {
        open_box(stream, Chance::Between);
    }
}

/// A look without a call: whether [`before_send`] could find anything to do for an unbound endpoint.
#[inline(always)]
pub fn is_due_before_send(endpoint: &Endpoint) -> bool {
    let last = endpoint.last_transfer.get();
    endpoint.negotiation.load(Ordering::Relaxed) != 0
        || (last != 2 && endpoint.role.get() == role::CONNECTING && (last == 1 || is_eager()))
}

/// As [`is_due_before_send`], for [`before_receive`].
#[inline(always)]
pub fn is_due_before_receive(endpoint: &Endpoint) -> bool {
    endpoint.negotiation.load(Ordering::Relaxed) != 0
}

/// As [`is_due_before_send`], for [`after_send`].
#[inline(always)]
pub fn is_due_after_send(endpoint: &Endpoint) -> bool {
    endpoint.binding.load(Ordering::Relaxed) != binding::NONE
        || may_have_passed_bytes(endpoint, endpoint.sent_bytes())
}

/// As [`is_due_before_send`], for [`after_receive`], which beyond that only notes the receive.
#[inline(always)]
pub fn is_due_after_receive(endpoint: &Endpoint) -> bool {
    endpoint.binding.load(Ordering::Relaxed) != binding::NONE
        || endpoint.negotiation.load(Ordering::Relaxed) != 0
        || endpoint.pair_known.get() != 0
        || (endpoint.role.get() == role::ACCEPTING
            && (endpoint.last_transfer.get() == 2 || is_eager()))
        || may_have_passed_bytes(endpoint, endpoint.received_bytes())
}

/// After a send by the kernel path: one-way streams.
pub fn after_send(stream: &Stream) {
    let endpoint = stream.endpoint;
    if endpoint.binding.load(Ordering::Relaxed) == binding::BOUND {
        eviction::at_own_call(stream);
    }
    if endpoint.binding.load(Ordering::Relaxed) != binding::NONE
        || endpoint.negotiation.load(Ordering::Relaxed) != 0
    {
        return;
    }
    let bytes = endpoint.sent_bytes();
    if endpoint.role.get() == role::CONNECTING {
        // C at half of what S waits for, so that the box is there when S dials.
        if passed_bytes(endpoint, bytes.saturating_mul(2)) && may_discover(endpoint) {
            open_box(stream, Chance::OneWay);
        }
    } else if passed_bytes(endpoint, bytes) && may_discover(endpoint) {
        // Of what S sends C may have read less than half: then a later probe finds the box.
        dial(stream, true);
    }
}

/// Before a receive while a negotiation is under way.
pub fn before_receive(stream: &Stream) {
    if stream.endpoint.binding.load(Ordering::Acquire) == binding::NONE {
        advance(stream);
    }
}

/// After a receive that returned bytes.
#[inline]
pub fn after_receive(stream: &Stream) {
    let endpoint = stream.endpoint;
    let before = endpoint.last_transfer.get();
    if before != 1 {
        endpoint.last_transfer.set(1);
    }
    match endpoint.binding.load(Ordering::Relaxed) {
        binding::NONE => {}
        binding::BOUND if endpoint.rx_ep.get() & 1 == 0 => {
            eviction::at_own_call(stream);
            if endpoint.binding.load(Ordering::Relaxed) != binding::NONE {
                return;
            }
        }
        _ => return,
    }
    if endpoint.role.get() == role::ACCEPTING && before == 2 {
        eviction::at_turn(stream);
    }
    let negotiation = endpoint.negotiation.load(Ordering::Acquire);
    if negotiation != 0 {
        if endpoint.role.get() == role::ACCEPTING && before == 2 {
            let _ = count_turn(stream, negotiation);
        }
        advance(stream);
        return;
    }
    if endpoint.role.get() == role::ACCEPTING {
        let first_of_all = is_eager() && endpoint.turns.get() == 0;
        let is_turn = before == 2 || first_of_all;
        let due = is_turn && take_turn(endpoint);
        let turn = (is_turn && eviction::seeks_now(endpoint))
            || (due && (is_eager() || prospects::is_promising(endpoint)));
        if turn || passed_bytes(endpoint, endpoint.received_bytes()) {
            if may_discover(endpoint) {
                dial(stream, true);
            }
        } else if known_pair(endpoint).is_some_and(|pair| Acceptor::may_have_claims(&pair))
            && may_discover(endpoint)
        {
            dial(stream, false);
        }
    } else if passed_bytes(endpoint, endpoint.received_bytes().saturating_mul(2))
        && may_discover(endpoint)
    {
        open_box(stream, Chance::OneWay);
    }
}

fn may_discover(endpoint: &Endpoint) -> bool {
    process::is_on()
        && endpoint.wished.load(Ordering::Relaxed) != 0
        && (process::settings().mode != Mode::OptIn
            || endpoint.reason.load(Ordering::Relaxed) != Reason::NotOptedIn as u32)
        && !endpoint.is_held_elsewhere()
}
