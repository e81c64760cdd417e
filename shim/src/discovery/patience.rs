//! How long a negotiation may take, and what it did to the program's socket meanwhile.

use super::{clock, knock};
use fastpath::kernel_call::socket_option;
use kmod_interface::limits::{HANDSHAKE_LIMIT_CALLS, HANDSHAKE_LIMIT_MS};
use kmod_interface::reason::Reason;
use libc::SO_COOKIE;
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};

/// A claim whose connection makes no call for so long holds a slot, and a place, that others ask for in vain: it goes.
pub const STALE_CLAIM_MS: u64 = 150;
/// Time between two searches for such claims.
pub const STALE_LOOK_MS: u64 = 20;

/// Calls of a negotiation between ends that have met that are all heard. Later ones may rest.
const BRISK_CALLS: u32 = 40;
/// The longest rest, well below the silence after which a claim counts as forgotten.
const REST_MS_MAX: u64 = 64;

/// Time and calls of one negotiation (TRUST.md "Limits": 1 s or 64 calls).
///
/// Two ends need not call equally often: what one sends by a single `sendfile` the other reads in a hundred pieces, and
/// its 64 calls would be over before the first has made its next. So once the ends have met, or where the far side is known
/// to look only later, the calls behind the brisk ones rest: each is heard only 1, 2, 4 and at last 64 milliseconds after
/// the one before, and the 64 last about as long as the second.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    started_ms: u64,
    heard_ms: u64,
    calls: u32,
}

impl Patience {
    /// Begins.
    pub fn new() -> Patience {
        let now_ms = clock::now_ms();
        Patience {
            started_ms: now_ms,
            heard_ms: now_ms,
            calls: 0,
        }
    }
    /// The ends have met: the calls of the handshake count from here, its time does not.
    pub fn meet(&mut self) {
        self.calls = 0;
    }
    /// True when this call need not be heard, because another was lately. For ends that have met; a stranger's silence is
    /// worth the calls of the limit and no more.
    pub fn rests(&self) -> bool {
        let Some(resting) = self.calls.checked_sub(BRISK_CALLS) else {
            return false;
        };
        let rest_ms = (1_u64 << resting.min(32)).min(REST_MS_MAX);
        clock::now_ms() < self.heard_ms + rest_ms
    }
    /// One more call; false when it was the last.
    pub fn call(&mut self) -> bool {
        self.calls += 1;
        self.heard_ms = clock::now_ms();
        self.calls < HANDSHAKE_LIMIT_CALLS && !self.is_over()
    }
    /// True when no call was heard for that long.
    pub fn is_idle_for(&self, limit_ms: u64) -> bool {
        clock::now_ms().saturating_sub(self.heard_ms) > limit_ms
    }
    /// Calls so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }
    /// True when its time is over.
    pub fn is_over(&self) -> bool {
        self.is_older_than(HANDSHAKE_LIMIT_MS)
    }
    /// True when it began that long ago.
    pub fn is_older_than(&self, limit_ms: u64) -> bool {
        clock::now_ms().saturating_sub(self.started_ms) > limit_ms
    }
}

/// The program's TCP socket: who it is, and what its options were before we knocked with them.
#[derive(Clone, Copy, Debug)]
pub struct Knocker {
    number: RawFd,
    cookie: u64,
    /// The value shown before, and ours, while we knock.
    knocking: Option<(u32, u32)>,
}

impl Knocker {
    /// Of a socket of ours.
    pub fn new(tcp: BorrowedFd<'_>) -> Result<Knocker, Reason> {
        let number = tcp.as_raw_fd();
        let cookie =
            socket_option(number, libc::SOL_SOCKET, SO_COOKIE).map_err(super::failure::of_errno)?;
        Ok(Knocker {
            number,
            cookie,
            knocking: None,
        })
    }
    /// The socket's cookie.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }
    /// Shows a value, remembering what was there. Options that could not be set are put back by [`Self::restore`] all
    /// the same.
    pub fn show(&mut self, tcp: BorrowedFd<'_>, value: u32) -> Result<(), Reason> {
        let before = knock::shown(tcp).map_err(super::failure::of_errno)?;
        let first = self.knocking.map_or(before, |(first, _)| first);
        self.knocking = Some((first, value));
        knock::change(tcp, before, value).map_err(super::failure::of_errno)
    }
    /// Puts the options back. Before the name is let go.
    pub fn restore(&mut self, tcp: BorrowedFd<'_>) {
        if let Some((before, now)) = self.knocking.take() {
            let _ = knock::change(tcp, now, before);
        }
    }
    /// The same when no call brings the socket: only if its number still means it.
    pub fn restore_unasked(&mut self) {
        if self.knocking.is_none() {
            return;
        }
        let cookie: Result<u64, i32> = socket_option(self.number, libc::SOL_SOCKET, SO_COOKIE);
        if cookie == Ok(self.cookie) {
            #[expect(
                unsafe_code,
                reason = "borrows a number that was seen to be the socket"
            )]
            // SAFETY: open, and the socket of this negotiation.
            self.restore(unsafe { BorrowedFd::borrow_raw(self.number) });
        }
        self.knocking = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_calls_much_more_often_than_the_other_has_a_second_all_the_same() {
        let mut patience = Patience::new();
        let (mut calls, mut heard) = (0_u64, 0);
        loop {
            calls += 1;
            if patience.rests() {
                std::thread::sleep(std::time::Duration::from_micros(50));
                continue;
            }
            heard += 1;
            if !patience.call() {
                break;
            }
        }
        assert!(heard <= HANDSHAKE_LIMIT_CALLS, "{heard} of {calls}");
        assert!(
            patience.is_older_than(HANDSHAKE_LIMIT_MS / 2),
            "{calls} calls"
        );
    }
}
