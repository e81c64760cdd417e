//! What other calls tell the epoll sets: a direction has changed its carrier, bells were consumed, a send found no room,
//! a number was closed or duplicated.

use super::instance::{self, Created, Held};
use super::kernel_set;
use super::links::Kind;
use super::registration::{Registration, flag};
use super::{arming, exposed, harvest, ordinary, tables, trampolines, watchers};
use crate::boundary::me;
use crate::calls::lifecycle::Number;
use crate::{fd_table, status, upgrade};
use core::ffi::c_int;
use fastpath::endpoint::{Endpoint, role};
use fastpath::family;
use fastpath::stream::Stream;
use kmod_interface::reason::Reason;

/// A direction of the stream has changed its carrier, it was bound, shut down or given up, or bells were consumed that a
/// set may be asleep for.
pub fn changed(stream: &Stream) {
    status::after_switch(stream);
    if let Some(endpoint) = family::index_of(stream.endpoint) {
        tell_watchers(endpoint, None);
    }
}

/// As [`changed`], by index; `apart_from`: the instance that knows already.
pub fn tell_watchers(endpoint: u32, apart_from: Option<u32>) {
    for_each_watcher(endpoint, apart_from, |held, index, registration| {
        let Some(stream) = registration.stream(held.me) else {
            return;
        };
        held.adjust(index, registration, &stream);
        if held_is_watched(registration) {
            registration.mark(flag::LOOK_WELL);
            held.list(index);
            wake(held);
        }
    });
}

fn held_is_watched(registration: &Registration) -> bool {
    registration.has(flag::ACCELERATED) && !registration.has(flag::GHOST)
}

/// Something may have become ready: a sleeper looks, and those that see the set through the kernel do.
pub fn wake(held: &Held) {
    if held.instance.sleepers.get() > 0 {
        arming::kick(held);
    }
    exposed::light_if_listed(held);
}

fn for_each_watcher(
    endpoint: u32,
    apart_from: Option<u32>,
    mut each: impl FnMut(&Held, u32, &'static Registration),
) {
    if watchers::is_unwatched(endpoint) {
        return;
    }
    let (seen, count) = watchers::copy(endpoint, me());
    for one in seen.iter().take(count) {
        if Some(one.instance) == apart_from {
            continue;
        }
        let (Some(place), Some(registration)) = (
            tables::instance(one.instance),
            tables::registration(one.registration),
        ) else {
            continue;
        };
        let Some(held) = instance::lock_any(one.instance, place) else {
            continue;
        };
        // It may have gone, and its place been used again, before the lock was ours.
        if registration.instance.get() == one.instance + 1
            && registration.endpoint.get() == endpoint
        {
            each(&held, one.registration, registration);
        }
    }
}

/// A send has found no room: who waits for room must hear of it.
pub fn send_blocked(stream: &Stream) {
    let Some(endpoint) = family::index_of(stream.endpoint) else {
        return;
    };
    for_each_watcher(endpoint, None, |held, index, registration| {
        if !registration.has(flag::ACCELERATED) && stream.carriers().sends_by_ring {
            // Another process that holds the connection has moved it, and none of ours has seen that yet.
            held.adjust(index, registration, stream);
            wake(held);
        }
        if !held_is_watched(registration)
            || !registration.asks(super::decide::WRITING)
            || registration.has(flag::SPENT)
        {
            return;
        }
        if harvest::block(held, index, registration, stream) {
            held.list(index);
            wake(held);
        }
    });
}

/// A kernel send has found no room, or not for all of it: to an edge-triggered set room is news from here on. The kernel
/// tells it, unless the direction goes to a ring before that is heard; then the look that follows the switch does.
pub fn kernel_send_blocked(stream: &Stream) {
    let Some(endpoint) = family::index_of(stream.endpoint) else {
        return;
    };
    for_each_watcher(endpoint, None, |held, index, registration| {
        if !registration.is_edge()
            || !registration.asks(super::decide::WRITING)
            || registration.has(flag::GHOST | flag::SPENT)
        {
            return;
        }
        registration.mark(flag::OUT_BLOCKED);
        if registration.has(flag::ACCELERATED) && stream.carriers().sends_by_ring {
            registration.mark(flag::LOOK_WELL);
            held.list(index);
            wake(held);
        }
    });
}

/// The endpoint gives its channel back: no waiter of ours may be named there any more.
pub fn channel_leaves(endpoint: &'static Endpoint) {
    let Some(endpoint) = family::index_of(endpoint) else {
        return;
    };
    for_each_watcher(endpoint, None, |held, index, registration| {
        if held.release_waiter_word(index, registration) {
            held.instance
                .without_waiter
                .set(held.instance.without_waiter.get().wrapping_add(1));
        }
    });
}

/// A socket was connected and is not managed.
pub fn not_managed(number: c_int) {
    trampolines::forget_watched_as(number);
}

/// A number is about to mean no endpoint, but goes on naming its socket: what it was added with is the kernel's alone again,
/// and noted, so that it is found when the socket is connected once more.
pub fn socket_goes_on_unmanaged(endpoint: u32, generation: u32, number: c_int) {
    for_each_watcher(endpoint, None, |held, index, registration| {
        if registration.generation.get() == generation
            && registration.number.get() == number as u32
            && !registration.has(flag::ZOMBIE)
            && !registration.has(flag::GHOST)
        {
            held.give_back(index, registration);
            // The kernel's own from here on, also in what becomes of it behind this.
            registration.clear(flag::WAS_ACCELERATED);
            ordinary::stays(held, number, registration.data.get());
            trampolines::note_watched(number, held.instance.number.get() as c_int);
        }
    });
}

/// A number no longer means its endpoint. `last`: no other number of this process means the endpoint; `ends`: none of
/// another process does either.
pub fn socket_number_gone(
    endpoint: u32,
    generation: u32,
    (number, becomes): (c_int, Number),
    last: bool,
    ends: bool,
) {
    if watchers::is_unwatched(endpoint) {
        return;
    }
    let other = if last {
        None
    } else {
        fd_table::any_number_of(endpoint)
    };
    for_each_watcher(endpoint, None, |held, index, registration| {
        if registration.generation.get() != generation {
            return;
        }
        let by_this_number =
            registration.number.get() == number as u32 && !registration.has(flag::ZOMBIE);
        // With the last number of all holders the kernel's registration goes by itself.
        let stays_in_kernel = !last || held.instance.forked.get() != 0;
        let speaks = by_this_number
            && becomes != Number::Closed
            && held.instance.inherited.get() == 0
            && registration.has(flag::ACCELERATED | flag::GHOST);
        if last || (by_this_number && registration.has(flag::GHOST)) {
            if stays_in_kernel && speaks {
                let set = held.instance.number.get() as c_int;
                let _ = kernel_set::control(set, kernel_set::DELETE, number, 0, 0);
            }
            return drop_closed(held, index, registration, becomes, (last, ends));
        }
        if by_this_number {
            registration.mark(flag::ZOMBIE);
        }
        if registration.open_number.get() == number as u32
            && let Some(other) = other
        {
            registration.open_number.set(other as u32);
        }
    });
}

/// A registration of which no number is left here goes out of the books.
fn drop_closed(
    held: &Held,
    index: u32,
    registration: &'static Registration,
    becomes: Number,
    (last, ends): (bool, bool),
) {
    let number = registration.number.get();
    let data = registration.data.get();
    // The number of a zombie was closed before, and may mean something else by now.
    let was_a_rings = registration.has(flag::ACCELERATED | flag::WAS_ACCELERATED)
        && !registration.has(flag::ZOMBIE);
    held.drop_record(index, registration);
    if last && !ends {
        // As long as another process has it open the kernel tells of it here.
        ordinary::stays(held, number as c_int, data);
    } else if ends && was_a_rings && matches!(becomes, Number::Closes | Number::Ends) {
        held.instance.departed.closes(number);
    }
}

/// A number that names an epoll instance no longer does; true when it did.
pub fn set_number_gone(number: c_int) -> bool {
    let Some((index, generation)) = fd_table::take_instance(number) else {
        return false;
    };
    let Some(held) = instance::lock(index, generation) else {
        return true;
    };
    let set = held.instance;
    set.numbers.set(set.numbers.get().wrapping_sub(1));
    if set.numbers.get() != 0 {
        if set.number.get() == number as u32
            && let Some(other) = fd_table::any_number_of_instance(index, generation)
        {
            set.number.set(other as u32);
        }
        return true;
    }
    let kernel_lives_on = set.forked.get() != 0 && set.inherited.get() == 0;
    set.all.for_each(Kind::All, |index| {
        if let Some(registration) = tables::registration(index) {
            if kernel_lives_on {
                held.give_back(index, registration);
            }
            held.drop_record(index, registration);
        }
    });
    held.retire();
    true
}

/// `to` was made to mean what `from` means; true when that is an epoll instance.
pub fn set_duplicated(from: c_int, to: c_int) -> bool {
    let Some((index, generation)) = fd_table::instance(from) else {
        return false;
    };
    let Some(held) = instance::lock(index, generation) else {
        return true;
    };
    held.instance
        .numbers
        .set(held.instance.numbers.get().wrapping_add(1));
    fd_table::note(to);
    fd_table::set_instance(to, index, generation);
    true
}

/// A socket was taken under management. It may have been added to a set before (a connect() after the ADD, as event loops
/// do that watch for the connection to be made).
#[inline]
pub fn managed(stream: &Stream) {
    let number = stream.descriptor;
    match trampolines::watched_by(number) {
        0 if trampolines::is_watching_recorded(number) => {}
        0 => {
            // An accepted number is new, and in no set yet; what was added to one before its connect() was not noted.
            if stream.endpoint.role.get() == role::CONNECTING && trampolines::is_any_set_known() {
                upgrade::give_up(stream, Reason::TooManySockets);
            }
        }
        // In more sets than are remembered; none of them could be told.
        trampolines::MANY => upgrade::give_up(stream, Reason::TooManySockets),
        set => adopt(stream, (set - 1) as c_int),
    }
}

#[inline(never)]
fn adopt(stream: &Stream, set: c_int) {
    let number = stream.descriptor;
    let Some(endpoint) = family::index_of(stream.endpoint) else {
        return;
    };
    let found = match registration_in(set, number) {
        Ok(found) => found,
        // Not to be told from a registration: the set could never be woken.
        Err(Unreadable) => return upgrade::give_up(stream, Reason::TooManySockets),
    };
    let Some(told) = found else { return };
    let lock_known = || {
        let (index, generation, _) = instance::of_number(set)?;
        instance::lock(index, generation)
    };
    let held = lock_known().or_else(|| match instance::create(set, number, || Ok(())) {
        Created::New(held) => Some(held),
        Created::Known => lock_known(),
        Created::NoRoom | Created::Refused(_) => None,
    });
    let known = held.as_ref().is_some_and(|held| {
        // The kernel adds these two by itself.
        let events = told.events & !(kernel_set::ERR | kernel_set::HUP);
        let known = held.find(endpoint, stream.generation, number).is_some()
            || held
                .record(stream, number, events, told.data, told.events)
                .is_some();
        if known {
            ordinary::goes(held, number, told.data);
        }
        known
    });
    drop(held);
    if !known {
        upgrade::give_up(stream, Reason::TooManySockets);
    }
}

/// Neither this side nor the kernel can say it (no /proc, no descriptor left).
struct Unreadable;

/// What a number is registered with in a set, if it is. The kernel's own list is the last resort: it has a line for each
/// registration of the set, and whoever connects often, a proxy, would pay for all of them each time.
fn registration_in(set: c_int, number: c_int) -> Result<Option<kernel_set::Told>, Unreadable> {
    const ALWAYS: u32 = kernel_set::ERR | kernel_set::HUP;
    let told = trampolines::watched_as(number);
    trampolines::forget_watched_as(number);
    if let Some(told) = told {
        // The number of the set, or of the socket, may mean something else by now: closed where no hook saw it.
        match kernel_set::control(set, kernel_set::ADD, number, 0, 0) {
            Err(libc::EEXIST) => {
                let events = told.events | ALWAYS;
                return Ok(Some(kernel_set::Told { events, ..told }));
            }
            Ok(()) => {
                let _ = kernel_set::control(set, kernel_set::DELETE, number, 0, 0);
                return Ok(None);
            }
            Err(_) => {}
        }
    }
    let mut found = None;
    let is_readable = kernel_set::for_each_registration(set, |told| {
        if told.number == number {
            found = Some(told);
        }
    });
    if is_readable {
        Ok(found)
    } else {
        Err(Unreadable)
    }
}
