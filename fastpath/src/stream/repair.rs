//! After the death of a thread that held a lock of the endpoint (SWITCH.md §6): family memory is the truth, offsets are the
//! kernel's.
//!
//! Each step is noted in family memory before the far side is shown it. So whatever the dead had shown, its relatives know,
//! and what it had noted and not shown they show now. Nothing is read back from the own entry: the far side may have made
//! that memory, and be able to write there (PROTOCOL.md §1).

use super::{Stream, line};
use crate::endpoint::binding;
use crate::kernel_call;
use crate::statistics::count;
use crate::sync::{Ordering, full_fence};
use kmod_interface::statistics::Counter;

impl Stream {
    /// After taking `tx_lock` from a dead owner: what it had begun to show is shown, a bell that it had counted is sent,
    /// and a shutdown that it had begun is made.
    pub(super) fn repair_sending(&self) {
        if !self.begin_repair() {
            return;
        }
        let (endpoint, own) = (self.endpoint, self.own());
        own.tail().store(endpoint.tx_tail.get(), Ordering::Release);
        if endpoint.write_shut.get() != 0 {
            // Nothing was under way but the end. Whether the far side was shown it, and the kernel told: now both are.
            self.publish_fin();
            kernel_call::shut_writing(self.descriptor);
        } else if endpoint.over.get() != 0 {
            // Plain kernel for ever.
        } else if endpoint.rewind_position.get() != 0 {
            // The far side has left: no bell any more.
            self.recount_rewind();
        } else if endpoint.tx_ep.get() & 1 == 1 {
            self.repair_on_ring();
        } else {
            self.repair_on_kernel();
        }
        own.ringing().store(0, Ordering::Release);
        self.switched.set(true);
    }

    /// `ep` is odd: one bell may have been counted and not sent, that of the upgrade or another. The one that rings for
    /// what the dead had noted as rung for, and may not have rung for, takes its place.
    fn repair_on_ring(&self) {
        let (endpoint, own) = (self.endpoint, self.own());
        let sent = line::sent_offset_of_writer(self.descriptor);
        if let Some(sent) = sent {
            self.count_back(sent);
        }
        own.ep().store(endpoint.tx_ep.get(), Ordering::Release);
        if sent.is_some() && endpoint.broken.get() == 0 {
            self.ring();
        }
    }

    /// `ep` is even: the closing bell may be missing, and no other. That of an upgrade that was counted and not made never
    /// comes: the program's next byte has its place.
    fn repair_on_kernel(&self) {
        let (endpoint, own) = (self.endpoint, self.own());
        if endpoint.tx_ep.get() != 0 {
            let end = endpoint.kr.get();
            endpoint.ktx.set(end);
            own.kr().store(end, Ordering::Relaxed);
            own.koff().store(end, Ordering::Release);
            own.ep().store(endpoint.tx_ep.get(), Ordering::Release);
            let sent = line::sent_offset_of_writer(self.descriptor);
            if sent == Some(end.wrapping_sub(1)) && endpoint.broken.get() == 0 {
                self.send_switching_bell();
            }
        }
        line::restore_sending_options(endpoint, self.descriptor);
    }

    /// After taking `rx_lock` from a dead owner: what it had begun to show is shown, the kernel offset is recomputed.
    pub(super) fn repair_receiving(&self) {
        if !self.begin_repair() {
            return;
        }
        let (endpoint, own) = (self.endpoint, self.own());
        if let Some(taken) = line::taken_offset(self.descriptor) {
            endpoint.krx.set(taken);
        }
        own.krx().store(endpoint.krx.get(), Ordering::Release);
        own.head().store(endpoint.rx_head.get(), Ordering::Release);
        own.rx_ep().store(endpoint.rx_ep.get(), Ordering::Release);
        own.grant().store(endpoint.granted.get(), Ordering::Release);
        if endpoint.gone.get() != 0 {
            self.finish_leave();
        }
    }

    /// True when there may be something to repair; everything that the dead had published is then seen.
    fn begin_repair(&self) -> bool {
        count(Counter::LocksRecovered, 1);
        if self.endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return false;
        }
        // Partners: the `publish`es of the dead. What it did before them is done.
        full_fence();
        true
    }
}
