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
//!
//! * [`books`]: by which keys it is found. [`kernel_side`]: what the kernel is told. [`waiter_word`]: whom a bell wakes.

mod books;
mod kernel_side;
mod waiter_word;

pub use waiter_word::slot_key;

use super::instance::Held;
use super::kernel_set;
use super::links::Kind;
use super::registration::{Registration, flag};
use super::{arming, sharing};
use core::ffi::c_int;
use fastpath::endpoint::binding;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;

impl Held {
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
                arming::be_impatient(self, index);
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
            if stream.may_be_left_unnoticed() || stream.endpoint.is_believed_held_elsewhere() {
                arming::be_impatient(self, index);
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
        if arming::may_be_moved_unseen(registration, stream) {
            // It goes to the list's end: no walk over that list may come here for what stays plain.
            arming::be_impatient(self, index);
        }
    }

    /// True for a registration whose events are found by a look: a ring carries, or may still in a set of two processes.
    pub fn looks_at(&self, registration: &Registration) -> bool {
        registration.has(flag::ACCELERATED)
            || (sharing::is_foreign(self.instance) && registration.is_in(Kind::Impatient))
    }

    /// The ring begins to carry: the entry's waiter, the chains, the first look.
    fn attach(&self, index: u32, registration: &'static Registration, stream: &Stream) {
        let instance = self.instance;
        registration.mark(flag::ACCELERATED | flag::WAS_ACCELERATED);
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
        instance.departed.note(registration.data.get());
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
        self.detach(index, registration);
        if was_accelerated {
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
