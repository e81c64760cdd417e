//! A negotiation of one connection: begun at a chance, carried on at each later call by the process that began it.
#![expect(unsafe_code, reason = "borrows the program's descriptor by its number")]

use super::chances::{count_turn_of_negotiation, is_chance, try_again_soon};
use super::pair::{known_pair, pair_of};
use super::reasons::note;
use crate::discovery::{Acceptor, Bound, Chance, Connector, Progress, Wanted};
use crate::{eviction, log, process, status};
use core::ffi::c_int;
use fastpath::endpoint::{Endpoint, role};
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::sync::{AtomicU64, Ordering};
use kmod_interface::limits::BOXES_PER_CONNECTION;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::BorrowedFd;
use settings::LogLevel;

pub(super) fn open_box(stream: &Stream, chance: Chance) {
    let Some(pair) = pair_of(stream) else { return };
    let boxes = &stream.endpoint.boxes;
    let chance = if boxes.get() < BOXES_PER_CONNECTION {
        chance
    } else {
        Chance::ClaimOnly
    };
    let least_class = stream
        .endpoint
        .least_class
        .get()
        .min(eviction::largest_class());
    match Connector::open_in(borrowed(stream.descriptor), &pair, chance, least_class) {
        Ok(connector) => {
            boxes.add(u32::from(connector.has_box()));
            begun(stream, connector.to_number());
        }
        // Others of a burst are at it, or there is nowhere to claim: as if this chance had not been.
        Err(Reason::Negotiating) => {
            if matches!(chance, Chance::First | Chance::Later) {
                try_again_soon(stream.endpoint);
            }
        }
        Err(reason) => note(stream, reason),
    }
}

/// The accepting end looks for a claim, and dials the box if `may_dial`.
pub(super) fn dial(stream: &Stream, may_dial: bool) {
    let Some(pair) = pair_of(stream) else { return };
    count(Counter::Probes, u64::from(may_dial));
    let class_max = eviction::largest_class();
    let wanted = Wanted {
        class: stream.endpoint.least_class.get().min(class_max),
        class_max,
        may_dial,
    };
    match Acceptor::probe(borrowed(stream.descriptor), &pair, wanted) {
        Ok(Some(acceptor)) => begun(stream, acceptor.to_number()),
        Ok(None) if may_dial => {
            try_again_soon(stream.endpoint);
            note(stream, Reason::PeerHasNoAxio);
        }
        Ok(None) => {}
        Err(reason) => {
            if reason == Reason::TooManySockets {
                eviction::pressed();
            }
            note(stream, reason);
        }
    }
}

fn begun(stream: &Stream, number: u64) {
    let endpoint = stream.endpoint;
    endpoint
        .negotiator
        .set(fastpath::family::process_place().unwrap_or(0) + 1);
    endpoint.negotiation.store(number, Ordering::Release);
    status::update_row(stream);
    advance(stream);
}

/// Marks the number of a negotiation that has ended, while the thread that was inside tells the endpoint of it: nobody else
/// takes it for one that was given up, or begins another one. No handle's number has this bit, nor the next.
const ENDED: u64 = 1 << 63;
/// Beside it: a turn of the connection has found the mark.
const FOUND: u64 = 1 << 62;

/// A turn while the negotiation `number` is under way. True when the far side's next chance is due.
pub(super) fn count_turn(stream: &Stream, number: u64) -> bool {
    let endpoint = stream.endpoint;
    if number & ENDED != 0 && is_negotiator(endpoint) && was_left_behind(&endpoint.negotiation) {
        status::update_row(stream);
    }
    count_turn_of_negotiation(endpoint)
}

/// At a turn that has seen [`ENDED`]: what the turn before has found, too, was left behind by a frame out of which a handler
/// has jumped, or which was cancelled, and is taken off. A frame that is only so slow finds its number gone, as behind a close.
#[cold]
fn was_left_behind(negotiation: &AtomicU64) -> bool {
    let number = negotiation.load(Ordering::Acquire);
    let next = match number & (ENDED | FOUND) {
        0 | FOUND => return false,
        ENDED => number | FOUND,
        _ => 0,
    };
    negotiation
        .compare_exchange(number, next, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
        && next == 0
}

/// Carries a negotiation on, if this process began it.
pub(super) fn advance(stream: &Stream) {
    let endpoint = stream.endpoint;
    let number = endpoint.negotiation.load(Ordering::Acquire);
    if number == 0 || number & ENDED != 0 || !is_negotiator(endpoint) {
        return;
    }
    let tcp = borrowed(stream.descriptor);
    let becomes = |from: u64, to: u64| {
        endpoint
            .negotiation
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let mut present = number;
    let ending = || {
        present = number | ENDED;
        becomes(number, present);
    };
    let progress = if endpoint.role.get() == role::CONNECTING {
        Connector::from_number(number).advance_or_end(tcp, ending)
    } else {
        Acceptor::from_number(number).advance_or_end(tcp, ending)
    };
    // Gone, but not by this call: another thread has ended it, and tells the endpoint, unless the number is untouched.
    if matches!(progress, Progress::Failed(_))
        && present == number
        && !becomes(number, number | ENDED)
    {
        return;
    }
    let present = number | ENDED;
    match progress {
        Progress::Pending => return,
        // Forked while the handshake was under way: the relative may lack this channel's memory. Looked at behind the
        // mapping of it, and a fork names the relative before it copies, so one that is not seen here has the mapping.
        Progress::Bound(bound) if endpoint.is_held_elsewhere() => {
            give_back(bound);
            note(stream, Reason::Shared);
        }
        Progress::Bound(bound) => {
            if stream.bind(bound.channel, bound.slot, bound.generation) {
                eviction::seek_no_longer(endpoint);
                endpoint
                    .reason
                    .store(Reason::None as u32, Ordering::Relaxed);
                status::update_row(stream);
                log::about(
                    LogLevel::Info,
                    stream.descriptor,
                    &[b"has met its far end; it moves to a ring"],
                );
            } else {
                // Closed, given up or handed over by another thread meanwhile, which has said why.
                give_back(bound);
            }
        }
        // The far end is held by a process with which there is no channel yet: that one comes to a box only.
        Progress::Failed(Reason::Negotiating) => {
            endpoint.unheard.set(1);
            try_again_soon(endpoint);
            note(stream, Reason::PeerHasNoAxio);
        }
        Progress::Failed(reason) => note(stream, reason),
    }
    if !becomes(present, 0) && !becomes(present | FOUND, 0) && stream.is_bound() {
        // Taken for one that was left behind, and another begun since, of which a bound connection takes no turns.
        drop_negotiation(stream);
    }
    process::readiness_changed(stream);
}

/// A slot that was won for nothing.
fn give_back(bound: Bound) {
    bound.channel.slot_leave(bound.slot, bound.generation);
    bound.channel.release();
}

/// At a turn of the connecting end behind the one at which it claimed: nobody has heard that, and at this turn the far end
/// would come to a box. Then the claims are taken back.
pub(super) fn take_unheard_back(stream: &Stream) -> bool {
    let endpoint = stream.endpoint;
    let number = endpoint.negotiation.load(Ordering::Acquire);
    let is_unheard = number != 0
        && is_negotiator(endpoint)
        && (is_chance(endpoint.turns.get()) || endpoint.seeks.get() != 0)
        && endpoint.boxes.get() < BOXES_PER_CONNECTION
        && known_pair(endpoint)
            .is_some_and(|pair| Connector::from_number(number).is_unheard(&pair));
    if is_unheard {
        drop_negotiation(stream);
    }
    is_unheard
}

/// The socket is about to be closed or given up: what was begun is taken back.
#[inline]
pub fn drop_negotiation(stream: &Stream) {
    if stream.endpoint.negotiation.load(Ordering::Relaxed) != 0 {
        drop_one(stream);
    }
}

#[cold]
fn drop_one(stream: &Stream) {
    let endpoint = stream.endpoint;
    if !is_negotiator(endpoint) {
        return;
    }
    let number = endpoint.negotiation.swap(0, Ordering::AcqRel);
    if number == 0 {
        return;
    }
    if endpoint.role.get() == role::CONNECTING {
        Connector::from_number(number).abandon(borrowed(stream.descriptor));
    } else {
        Acceptor::from_number(number).abandon(borrowed(stream.descriptor));
    }
}

pub(super) fn is_negotiator(endpoint: &Endpoint) -> bool {
    fastpath::family::process_place() == endpoint.negotiator.get().checked_sub(1)
}

fn borrowed(descriptor: c_int) -> BorrowedFd<'static> {
    // SAFETY: the program's own call keeps the number open while this one runs.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_an_end_is_taken_off_at_the_second_turn_that_finds_it() {
        let negotiation = AtomicU64::new(7);
        for _ in 0..3 {
            assert!(!was_left_behind(&negotiation));
            assert_eq!(negotiation.load(Ordering::Relaxed), 7);
        }
        negotiation.store(7 | ENDED, Ordering::Relaxed);
        assert!(!was_left_behind(&negotiation));
        assert_eq!(negotiation.load(Ordering::Relaxed), 7 | ENDED | FOUND);
        assert!(was_left_behind(&negotiation));
        assert_eq!(negotiation.load(Ordering::Relaxed), 0);
        assert!(!was_left_behind(&negotiation));
        assert_eq!(negotiation.load(Ordering::Relaxed), 0);
    }
}
