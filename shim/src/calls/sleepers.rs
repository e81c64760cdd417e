//! A number is closed, or replaced, while another thread sleeps in a transfer under it.
//!
//! Linux keeps the open socket until the sleeper's call has ended: it receives what arrives, and only then does the peer
//! see the close. Here the socket must stay managed as long: before the last number of this process goes, a private
//! duplicate is made and managed in its place; the sleeper goes on under it, and whoever sees the last sleeper awake
//! closes it.
//!
//! K1. The closing thread writes `kept`, then looks at `asleep_in_transfer`; a sleeper lowers that, then looks at `kept`
//!     (all in one total order): at least one of them finds the duplicate without a sleeper, and the exchange lets only one
//!     close it.
//! K2. A thread that is in a call but not asleep is not waited for: it finds the number gone, as on other Unixes.

use super::lifecycle;
use crate::boundary::Call;
use crate::fd_table;
use core::ffi::c_int;
use fastpath::endpoint::{Endpoint, Holder, binding};
use fastpath::family;
use fastpath::memory::descriptor::Descriptor;
use fastpath::sync::Ordering;

fn own_holder(endpoint: &'static Endpoint) -> Option<&'static Holder> {
    family::process_place().and_then(|place| endpoint.holder(place))
}

/// A transfer on that life of the endpoint is about to sleep (`true`), or awake again.
pub fn count(endpoint: &'static Endpoint, generation: u32, sleeps: bool) {
    if let Some(holder) = own_holder(endpoint) {
        if sleeps {
            holder.asleep_in_transfer.enter(generation);
        } else {
            holder.asleep_in_transfer.leave(generation);
        }
    }
}

/// Before a number goes: keeps its socket for those who sleep on it, if it is the last number.
pub fn keep(descriptor: c_int) {
    let Some((index, generation, endpoint)) = fd_table::get(descriptor) else {
        return;
    };
    // Nobody sleeps for an endpoint without a channel but inside the program's own call.
    if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
        return;
    }
    let Some(holder) = own_holder(endpoint) else {
        return;
    };
    if !holder.asleep_in_transfer.any() || holder.numbers.load(Ordering::Acquire) != 1 {
        return;
    }
    let Ok(duplicate) = crate::discovery::private_duplicate(descriptor) else {
        // No number left: the sleepers see an end of stream.
        return;
    };
    let number = duplicate.into_number();
    if family::process_place().is_none_or(|place| !endpoint.add_numbers(place, 1)) {
        drop(Descriptor::from_number(number));
        return;
    }
    fd_table::note(number);
    fd_table::set(number, index, generation);
    holder.kept.store(number as u32 + 1, Ordering::SeqCst);
}

/// After the number has gone: the duplicate is of no use if everybody has woken meanwhile (K1).
pub fn release_if_unused(endpoint: &'static Endpoint) {
    let Some(holder) = own_holder(endpoint) else {
        return;
    };
    if holder.kept.load(Ordering::SeqCst) == 0 || holder.asleep_in_transfer.any() {
        return;
    }
    // Whoever takes it out closes it.
    let Some(number) = holder.kept.swap(0, Ordering::SeqCst).checked_sub(1) else {
        return;
    };
    let number = number as c_int;
    if fd_table::get(number).is_some_and(|(_, _, found)| core::ptr::eq(found, endpoint)) {
        lifecycle::forget(number, lifecycle::Number::Closes);
        drop(Descriptor::from_number(number));
    }
}

/// A sleeper is awake: goes on under the duplicate if its number means something else by now.
pub fn find_socket(call: &mut Call) {
    let descriptor = call.descriptor;
    let state = call.state();
    let means = |number: c_int| {
        fd_table::get(number).is_some_and(|(index, generation, _)| {
            (index, generation) == (state.endpoint, state.generation)
        })
    };
    if means(descriptor) {
        return;
    }
    let kept = family::endpoint(state.endpoint)
        .and_then(own_holder)
        .and_then(|holder| holder.kept.load(Ordering::SeqCst).checked_sub(1));
    if let Some(number) = kept
        && means(number as c_int)
    {
        state.moved = true;
        call.descriptor = number as c_int;
    }
}

/// A call that has slept has ended.
pub fn call_ended(call: &mut Call) {
    let state = call.state();
    if let Some(endpoint) = family::endpoint(state.endpoint)
        && endpoint.generation.load(Ordering::Acquire) == state.generation
    {
        release_if_unused(endpoint);
    }
}

/// True when the number is a duplicate that is kept for sleepers of the process at `place`: a fork child has none.
pub fn is_kept(endpoint: &Endpoint, place: u32, descriptor: c_int) -> bool {
    endpoint
        .holder(place)
        .is_some_and(|holder| holder.kept.load(Ordering::Acquire) == descriptor as u32 + 1)
}

/// In a fork child, before it takes its place: closes its copies of what the parent at `place` keeps.
pub fn on_fork_child(place: u32) {
    fd_table::for_each(0, c_int::MAX, |descriptor, _, _, endpoint| {
        if is_kept(endpoint, place, descriptor) {
            let _ = fd_table::take(descriptor);
            drop(Descriptor::from_number(descriptor));
        }
    });
}
