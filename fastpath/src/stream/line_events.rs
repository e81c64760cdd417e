//! What an event of the line means while a ring carries: bells, which are taken; an end of the kernel stream, which is
//! noted; or bytes that nobody of us has sent, for which the connection is condemned.

use super::Stream;
use super::line::{self, Peeked};
use crate::endpoint::binding;
use crate::kernel_call::poll_one;
use crate::sync::Ordering;
use kmod_interface::reason::Reason;
use libc::{POLLERR, POLLHUP, POLLIN, POLLRDHUP};

impl Stream {
    /// An empty ring: has the kernel stream ended meanwhile? Bells that have arrived are consumed on the way.
    pub(super) fn look_at_line(&self) {
        let endpoint = self.endpoint;
        let events = poll_one(self.descriptor, POLLIN | POLLRDHUP, 0);
        if events == 0 {
            return;
        }
        let end = self.far().koff().load(Ordering::Acquire);
        if endpoint.krx.get() != end {
            self.consume_to(end);
        } else if events & POLLIN != 0 && self.holds_foreign_bytes() {
            return self.condemn(Reason::UsedBehind);
        }
        if events & (POLLRDHUP | POLLHUP | POLLERR) != 0
            && endpoint.krx.get() == self.far().koff().load(Ordering::Acquire)
        {
            match line::peek(self.descriptor) {
                Peeked::End => self.kernel_ended(None),
                Peeked::Failed(errno) => self.kernel_ended(Some(errno)),
                Peeked::Byte | Peeked::Nothing => {}
            }
        }
    }

    /// True when a byte lies on the line that the far side has not counted: no bell (a bell is counted before it is sent),
    /// and nothing would ever take it away. Somebody writes behind the far side, or it lies. Under `rx_lock`.
    fn holds_foreign_bytes(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || endpoint.rx_ep.get() & 1 == 0
        {
            return false;
        }
        match line::peek(self.descriptor) {
            Peeked::Byte => {}
            Peeked::Failed(errno) => {
                // The socket shows it once, and that was now.
                self.kernel_ended(Some(errno));
                return false;
            }
            Peeked::End | Peeked::Nothing => return false,
        }
        // Behind the peek: whatever counted the byte, or switched before it was sent, is seen.
        let far = self.far();
        far.koff().load(Ordering::Acquire) == endpoint.krx.get()
            && far.ep().load(Ordering::Acquire) == endpoint.rx_ep.get()
    }

    /// For a sleeper that the line has woken again and again although nothing had happened.
    pub fn distrust_line(&self) {
        if self.lock_receiving().is_err() {
            return;
        }
        if self.holds_foreign_bytes() {
            self.condemn(Reason::UsedBehind);
        }
        self.unlock_receiving();
    }

    /// After an event of the line: takes the bells that have arrived, unless somebody sleeps on them. Says how many.
    pub fn drain_line(&self) -> u64 {
        if self.lock_receiving().is_err() {
            return 0;
        }
        let endpoint = self.endpoint;
        let before = endpoint.krx.get();
        if endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && endpoint.rx_ep.get() & 1 == 1
            && !endpoint.has_sleepers()
        {
            let far = self.far();
            let end = if far.ep().load(Ordering::Acquire) == endpoint.rx_ep.get() {
                far.koff().load(Ordering::Acquire)
            } else {
                far.kr().load(Ordering::Acquire)
            };
            if before != end {
                self.consume_to(end);
            } else if self.holds_foreign_bytes() {
                self.condemn(Reason::UsedBehind);
            }
        }
        let taken = endpoint.krx.get().wrapping_sub(before);
        self.unlock_receiving();
        taken
    }
}
