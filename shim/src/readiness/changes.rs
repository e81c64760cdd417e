//! What other calls tell the epoll sets: a direction has changed its carrier, bells were consumed, a send found no room,
//! a number was closed or duplicated.

use super::instance::{self, Held};
use super::kernel_set;
use super::links::Kind;
use super::registration::{Registration, flag};
use super::{arming, exposed, harvest, tables, trampolines, watchers};
use crate::boundary::me;
use crate::calls::lifecycle::role;
use crate::{fd_table, status, upgrade};
use core::ffi::c_int;
use fastpath::endpoint::Endpoint;
use fastpath::stream::Stream;
use kmod_interface::reason::Reason;

/// A direction of the stream has changed its carrier, it was bound, shut down or given up, or bells were consumed that a
/// set may be asleep for.
pub fn changed(stream: &Stream) {
    status::after_switch(stream);
    if let Some(endpoint) = watchers::index_of(stream.endpoint) {
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
    let Some(endpoint) = watchers::index_of(stream.endpoint) else {
        return;
    };
    for_each_watcher(endpoint, None, |held, index, registration| {
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

/// The endpoint gives its channel back: no waiter of ours may be named there any more.
pub fn channel_leaves(endpoint: &'static Endpoint) {
    let Some(endpoint) = watchers::index_of(endpoint) else {
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

/// A number no longer means its endpoint. `open`: the kernel socket still exists under it; `last`: no other number of
/// this process means the endpoint.
pub fn socket_number_gone(endpoint: u32, generation: u32, number: c_int, open: bool, last: bool) {
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
            && open
            && held.instance.inherited.get() == 0
            && registration.has(flag::ACCELERATED | flag::GHOST);
        if last || (by_this_number && registration.has(flag::GHOST)) {
            if stays_in_kernel && speaks {
                let set = held.instance.number.get() as c_int;
                let _ = kernel_set::control(set, kernel_set::DELETE, number, 0, 0);
            }
            return held.drop_record(index, registration);
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

/// A socket was taken under management. If it was added to a set before (a connect() after the ADD), its registration is
/// read from the kernel.
pub fn managed(number: c_int) {
    match trampolines::watched_by(number) {
        0 if trampolines::is_watching_recorded(number) => {}
        0 => {
            // An accepted number is new, and in no set yet; what was added to one before its connect() was not noted.
            if let Some(stream) = fd_table::stream(number)
                && stream.endpoint.role.get() == role::CONNECTING
                && trampolines::is_any_set_known()
            {
                upgrade::give_up(&stream, Reason::TooManySockets);
            }
        }
        trampolines::MANY => {
            if let Some(stream) = fd_table::stream(number) {
                // In more sets than are remembered; none of them could be told.
                upgrade::give_up(&stream, Reason::TooManySockets);
            }
        }
        set => adopt(number, (set - 1) as c_int),
    }
}

fn adopt(number: c_int, set: c_int) {
    let Some(stream) = fd_table::stream(number) else {
        return;
    };
    let Some(endpoint) = watchers::index_of(stream.endpoint) else {
        return;
    };
    let mut found = None;
    let is_readable = kernel_set::for_each_registration(set, |told| {
        if told.number == number {
            found = Some(told);
        }
    });
    if !is_readable {
        // Not to be told from a registration (no /proc, no descriptor left): the set could never be woken.
        upgrade::give_up(&stream, Reason::TooManySockets);
    }
    let Some(told) = found else { return };
    let held = match instance::of_number(set) {
        Some((index, generation, _)) => instance::lock(index, generation),
        None => instance::create(set, number),
    };
    let known = held.as_ref().is_some_and(|held| {
        // The kernel adds these two by itself.
        let events = told.events & !(kernel_set::ERR | kernel_set::HUP);
        held.find(endpoint, stream.generation, number).is_some()
            || held
                .record(&stream, number, events, told.data, told.events)
                .is_some()
    });
    drop(held);
    if !known {
        upgrade::give_up(&stream, Reason::TooManySockets);
    }
}
