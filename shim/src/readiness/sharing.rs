//! Sets of two processes (READINESS.md 8).
//!
//! After a fork the parent goes on as before: the kernel's set is one, but a child that never uses it changes nothing.
//! The child's copy of the books is inert. If the child does use the set, a word that both see says so, every member is
//! given up, the kernel gets the program's own masks back, and until the last ring is drained both look for themselves.
//!
//! The kernel's registrations are the truth, for each of the two may change them: that word also counts changes, and
//! whose books are older compares them with `/proc/self/fdinfo` ([`catch_up`]). What the kernel was not told by these
//! books is what the program wants now; only while the owner has not given its masks back, a child cannot tell them from
//! wishes, and takes over the data alone. A lock in the shared mapping keeps the owner's giving back and the other's
//! epoll_ctl apart.
//!
//! Limit: an epoll file that was made before a fork, when no managed socket was in it yet, and gets some from both
//! processes afterwards, is taken for two sets. A process without a matching socket maps nothing, so the two have no word
//! in common, and the kernel tells neither what the other registers. (On Linux such a set tells each of the two of
//! descriptors that only the other has.)
//!
//! A thread that sleeps without a time limit already when the process forks is woken by bells only: if its connections are on
//! the kernel then, and the child moves one to a ring and takes the bell that tells of it, the thread hears of that
//! connection with its next event. Every later sleep is bounded ([`arming`](super::arming)).
//!
//! * [`words`]: the shared mapping. [`processes`]: fork and exec.

mod processes;
pub mod words;

pub use processes::{after_failed_exec, after_fork, before_exec, before_fork, on_fork_child};

use super::instance::{self, Held, Instance};
use super::kernel_set::{self, EDGE, ERR, EXCLUSIVE, HUP, ONE_SHOT, WAKEUP};
use super::links::{By, Kind};
use super::registration::{Registration, flag};
use super::tables;
use crate::upgrade;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::family;
use fastpath::lock::Locked;
use kmod_interface::reason::Reason;
use words::FamilyWord;

/// Bits that the kernel adds, or drops, by itself.
const UNTOLD: u32 = ERR | HUP | WAKEUP;

/// True while its members must stay on the kernel.
#[inline]
#[must_use]
pub fn is_foreign(instance: &Instance) -> bool {
    instance.shared.get() != 0 || instance.inherited.get() != 0
}

/// True when this use of the set makes, or finds, it one of two processes.
#[inline]
#[must_use]
pub fn must_share(instance: &Instance) -> bool {
    instance.shared.get() == 0 && is_outdated(instance)
}

/// Another process may have changed the kernel's set, and these books do not say so yet: nothing that they say may be told
/// to the kernel before the set was shared.
#[inline]
fn is_outdated(instance: &Instance) -> bool {
    instance.inherited.get() != 0
        || (instance.forked.get() != 0
            && word_of(instance).is_none_or(|word| word.changes.load(Ordering::Acquire) != 0))
}

fn word_of(instance: &Instance) -> Option<&'static FamilyWord> {
    words::at(instance.family_word.get())
}

/// Does something to the kernel's set while no other process does. Inside the lock of the instance; `change` takes none.
fn in_turn<T>(held: &Held, change: impl FnOnce() -> T) -> T {
    let Some(word) = word_of(held.instance) else {
        return change();
    };
    let locked = word.lock.lock(held.me, family::is_owner_alive);
    let result = change();
    if locked != Locked::OwnThread {
        word.lock.unlock(held.me);
    }
    result
}

/// The word counts one change more; who had compared with it as it was before has still.
fn count_change(held: &Held, word: &FamilyWord) {
    let before = word.changes.load(Ordering::Acquire);
    // Never 0 again. Release, partner: the acquire of `must_share` and `catch_up`.
    let now = before.wrapping_add(1).max(1);
    word.changes.store(now, Ordering::Release);
    let known = &held.instance.known_changes;
    if known.get() == before {
        known.set(now);
    }
}

/// What the books want of the kernel's set: nothing is told while they are outdated, nor by a child whose parent has given
/// its masks back.
pub fn tell_kernel(held: &Held, tell: impl FnOnce()) {
    let instance = held.instance;
    if instance.inherited.get() == 0 && instance.forked.get() == 0 {
        return tell();
    }
    in_turn(held, || {
        let is_done = instance.inherited.get() != 0 && is_given_back(instance);
        if !must_share(instance) && !is_done {
            tell();
        }
    });
}

fn is_given_back(instance: &Instance) -> bool {
    word_of(instance).is_some_and(|word| word.given_back.load(Ordering::Acquire) != 0)
}

/// A change that the program makes to the kernel's registrations of managed sockets.
pub fn change_kernel<T>(held: &Held, change: impl FnOnce() -> T) -> T {
    if held.instance.shared.get() == 0 {
        return change();
    }
    in_turn(held, || {
        let result = change();
        if let Some(word) = word_of(held.instance) {
            count_change(held, word);
        }
        result
    })
}

/// A set of two processes: what another one has changed comes into these books.
#[inline]
pub fn catch_up(held: &Held) {
    let instance = held.instance;
    if instance.shared.get() == 0 {
        return;
    }
    let changes = word_of(instance).map_or(0, |word| word.changes.load(Ordering::Acquire));
    if changes != instance.known_changes.get() {
        instance.known_changes.set(changes);
        compare(held);
    }
}

/// The books after the kernel's set.
fn compare(held: &Held) {
    let instance = held.instance;
    let masks_are_wishes = instance.inherited.get() == 0 || is_given_back(instance);
    let number = instance.number.get() as c_int;
    instance.all.for_each(Kind::All, |index| {
        if let Some(registration) = tables::registration(index) {
            registration.clear(flag::IN_KERNEL);
        }
    });
    let readable = kernel_set::for_each_registration(number, |told| {
        let found =
            instance
                .by_number
                .find(By::Number, told.number as u64, |index, registration| {
                    (registration.number.get() == told.number as u32
                        && !registration.has(flag::ZOMBIE))
                    .then_some((index, registration))
                });
        let Some((index, registration)) = found else {
            return;
        };
        registration.mark(flag::IN_KERNEL);
        if registration.data.get() != told.data {
            held.set_data(index, registration, told.data);
        }
        take_over(registration, told.events & !UNTOLD, masks_are_wishes);
    });
    if !readable {
        return;
    }
    instance.all.for_each(Kind::All, |index| {
        if let Some(registration) = tables::registration(index)
            && !registration.has(flag::IN_KERNEL | flag::ZOMBIE | flag::GHOST)
        {
            held.drop_record(index, registration);
        }
    });
}

/// The kernel was told these events for a registration, by whomever.
fn take_over(registration: &Registration, events: u32, masks_are_wishes: bool) {
    if events == registration.kernel_events.get() & !UNTOLD {
        return;
    }
    registration.kernel_events.set(events);
    // A child gives back what was wanted when it was forked: no wish of its own, and perhaps an old one.
    let is_old = registration.has(flag::ACCELERATED) && events == registration.fork_events.get();
    if !masks_are_wishes || is_old {
        return;
    }
    registration.events.set(events);
    if events & !(EDGE | ONE_SHOT | EXCLUSIVE) == 0 {
        // A one-shot registration that the kernel has reported.
        registration.mark(flag::SPENT);
    } else {
        registration.clear(flag::SPENT);
    }
}

/// Two processes use the set: all members go back to the kernel, and stay there. No lock is held.
pub fn share(index: u32, generation: u32) {
    {
        let Some(held) = instance::lock(index, generation) else {
            return;
        };
        if held.instance.shared.get() == 0 {
            in_turn(&held, || give_all_back(&held));
        }
    }
    // One by one: giving up takes the locks of the connection and comes back here.
    for _ in 0..tables::REGISTRATIONS {
        let Some(held) = instance::lock(index, generation) else {
            return;
        };
        let mut next = None;
        held.instance.all.for_each(Kind::All, |place| {
            if let (None, Some(registration)) = (&next, tables::registration(place))
                && !registration.has(flag::GIVEN_UP)
            {
                registration.mark(flag::GIVEN_UP);
                next = registration
                    .stream(held.me)
                    .map(|stream| (place, registration, stream));
            }
        });
        let Some((place, registration, stream)) = next else {
            return;
        };
        held.adjust(place, registration, &stream);
        drop(held);
        upgrade::give_up(&stream, Reason::EpollShared);
    }
}

/// The books are brought up to date, and the kernel gets the program's own events back. What another process has changed
/// since the fork stays as it has it.
fn give_all_back(held: &Held) {
    let instance = held.instance;
    let owns = instance.inherited.get() == 0;
    let word = word_of(instance);
    if instance.forked.get() != 0 || !owns {
        compare(held);
    }
    instance.shared.set(1);
    instance.all.for_each(Kind::All, |place| {
        if let Some(registration) = tables::registration(place) {
            registration.clear(flag::GIVEN_UP);
            held.give_back(place, registration);
        }
    });
    if let Some(word) = word {
        if owns {
            word.given_back.store(1, Ordering::Release);
        }
        instance
            .known_changes
            .set(word.changes.load(Ordering::Acquire));
        count_change(held, word);
    }
}

/// The set is sent to another process, or to stdio: it is one of two processes from now on.
pub fn handed_over(number: c_int) {
    if let Some((index, generation, known)) = instance::of_number(number)
        && known.shared.get() == 0
    {
        share(index, generation);
    }
}
