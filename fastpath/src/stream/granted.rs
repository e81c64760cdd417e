//! RECV while the kernel carries (SWITCH.md §3): under an open grant only what certainly lies before a switch, and never
//! blocking; without one by the program's own call, which is counted.

use super::Stream;
use super::ends::End;
use super::labels::{Label, reached};
use super::line::{self, Peeked};
use super::pieces::Pieces;
use super::receive::{Received, Taking};
use crate::endpoint::{binding, kernel_end};
use crate::kernel_call;
use crate::sync::Ordering;
use libc::{EAGAIN, EINTR, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, POLLIN, POLLRDHUP};

impl Stream {
    /// A grant is open and the kernel carries. `None`: the switch was passed (or the connection condemned), look again.
    pub(super) fn receive_granted(&self, pieces: &mut Pieces, taking: Taking) -> Option<Received> {
        let endpoint = self.endpoint;
        // Count before look: what is counted here lies before a switch that is not seen below.
        let unread = line::unread_bytes(self.descriptor);
        reached(Label::ReceiveGrantedCount);
        let Ok(ep) = self.far_ep() else {
            self.condemn_misbehaved();
            return None;
        };
        if ep != endpoint.rx_ep.get() {
            self.pass_upgrade();
            return None;
        }
        let minimum = taking.minimum as u64;
        if unread == 0 || unread < minimum {
            return match line::peek(self.descriptor) {
                Peeked::Nothing => Some(Received::Empty),
                // Behind bytes of this receive an urgent byte ends it; what lies further belongs to the next one.
                Peeked::Byte if unread == 0 && taking.behind => Some(Received::Empty),
                Peeked::Byte if unread == 0 => {
                    // It came after the count, or it lies behind an urgent byte, which is not counted. All of it, as one
                    // kernel receive would. Looked at after the bytes were seen, an unchanged `ep` says that they lie
                    // before a switch.
                    let present = line::bytes_of_one_receive(self.descriptor).max(1);
                    if self.far().ep().load(Ordering::Acquire) != ep {
                        return None;
                    }
                    Some(self.take_granted(pieces, taking, present))
                }
                Peeked::Byte if !self.has_kernel_ended() => Some(Received::Empty),
                Peeked::Byte => Some(self.take_granted(pieces, taking, unread)),
                Peeked::End => {
                    self.kernel_ended(None);
                    Some(self.show_end(End::Kernel))
                }
                Peeked::Failed(errno) if self.has_announced_an_end() => {
                    endpoint.keof.fetch_max(kernel_end::ENDED, Ordering::AcqRel);
                    Some(Received::Failed(errno))
                }
                Peeked::Failed(errno) => {
                    self.kernel_ended(Some(errno));
                    Some(self.show_end(End::Kernel))
                }
            };
        }
        Some(self.take_granted(pieces, taking, unread))
    }

    fn has_kernel_ended(&self) -> bool {
        kernel_call::poll_one(self.descriptor, POLLRDHUP, 0) != 0
    }

    fn take_granted(&self, pieces: &mut Pieces, taking: Taking, unread: u64) -> Received {
        let endpoint = self.endpoint;
        if pieces.present().is_none() {
            return Received::Bytes(0);
        }
        let mut left = unread;
        let mut total: usize = 0;
        let mut flags = MSG_DONTWAIT;
        if taking.peek {
            flags |= MSG_PEEK;
        }
        if taking.discard {
            flags |= MSG_TRUNC;
        }
        while left > 0 {
            let Some((target, length)) = pieces.present() else {
                break;
            };
            let part = (length as u64).min(left) as usize;
            if taking.peek && total > 0 {
                // A second peek would show the first bytes again; one piece at a time is what a peek can do here.
                break;
            }
            #[expect(unsafe_code, reason = "receives into the program's buffer")]
            // SAFETY: the kernel checks the program's buffer itself and answers EFAULT.
            let taken = unsafe { kernel_call::receive(self.descriptor, target, part, flags) };
            match taken {
                Ok(0) => break,
                Ok(count) => {
                    pieces.advance(count);
                    total += count;
                    left -= count as u64;
                    if !taking.peek {
                        self.own()
                            .krx()
                            .store(endpoint.krx.add(count as u64), Ordering::Release);
                    }
                }
                Err(EINTR) => {}
                Err(errno) => {
                    if total == 0 && errno != EAGAIN {
                        return Received::Failed(errno);
                    }
                    break;
                }
            }
        }
        reached(Label::ReceiveGrantedTake);
        if total == 0 {
            return Received::Empty;
        }
        if !taking.peek {
            endpoint.count_granted(total);
        }
        Received::Bytes(total)
    }

    /// RECV, even, "offer waiting": an upgrade is wanted, but another thread is inside a kernel receive, so that no grant
    /// can be given now. With nothing to take, this one must not join it there: where several threads block, there would
    /// always be one, and never a grant. It sleeps as with a grant. Under `rx_lock`.
    #[cold]
    pub(super) fn waits_for_grant(&self) -> bool {
        self.endpoint.irx.any()
            && self.may_grant()
            && line::unread_bytes(self.descriptor) == 0
            && kernel_call::poll_one(self.descriptor, POLLIN | POLLRDHUP, 0) == 0
    }

    pub(super) fn enter_kernel_receive(&self) -> Received {
        let endpoint = self.endpoint;
        endpoint.irx.enter();
        reached(Label::ReceiveKernelEnter);
        if endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && endpoint.over.get() == 0
            && endpoint.tx_ep.get() & 1 == 1
            && self.far().head().load(Ordering::Relaxed) != endpoint.tx_tail.get()
        {
            return Received::KernelBounded;
        }
        Received::Kernel
    }
}
