//! REWIND (SWITCH.md §4): the far side has left, so what it did not read goes through the kernel, before anything newer.
//!
//! Each byte once, also when the process dies between a send and the note of it, and a fork relative goes on: before the
//! first send it is noted where the kernel stands (`rewind_base`), from then on nothing but the rewind is sent, and so
//! what the kernel has accepted since tells how far it came ([`Stream::recount_rewind`]). `rewind_position` is no more
//! than a note of that, which spares its owner the question.

use super::Stream;
use super::labels::{Label, reached};
use super::line::{self, Accepted};
use crate::kernel_call;
use crate::statistics::count;
use crate::sync::Ordering;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use libc::{EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL};

/// What a rewind came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewound {
    /// Done: plain kernel for ever.
    Over,
    /// The kernel's buffer is full; go on later.
    Blocked,
    /// The far side lied about its position.
    Condemned,
}

impl Stream {
    /// Goes on with a rewind if one is due; takes `tx_lock`. For readers, pollers and leavers.
    pub fn rewind(&self) -> Rewound {
        if self.lock_sending().is_err() {
            return Rewound::Blocked;
        }
        let rewound = if self.is_bound() && self.far().gone().load(Ordering::Acquire) != 0 {
            self.rewind_locked()
        } else {
            Rewound::Over
        };
        self.unlock_sending();
        rewound
    }

    /// Under `tx_lock`, the far side's `gone` seen.
    pub(super) fn rewind_locked(&self) -> Rewound {
        let endpoint = self.endpoint;
        if endpoint.over.get() != 0 {
            return Rewound::Over;
        }
        let mut resent = endpoint.rewind_position.get() != 0;
        if endpoint.tx_ep.get() & 1 == 1 && endpoint.write_shut.get() == 0 {
            if endpoint.rewind_position.get() == 0 {
                let head = self.far().head().load(Ordering::Acquire);
                let unread = endpoint.tx_tail.get().wrapping_sub(head);
                if unread > u64::from(endpoint.tx_ring_bytes.get()) {
                    self.condemn_misbehaved();
                    return Rewound::Condemned;
                }
                let base = match line::accepted(self.descriptor) {
                    Accepted::Bytes(accepted) => Some(accepted.wrapping_sub(head)),
                    // It can be told only when somebody dies, and then there is a reset.
                    Accepted::Ended | Accepted::Unknown => None,
                };
                endpoint.rewind_base.set(base.unwrap_or(0));
                endpoint.rewind_counted.set(u32::from(base.is_some()));
                // Last: until then nothing has begun.
                endpoint.rewind_position.set(head.wrapping_add(1));
                count(Counter::Rewinds, u64::from(unread > 0));
                reached(Label::RewindStart);
            }
            let Ok(bytes) = self.own_ring_bytes() else {
                self.condemn(Reason::LeftBehind);
                return Rewound::Condemned;
            };
            loop {
                let position = endpoint.rewind_position.get().wrapping_sub(1);
                let unread = endpoint.tx_tail.get().wrapping_sub(position);
                if unread == 0 {
                    break;
                }
                resent = true;
                let [(source, length), _] = bytes.pieces(position, unread as usize);
                #[expect(unsafe_code, reason = "sends from the own ring")]
                // SAFETY: the piece lies inside the own ring.
                let sent = unsafe {
                    kernel_call::send(self.descriptor, source, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                };
                match sent {
                    Ok(count_sent) => {
                        reached(Label::RewindSend);
                        endpoint
                            .rewind_position
                            .set(position.wrapping_add(1 + count_sent as u64));
                        count(Counter::RewoundBytes, count_sent as u64);
                        reached(Label::RewindCount);
                    }
                    Err(EINTR) => {}
                    Err(EAGAIN) => {
                        reached(Label::RewindWait);
                        return Rewound::Blocked;
                    }
                    Err(_) => break,
                }
            }
        }
        let half_closed = self.far().fin().load(Ordering::Acquire) != 0;
        if resent && !half_closed && line::is_reset_now(self.descriptor) {
            // Nobody took them: the far side closed with bytes of ours unread, which is a reset (shown once).
            endpoint.reset_due.set(1);
        }
        line::restore_sending_options(endpoint, self.descriptor);
        endpoint.over.set(1);
        endpoint
            .reason
            .store(Reason::PeerLeft as u32, Ordering::Relaxed);
        endpoint.rewind_position.set(0);
        reached(Label::RewindOver);
        self.switched.set(true);
        Rewound::Over
    }

    /// Under `tx_lock`, whose owner died within a rewind and may have sent a piece that it did not note: the kernel says
    /// how far it came. Where it does not, the stream ends: a byte that may come twice is worse.
    pub(super) fn recount_rewind(&self) {
        let endpoint = self.endpoint;
        let noted = endpoint.rewind_position.get().wrapping_sub(1);
        let accepted = match line::accepted(self.descriptor) {
            Accepted::Bytes(accepted) if endpoint.rewind_counted.get() != 0 => accepted,
            // Nothing can be sent any more, so nothing twice.
            Accepted::Ended => return,
            Accepted::Bytes(_) | Accepted::Unknown => return self.condemn(Reason::LeftBehind),
        };
        let position = accepted.wrapping_sub(endpoint.rewind_base.get());
        if position.wrapping_sub(noted) > endpoint.tx_tail.get().wrapping_sub(noted) {
            // More than the ring held, or less than was noted: somebody else has sent here.
            return self.condemn(Reason::UsedBehind);
        }
        endpoint.rewind_position.set(position.wrapping_add(1));
        count(Counter::RewoundBytes, position.wrapping_sub(noted));
    }
}
