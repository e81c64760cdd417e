//! epoll_ctl on managed sockets: the kernel says every error and holds every registration; what a ring carries costs no
//! system call as long as the data stay the same.

use super::instance::{self, Created, Held};
use super::kernel_set::{self, ADD, DELETE, EXCLUSIVE, MODIFY};
use super::registration::{Registration, flag};
use super::{arming, changes, decide, exposed, ordinary, sharing};
use crate::{fd_table, upgrade};
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::family;
use fastpath::kernel_call::Errno;
use fastpath::stream::Stream;
use kmod_interface::reason::Reason;
use libc::{EINVAL, ENOENT};

/// What became of a call: `None`, the kernel is to be asked as the program asked; else the answer.
pub type Answer = Option<Result<(), Errno>>;

/// epoll_ctl(2). `wish` is what the program asks for; nothing for a removal.
pub fn control(set: c_int, operation: c_int, number: c_int, wish: Option<(u32, u64)>) -> Answer {
    let Some(stream) = fd_table::stream(number) else {
        return not_managed(set, operation, number, wish);
    };
    let endpoint = family::index_of(stream.endpoint)?;
    if let Some((index, generation, known)) = instance::of_number(set)
        && sharing::must_share(known)
    {
        sharing::share(index, generation);
    }
    let held = match instance::of_number(set) {
        Some((index, generation, _)) => instance::lock(index, generation)?,
        None => return first_of(set, operation, &stream, wish?),
    };
    held.instance.control_count.fetch_add(1, Ordering::Relaxed);
    sharing::catch_up(&held);
    let found = held.find(endpoint, stream.generation, number);
    match (operation, wish) {
        (ADD, Some((events, data))) => match found {
            Some(index) => revive(&held, index, &stream, events, data),
            None => add(held, &stream, events, data),
        },
        (MODIFY, Some((events, data))) => match found {
            Some(index) => modify(&held, index, &stream, events, data),
            None => take_over(held, &stream, events, data),
        },
        (DELETE, _) => remove(&held, found?),
        _ => None,
    }
}

/// A descriptor that is no managed socket.
fn not_managed(set: c_int, operation: c_int, number: c_int, wish: Option<(u32, u64)>) -> Answer {
    if let Some(known) = instance::of_number(set) {
        known.2.control_count.fetch_add(1, Ordering::Relaxed);
        if let Some((_, data)) = wish {
            known.2.departed.comes(data);
            ordinary::comes(known, number, data, operation == ADD);
        }
    }
    if operation == ADD
        && let Some((index, generation, _)) = instance::of_number(number)
    {
        exposed::expose(index, generation);
    }
    None
}

/// The first managed socket of a set.
fn first_of(set: c_int, operation: c_int, stream: &Stream, (events, data): (u32, u64)) -> Answer {
    if operation == DELETE {
        return None;
    }
    let number = stream.descriptor;
    let register = || kernel_set::control(set, operation, number, events, data);
    match instance::create(set, number, register) {
        Created::New(held) => record(held, stream, events, data, events),
        Created::Known => return control(set, operation, number, Some((events, data))),
        Created::Refused(errno) => return Some(Err(errno)),
        Created::NoRoom => {
            if let Err(errno) = register() {
                return Some(Err(errno));
            }
            // Nobody would look at its ring on behalf of this set.
            upgrade::give_up(stream, Reason::TooManySockets);
        }
    }
    Some(Ok(()))
}

/// The kernel has taken a registration: it goes into the books.
fn record(held: Held, stream: &Stream, events: u32, data: u64, kernel_events: u32) {
    let foreign = sharing::is_foreign(held.instance);
    match held.record(stream, stream.descriptor, events, data, kernel_events) {
        Some((index, registration)) => {
            held.adjust(index, registration, stream);
            if registration.has(flag::ACCELERATED) {
                registration.mark(flag::FRESH);
                held.list(index);
                changes::wake(&held);
            }
            drop(held);
            if foreign {
                upgrade::give_up(stream, Reason::EpollShared);
            }
        }
        None => {
            let set = held.instance.number.get() as c_int;
            ordinary::stays(&held, stream.descriptor, data);
            drop(held);
            if kernel_events != events {
                let _ = kernel_set::control(set, MODIFY, stream.descriptor, events, data);
            }
            upgrade::give_up(stream, Reason::TooManySockets);
        }
    }
}

fn add(held: Held, stream: &Stream, events: u32, data: u64) -> Answer {
    let carriers = stream.carriers();
    let by_ring = (carriers.receives_by_ring || carriers.sends_by_ring)
        && !sharing::is_foreign(held.instance);
    // What the kernel does not allow it must see; else one call is enough.
    let kernel_events = if by_ring && events & EXCLUSIVE == 0 {
        kernel_set::IN | kernel_set::RDHUP | kernel_set::EDGE
    } else {
        events
    };
    let set = held.instance.number.get() as c_int;
    let added = sharing::change_kernel(&held, || {
        kernel_set::control(set, ADD, stream.descriptor, kernel_events, data)
    });
    if let Err(errno) = added {
        return Some(Err(errno));
    }
    record(held, stream, events, data, kernel_events);
    Some(Ok(()))
}

/// MOD of what the books do not know: it was added before the socket was managed.
fn take_over(held: Held, stream: &Stream, events: u32, data: u64) -> Answer {
    let set = held.instance.number.get() as c_int;
    let modified = sharing::change_kernel(&held, || {
        kernel_set::control(set, MODIFY, stream.descriptor, events, data)
    });
    if let Err(errno) = modified {
        return Some(Err(errno));
    }
    record(held, stream, events, data, events);
    Some(Ok(()))
}

/// ADD of what the kernel holds already: EEXIST, or a registration that the program had removed.
fn revive(held: &Held, index: u32, stream: &Stream, events: u32, data: u64) -> Answer {
    let registration = super::tables::registration(index)?;
    if !registration.has(flag::GHOST) {
        return None;
    }
    if events & EXCLUSIVE != 0 {
        // The kernel says what may stand beside it.
        held.forget_ghost(index, registration);
        let set = held.instance.number.get() as c_int;
        if let Err(errno) = kernel_set::control(set, ADD, stream.descriptor, events, data) {
            return Some(Err(errno));
        }
        if let Some((index, registration)) =
            held.record(stream, stream.descriptor, events, data, events)
        {
            held.adjust(index, registration, stream);
        }
        return Some(Ok(()));
    }
    registration.clear(flag::GHOST | flag::OUT_BLOCKED);
    renew(held, index, registration, stream, events, data);
    Some(Ok(()))
}

fn modify(held: &Held, index: u32, stream: &Stream, events: u32, data: u64) -> Answer {
    let registration = super::tables::registration(index)?;
    if registration.has(flag::GHOST) {
        return Some(Err(ENOENT));
    }
    if (events | registration.events.get()) & EXCLUSIVE != 0 {
        // As the kernel has it.
        return Some(Err(EINVAL));
    }
    if registration.has(flag::ACCELERATED) {
        renew(held, index, registration, stream, events, data);
        return Some(Ok(()));
    }
    let set = held.instance.number.get() as c_int;
    let modified = sharing::change_kernel(held, || {
        kernel_set::control(set, MODIFY, stream.descriptor, events, data)
    });
    if let Err(errno) = modified {
        return Some(Err(errno));
    }
    registration.events.set(events);
    registration.kernel_events.set(events);
    registration.clear(flag::SPENT);
    held.set_data(index, registration, data);
    Some(Ok(()))
}

/// An accelerated registration gets what the program asks for now; the kernel hears of it only if its own part changes.
fn renew(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    stream: &Stream,
    events: u32,
    data: u64,
) {
    registration.events.set(events);
    registration.clear(flag::SPENT);
    if registration.data.get() != data {
        held.set_data(index, registration, data);
        held.change_kernel(index, registration, registration.kernel_events.get());
    }
    if !registration.asks(decide::WRITING) && registration.has(flag::OUT_BLOCKED) {
        registration.clear(flag::OUT_BLOCKED);
    }
    held.tell_kernel(index, registration, true, stream.carriers().sends_by_ring);
    held.set_watch(registration, stream);
    registration.mark(flag::FRESH);
    if stream.endpoint.is_believed_held_elsewhere() {
        arming::be_impatient(held, index);
    }
    // What has nothing to report needs no look and no sleeper: what comes is marked, and rung for.
    let asks_writing = registration.asks(decide::WRITING);
    let idle = !registration.has(flag::ENDED | flag::LOOK_WELL)
        && stream
            .glance(asks_writing)
            .is_some_and(|ready| decide::bits_of(ready) & registration.reportable() == 0);
    if !idle {
        held.list(index);
        changes::wake(held);
    }
}

fn remove(held: &Held, index: u32) -> Answer {
    let registration = super::tables::registration(index)?;
    if registration.has(flag::GHOST) {
        return Some(Err(ENOENT));
    }
    let keeps = registration.has(flag::ACCELERATED)
        && !registration.has(flag::BEACON)
        && !sharing::is_foreign(held.instance)
        // A child would still find it there.
        && held.instance.forked.get() == 0;
    if !keeps {
        let set = held.instance.number.get() as c_int;
        let number = registration.number.get() as c_int;
        let result =
            sharing::change_kernel(held, || kernel_set::control(set, DELETE, number, 0, 0));
        if result.is_ok() {
            held.drop_record(index, registration);
        }
        return Some(result);
    }
    registration.mark(flag::GHOST);
    arming::disarm_own(held, registration);
    held.instance.ready.remove(super::links::Kind::Ready, index);
    held.instance
        .impatient
        .remove(super::links::Kind::Impatient, index);
    if let Some(stream) = registration.stream(held.me) {
        held.set_watch(registration, &stream);
    }
    Some(Ok(()))
}
