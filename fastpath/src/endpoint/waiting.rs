//! What the kernel's socket says of calls that find nothing: whether they wait (O_NONBLOCK), and for how long (SO_RCVTIMEO,
//! SO_SNDTIMEO). Remembered, so that a sleep does not cost two questions more than one of the kernel's own.
//!
//! The socket itself is the truth, and whoever holds it may change it. What it has said is believed only as long as every
//! change would be told ([`WaitingModes::changed`], in front of the kernel's call and behind it): the endpoint is bound and
//! never had a second holder, and this process has started no other since it manages sockets ([`another_process_starts`]),
//! which might hold this one without being in the books. (One that was started before may hold a socket that was there
//! already. What it changes is noticed when the socket does not wait although it was said to.)

use super::{Endpoint, binding};
use crate::sync::{AtomicU32, Ordering};

/// The process has started another one since it began; of this process, so no part of family memory.
static HAS_STARTED_OTHERS: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Before fork, vfork and the like.
pub fn another_process_starts() {
    HAS_STARTED_OTHERS.store(1, core::sync::atomic::Ordering::Relaxed);
}

/// In a fork child, which has started nobody yet. What it inherited has had a second holder.
pub fn this_process_has_started() {
    HAS_STARTED_OTHERS.store(0, core::sync::atomic::Ordering::Relaxed);
}

/// Something that the socket has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Calls that find nothing wait.
    Blocking = 1,
    /// They do not.
    Nonblocking = 2,
    /// They wait for bytes without a limit.
    NoReceiveLimit = 4,
    /// They wait for room without a limit.
    NoSendLimit = 8,
}

const MODES: u32 = 0xff;
/// Changes are counted above the modes.
const CHANGE: u32 = MODES + 1;

/// The word of an endpoint: what is known, and how many changes there have been.
#[repr(transparent)]
pub struct WaitingModes(AtomicU32);

/// What is known at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Known(u32);

impl Known {
    /// True when the socket has said so.
    #[inline]
    #[must_use]
    pub fn is(self, mode: Mode) -> bool {
        self.0 & mode as u32 != 0
    }
}

impl WaitingModes {
    /// Before the program's call that may change a mode, and behind it.
    pub fn changed(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some((word & !MODES).wrapping_add(CHANGE))
            });
    }

    /// The socket has said so when it was asked behind `known`; forgotten if there was a change meanwhile.
    pub fn remember(&self, known: Known, mode: Mode) {
        let _ = self.0.compare_exchange(
            known.0,
            known.0 | mode as u32,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

impl Endpoint {
    /// What is known of the waiting of calls; nothing where it might have changed untold.
    #[inline]
    #[must_use]
    pub fn known_waiting(&self) -> Option<Known> {
        let known = Known(self.waiting.0.load(Ordering::Acquire));
        let tells = HAS_STARTED_OTHERS.load(core::sync::atomic::Ordering::Relaxed) == 0
            && self.binding.load(Ordering::Acquire) == binding::BOUND
            && crate::family::process_place().is_some_and(|place| !self.may_have_others(place));
        tells.then_some(known)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_a_change_is_not_believed_behind_it() {
        let word = WaitingModes(AtomicU32::new(0));
        let known = |word: &WaitingModes| Known(word.0.load(Ordering::Acquire));
        let before = known(&word);
        word.remember(before, Mode::Blocking);
        assert!(known(&word).is(Mode::Blocking) && !known(&word).is(Mode::NoSendLimit));
        word.remember(known(&word), Mode::NoReceiveLimit);
        assert!(known(&word).is(Mode::Blocking) && known(&word).is(Mode::NoReceiveLimit));
        let asked = known(&word);
        word.changed();
        assert!(!known(&word).is(Mode::Blocking) && !known(&word).is(Mode::NoReceiveLimit));
        word.remember(asked, Mode::NoSendLimit);
        assert!(!known(&word).is(Mode::NoSendLimit));
        for _ in 0..3 {
            word.changed();
        }
        word.remember(known(&word), Mode::Nonblocking);
        assert!(known(&word).is(Mode::Nonblocking) && !known(&word).is(Mode::Blocking));
    }
}
