//! Negotiations whose connection nobody uses any more: they hold boxes, and places for claims, that others wait for.

use super::{NEGOTIATIONS, box_tag};
use crate::discovery::patience::{STALE_CLAIM_MS, STALE_LOOK_MS};
use crate::discovery::{claim, clock};
use fastpath::sync::AtomicU64;

/// Time between two sweeps of negotiations whose connection is never used again.
const REAP_EVERY_MS: u64 = 500;
static REAPED_MS: AtomicU64 = AtomicU64::new(0);

/// Ends negotiations whose connection nobody uses any more, so that idle connections do not hold all boxes.
pub(super) fn reap() {
    static LOOKED_MS: AtomicU64 = AtomicU64::new(0);
    let is_short = clock::is_time(&LOOKED_MS, STALE_LOOK_MS) && claim::are_places_short();
    if !clock::is_time(&REAPED_MS, REAP_EVERY_MS) && !is_short {
        return;
    }
    NEGOTIATIONS.end_useless(|negotiation| {
        let is_stale = is_short
            && negotiation.claims.is_any()
            && negotiation.patience.is_older_than(STALE_CLAIM_MS);
        is_stale || negotiation.patience.is_over()
    });
}

/// Ends negotiations at an address, for others that wait there, whose connection has fallen silent. True when it looked,
/// which it does once in a while only.
pub(super) fn end_idle(tag: u64) -> bool {
    static LOOKED_MS: AtomicU64 = AtomicU64::new(0);
    if !clock::is_time(&LOOKED_MS, STALE_LOOK_MS) {
        return false;
    }
    NEGOTIATIONS.end_useless(|negotiation| {
        (negotiation.mailbox.is_open() || negotiation.claims.is_summons())
            && negotiation.patience.is_idle_for(STALE_CLAIM_MS)
            && box_tag(&negotiation.pair) == tag
    });
    true
}
