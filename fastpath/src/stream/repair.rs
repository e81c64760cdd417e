//! After the death of a thread that held a lock of the endpoint (SWITCH.md §6): published words are the truth, offsets are
//! the kernel's.

use super::{Stream, line};
use crate::endpoint::binding;
use crate::statistics::count;
use crate::sync::Ordering;
use kmod_interface::statistics::Counter;

impl Stream {
    /// After taking `tx_lock` from a dead owner (SWITCH.md §6): the published words are the truth, the offset is the
    /// kernel's; bells that were counted but not sent are sent, and one more.
    pub(super) fn repair_sending(&self) {
        count(Counter::LocksRecovered, 1);
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return;
        }
        let own = self.own();
        endpoint.tx_tail.set(own.tail().load(Ordering::Acquire));
        let ep = own.ep().load(Ordering::Acquire);
        endpoint.tx_ep.set(ep);
        let on_ring = ep & 1 == 1;
        if own.fin().load(Ordering::Acquire) != 0 {
            // The dead was shutting down: no bell any more, and nothing behind `fin` would be read.
            endpoint.write_shut.set(1);
        }
        if ep != 0
            && endpoint.over.get() == 0
            && let Some(sent) = line::sent_offset_of_writer(self.descriptor)
        {
            // While the kernel carries only the closing bell can be missing. `koff` may count the opening bell of an
            // upgrade that was never made: the program's next byte will have that place.
            let counted = if on_ring {
                own.koff().load(Ordering::Acquire)
            } else {
                own.kr().load(Ordering::Acquire)
            };
            let mut offset = sent;
            while offset.wrapping_sub(counted) > u64::MAX / 2 {
                let _ = line::send_bell(self.descriptor, offset);
                offset = offset.wrapping_add(1);
            }
            endpoint.ktx.set(if on_ring { offset } else { counted });
            if on_ring && endpoint.write_shut.get() == 0 {
                // What the dead had noted as rung for, it may not have rung for.
                self.ring();
            }
        }
        own.ringing().store(0, Ordering::Release);
    }

    /// After taking `rx_lock` from a dead owner: published words are the truth, the kernel offset is recomputed.
    pub(super) fn repair_receiving(&self) {
        count(Counter::LocksRecovered, 1);
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return;
        }
        let own = self.own();
        endpoint.rx_head.set(own.head().load(Ordering::Acquire));
        endpoint.rx_ep.set(own.rx_ep().load(Ordering::Acquire));
        endpoint.granted.set(own.grant().load(Ordering::Acquire));
        if let Some(taken) = line::taken_offset(self.descriptor) {
            endpoint.krx.set(taken);
            own.krx().store(taken, Ordering::Release);
        }
    }
}
