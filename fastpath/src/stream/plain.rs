//! The program's own kernel calls, counted: by the general call under its lock, and without one where no channel is.
//!
//! An endpoint that is not bound has no grant, no ring and no bell, so a call on it only has to be seen by a binding that
//! comes while it lasts: SEND 3 and RECV 2 of SWITCH.md §3 in one step (see [`crate::in_kernel::InKernel`], N1).

use super::Stream;
use super::labels::{Label, reached};
use crate::endpoint::Endpoint;
use crate::statistics::Row;
use crate::sync::Ordering;

impl Endpoint {
    /// Counts the calling thread as inside a kernel send if the endpoint is unbound and in its life `generation`;
    /// [`Self::kernel_sent`] must follow then. False: the general call must be made. No lock is needed.
    #[inline(always)]
    #[must_use]
    pub fn enter_send_if_unbound(&self, generation: u32) -> bool {
        let entered = self.itx.enter_if_unbound(generation);
        if entered {
            reached(Label::SendKernelEnter);
        }
        entered
    }

    /// As [`Self::enter_send_if_unbound`], for a consuming receive; [`Self::kernel_received`] must follow.
    #[inline(always)]
    #[must_use]
    pub fn enter_receive_if_unbound(&self, generation: u32) -> bool {
        let entered = self.irx.enter_if_unbound(generation);
        if entered {
            reached(Label::ReceiveKernelEnter);
        }
        entered
    }

    /// After a kernel send of a thread that was counted: `bytes` were written; `calls`: 1 if it counts as a call, else 0.
    /// The caller has seen that the endpoint is still in its life `generation`.
    #[inline(always)]
    pub fn kernel_sent(&self, generation: u32, bytes: usize, calls: u32) {
        reached(Label::SendKernelCall);
        if bytes > 0 {
            self.kernel_bytes_out
                .fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let row = Row::of(self);
        // Behind that look at the row: it is of this life if the thread leaves this life.
        if let Some(calls) = self.itx.leave(generation, calls) {
            row.show_kernel_out(self, calls);
        }
        reached(Label::SendKernelCount);
    }

    /// After a kernel receive of a thread that was counted: `bytes` were taken from the stream (0 for a peek or a failure).
    /// As [`Self::kernel_sent`].
    #[inline(always)]
    pub fn kernel_received(&self, generation: u32, bytes: usize) {
        reached(Label::ReceiveKernelCall);
        if bytes > 0 {
            self.kernel_bytes_in
                .fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let row = Row::of(self);
        // As in `kernel_sent`.
        if let Some(calls) = self.irx.leave(generation, u32::from(bytes > 0)) {
            row.show_kernel_in(self, calls);
        }
        reached(Label::ReceiveKernelCount);
    }

    /// Bytes that were taken from the kernel stream under `rx_lock`.
    pub(super) fn count_granted(&self, bytes: usize) {
        self.kernel_bytes_in
            .fetch_add(bytes as u64, Ordering::Relaxed);
        Row::of(self).show_kernel_in(self, self.irx.count_call());
    }
}

impl Stream {
    /// After the program's own kernel send, which [`super::send::Sent::Kernel`] asked for: `bytes` were written.
    #[inline]
    pub fn kernel_sent(&self, bytes: usize) {
        self.endpoint.kernel_sent(self.generation, bytes, 1);
    }

    /// After the program's own kernel receive, which [`super::receive::Received::Kernel`] asked for: `bytes` were taken from
    /// the stream (0 for a peek or a failure).
    #[inline]
    pub fn kernel_received(&self, bytes: usize) {
        self.endpoint.kernel_received(self.generation, bytes);
    }
}
