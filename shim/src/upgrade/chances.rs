//! When a connection has a chance: at its 1st, 8th, 64th and 512th turn and some after each, or at so many bytes in one
//! direction. Both ends count alike.

use crate::eviction;
use fastpath::endpoint::Endpoint;

/// Turns after which discovery is tried again.
pub(super) const NEXT_TURN_FACTOR: u32 = 8;
/// Last of these.
const LAST_TURN: u32 = 512;
/// Turns from there on at which it is tried again while nothing came of it: of a burst of connections only few may have
/// a box at a time, and the far side must still be looking when the turn of the others comes.
const CHANCE_TURNS: u32 = 8;
/// Bytes in one direction that count as evidence for a one-way stream; then four times as many, three times.
const FIRST_BYTES: u64 = 256 * 1024;
const LAST_BYTES: u64 = 16 * 1024 * 1024;

/// Counts a turn; true when discovery is due.
pub(super) fn take_turn(endpoint: &Endpoint) -> bool {
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

/// Nothing could be tried at this chance, or nobody was there: the next turn is one, too, while both ends look out.
pub(super) fn try_next_turn(endpoint: &Endpoint) {
    let next = endpoint.turns.get() + 1;
    if is_chance(next) {
        endpoint.next_turn.set(next);
    }
}

/// A turn while a negotiation is under way: no chance of this side, but both ends must count alike, or they would seek
/// each other at different times ever after. True when the far side's next chance is due.
pub(super) fn count_turn_of_negotiation(endpoint: &Endpoint) -> bool {
    take_turn(endpoint)
}

pub(super) fn passed_bytes(endpoint: &Endpoint, bytes: u64) -> bool {
    let next = endpoint.next_bytes.get().max(FIRST_BYTES);
    if bytes < next || next > LAST_BYTES {
        return false;
    }
    endpoint.next_bytes.set(next * 4);
    true
}

/// Whether this connection, whose chance came to nothing, will have another one.
pub(super) fn is_one_left(endpoint: &Endpoint) -> bool {
    let next_bytes = endpoint.next_bytes.get();
    if next_bytes != 0 {
        next_bytes <= LAST_BYTES
    } else {
        endpoint.next_turn.get() < LAST_TURN + CHANCE_TURNS
    }
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
