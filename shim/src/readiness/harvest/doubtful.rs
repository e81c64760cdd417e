//! Events that were under way when a registration left its ring ([`departed`](crate::readiness::departed)): what of them holds.

use super::kernel_events::{UNASKED, first_with, is_foreign};
use crate::readiness::instance::Held;
use crate::readiness::kernel_set::{self, MODIFY};
use crate::readiness::registration::{Registration, flag};
use crate::readiness::{ordinary, sharing, tables};
use core::ffi::c_int;
use fastpath::kernel_call;

/// Of an event that may be of a registration that has left a ring while it was under way: what is so now of those that the
/// books have with these data. Of data in no book all of it; [`is_gone`] says more.
#[cold]
#[inline(never)]
pub(super) fn what_still_shows(held: &Held, bits: u32, data: u64) -> u32 {
    let mut shown = 0;
    let mut next = first_with(held, data, None);
    if next.is_none() {
        return bits;
    }
    while let Some(index) = next {
        let Some(registration) = tables::registration(index) else {
            break;
        };
        next = first_with(held, data, Some(index));
        if held.looks_at(registration) {
            // Not believed.
            return bits;
        }
        if !registration.is_one_shot() {
            let asked = bits & (registration.events.get() | UNASKED);
            let number = registration.open_number.get() as c_int;
            shown |= kernel_call::poll_one(number, asked as i16, 0) as u16 as u32 & asked;
        } else if !registration.has(flag::SPENT) && !is_armed_anew(held, registration) {
            shown |= bits;
        }
    }
    if shown != bits && is_foreign(held, data) {
        return bits;
    }
    shown
}

/// The kernel is asked again for what it tells once. If the event was this registration's, it tells it again, to one thread;
/// if it was the line's, what is armed has not been told of. False when the kernel could not be asked.
fn is_armed_anew(held: &Held, registration: &Registration) -> bool {
    let instance = held.instance;
    let mut is_done = false;
    // Another process may have asked for something else meanwhile.
    if !registration.has(flag::ZOMBIE) && instance.shared.get() == 0 {
        sharing::tell_kernel(held, || {
            is_done = kernel_set::control(
                instance.number.get() as c_int,
                MODIFY,
                registration.number.get() as c_int,
                registration.kernel_events.get(),
                registration.data.get(),
            )
            .is_ok();
        });
    }
    if is_done {
        registration.mark(flag::ASKED_AGAIN);
    }
    is_done
}

/// True when data that are in no book are those of a registration that was closed, or changed, and told of behind that:
/// the kernel had begun to tell of it, or has not come to close it.
#[inline(never)]
pub(super) fn is_gone(held: &Held, data: u64, is_doubtful: bool) -> bool {
    let instance = held.instance;
    let departed = &instance.departed;
    // What a relative registers in the set does not pass by here.
    let is_own = instance.shared.get() | instance.inherited.get() == 0;
    let is_closing = is_own && departed.is_closing(data, None);
    if !is_doubtful && !is_closing {
        return false;
    }
    if !ordinary::may_have(held, data) {
        return true;
    }
    if !departed.has(data) {
        return false;
    }
    let (mut is_registered, mut is_still_closing) = (false, false);
    let is_readable = kernel_set::for_each_registration(instance.number.get() as c_int, |told| {
        if told.data == data {
            let closes = is_own && departed.is_closing(data, Some(told.number as u32));
            is_still_closing |= closes;
            is_registered |= !closes;
        }
    });
    if is_readable && is_registered && !is_still_closing {
        // The kernel has closed it, and something else lives with these data: the next event need not ask.
        departed.comes(data);
    }
    is_readable && !is_registered
}
