//! Ready bits that tell nothing: weighed like bells (`fastpath::stream::storm`).
//!
//! M1. An honest far side marks a slot behind something that it has published there. A mark may be late, and found when
//!     the program has read what it told; but no thousand of them in a row while nothing new is published.
//! M2. A mark for a slot without a member: of one that was published before its member left. So they are few for each that
//!     left. Beyond that the far side keeps this set awake by the channel as such, and all members there are given up.

use super::Deferred;
use crate::readiness::instance::{Held, Joined};
use crate::readiness::links::Kind;
use crate::readiness::registration::{Registration, flag};
use crate::readiness::tables;
use crate::{fd_table, upgrade};
use fastpath::endpoint::pestered;
use fastpath::family;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::limits::{SLOTS_MAX, USELESS_MARKS};

/// Given up whatever it has published.
const BEYOND_DOUBT: u32 = u32::MAX;

/// So many marks for slots without a member.
#[cold]
#[inline(never)]
pub fn weigh_strays(held: &Held, channel: u32, joined: &Joined, strays: i32) {
    let credit = (joined.stray_credit.get() as i32).saturating_sub(strays);
    joined.stray_credit.set(credit as u32);
    if credit >= -(USELESS_MARKS as i32) {
        return;
    }
    joined.stray_credit.set(0);
    held.instance
        .accelerated
        .for_each(Kind::Accelerated, |index| {
            if let Some(registration) = tables::registration(index)
                && registration.has(flag::HOLDS_WAITER)
                && registration.slot_key.get() / SLOTS_MAX == channel
            {
                registration.marks.set(BEYOND_DOUBT);
                held.list(index);
            }
        });
}

/// Of a registration that has nothing to report whatever is published.
#[inline(never)]
pub fn marks_of_the_silent(held: &Held, registration: &Registration, deferred: &mut Deferred) {
    if registration.marks.get() > USELESS_MARKS
        && let Some(stream) = registration.stream(held.me)
    {
        weigh_marks(registration, &stream, deferred);
    }
}

/// Too many marks while no byte came: was anything else published?
#[cold]
#[inline(never)]
pub fn weigh_marks(registration: &Registration, stream: &Stream, deferred: &mut Deferred) {
    if !stream.is_bound() {
        registration.marks.set(0);
        return;
    }
    let progress = stream.far_progress();
    let is_honest =
        progress != registration.marks_progress.get() && registration.marks.get() != BEYOND_DOUBT;
    registration.marks.set(0);
    registration.marks_progress.set(progress);
    if !is_honest {
        stream.pestered_by_marks();
        deferred.add(registration.endpoint.get());
    }
}

/// With no lock held: gives up the connection of an endpoint if that was found to be due.
pub fn give_up_if_due(index: u32) {
    let is_due = family::endpoint(index)
        .is_some_and(|endpoint| endpoint.pestered.load(Ordering::Relaxed) == pestered::NOTICED);
    if is_due
        && let Some(number) = fd_table::any_number_of(index)
        && let Some((_, generation, endpoint)) = fd_table::get(number)
    {
        upgrade::look_for_trouble(endpoint, generation, number);
    }
}
