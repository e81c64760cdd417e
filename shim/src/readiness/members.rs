//! What a registration is while a ring carries one of its directions, and how it becomes that and ceases to be.
//!
//! ```text
//!   plain        the kernel has the program's own events and data; it alone decides
//!   accelerated  the kernel has IN|RDHUP|ET (and OUT while it carries what is sent) with the program's data: a line.
//!                The entry names our waiter, or, if another set was first, the connection's own epochs are armed
//! ```
//!
//! EXCLUSIVE is the program's wish that few sets are woken; a bell must reach all that were armed, so the kernel has it
//! only while it carries.

mod waiter_word;

pub use waiter_word::slot_key;

use super::instance::Held;
use super::kernel_set::{self, EDGE, EXCLUSIVE, IN, MODIFY, OUT, PRI, RDHUP, WAKEUP};
use super::links::{By, Kind};
use super::registration::{Registration, flag};
use super::{arming, decide, sharing, tables, watchers};
use core::ffi::c_int;
use fastpath::endpoint::binding;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

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

impl Held {
    /// Takes a new registration into the books. The kernel has it already, with `kernel_events`.
    pub fn record(
        &self,
        stream: &Stream,
        number: c_int,
        events: u32,
        data: u64,
        kernel_events: u32,
    ) -> Option<(u32, &'static Registration)> {
        let endpoint = watchers::index_of(stream.endpoint)?;
        let (index, registration) = tables::allocate_registration()?;
        registration.instance.set(self.index + 1);
        registration.number.set(number as u32);
        registration.open_number.set(number as u32);
        registration.endpoint.set(endpoint);
        registration.generation.set(stream.generation);
        registration.events.set(events);
        registration.kernel_events.set(kernel_events);
        registration.fork_events.set(0);
        registration.flags.set(flag::FRESH);
        registration.reported_serial.set(0);
        registration.compared_count.set(0);
        registration.data.set(data);
        registration.seen.set(u64::MAX);
        if !watchers::add(self, index, registration) {
            tables::free_registration(index);
            return None;
        }
        let instance = self.instance;
        instance.all.push(Kind::All, index);
        instance
            .by_number
            .insert(By::Number, u64::from(number as u32), index);
        instance.by_data.insert(By::Data, data, index);
        instance.registrations.fetch_add(1, Ordering::Relaxed);
        Some((index, registration))
    }

    /// Takes a registration out of the books; the kernel's own is the caller's business.
    pub fn drop_record(&self, index: u32, registration: &'static Registration) {
        self.detach(index, registration);
        let instance = self.instance;
        instance.ready.remove(Kind::Ready, index);
        instance.all.remove(Kind::All, index);
        instance
            .by_number
            .remove(By::Number, u64::from(registration.number.get()), index);
        instance
            .by_data
            .remove(By::Data, registration.data.get(), index);
        instance.registrations.fetch_sub(1, Ordering::Relaxed);
        watchers::remove(self, index, registration);
        tables::free_registration(index);
    }

    /// The registration of an endpoint under a number.
    #[inline]
    #[must_use]
    pub fn find(&self, endpoint: u32, generation: u32, number: c_int) -> Option<u32> {
        self.instance
            .by_number
            .find(By::Number, u64::from(number as u32), |index, found| {
                (found.number.get() == number as u32
                    && found.endpoint.get() == endpoint
                    && found.generation.get() == generation
                    && !found.has(flag::ZOMBIE))
                .then_some(index)
            })
    }

    /// Gives a registration other data, in the books.
    pub fn set_data(&self, index: u32, registration: &Registration, data: u64) {
        let chains = &self.instance.by_data;
        chains.remove(By::Data, registration.data.get(), index);
        registration.data.set(data);
        registration.clear(flag::DATA_SHARED);
        chains.insert(By::Data, data, index);
    }

    /// Brings a registration in line with who carries its stream: accelerated or plain, and the kernel's events.
    pub fn adjust(&self, index: u32, registration: &'static Registration, stream: &Stream) {
        let carriers = stream.carriers();
        let bound = stream.endpoint.binding.load(Ordering::Acquire);
        let by_ring = carriers.receives_by_ring || carriers.sends_by_ring;
        let instance = self.instance;
        if sharing::must_share(instance) {
            // The next wait, or epoll_ctl, does so.
            return;
        }
        if sharing::is_foreign(instance) {
            // Both processes look for themselves until the kernel carries everything.
            let looked = registration.is_in(Kind::Impatient);
            self.detach(index, registration);
            if by_ring {
                instance.impatient.push(Kind::Impatient, index);
            }
            self.tell_kernel(index, registration, false, false);
            if looked && !by_ring {
                self.tell_edges_again(index, registration);
            }
            return;
        }
        let was = registration.has(flag::ACCELERATED);
        let accelerated = match bound {
            // Of a zombie the kernel's events cannot be changed back.
            binding::BOUND => by_ring || (was && registration.has(flag::ZOMBIE)),
            // What it says is ours to say; the kernel's socket was reset.
            binding::CONDEMNED => was,
            _ => false,
        };
        if accelerated {
            self.tell_kernel_of_carrier(index, registration, carriers.sends_by_ring);
            if !was {
                self.attach(index, registration, stream);
            }
            if stream.may_be_left_unnoticed() || arming::is_held_elsewhere(stream) {
                instance.impatient.push(Kind::Impatient, index);
            }
            return;
        }
        if registration.has(flag::GHOST) {
            self.forget_ghost(index, registration);
            return;
        }
        self.detach(index, registration);
        instance.ready.remove(Kind::Ready, index);
        if was {
            self.tell_kernel(index, registration, false, false);
        }
    }

    /// Tells the kernel what is asked of it while a ring carries a direction. When it begins to carry what is sent, it is
    /// told in any case, and looks whether there is room: a kick may have left OUT behind, whose edge was swallowed.
    fn tell_kernel_of_carrier(
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

    /// The ring begins to carry: the entry's waiter, the chains, the first look.
    fn attach(&self, index: u32, registration: &'static Registration, stream: &Stream) {
        let instance = self.instance;
        registration.mark(flag::ACCELERATED);
        instance.accelerated.push(Kind::Accelerated, index);
        if !self.take_waiter_word(index, registration, stream) {
            instance
                .without_waiter
                .set(instance.without_waiter.get().wrapping_add(1));
        }
        self.set_watch(registration, stream);
        if instance.sleepers.get() > 0 || instance.exposed.get() != 0 {
            // They sleep without an epoch in this channel: arm on their behalf, then look.
            arming::arm(self);
        }
        registration.seen.set(u64::MAX);
        registration.mark(flag::LOOK_WELL);
        self.list(index);
    }

    /// The ring carries no more, or the registration goes: everything that `attach` did is undone.
    pub fn detach(&self, index: u32, registration: &'static Registration) {
        let instance = self.instance;
        instance.impatient.remove(Kind::Impatient, index);
        if !registration.has(flag::ACCELERATED) {
            return;
        }
        arming::disarm_own(self, registration);
        if registration.has(flag::BEACON) {
            registration.clear(flag::BEACON);
            instance.beacon.set(0);
        }
        registration.clear(flag::ACCELERATED | flag::SENDS_BY_RING);
        instance.accelerated.remove(Kind::Accelerated, index);
        if !self.release_waiter_word(index, registration) {
            instance
                .without_waiter
                .set(instance.without_waiter.get().wrapping_sub(1));
        }
    }

    /// Puts a registration on the ready list.
    #[inline]
    pub fn list(&self, index: u32) {
        self.instance.ready.push(Kind::Ready, index);
        self.instance
            .listed
            .store(self.instance.ready.count(), Ordering::Relaxed);
    }

    /// The kernel gets back what the program asks for, and what the program removed is removed there, too: the set lives
    /// on in other hands.
    pub fn give_back(&self, index: u32, registration: &'static Registration) {
        if registration.has(flag::GHOST) {
            return self.forget_ghost(index, registration);
        }
        let was_accelerated = registration.has(flag::ACCELERATED);
        if was_accelerated {
            self.detach(index, registration);
            self.instance.ready.remove(Kind::Ready, index);
        }
        if !registration.has(flag::SPENT) || was_accelerated {
            self.tell_kernel(index, registration, false, false);
        }
    }

    /// Takes a registration that the program has removed out of the kernel's set, too.
    pub fn forget_ghost(&self, index: u32, registration: &'static Registration) {
        if !registration.has(flag::ZOMBIE) {
            let _ = kernel_set::control(
                self.instance.number.get() as c_int,
                kernel_set::DELETE,
                registration.number.get() as c_int,
                0,
                0,
            );
        }
        self.drop_record(index, registration);
    }
}
