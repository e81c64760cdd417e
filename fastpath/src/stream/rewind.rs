//! REWIND (SWITCH.md §4): the far side has left, so what it did not read goes through the kernel, before anything newer.

use super::Stream;
use super::labels::{Label, reached};
use crate::kernel_call;
use crate::ring::RingBytes;
use crate::statistics::count;
use crate::sync::Ordering;
use core::ffi::c_int;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;
const EAGAIN: i32 = 11;
const EINTR: i32 = 4;

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
                endpoint.rewind_position.set(head.wrapping_add(1));
                count(Counter::Rewinds, u64::from(unread > 0));
                reached(Label::RewindStart);
            }
            #[expect(unsafe_code, reason = "the own ring was checked at its allocation")]
            // SAFETY: address and length were stored by ensure_ring; the channel stays mapped while bound.
            let bytes = unsafe {
                RingBytes::at(
                    endpoint.tx_ring.get() as *mut u8,
                    endpoint.tx_ring_bytes.get(),
                )
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
                        endpoint
                            .rewind_position
                            .set(position.wrapping_add(1 + count_sent as u64));
                        count(Counter::RewoundBytes, count_sent as u64);
                        reached(Label::RewindSend);
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
        if resent && !half_closed && super::line::is_reset_now(self.descriptor) {
            // Nobody took them: the far side closed with bytes of ours unread, which is a reset (shown once).
            endpoint.reset_due.set(1);
        }
        super::line::restore_sending_options(endpoint, self.descriptor);
        endpoint.over.set(1);
        endpoint
            .reason
            .store(Reason::PeerLeft as u32, Ordering::Relaxed);
        endpoint.rewind_position.set(0);
        reached(Label::RewindOver);
        self.switched.set(true);
        Rewound::Over
    }
}
