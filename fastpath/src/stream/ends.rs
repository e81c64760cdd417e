//! Ends: shutdown, and what the far side's end looks like here (SWITCH.md §4).

use super::Stream;
use super::labels::{Label, reached};
use super::receive::Received;
use super::rewind::Rewound;
use crate::clock::monotonic_ns;
use crate::endpoint::kernel_end;
use crate::kernel_call;
use crate::sync::Ordering;
use kmod_interface::ict::{FIN_ON_KERNEL, FIN_ON_RING};
use kmod_interface::limits::LEAVE_PATIENCE_MS;
use kmod_interface::reason::Reason;
use libc::{F_GETFL, O_NONBLOCK, POLLOUT};

/// Looks for threads inside a kernel send before a shutdown goes on without them.
const SHUTDOWN_YIELDS: u32 = 100;

/// Where an end was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `fin` behind the last byte of the ring.
    Shutdown,
    /// The kernel stream ended and the ring is drained.
    Kernel,
    /// The connection was condemned.
    Condemned,
}

impl Stream {
    /// End of stream or reset, as TCP would show it. Under `rx_lock`.
    pub(super) fn show_end(&self, end: End) -> Received {
        let endpoint = self.endpoint;
        if end == End::Kernel {
            self.notice_unread_close();
            self.show_reset();
        }
        let mut error = endpoint.error.swap(0, Ordering::AcqRel) as i32;
        if error == 0 && end == End::Kernel && endpoint.reset_shown.get() != 0 {
            error = super::line::take_error(self.descriptor)
                .filter(|errno| super::line::is_reset(*errno))
                .unwrap_or(0);
        }
        if error == 0 {
            Received::End
        } else {
            Received::Failed(error)
        }
    }

    /// The far side closed in order, with bytes of ours unread and without shutdown: on Linux that is a reset.
    fn notice_unread_close(&self) {
        let endpoint = self.endpoint;
        let far = self.far();
        if !self.is_far_dead()
            && endpoint.tx_ep.get() & 1 == 1
            && endpoint.over.get() == 0
            && endpoint.write_shut.get() == 0
            && endpoint.read_shut.get() == 0
            && far.head().load(Ordering::Acquire) != endpoint.tx_tail.get()
            && far.fin().load(Ordering::Acquire) == 0
        {
            endpoint.reset_due.set(1);
        }
    }

    /// The far side's stream ends behind the last byte of its ring.
    #[inline]
    pub(super) fn has_far_fin(&self) -> bool {
        !matches!(self.far().fin().load(Ordering::Acquire), 0 | FIN_ON_KERNEL)
    }

    /// shutdown(WR): `fin` on the ring; the caller makes the kernel's shutdown between [`Self::begin_shutdown`] and
    /// [`Self::end_shutdown`]. `true`: `end_shutdown` must follow, the sending lock is held.
    pub fn begin_shutdown(&self) -> bool {
        let mut yields = 0;
        let mut patience = None;
        loop {
            if self.lock_sending().is_err() {
                return false;
            }
            if !self.is_bound() {
                self.unlock_sending();
                return false;
            }
            // No thread of this side may be inside a kernel send: its bytes belong before the end.
            if self.endpoint.itx.any() && yields < SHUTDOWN_YIELDS {
                yields += 1;
                self.unlock_sending();
                rustix::thread::sched_yield();
                continue;
            }
            if self.endpoint.over.get() == 0 && !self.announce() {
                match self.rewind_locked() {
                    Rewound::Over => {}
                    Rewound::Condemned => {
                        self.unlock_sending();
                        return false;
                    }
                    Rewound::Blocked => {
                        // Bytes that the program has sent belong before the end. Whoever blocks anyway waits as the
                        // send would have; else the end would hide what is missing, and a reset does not.
                        let now = monotonic_ns();
                        let deadline = *patience.get_or_insert_with(|| {
                            (!self.blocks()).then_some(now + LEAVE_PATIENCE_MS * 1_000_000)
                        });
                        let is_over = deadline.is_some_and(|deadline| now > deadline);
                        if is_over {
                            self.condemn(Reason::LeftBehind);
                        }
                        self.unlock_sending();
                        if is_over {
                            return false;
                        }
                        kernel_call::poll_one(self.descriptor, POLLOUT, 1);
                        continue;
                    }
                }
            }
            self.endpoint.write_shut.publish(1);
            self.publish_fin();
            if self.endpoint.tx_ep.get() & 1 == 1 && self.endpoint.over.get() == 0 {
                reached(Label::FinPublish);
            }
            return true;
        }
    }

    /// Tells the far side of the own shutdown(WR). Under `tx_lock`, announced.
    pub(super) fn publish_fin(&self) {
        let endpoint = self.endpoint;
        if endpoint.over.get() != 0 {
            return;
        }
        let fin = if endpoint.tx_ep.get() & 1 == 1 {
            FIN_ON_RING
        } else {
            FIN_ON_KERNEL
        };
        self.own().fin().store(fin, Ordering::Release);
    }

    /// True unless the descriptor is non-blocking.
    fn blocks(&self) -> bool {
        kernel_call::file_control(self.descriptor, F_GETFL, 0)
            .is_ok_and(|flags| flags & O_NONBLOCK as usize == 0)
    }

    /// After the kernel's shutdown.
    pub fn end_shutdown(&self) {
        reached(Label::FinKernel);
        self.own().ringing().store(0, Ordering::Release);
        self.unlock_sending();
        self.switched.set(true);
    }

    /// shutdown(RD): what is in the ring stays readable, then the stream has ended.
    pub fn shut_reading(&self) {
        self.endpoint.read_shut.set(1);
        self.endpoint
            .keof
            .fetch_max(kernel_end::ENDED, Ordering::AcqRel);
        self.switched.set(true);
    }
}
