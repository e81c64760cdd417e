//! Slots for those who need them: quiet connections give theirs up (CHANNEL.md "Life of a slot").
//!
//! A quiet connection makes no calls, so the calls of connections without a slot do its part: they are the ones that
//! gain. Whoever has a slot pays nothing.
//!
//! ```text
//!   S   a claim finds no slot ─▶ pressed ─▶ busy connections without slot look for quiet ones: begin, tell C
//!   C   busy connections without slot read what S tells: begin
//!   both  take the steps of those that have begun, until they are plain sockets and their slots are free
//! ```
//!
//! E1. Work is bounded: looks once a millisecond, steps of a few connections a call, so many under way.
//! E2. Only who has had two turns within [`WINDOW_MS`] is busy, and only who had none for as long is quiet: two
//!     connections never take the same slot from each other in turn.
//! E3. What is under way when nobody is left to help goes on at the connection's own calls.

use crate::boundary::me;
use crate::discovery::Acceptor;
use crate::{fd_table, process, status};
use core::ffi::c_int;
use fastpath::channel::eviction::Quiet;
use fastpath::channel::{Channel, Role, table};
use fastpath::clock::monotonic_ns;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::stream::Stream;
use fastpath::stream::unbind::Unbinding;
use fastpath::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::channel_layout::CLASSES;
use kmod_interface::control_event::Kind;

/// A turn each half of this makes a connection busy, none makes it quiet.
const WINDOW_MS: u32 = 200;
/// How long a claim that found no slot keeps the looks going.
const PRESSED_MS: u32 = 100;
/// Connections on their way out at a time.
const UNDER_WAY: usize = 64;
/// Free slots, and such that are about to be, that are enough for those who ask: the places for claims, twice.
const SPARE_SLOTS: u32 = 32;
/// Slots looked at for one victim.
const LOOKS: u32 = 32;
/// Victims sought at one time.
const VICTIMS: u32 = 4;
/// Connections on their way out that one call helps.
const HELPED: usize = 8;
/// A connection leaves a channel for a larger one so many times at most.
const MOVES: u32 = 2;
/// Time and own calls for the far side to follow: of two calls in a row at least one answers what the far side sent, or
/// waited for, when it could see that this side has settled.
const ALONE_MS: u32 = 5;
const ALONE_CALLS: u32 = 3;
/// Turns, a millisecond apart, at which a larger channel is sought before any will do.
const SEEKS: u32 = 32;
/// Channels whose events one call reads, and events of each.
const CHANNELS: usize = 8;
const EVENTS: usize = 32;
/// The far side is told again after this time, and let be after that.
const AGAIN_MS: u32 = 20;
const LET_BE_MS: u32 = 500;

/// One on its way out: generation of the endpoint in the upper half, its index + 1 in the lower; 0 = none.
struct Leaving {
    who: AtomicU64,
    began_ms: AtomicU32,
    told_ms: AtomicU32,
}

static LEAVING: [Leaving; UNDER_WAY] = [const {
    Leaving {
        who: AtomicU64::new(0),
        began_ms: AtomicU32::new(0),
        told_ms: AtomicU32::new(0),
    }
}; UNDER_WAY];
static COUNT: AtomicU32 = AtomicU32::new(0);
static NEXT: AtomicU32 = AtomicU32::new(0);
static NEXT_CHANNEL: AtomicU32 = AtomicU32::new(0);
static PRESSED: AtomicU32 = AtomicU32::new(0);
static LOOKED_MS: AtomicU32 = AtomicU32::new(0);

/// Milliseconds on the monotonic clock, wrapping; never 0.
#[must_use]
pub fn now_ms() -> u32 {
    ((monotonic_ns() / 1_000_000) as u32).max(1)
}

/// A turn of a connection without slot: evidence that it is busy.
pub fn count_turn(endpoint: &Endpoint) {
    let now = now_ms();
    if endpoint.window_turns.get() == 0 || now.wrapping_sub(endpoint.window_ms.get()) > WINDOW_MS {
        endpoint.window_ms.set(now);
        endpoint.window_turns.set(1);
    } else {
        endpoint.window_turns.add(1);
    }
}

fn is_busy(endpoint: &Endpoint, now: u32) -> bool {
    endpoint.window_turns.get() >= 2 && now.wrapping_sub(endpoint.window_ms.get()) <= WINDOW_MS
}

/// A claim found no slot (the channel is marked, see `Channel::press`).
pub fn pressed() {
    PRESSED.store(now_ms(), Ordering::Relaxed);
}

/// At a turn of a connection without slot: does what quiet connections cannot do for themselves.
pub fn at_turn(stream: &Stream) {
    if table::live_count() == 0 {
        return;
    }
    read_events();
    help();
    Acceptor::end_stale_answers();
    let pressed = PRESSED.load(Ordering::Relaxed);
    if pressed == 0 {
        return;
    }
    let now = now_ms();
    if now.wrapping_sub(pressed) > PRESSED_MS {
        let _ = PRESSED.compare_exchange(pressed, 0, Ordering::Relaxed, Ordering::Relaxed);
    } else if is_busy(stream.endpoint, now) {
        make_room(now);
    }
}

/// At a call that the kernel served although the connection has a slot: is it to be given up?
pub fn at_own_call(stream: &Stream) {
    if stream.is_unbinding() {
        if step(stream, &|| true) && stream.endpoint.seeks.get() != 0 {
            stay_if_alone(stream);
        }
    } else if stream.far_is_unbinding() && follows(stream) {
        step(stream, &|| true);
    }
}

/// A connection that seeks a larger channel does not wait long for a far side that cannot follow: one that processes share.
fn stay_if_alone(stream: &Stream) {
    let endpoint = stream.endpoint;
    if !stream.has_settled() {
        // Nothing to follow yet.
        return;
    }
    if endpoint.calls_alone.get() == 0 {
        endpoint.sought_ms.set(now_ms());
    }
    endpoint.calls_alone.add(1);
    if endpoint.calls_alone.get() > ALONE_CALLS
        && now_ms().wrapping_sub(endpoint.sought_ms.get()) > ALONE_MS
        && stream.cancel_unbinding()
    {
        seek_no_longer(endpoint);
    }
}

/// A larger channel was found, or is out of reach.
pub fn seek_no_longer(endpoint: &Endpoint) {
    endpoint.seeks.set(0);
    endpoint.least_class.set(0);
}

/// The far side gives the slot up, so this side does, and both seek each other again at once: the far side has outgrown
/// the channel. (If it is S who evicts, and C has not read that yet, C claims in vain a few times.)
fn follows(stream: &Stream) -> bool {
    let is_free =
        stream.channel().is_some_and(Channel::is_home) && !stream.endpoint.is_held_elsewhere();
    is_free && stream.begin_unbinding(&|| true) && {
        seek_larger(stream);
        true
    }
}

/// The next channel is to be larger than this one, and soon.
fn seek_larger(stream: &Stream) {
    if let Some(channel) = stream.channel() {
        let endpoint = stream.endpoint;
        endpoint
            .least_class
            .set((channel.class() + 1).min(largest_class()));
        endpoint.seeks.set(SEEKS);
        endpoint.calls_alone.set(0);
        endpoint.sought_ms.set(now_ms());
    }
}

/// A turn of a connection without slot: whether it is one of those at which it seeks a larger channel. After the last of
/// them any channel will do, at the usual chances.
pub fn seeks_now(endpoint: &Endpoint) -> bool {
    let seeks = endpoint.seeks.get();
    // Not at once again: the far side may have to follow first.
    if seeks == 0 || endpoint.sought_ms.get() == now_ms() {
        return false;
    }
    endpoint.sought_ms.set(now_ms());
    endpoint.seeks.set(seeks - 1);
    if seeks == 1 {
        endpoint.least_class.set(0);
    }
    true
}

/// A ring was full again and again, and its channel's pool has no larger one: the connection leaves it as if it were
/// evicted, and its next claim is for a larger channel, which S makes if there is none. False: it stays.
#[cold]
pub fn outgrown(stream: &Stream) -> bool {
    let endpoint = stream.endpoint;
    endpoint.wants_space.set(0);
    let Some(channel) = stream.channel() else {
        return false;
    };
    // What a fork has left to a relative of the channel's home stays where it is.
    if endpoint.is_held_elsewhere()
        || !channel.is_home()
        // Who takes no turns would have no chance to meet its far end again.
        || endpoint.turns.get() < 2
        || endpoint.moves.get() >= MOVES
        || channel.class() >= largest_class()
        || !stream.begin_unbinding(&|| true)
    {
        return false;
    }
    endpoint.moves.add(1);
    seek_larger(stream);
    step(stream, &|| true);
    true
}

/// Largest size class this process makes, or takes part in.
#[must_use]
pub fn largest_class() -> u32 {
    let slots = process::settings().slots;
    CLASSES
        .iter()
        .rposition(|class| class.slots <= slots)
        .unwrap_or(0) as u32
}

/// S: quiet connections begin to leave.
fn make_room(now: u32) {
    let last = LOOKED_MS.load(Ordering::Relaxed);
    let mine = last != now
        && LOOKED_MS
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !mine {
        return;
    }
    for channel in table::live() {
        if channel.role() != Role::Accepting
            || !channel.is_pressed(now, PRESSED_MS)
            || !channel.is_home()
        {
            continue;
        }
        channel.slot_sweep();
        for _ in 0..VICTIMS {
            let spare = channel
                .layout()
                .slots
                .saturating_sub(channel.slots_in_use())
                .saturating_add(COUNT.load(Ordering::Relaxed));
            if spare >= SPARE_SLOTS {
                return;
            }
            if let Some(quiet) = channel.find_quiet(now, WINDOW_MS, LOOKS) {
                evict(channel, quiet);
            }
        }
    }
}

fn evict(channel: &'static Channel, quiet: Quiet) {
    let Quiet {
        slot, generation, ..
    } = quiet;
    if begin(channel, quiet.endpoint, slot, generation, true) {
        let _ = channel.post_revert(slot, generation);
    }
}

/// Begins on behalf of the connection that has this slot.
fn begin(
    channel: &'static Channel,
    index: u32,
    slot: u32,
    generation: u32,
    may_refuse: bool,
) -> bool {
    let Some(endpoint) = family::endpoint(index) else {
        return false;
    };
    // Before the look at whose the slot is: who has ended meanwhile does not match under the lock.
    let life = endpoint.generation.load(Ordering::Acquire);
    if !channel.is_bound_here(endpoint, slot, generation) {
        return false;
    }
    let Some(stream) = stream_of(index, life, endpoint) else {
        return false;
    };
    let shared = endpoint.is_held_elsewhere();
    // Bytes on a ring will be fetched by a call of its own: not quiet.
    if may_refuse && (shared || stream.unsent_ring_bytes() != 0 || stream.has_unread_ring_bytes()) {
        return false;
    }
    if stream.is_unbinding() {
        return keep(index, life);
    }
    let is_ours = || means(stream.descriptor, index, life);
    if !keep(index, life) {
        return false;
    }
    if !stream.begin_unbinding(&is_ours) {
        drop_one(index, life);
        return false;
    }
    step(&stream, &is_ours);
    true
}

/// Reads what far sides tell, a few channels a call.
fn read_events() {
    let first = NEXT_CHANNEL.load(Ordering::Relaxed) as usize;
    let mut seen = 0;
    for channel in table::live().skip(first).take(CHANNELS) {
        seen += 1;
        for _ in 0..EVENTS {
            if COUNT.load(Ordering::Relaxed) as usize >= UNDER_WAY {
                return;
            }
            let Some(event) = channel.next_event() else {
                break;
            };
            if event.kind == Kind::RevertOne
                && let Some(index) = channel.endpoint_of_slot(event.slot, event.generation)
            {
                begin(channel, index, event.slot, event.generation, false);
            }
        }
    }
    let next = if seen < CHANNELS { 0 } else { first + seen };
    NEXT_CHANNEL.store(next as u32, Ordering::Relaxed);
}

/// Takes the steps of some connections that are on their way out.
fn help() {
    let count = COUNT.load(Ordering::Relaxed) as usize;
    if count == 0 {
        return;
    }
    let now = now_ms();
    let first = NEXT.load(Ordering::Relaxed) as usize;
    let mut helped = 0;
    for place in 0..UNDER_WAY {
        let at = (first + place) % UNDER_WAY;
        let Some(leaving) = LEAVING.get(at) else {
            return;
        };
        let who = leaving.who.load(Ordering::Acquire);
        let Some(index) = (who as u32).checked_sub(1) else {
            continue;
        };
        help_one(leaving, index, (who >> 32) as u32, now);
        helped += 1;
        if helped == HELPED.min(count) {
            NEXT.store((at + 1) as u32, Ordering::Relaxed);
            return;
        }
    }
}

fn help_one(leaving: &Leaving, index: u32, life: u32, now: u32) {
    let stream = family::endpoint(index).and_then(|endpoint| stream_of(index, life, endpoint));
    let goes_on = stream.is_some_and(|stream| {
        stream.is_unbinding()
            && step(&stream, &|| means(stream.descriptor, index, life))
            && tell_again(leaving, &stream, now)
    });
    if !goes_on {
        drop_one(index, life);
    }
}

fn tell_again(leaving: &Leaving, stream: &Stream, now: u32) -> bool {
    if now.wrapping_sub(leaving.began_ms.load(Ordering::Relaxed)) > LET_BE_MS {
        return false;
    }
    if now.wrapping_sub(leaving.told_ms.load(Ordering::Relaxed)) > AGAIN_MS {
        leaving.told_ms.store(now, Ordering::Relaxed);
        if let Some(channel) = stream.channel()
            && channel.is_home()
            && channel.role() == Role::Accepting
        {
            let slot = stream.endpoint.slot.get();
            let _ = channel.post_revert(slot, stream.endpoint.slot_generation.get());
        }
    }
    true
}

/// One step; false when there is no other.
fn step(stream: &Stream, is_ours: &dyn Fn() -> bool) -> bool {
    let unbinding = stream.unbind_step(is_ours);
    if let Unbinding::Done(given) = unbinding {
        crate::calls::lifecycle::give_back(stream.endpoint, given);
        // The next turn is the first of its evidence for a slot of its own again.
        stream.endpoint.window_turns.set(0);
        status::update_row(stream);
    }
    if stream.switched.get() || stream.drained.get() {
        process::readiness_changed(stream);
    }
    matches!(unbinding, Unbinding::Pending)
}

fn means(number: c_int, index: u32, life: u32) -> bool {
    fd_table::get(number).is_some_and(|(other, generation, _)| (other, generation) == (index, life))
}

/// A view of a connection at which no call is under way.
fn stream_of(index: u32, life: u32, endpoint: &'static Endpoint) -> Option<Stream> {
    if endpoint.generation.load(Ordering::Acquire) != life
        || endpoint.binding.load(Ordering::Acquire) != binding::BOUND
    {
        return None;
    }
    let number = endpoint.number.get() as c_int;
    let number = if means(number, index, life) {
        number
    } else {
        // The number it was bound under was closed, another is left.
        let other = fd_table::any_number_of(index)?;
        endpoint.number.set(other as u32);
        other
    };
    Some(Stream::new(endpoint, life, number, me()))
}

fn word(index: u32, life: u32) -> u64 {
    u64::from(life) << 32 | u64::from(index + 1)
}

/// Puts a connection among those that are helped; true when it is there.
fn keep(index: u32, life: u32) -> bool {
    let who = word(index, life);
    if LEAVING
        .iter()
        .any(|leaving| leaving.who.load(Ordering::Relaxed) == who)
    {
        return true;
    }
    let now = now_ms();
    for leaving in &LEAVING {
        let taken = leaving.who.load(Ordering::Relaxed) == 0
            && leaving
                .who
                .compare_exchange(0, who, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if taken {
            leaving.began_ms.store(now, Ordering::Relaxed);
            leaving.told_ms.store(now, Ordering::Relaxed);
            COUNT.fetch_add(1, Ordering::Relaxed);
            return true;
        }
    }
    false
}

fn drop_one(index: u32, life: u32) {
    let who = word(index, life);
    for leaving in &LEAVING {
        if leaving
            .who
            .compare_exchange(who, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Fork child: whom the parent helps is not the child's business.
pub fn on_fork_child() {
    for leaving in &LEAVING {
        leaving.who.store(0, Ordering::Relaxed);
    }
    COUNT.store(0, Ordering::Relaxed);
}
