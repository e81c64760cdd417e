//! What users may cost us (TRUST.md "Limits"): the accepting side makes and pays for all memory, so it has quotas for
//! users other than its own; and who failed to prove itself too often is refused for a while.

use super::{clock, look};
use fastpath::channel::{Role, table};
use fastpath::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::channel_layout::RegionLayout;
use kmod_interface::limits::{
    CHANNELS_PER_FOREIGN_USER, FAILED_PROOFS, FOREIGN_USER_BYTES, REFUSAL_MS,
};
use kmod_interface::reason::Reason;

/// Users whose failures are remembered.
const USERS: usize = 32;
/// Doublings of the refusal.
const DOUBLINGS_MAX: u32 = 10;

struct Failures {
    /// User id + 1; 0 = free.
    user: AtomicU64,
    count: AtomicU32,
    refusals: AtomicU32,
    refused_until_ms: AtomicU64,
}

static FAILURES: [Failures; USERS] = [const {
    Failures {
        user: AtomicU64::new(0),
        count: AtomicU32::new(0),
        refusals: AtomicU32::new(0),
        refused_until_ms: AtomicU64::new(0),
    }
}; USERS];

/// Nobody in particular counts as foreign.
fn is_foreign(user: u32) -> bool {
    user == look::UNKNOWN_USER || user != rustix::process::geteuid().as_raw()
}

fn failures_of(user: u32) -> Option<&'static Failures> {
    let key = u64::from(user) + 1;
    FAILURES
        .iter()
        .find(|failures| failures.user.load(Ordering::Acquire) == key)
}

/// Whether a user may try to prove itself now.
///
/// # Errors
/// [`Reason::QuotaReached`]: it failed too often lately.
pub fn may_prove(user: u32) -> Result<(), Reason> {
    match failures_of(user) {
        Some(failures) if clock::now_ms() < failures.refused_until_ms.load(Ordering::Relaxed) => {
            Err(Reason::QuotaReached)
        }
        _ => Ok(()),
    }
}

/// Counts a failed proof of a foreign user. Our own user is not counted: a squatter of the same user could keep all of
/// its connections off the fast path for ever, instead of those whose names it takes.
pub fn proof_failed(user: u32) {
    if !is_foreign(user) {
        return;
    }
    let key = u64::from(user) + 1;
    let failures = failures_of(user).or_else(|| {
        FAILURES.iter().find(|failures| {
            failures
                .user
                .compare_exchange(0, key, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    });
    // Full: then so many users misbehave that the oldest memory of one more is no loss.
    let Some(failures) = failures.or_else(|| FAILURES.get(user as usize % USERS)) else {
        return;
    };
    if failures.user.swap(key, Ordering::AcqRel) != key {
        failures.count.store(0, Ordering::Relaxed);
        failures.refusals.store(0, Ordering::Relaxed);
    }
    if failures.count.fetch_add(1, Ordering::Relaxed) + 1 >= FAILED_PROOFS {
        failures.count.store(0, Ordering::Relaxed);
        let refusals = failures.refusals.fetch_add(1, Ordering::Relaxed);
        let refused_ms = REFUSAL_MS << refusals.min(DOUBLINGS_MAX);
        failures
            .refused_until_ms
            .store(clock::now_ms() + refused_ms, Ordering::Relaxed);
    }
}

/// Whether a user may cause one more channel of a class here, besides those and `under_way` bytes of handshakes.
///
/// # Errors
/// [`Reason::QuotaReached`].
pub fn may_make(user: u32, class: u32, under_way: (u32, u64)) -> Result<(), Reason> {
    if !is_foreign(user) {
        return Ok(());
    }
    let both = |layout: RegionLayout| u64::from(layout.region_bytes) * 2;
    let (mut channels, mut bytes) = under_way;
    bytes += RegionLayout::of_class(class).map_or(0, both);
    for channel in table::live() {
        let theirs = channel.role() == Role::Accepting
            && channel.far_side().is_some_and(|far| far.user == user);
        if theirs {
            channels += 1;
            bytes += both(channel.layout());
        }
    }
    if channels >= CHANNELS_PER_FOREIGN_USER || bytes > FOREIGN_USER_BYTES {
        return Err(Reason::QuotaReached);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_failed_proofs_of_a_foreign_user_are_followed_by_silence() {
        let user = 4_000_000_001;
        for _ in 0..FAILED_PROOFS {
            assert_eq!(may_prove(user), Ok(()));
            proof_failed(user);
        }
        assert_eq!(may_prove(user), Err(Reason::QuotaReached));
        assert_eq!(may_prove(user + 1), Ok(()));
    }

    #[test]
    fn our_own_user_is_not_refused() {
        let user = rustix::process::geteuid().as_raw();
        for _ in 0..100 {
            proof_failed(user);
        }
        assert_eq!(may_prove(user), Ok(()));
        assert_eq!(may_make(user, 2, (1000, u64::MAX / 2)), Ok(()));
    }

    #[test]
    fn a_foreign_user_has_a_share_of_channels_and_memory() {
        let user = 4_000_000_002;
        assert_eq!(may_make(user, 0, (0, 0)), Ok(()));
        assert_eq!(may_make(user, 0, (64, 0)), Err(Reason::QuotaReached));
        assert_eq!(may_make(user, 2, (0, 48 << 20)), Ok(()));
        assert_eq!(
            may_make(user, 2, (0, (48 << 20) + 1)),
            Err(Reason::QuotaReached)
        );
    }
}
