//! A negotiation of one connection: begun at a chance, carried on at each later call by the process that began it.
#![expect(unsafe_code, reason = "borrows the program's descriptor by its number")]

use super::chances::try_next_turn;
use super::is_shared;
use super::pair::pair_of;
use super::reasons::note;
use crate::calls::lifecycle::role;
use crate::discovery::{Acceptor, Chance, Connector, Progress, Wanted};
use crate::{eviction, log, process, status};
use core::ffi::c_int;
use fastpath::endpoint::Endpoint;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
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
                try_next_turn(stream.endpoint);
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
            try_next_turn(stream.endpoint);
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
    status::update_row(endpoint);
    advance(stream);
}

/// Carries a negotiation on, if this process began it.
pub(super) fn advance(stream: &Stream) {
    let endpoint = stream.endpoint;
    let number = endpoint.negotiation.load(Ordering::Acquire);
    if number == 0 || !is_negotiator(endpoint) {
        return;
    }
    let tcp = borrowed(stream.descriptor);
    let progress = if endpoint.role.get() == role::CONNECTING {
        Connector::from_number(number).advance(tcp)
    } else {
        Acceptor::from_number(number).advance(tcp)
    };
    match progress {
        Progress::Pending => return,
        // Forked while the handshake was under way: the relative may lack this channel's memory. Looked at behind the
        // mapping of it, and a fork names the relative before it copies, so one that is not seen here has the mapping.
        Progress::Bound(bound) if is_shared(endpoint) => {
            bound.channel.slot_leave(bound.slot, bound.generation);
            bound.channel.release();
            note(stream, Reason::Shared);
        }
        Progress::Bound(bound) => {
            if stream.bind(bound.channel, bound.slot, bound.generation) {
                endpoint
                    .reason
                    .store(Reason::None as u32, Ordering::Relaxed);
                status::update_row(endpoint);
                log::about(
                    LogLevel::Info,
                    stream.descriptor,
                    &[b"has met its far end; it moves to a ring"],
                );
            } else {
                bound.channel.release();
                note(stream, Reason::Internal);
            }
        }
        Progress::Failed(reason) => note(stream, reason),
    }
    let _ = endpoint
        .negotiation
        .compare_exchange(number, 0, Ordering::AcqRel, Ordering::Relaxed);
    process::readiness_changed(stream);
}

/// The socket is about to be closed or given up: what was begun is taken back.
pub fn drop_negotiation(stream: &Stream) {
    let endpoint = stream.endpoint;
    if endpoint.negotiation.load(Ordering::Relaxed) == 0 || !is_negotiator(endpoint) {
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
