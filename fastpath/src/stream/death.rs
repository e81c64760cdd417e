//! The far process has died: the kernel stream has ended, and nobody had announced it (SWITCH.md §4 "SIGKILL").
//!
//! A side that ends in order says so before the kernel does: `fin` before its shutdown, `gone` before its close. So an
//! end of K with neither, both loaded after it was seen, is the death of the last holder.
//!
//! What TCP shows then depends on whether the dead left bytes of ours unread: an end of stream, or a reset. The kernel
//! knows nothing of those in our ring and says FIN. The reset it would have sent is made up for by ending the socket
//! here, so that receive, send, poll, SO_ERROR and every epoll set that the kernel serves show what they show behind an
//! RST: one error, then ends. Ending the socket discards what the kernel holds, so a reset waits (`reset_due`) until the
//! program has read that. The other way round, an RST that only unread bells have caused is an end like any other, where the ring carried
//! what the dead had sent.
//!
//! A side that has shut its writing has said its end before, and its kernel is silent when it dies: only to a byte that it
//! had not read TCP answers with a reset. So it gets one to leave unread: a bell that nobody sleeps for, once for what was
//! published ([`Stream::guard_half_close`]). Whoever reads the ring to its end takes that bell, too. What the survivor is
//! told then is the kernel's. Limit: a far side that slept on the socket meanwhile, without reading, has taken the bell, and
//! its death is seen at the next send.
//!
//! `reset_due` and `reset_shown` are only ever set; the error itself is one, in the socket or in `Endpoint::error`.

use super::Stream;
use super::ends::End;
use super::line;
use super::receive::Received;
use crate::endpoint::kernel_end;
use crate::kernel_call::poll_one;
use crate::sync::Ordering;
use libc::{ECONNRESET, EPIPE, POLLERR, POLLHUP, POLLRDHUP};

impl Stream {
    /// Notes that the kernel stream has ended, in order or by `errno`, which was taken from the socket. Under `rx_lock`;
    /// or under `tx_lock`, when a bell could not be sent.
    pub(super) fn kernel_ended(&self, errno: Option<i32>) {
        let endpoint = self.endpoint;
        // A broken pipe is what a writer is told; a reader has just come to the end.
        let errno = errno.filter(|errno| *errno != EPIPE);
        if self.has_announced_an_end() {
            // A reset while bells were unread is only an end; one behind an orderly `gone`, which consumed its bells
            // first, was meant (SO_LINGER 0, connect to AF_UNSPEC).
            if let Some(errno) = errno
                && (!line::is_reset(errno) || self.far().gone().load(Ordering::Acquire) != 0)
            {
                endpoint.error.store(errno as u32, Ordering::Release);
            }
            endpoint.keof.fetch_max(kernel_end::ENDED, Ordering::AcqRel);
            return;
        }
        let before = endpoint.keof.swap(kernel_end::DEATH, Ordering::AcqRel);
        let is_reset = errno.is_some_and(line::is_reset);
        if let Some(errno) = errno
            && (!is_reset || endpoint.reset_shown.get() != 0)
        {
            // A failure of another kind; or the very error that stood for the reset, which a sleeper took.
            endpoint.error.store(errno as u32, Ordering::Release);
            return;
        }
        // What was sent after the death was seen does not count: TCP has shown the end before.
        let left_unread = before != kernel_end::DEATH && self.has_far_left_unread();
        if left_unread || (is_reset && self.is_reset_by_more_than_bells()) {
            endpoint.reset_due.set(1);
        }
        self.show_reset();
    }

    /// The far side has said that it ends, or this side has itself stopped to read. To be asked after the end of K was seen.
    pub(super) fn has_announced_an_end(&self) -> bool {
        let far = self.far();
        far.gone().load(Ordering::Acquire) != 0
            || far.fin().load(Ordering::Acquire) != 0
            || self.endpoint.read_shut.get() != 0
    }

    /// The far process has died, as far as this side has noticed.
    #[inline]
    #[must_use]
    pub fn is_far_dead(&self) -> bool {
        self.endpoint.keof.load(Ordering::Acquire) == kernel_end::DEATH
    }

    /// The far side has only shut its writing, and bytes of ours lie in its ring.
    pub(super) fn is_half_closed_and_unread(&self) -> bool {
        let far = self.far();
        self.endpoint.tx_ep.get() & 1 == 1
            && far.fin().load(Ordering::Acquire) != 0
            && far.gone().load(Ordering::Acquire) == 0
            && self.has_far_left_unread()
    }

    /// The far side's end was seen; if that is a half-close, it is not to die unnoticed. No lock is held.
    #[cold]
    pub(super) fn guard_half_close(&self) {
        let endpoint = self.endpoint;
        if !self.is_bound()
            || !self.is_half_closed_and_unread()
            || endpoint.guarded_tail.get() == endpoint.tx_tail.get()
            || self.lock_sending().is_err()
        {
            return;
        }
        if self.is_bound()
            && endpoint.tx_ep.get() & 1 == 1
            && endpoint.write_shut.get() == 0
            && endpoint.over.get() == 0
            && endpoint.broken.get() == 0
        {
            endpoint.guarded_tail.set(endpoint.tx_tail.get());
            // One that lies unread already will do.
            if self.far().krx().load(Ordering::Acquire) == endpoint.ktx.get() {
                self.ring();
            }
        }
        self.unlock_sending();
    }

    /// The ring holds bytes of ours that the far side has not taken.
    fn has_far_left_unread(&self) -> bool {
        self.endpoint.over.get() == 0
            && self.far().head().load(Ordering::Acquire) != self.endpoint.tx_tail.get()
    }

    /// The kernel said RST; is one due, or were there only bells that the dead had not consumed?
    fn is_reset_by_more_than_bells(&self) -> bool {
        if self.endpoint.rx_ep.get() & 1 == 0 {
            // What the dead had sent by the kernel may have perished with it; no end may hide that.
            return true;
        }
        let ep = self.endpoint.tx_ep.get();
        if ep & 1 == 1 {
            // Nothing of the program's was unread in the kernel at the upgrade (invariant 2).
            return false;
        }
        // Bells lie before the closing one, which a far side that has passed the switch has consumed; what was sent since
        // then lies behind it.
        self.far().rx_ep().load(Ordering::Acquire) == ep
            || line::sent_at_least(self.descriptor) > self.endpoint.ktx.get()
    }

    /// Turns the end into the reset that is due, unless the kernel still holds bytes of the program.
    pub(super) fn show_reset(&self) {
        let endpoint = self.endpoint;
        if endpoint.reset_due.get() == 0 || endpoint.reset_shown.get() != 0 {
            return;
        }
        let rx_ep = endpoint.rx_ep.get();
        let only_bells = rx_ep & 1 == 1 && self.far().ep().load(Ordering::Acquire) == rx_ep;
        if !only_bells && line::unread_bytes(self.descriptor) > 0 {
            return;
        }
        endpoint.reset_shown.set(1);
        // Threads inside a call of the kernel's would be told EPIPE; they come out by themselves.
        let is_alone = !endpoint.itx.any() && !endpoint.irx.any();
        if !(is_alone && line::end_by_reset(self.descriptor)) {
            endpoint.error.store(ECONNRESET as u32, Ordering::Release);
        }
        self.switched.set(true);
    }

    /// Data waits to be received: has the far process died behind it? Under `rx_lock`.
    pub(super) fn look_for_death(&self) {
        let endpoint = self.endpoint;
        if self.is_far_dead() {
            self.show_reset();
            return;
        }
        let events = poll_one(self.descriptor, POLLRDHUP, 0);
        if events & (POLLRDHUP | POLLHUP | POLLERR) == 0 || self.has_announced_an_end() {
            return;
        }
        let rx_ep = endpoint.rx_ep.get();
        if rx_ep & 1 == 1 && self.far().ep().load(Ordering::Acquire) == rx_ep {
            let errno = if events & POLLERR != 0 {
                line::take_error(self.descriptor)
            } else {
                None
            };
            self.kernel_ended(errno);
            return;
        }
        // Bytes of the program may lie before that end; an error stays in the socket till they were read.
        if self.has_far_left_unread() {
            endpoint.keof.store(kernel_end::DEATH, Ordering::Release);
            endpoint.reset_due.set(1);
            self.show_reset();
        }
    }

    /// The program's own kernel receive came to an end of stream, or failed with `errno`. `Some`: what it has to say
    /// instead; 0 is the end of the stream.
    #[must_use]
    pub fn kernel_receive_ended(&self, errno: Option<i32>) -> Option<i32> {
        if self.lock_receiving().is_err() {
            return None;
        }
        let endpoint = self.endpoint;
        let is_judged = self.is_bound()
            && endpoint.rx_ep.get() & 1 == 0
            && endpoint.tx_ep.get() != 0
            && !self.has_announced_an_end();
        let answer = if is_judged {
            self.kernel_ended(errno);
            match self.show_end(End::Kernel) {
                Received::Failed(errno) => Some(errno),
                _ => Some(0),
            }
        } else {
            if errno.is_none() {
                endpoint.keof.fetch_max(kernel_end::ENDED, Ordering::AcqRel);
            }
            None
        };
        self.unlock_receiving();
        answer
    }

    /// Under `tx_lock`, `ep` odd: no bell any more, which the kernel would answer with a reset. The ring goes nowhere;
    /// plain kernel for ever, which says what a writer is told.
    #[cold]
    pub(super) fn send_to_the_dead(&self) {
        if !self.is_far_dead() && !self.has_announced_an_end() {
            // A bell could not be sent.
            self.kernel_ended(None);
        }
        line::restore_sending_options(self.endpoint, self.descriptor);
        self.endpoint.over.set(1);
        self.switched.set(true);
    }
}
