//! What the kernel's set is asked for, and how it is told.

use crate::readiness::instance::Held;
use crate::readiness::kernel_set::{self, EDGE, EXCLUSIVE, IN, MODIFY, OUT, PRI, RDHUP, WAKEUP};
use crate::readiness::links::Kind;
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{decide, sharing};
use core::ffi::c_int;

impl Held {
    /// Tells the kernel what is asked of it while a ring carries a direction. When it begins to carry what is sent, it is
    /// told in any case, and looks whether there is room: a kick may have left OUT behind, whose edge was swallowed.
    pub(super) fn tell_kernel_of_carrier(
        &self,
        index: u32,
        registration: &'static Registration,
        by_ring: bool,
    ) {
        let was_by_ring = registration.has(flag::SENDS_BY_RING);
        if by_ring {
            registration.mark(flag::SENDS_BY_RING);
        } else {
            registration.clear(flag::SENDS_BY_RING);
        }
        if was_by_ring && !by_ring && registration.asks(decide::WRITING) {
            let wanted = kernel_events(registration, true, false);
            self.change_kernel(index, registration, wanted);
        } else {
            self.tell_kernel(index, registration, true, by_ring);
        }
    }

    /// Tells the kernel what is asked of it, if that has changed.
    pub fn tell_kernel(
        &self,
        index: u32,
        registration: &'static Registration,
        accelerated: bool,
        sends_by_ring: bool,
    ) {
        let wanted = kernel_events(registration, accelerated, sends_by_ring);
        let present = registration.kernel_events.get();
        // OUT that a kick left behind does no harm while a ring carries: the kernel's socket stays writable.
        let harmless = if accelerated && sends_by_ring && !registration.has(flag::BEACON) {
            OUT
        } else {
            0
        };
        if (present ^ wanted) & !harmless != 0 {
            self.change_kernel(index, registration, wanted);
        }
    }

    /// Changes the kernel's registration. A registration the kernel does not know (closed behind us) leaves the books.
    pub fn change_kernel(&self, index: u32, registration: &'static Registration, events: u32) {
        if !registration.has(flag::ZOMBIE) {
            sharing::tell_kernel(self, || {
                self.change_kernel_now(index, registration, events);
            });
        }
    }

    fn change_kernel_now(&self, index: u32, registration: &'static Registration, events: u32) {
        let set = self.instance.number.get() as c_int;
        let number = registration.number.get() as c_int;
        let data = registration.data.get();
        let result = if (registration.kernel_events.get() | events) & EXCLUSIVE != 0 {
            // An exclusive registration cannot be modified, and none can become one.
            let _ = kernel_set::control(set, kernel_set::DELETE, number, 0, 0);
            kernel_set::control(set, kernel_set::ADD, number, events, data)
        } else {
            kernel_set::control(set, MODIFY, number, events, data)
        };
        if result.is_ok() {
            registration.kernel_events.set(events);
        } else {
            // Not listed any more, so that it is not looked at; the kernel reports nothing for it either.
            self.instance.ready.remove(Kind::Ready, index);
        }
    }

    /// Nobody looks at the registration any more, the kernel alone tells its edges: those that it told while the ring still
    /// carried may have shown nothing then.
    pub fn tell_edges_again(&self, index: u32, registration: &'static Registration) {
        if registration.is_edge() && !registration.has(flag::SPENT) {
            self.change_kernel(index, registration, registration.kernel_events.get());
        }
    }
}

/// What the kernel is asked for.
fn kernel_events(registration: &Registration, accelerated: bool, sends_by_ring: bool) -> u32 {
    let events = registration.events.get();
    if !accelerated {
        return if registration.has(flag::SPENT) {
            // Disarmed as well as the kernel lets us: an end may still come in, and is swallowed.
            events & (EXCLUSIVE | WAKEUP | kernel_set::ONE_SHOT | EDGE)
        } else {
            events
        };
    }
    if registration.has(flag::BEACON) {
        return IN | RDHUP | OUT | (events & PRI);
    }
    let writing = if sends_by_ring || !registration.asks(decide::WRITING) {
        0
    } else {
        OUT
    };
    IN | RDHUP | EDGE | (events & (PRI | WAKEUP)) | writing
}
