//! Whether the connections of an address live long enough to pay for a ring: a share of the recent ones, by experience.
//!
//! To find the far end, to move and to leave costs as much as some ten exchanges save. A proxy that keeps eight of fifty
//! connections to its application alive closes the others behind two or three requests; those who found each other at the
//! second would have worked for nothing. So of the connections that have come as far as a chance it is remembered whether
//! they went on from there, and where few do the chance is passed over: the next great one, eight times as many turns
//! later, is for those that live longer.
//!
//! The connecting end decides for all its chances, by the address it connects to. The accepting end has clients of all
//! kinds behind one listener: it only spares itself the look at those that are younger than eight turns. Hints, nothing
//! else: what is lost in a race is a sample.

use super::chances::NEXT_TURN_FACTOR;
use core::sync::atomic::{AtomicU32, Ordering};
use fastpath::endpoint::Endpoint;
use fastpath::endpoint::role;

const PLACES: usize = 256;
/// Great chances about which something is remembered: the 1st, 8th and 64th turn.
const CHANCES: usize = 3;
/// A connection that makes so many exchanges from a chance on was worth it.
const WORTH_EXCHANGES: u64 = 24;
/// Or carries so many bytes in its life.
const WORTH_BYTES: u64 = 256 * 1024;
/// All of the connections, as a share.
const ALL: u32 = 1 << 16;
/// What one connection changes.
const MEMORY: u32 = 16;
/// The share of those that did not go on from which a chance is passed over.
const TOO_MANY: u32 = ALL / 4 * 3;

/// Shares of those that did not go on. Nobody, as long as nothing is known.
static SHORT: [[AtomicU32; CHANCES]; PLACES] =
    [const { [const { AtomicU32::new(0) }; CHANCES] }; PLACES];

fn share(endpoint: &Endpoint, chance: usize) -> Option<&'static AtomicU32> {
    // The two roles share nothing.
    let place =
        endpoint.kin.get() as usize * 2 + usize::from(endpoint.role.get() == role::ACCEPTING);
    SHORT.get(place % PLACES)?.get(chance)
}

/// Whether this turn's chance is worth taking, by what became of others.
pub(super) fn is_promising(endpoint: &Endpoint) -> bool {
    let turns = endpoint.turns.get();
    let mut chance = 0;
    let mut next = NEXT_TURN_FACTOR;
    while next <= turns {
        next *= NEXT_TURN_FACTOR;
        chance += 1;
    }
    if chance > 0 && endpoint.role.get() == role::ACCEPTING {
        return true;
    }
    share(endpoint, chance).is_none_or(|share| share.load(Ordering::Relaxed) < TOO_MANY)
}

/// A connection has ended: what became of it behind each chance that it had.
pub fn ended(endpoint: &Endpoint) {
    let turns = endpoint.turns.get();
    if turns == 0 {
        return;
    }
    let exchanges = u64::from(turns) + endpoint.ring_calls_out.get();
    let bytes = endpoint
        .sent_bytes()
        .saturating_add(endpoint.received_bytes());
    let mut first: u64 = 1;
    for chance in 0..CHANCES {
        if exchanges < first {
            return;
        }
        let is_short = exchanges < first + WORTH_EXCHANGES && bytes < WORTH_BYTES;
        if let Some(share) = share(endpoint, chance) {
            let before = share.load(Ordering::Relaxed);
            let after = if is_short {
                before + (ALL - before.min(ALL)) / MEMORY
            } else {
                before - before / MEMORY
            };
            share.store(after, Ordering::Relaxed);
        }
        first *= u64::from(NEXT_TURN_FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_short_lives_closes_a_chance_and_some_long_ones_open_it_again() {
        let step = |share: u32, is_short: bool| {
            if is_short {
                share + (ALL - share) / MEMORY
            } else {
                share - share / MEMORY
            }
        };
        let lives_until = |mut share: u32, is_short: bool, done: fn(u32) -> bool| {
            (1..1000)
                .find(|_| {
                    share = step(share, is_short);
                    done(share)
                })
                .unwrap()
        };
        let to_close = lives_until(0, true, |share| share >= TOO_MANY);
        assert!((16..32).contains(&to_close), "{to_close}");
        let to_open = lives_until(ALL, false, |share| share < TOO_MANY);
        assert!(to_open <= 8, "{to_open}");
    }
}
