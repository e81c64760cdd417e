//! When a connection has a chance: at its 1st, 8th, 64th and 512th turn and, while nothing came of it, at some in between,
//! or at so many bytes in one direction. Both ends count alike.
//!
//! Those in between lie the thicker the younger the connection is: all up to the 8th, then four each time that the turns
//! have doubled. So who must wait, for others of a burst or for a process that had no channel yet, waits no longer than a
//! third of what it has waited; and who has a far side without Axio dials it 31 times in its life.

use crate::eviction;
use fastpath::endpoint::Endpoint;

/// Turns after which discovery is tried again.
pub(super) const NEXT_TURN_FACTOR: u32 = 8;
/// Last of these.
const LAST_TURN: u32 = 512;
/// Bytes in one direction that count as evidence for a one-way stream; then four times as many, three times.
const FIRST_BYTES: u64 = 256 * 1024;
const LAST_BYTES: u64 = 16 * 1024 * 1024;

/// Counts a turn; true when discovery is due.
pub(super) fn take_turn(endpoint: &Endpoint) -> bool {
    let turns = endpoint.turns.add(1);
    eviction::count_turn(endpoint);
    if turns < endpoint.next_turn.get() || turns > LAST_TURN {
        return false;
    }
    let mut next = NEXT_TURN_FACTOR;
    while next <= turns {
        next *= NEXT_TURN_FACTOR;
    }
    endpoint.next_turn.set(next);
    true
}

/// Nothing could be tried at this chance, or nobody was there: the next one is that of both ends which comes next.
pub(super) fn try_again_soon(endpoint: &Endpoint) {
    let next = chance_from(endpoint.turns.get() + 1);
    if next <= LAST_TURN {
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

/// A look without consequence: false when [`passed_bytes`] would say so of twice these bytes.
#[inline(always)]
pub(super) fn may_have_passed_bytes(endpoint: &Endpoint, bytes: u64) -> bool {
    let next = endpoint.next_bytes.get().max(FIRST_BYTES);
    bytes >= next / 2 && next <= LAST_BYTES
}

/// Whether this connection, whose chance came to nothing, will have another one.
pub(super) fn is_one_left(endpoint: &Endpoint) -> bool {
    let next_bytes = endpoint.next_bytes.get();
    if next_bytes != 0 {
        next_bytes <= LAST_BYTES
    } else {
        endpoint.next_turn.get() <= LAST_TURN
    }
}

/// Whether both ends look out for each other at this turn, while nothing has come of it.
pub(super) fn is_chance(turns: u32) -> bool {
    turns <= LAST_TURN && chance_from(turns) == turns
}

/// The first of these turns that is not before this one.
fn chance_from(turns: u32) -> u32 {
    // Four in each doubling: what has three significant bits.
    let places = turns.checked_ilog2().unwrap_or(0).saturating_sub(2);
    let next = turns.div_ceil(1 << places) << places;
    // The one before the last is left out.
    if next == LAST_TURN / 8 * 7 {
        LAST_TURN
    } else {
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_thick_at_first_never_further_apart_than_a_third_and_few() {
        let chances: Vec<u32> = (1..5000).filter(|turns| is_chance(*turns)).collect();
        assert_eq!(chances.len(), 31);
        assert_eq!(chances[..12], [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]);
        for great in [1, 8, 64, 512] {
            assert!(chances.contains(&great));
        }
        for pair in chances.windows(2) {
            assert!(pair[1] - pair[0] <= 1 + pair[0] / 3, "{pair:?}");
            assert_eq!(chance_from(pair[0] + 1), pair[1]);
        }
    }
}
