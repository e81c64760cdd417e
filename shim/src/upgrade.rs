//! Evidence, and when discovery is tried (DESIGN.md D4, TRUST.md "Discovery and identity").
//!
//! Until its second request nothing is done for a connection. The connecting end opens its box just before a send that
//! follows a receive; the accepting end dials when a receive that follows a send has returned bytes: the stream itself
//! orders the two. Both try at the 1st, 8th, 64th and 512th such turn; one-way streams count bytes instead. A
//! negotiation that was begun is carried on at each later call on the descriptor, by the process that began it.
#![expect(unsafe_code, reason = "borrows the program's descriptor by its number")]

use crate::calls::lifecycle::{self, role};
use crate::discovery::{Acceptor, Chance, Connector, Progress, Wanted};
use crate::{eviction, fd_table, log, process, status};
use core::ffi::c_int;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::kernel_call;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::CLASSES;
use kmod_interface::handshake::{AddressPair, PAIR_BYTES};
use kmod_interface::limits::BOXES_PER_CONNECTION;
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::Counter;
use rustix::fd::BorrowedFd;
use settings::{Choice, LogLevel, Mode, Role, Upgrade};

/// Turns after which discovery is tried again.
const NEXT_TURN_FACTOR: u32 = 8;
/// Last of these.
const LAST_TURN: u32 = 512;
/// Turns from there on at which it is tried again while nothing came of it: of a burst of connections only few may have
/// a box at a time, and the far side must still be looking when the turn of the others comes.
const CHANCE_TURNS: u32 = 8;
/// Bytes in one direction that count as evidence for a one-way stream; then four times as many, three times.
const FIRST_BYTES: u64 = 256 * 1024;
const LAST_BYTES: u64 = 16 * 1024 * 1024;

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
        if endpoint.role.get() == role::CONNECTING && endpoint.last_transfer.get() == 1 {
            endpoint.last_transfer.set(2);
            if count_turn_of_negotiation(endpoint) && is_negotiator(endpoint) {
                Connector::from_number(negotiation).renew();
            }
        }
        advance(stream);
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
    if due {
        let first = endpoint.next_turn.get() <= NEXT_TURN_FACTOR;
        open_box(stream, if first { Chance::First } else { Chance::Later });
    } else if known_pair(endpoint).is_some() {
        open_box(stream, Chance::Between);
    }
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
    let bytes = endpoint.bytes_out.get();
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
    if endpoint.negotiation.load(Ordering::Acquire) != 0 {
        if endpoint.role.get() == role::ACCEPTING && before == 2 {
            let _ = count_turn_of_negotiation(endpoint);
        }
        advance(stream);
        return;
    }
    if endpoint.role.get() == role::ACCEPTING {
        let first_of_all = is_eager() && endpoint.turns.get() == 0;
        let turn = (before == 2 || first_of_all) && take_turn(endpoint);
        if turn || passed_bytes(endpoint, endpoint.bytes_in.get()) {
            if may_discover(endpoint) {
                dial(stream, true);
            }
        } else if known_pair(endpoint).is_some_and(|pair| Acceptor::may_have_claims(&pair))
            && may_discover(endpoint)
        {
            dial(stream, false);
        }
    } else if passed_bytes(endpoint, endpoint.bytes_in.get().saturating_mul(2))
        && may_discover(endpoint)
    {
        open_box(stream, Chance::OneWay);
    }
}

/// Counts a turn; true when discovery is due.
fn take_turn(endpoint: &Endpoint) -> bool {
    let turns = endpoint.turns.add(1);
    eviction::count_turn(endpoint);
    if turns < endpoint.next_turn.get() || turns >= LAST_TURN + CHANCE_TURNS {
        return false;
    }
    let mut next = NEXT_TURN_FACTOR;
    while next <= turns {
        next *= NEXT_TURN_FACTOR;
    }
    endpoint.next_turn.set(next);
    true
}

/// Whether both ends look out for each other at this turn: the 1st, 8th, 64th, 512th, and some after each.
fn is_chance(turns: u32) -> bool {
    let mut first = 1;
    while first <= LAST_TURN {
        if (first..first + CHANCE_TURNS).contains(&turns) {
            return true;
        }
        first *= NEXT_TURN_FACTOR;
    }
    false
}

/// Nothing could be tried at this chance, or nobody was there: the next turn is one, too, while both ends look out.
fn try_next_turn(endpoint: &Endpoint) {
    let next = endpoint.turns.get() + 1;
    if is_chance(next) {
        endpoint.next_turn.set(next);
    }
}

/// A turn while a negotiation is under way: no chance of this side, but both ends must count alike, or they would seek
/// each other at different times ever after. True when the far side's next chance is due.
fn count_turn_of_negotiation(endpoint: &Endpoint) -> bool {
    take_turn(endpoint)
}

fn passed_bytes(endpoint: &Endpoint, bytes: u64) -> bool {
    let next = endpoint.next_bytes.get().max(FIRST_BYTES);
    if bytes < next || next > LAST_BYTES {
        return false;
    }
    endpoint.next_bytes.set(next * 4);
    true
}

fn may_discover(endpoint: &Endpoint) -> bool {
    process::is_on()
        && endpoint.wished.load(Ordering::Relaxed) != 0
        && (process::settings().mode != Mode::OptIn
            || endpoint.reason.load(Ordering::Relaxed) != Reason::NotOptedIn as u32)
        && !is_shared(endpoint)
}

/// Whether another process holds the endpoint, too (or this one has no place in the family).
fn is_shared(endpoint: &Endpoint) -> bool {
    fastpath::family::process_place().is_none_or(|place| endpoint.has_other_holder(place))
}

/// The address pair, connecting side first; asked of the kernel once.
fn pair_of(stream: &Stream) -> Option<AddressPair> {
    let endpoint = stream.endpoint;
    if let Some(pair) = known_pair(endpoint) {
        return Some(pair);
    }
    let own = kernel_call::own_name(stream.descriptor)?;
    let far = kernel_call::far_name(stream.descriptor)?;
    let connects = endpoint.role.get() == role::CONNECTING;
    if !is_what_it_was_taken_for(stream, own) {
        return None;
    }
    let (connecting, accepting) = if connects { (own, far) } else { (far, own) };
    let pair = AddressPair {
        connect_address: connecting.0,
        accept_address: accepting.0,
        connect_port: connecting.1,
        accept_port: accepting.1,
    };
    for (word, bytes) in endpoint.pair.iter().zip(pair.to_bytes().chunks_exact(4)) {
        word.set(bytes.try_into().map_or(0, u32::from_ne_bytes));
    }
    endpoint.pair_known.set(1);
    status::row_pair(endpoint, &pair);
    Some(pair)
}

/// What was taken for granted when the socket was taken under management is asked of the kernel now.
fn is_what_it_was_taken_for(stream: &Stream, own: ([u8; 16], u16)) -> bool {
    let connects = stream.endpoint.role.get() == role::CONNECTING;
    let reason = if !lifecycle::is_tcp(stream.descriptor) {
        Reason::NotStreamSocket
    } else if !connects && lifecycle::choice(Role::Server, own.0, own.1) == Choice::Kernel {
        Reason::Rule
    } else {
        return true;
    };
    stream.endpoint.wished.store(0, Ordering::Relaxed);
    note(stream, reason);
    false
}

fn known_pair(endpoint: &Endpoint) -> Option<AddressPair> {
    if endpoint.pair_known.get() == 0 {
        return None;
    }
    let mut bytes = [0u8; PAIR_BYTES];
    for (word, place) in endpoint.pair.iter().zip(bytes.chunks_exact_mut(4)) {
        place.copy_from_slice(&word.get().to_ne_bytes());
    }
    Some(AddressPair::from_bytes(&bytes))
}

/// Whether the number means this stream's connection, asked of the kernel: for a vfork child, which may have moved
/// something else over it.
#[must_use]
pub fn is_connection(stream: &Stream) -> bool {
    let Some(pair) = known_pair(stream.endpoint) else {
        return false;
    };
    let own = kernel_call::own_name(stream.descriptor);
    let far = kernel_call::far_name(stream.descriptor);
    let connecting = Some((pair.connect_address, pair.connect_port));
    let accepting = Some((pair.accept_address, pair.accept_port));
    (own, far) == (connecting, accepting) || (own, far) == (accepting, connecting)
}

fn borrowed(descriptor: c_int) -> BorrowedFd<'static> {
    // SAFETY: the program's own call keeps the number open while this one runs.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

fn open_box(stream: &Stream, chance: Chance) {
    let Some(pair) = pair_of(stream) else { return };
    let boxes = &stream.endpoint.boxes;
    let chance = if boxes.get() < BOXES_PER_CONNECTION {
        chance
    } else {
        Chance::ClaimOnly
    };
    match Connector::open(borrowed(stream.descriptor), &pair, chance) {
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
fn dial(stream: &Stream, may_dial: bool) {
    let Some(pair) = pair_of(stream) else { return };
    count(Counter::Probes, u64::from(may_dial));
    let slots = process::settings().slots;
    let class_max = CLASSES
        .iter()
        .rposition(|class| class.slots <= slots)
        .unwrap_or(0) as u32;
    let wanted = Wanted {
        class: 0,
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

/// Why nothing came of a chance: kept, counted, and said to whoever listens.
fn note(stream: &Stream, reason: Reason) {
    let endpoint = stream.endpoint;
    let before = Reason::from_code(endpoint.reason.load(Ordering::Relaxed));
    let failed_before = before.is_some_and(|before| before.class() == ReasonClass::Failed);
    // A chance at which nobody was met says less than an earlier one that failed.
    if reason != Reason::PeerHasNoAxio || !failed_before {
        endpoint.reason.store(reason as u32, Ordering::Relaxed);
    }
    status::update_row(endpoint);
    if reason == Reason::ProofFailed {
        count(Counter::ProofsFailed, 1);
    }
    let level = match reason.class() {
        ReasonClass::Failed if process::settings().strict => LogLevel::Error,
        ReasonClass::Failed => LogLevel::Warn,
        _ => LogLevel::Info,
    };
    let name = reason.name().as_bytes();
    let sentence = reason.sentence().as_bytes();
    log::about(
        level,
        stream.descriptor,
        &[b"stays on the kernel path: ", name, b": ", sentence],
    );
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
pub fn advance(stream: &Stream) {
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

fn is_negotiator(endpoint: &Endpoint) -> bool {
    fastpath::family::process_place() == endpoint.negotiator.get().checked_sub(1)
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

/// Back to the kernel for good, with a reason; what is on the ring is read from there first.
pub fn give_up(stream: &Stream, reason: Reason) {
    drop_negotiation(stream);
    stream.release();
    stream
        .endpoint
        .reason
        .store(reason as u32, Ordering::Relaxed);
    status::update_row(stream.endpoint);
    let name = reason.name().as_bytes();
    log::about(
        LogLevel::Info,
        stream.descriptor,
        &[b"goes back to the kernel for good: ", name],
    );
    process::readiness_changed(stream);
}

/// Every managed socket back to the kernel (before the process confines itself or changes its credentials).
pub fn give_up_all(reason: Reason) {
    fd_table::for_each(0, c_int::MAX, |descriptor, _, generation, endpoint| {
        let stream = Stream::new(endpoint, generation, descriptor, crate::boundary::me());
        give_up(&stream, reason);
    });
}
