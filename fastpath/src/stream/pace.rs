//! When the sending direction tries to go to the ring, and for how long it holds a send back for that (SWITCH.md §8).
//! Nothing here is safety: UPGRADE looks at everything itself.
//!
//! * Nothing of this side may be unread in the kernel at an upgrade (invariant 2). Whether that holds now is known from two
//!   words, what was sent and the far side's `krx`, so every send may ask: a request behind its answer, or the first piece
//!   of a message behind the echo of the last one, finds it true at once.
//! * A stream that never pauses finds it true only if a send is held back until the reader has caught up. That is done
//!   while the reader takes, and for no more than a sixteenth of the process's time.
//! * A direction that went back to the kernel for want of progress stays there for a time that doubles with each time,
//!   unless the ring served well in between. Time, not sends: a send may be one byte or megabytes.

use super::Stream;
use super::switch::RetreatCause;
use crate::clock::monotonic_ns;
use crate::sync::{AtomicU64, Ordering, spin_pause};
use kmod_interface::limits::UPGRADE_HOLD_MS;

/// A reader that has taken nothing for this long will not catch up soon.
const STANDSTILL_NS: u64 = 250_000;
/// Longest time that one send is held back for a reader that takes.
const HOLD_NS: u64 = 2 * UPGRADE_HOLD_MS * 1_000_000;
/// Times as long as a send was held back is none held back in this process.
const REST_FACTOR: u64 = 15;
/// Pauses after which one connection holds again, when the last time was in vain: doubles in between.
const HOLD_PAUSE_US: (u32, u32) = (4_000, 256_000);

/// No send is held back in this process before this time.
static NEXT_HOLD_NS: AtomicU64 = AtomicU64::new(0);

/// What a send may do about an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Not now.
    None,
    /// Upgrade if nothing is unread.
    Look,
    /// The same, and wait for the reader.
    Hold,
}

impl Stream {
    /// What this send may do, under `tx_lock` with `ep` even and a grant open.
    pub(super) fn upgrade_attempt(&self) -> Attempt {
        let endpoint = self.endpoint;
        let unread = endpoint
            .kernel_bytes_out
            .load(Ordering::Relaxed)
            .wrapping_add(endpoint.kernel_sent_beside.get())
            .wrapping_sub(self.far().krx().load(Ordering::Acquire));
        let after = endpoint.upgrade_after_ns.get();
        if after == 0 && unread == 0 {
            return Attempt::Look;
        }
        let now = monotonic_ns();
        if now < after {
            return Attempt::None;
        }
        endpoint.upgrade_after_ns.set(0);
        // More was taken than was counted: the count is behind (it is exact after the next look).
        if unread == 0 || unread > u64::MAX / 2 {
            return Attempt::Look;
        }
        if now < endpoint.hold_after_ns.get() || now < NEXT_HOLD_NS.load(Ordering::Relaxed) {
            return Attempt::None;
        }
        Attempt::Hold
    }

    /// So much was sent by the kernel, bells included, as is known for certain now.
    pub(super) fn know_kernel_sent(&self, sent: u64) {
        let counted = self.endpoint.kernel_bytes_out.load(Ordering::Relaxed);
        self.endpoint
            .kernel_sent_beside
            .set(sent.wrapping_sub(counted));
    }

    /// Holds a send back until the far side has taken all of the `sent` bytes; false when it will not soon.
    pub(super) fn hold_for_reader(&self, sent: u64) -> bool {
        let far = self.far();
        let began = monotonic_ns();
        let caught_up = hold(|| far.krx().load(Ordering::Acquire), |krx| krx == sent);
        let now = monotonic_ns();
        NEXT_HOLD_NS.store(now + (now - began) * REST_FACTOR, Ordering::Relaxed);
        let endpoint = self.endpoint;
        if caught_up {
            endpoint.hold_pause_us.set(0);
        } else {
            let (least, most) = HOLD_PAUSE_US;
            let pause_us = (endpoint.hold_pause_us.get() * 2).clamp(least, most);
            endpoint.hold_pause_us.set(pause_us);
            let after = now + u64::from(pause_us) * 1000;
            endpoint.hold_after_ns.set(after);
        }
        caught_up
    }

    /// After a growth retreat: waits until the far side has passed it and consents again. The ring was full, so the send
    /// would have had to wait in any case.
    pub(super) fn hold_for_grant(&self) -> bool {
        let far = self.far();
        let wanted = self.endpoint.tx_ep.get().wrapping_add(1);
        hold(
            // What the reader does in between moves one of these.
            || {
                far.head().load(Ordering::Relaxed)
                    ^ u64::from(far.grant().load(Ordering::Acquire)) << 32
            },
            |_| far.grant().load(Ordering::Acquire) == wanted,
        )
    }

    /// A full ring and a line that is dead: gives the far side, which may be about to upgrade the opposite direction, a
    /// moment. True: something has changed.
    pub(super) fn hold_for_line(&self, head: u64) -> bool {
        let far = self.far();
        if self.is_line_dead_for_good() {
            return false;
        }
        let ep = far.ep().load(Ordering::Acquire);
        hold(
            || 0,
            |_| {
                self.is_line_live()
                    || far.head().load(Ordering::Relaxed) != head
                    || far.ep().load(Ordering::Acquire) != ep
            },
        )
    }

    /// The direction goes back to the kernel for `cause`: when it may come again.
    pub(super) fn pause_upgrades(&self, cause: RetreatCause) {
        let (least_us, most_us) = match cause {
            RetreatCause::Asked | RetreatCause::Growth | RetreatCause::Local => return,
            RetreatCause::DeadLine => (100, 100_000),
            RetreatCause::Spill => (1_000, 1_000_000),
            RetreatCause::Bulk => (20_000, 1_000_000),
        };
        let endpoint = self.endpoint;
        let now = monotonic_ns();
        let served_us = now.wrapping_sub(endpoint.upgraded_ns.get()) / 1000;
        let last = endpoint.upgrade_pause_us.get();
        let pause_us = if served_us / 64 > u64::from(last) {
            least_us
        } else {
            (last * 2).clamp(least_us, most_us)
        };
        endpoint.upgrade_pause_us.set(pause_us);
        endpoint
            .upgrade_after_ns
            .set(now + u64::from(pause_us) * 1000);
    }
}

/// Waits until `done` of what `look` shows, as long as that moves.
fn hold(look: impl Fn() -> u64, done: impl Fn(u64) -> bool) -> bool {
    let began = monotonic_ns();
    let (mut seen, mut moved) = (look(), began);
    loop {
        for _ in 0..50 {
            spin_pause();
        }
        let now_seen = look();
        let is_done = done(now_seen);
        let now = monotonic_ns();
        if now_seen != seen {
            (seen, moved) = (now_seen, now);
        }
        if is_done || now - moved > STANDSTILL_NS || now - began > HOLD_NS {
            return is_done;
        }
        rustix::thread::sched_yield();
    }
}
