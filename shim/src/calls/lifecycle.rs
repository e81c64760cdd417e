//! Connections come and go: which sockets are managed, and what shutdown, close and dup do to them.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::choosing::{choice_of_far_name, is_tcp, may_go_fast};
use super::{opt_in, sleepers};
use crate::boundary::me;
use crate::readiness::changes;
use crate::{fd_table, process, status, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::endpoint::{Endpoint, binding, role};
use fastpath::family;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::stream::leave::Successor;
use fastpath::stream::unbind::GivenUp;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use libc::{EINPROGRESS, EINTR, SHUT_RD, SHUT_RDWR};
use settings::{Choice, Mode};

/// listen() is about to be called.
pub extern "C" fn before_listen(descriptor: c_int) {
    process::unless_confined((), || {
        process::complain();
        // It may be bound to another place now.
        fd_table::set_accepts_fast(descriptor, None);
    });
}

/// close_range() or closefrom() is about to be called.
pub extern "C" fn before_close_range(first: u32, last: u32) {
    process::unless_confined((), || {
        if !process::is_own() {
            return;
        }
        let last = last.min(c_int::MAX as u32) as c_int;
        if let Ok(first) = c_int::try_from(first) {
            fd_table::for_each(first, last, |descriptor, _, _, _| {
                forget(descriptor, Number::Closes);
            });
            fd_table::for_each_instance(first, last, |descriptor| {
                forget(descriptor, Number::Closes);
            });
        }
    });
}

/// connect() has returned.
///
/// # Safety
/// `address` is the program's own argument, readable for `length` if connect() succeeded with it.
pub unsafe extern "C" fn after_connect(
    descriptor: c_int,
    address: *const c_void,
    length: u32,
    result: c_int,
    error: c_int,
) {
    process::unless_confined((), || {
        process::complain();
        if result != 0 && !matches!(error, EINPROGRESS | EINTR) {
            after_failed_attempt(descriptor);
            return;
        }
        if !(process::is_on() || process::has_failed_strictly())
            || (address as usize) < 4096
            || length < 16
        {
            return;
        }
        // SAFETY: connect() has just read that many bytes from there.
        let Some((choice, kin)) = (unsafe { choice_of_far_name(address.cast(), length as usize) })
        else {
            return;
        };
        if let Some((_, _, endpoint)) = fd_table::get(descriptor)
            && endpoint.role.get() == role::CONNECTING
        {
            return; // a second connect(): the attempt was under way
        }
        let facts = fd_table::facts(descriptor);
        let is_tcp = facts.is_tcp_stream() || is_tcp(descriptor);
        if !is_tcp || choice == Choice::Kernel {
            fd_table::drop_facts(descriptor);
            changes::not_managed(descriptor);
            return;
        }
        let wish = facts.wish();
        match manage(descriptor, role::CONNECTING) {
            Err(reason) => strictly_refuse(descriptor, reason, wish),
            Ok(stream) => {
                opt_in::inherit(&stream, wish);
                stream.endpoint.kin.set(kin);
                upgrade::after_connect(&stream, result == 0);
            }
        }
    });
}

/// A socket whose attempt to connect has failed may be used for another one. What was learned of the first is none of
/// its business: a receive in between has seen an end of the stream, behind which nothing would ever be granted.
fn after_failed_attempt(descriptor: c_int) {
    if !process::is_own() {
        return;
    }
    if let Some(stream) = fd_table::stream(descriptor)
        && stream.endpoint.role.get() == role::CONNECTING
        && !stream.is_bound()
    {
        let wish = opt_in::wish_of(&stream);
        forget(descriptor, Number::Stays);
        let _ = fd_table::set_wish(descriptor, wish);
    }
}

/// accept() has returned a connection.
pub extern "C" fn after_accept(listener: c_int, descriptor: c_int) {
    process::unless_confined((), || {
        if fd_table::word_of(descriptor) != 0 {
            number_returned(descriptor);
            // Facts about an earlier socket of this number, which was closed behind us.
            fd_table::drop_facts(descriptor);
        }
        if !(process::is_on() || process::has_failed_strictly()) {
            return;
        }
        let facts = fd_table::facts(listener);
        let fast = facts.accepts_fast();
        if !fast.unwrap_or_else(|| may_go_fast(listener, descriptor)) {
            return;
        }
        match manage(descriptor, role::ACCEPTING) {
            Err(reason) => strictly_refuse(descriptor, reason, facts.wish()),
            Ok(stream) => {
                opt_in::inherit(&stream, facts.wish());
                stream.endpoint.kin.set(listener as u32);
            }
        }
    });
}

/// Begins to manage a socket: an endpoint in family memory, a row in the statistics page, a word in the table.
fn manage(descriptor: c_int, role: u32) -> Result<Stream, Reason> {
    begin_managing(descriptor, role)
        .inspect_err(|reason| TROUBLE.store(*reason as u32, Ordering::Relaxed))
}

/// Why a socket could not be managed lately, as a reason; 0 = none.
static TROUBLE: AtomicU32 = AtomicU32::new(0);

/// Why a socket that should be managed is not: the last trouble of this process, as far as is known.
pub fn trouble() -> Option<Reason> {
    Reason::from_code(TROUBLE.load(Ordering::Relaxed)).filter(|reason| *reason != Reason::None)
}

/// A matching socket could not be managed. `wish`: what the program has asked for it.
#[cold]
fn strictly_refuse(descriptor: c_int, reason: Reason, wish: Option<bool>) {
    if wish.unwrap_or(process::settings().mode != Mode::OptIn) {
        upgrade::not_managed(descriptor, reason);
    }
}

#[inline]
fn begin_managing(descriptor: c_int, role: u32) -> Result<Stream, Reason> {
    if let Some(reason) = process::reason_when_off() {
        return Err(reason);
    }
    if descriptor as u32 >= fd_table::LIMIT {
        return Err(Reason::TooManySockets);
    }
    if fd_table::is_used(descriptor) {
        number_returned(descriptor);
    }
    fd_table::ensure().map_err(|_| Reason::OutOfMemory)?;
    family::ensure().map_err(crate::discovery::reason_of)?;
    let place = family::process_place().ok_or(Reason::TooManySockets)?;
    status::ensure_page();
    let reason = if process::settings().mode == Mode::OptIn {
        Reason::NotOptedIn
    } else {
        Reason::NotYet
    };
    let (index, endpoint) = family::begin_endpoint(place, |index, endpoint| {
        endpoint.role.set(role);
        endpoint.next_turn.set(1);
        endpoint.reason.store(reason as u32, Ordering::Relaxed);
        status::open_row(endpoint, index, descriptor, role);
    })
    .ok_or(Reason::TooManySockets)?;
    count(Counter::SocketsSeen, 1);
    fd_table::note(descriptor);
    let generation = endpoint.generation.load(Ordering::Acquire);
    fd_table::set(descriptor, index, generation);
    let stream = Stream::new(endpoint, generation, descriptor, me());
    changes::managed(&stream);
    Ok(stream)
}

/// The kernel returned a number that the table still knows: it was closed behind us (POSIX.md R11).
pub extern "C" fn number_returned(descriptor: c_int) {
    process::unless_confined((), || {
        // A vfork child's numbers are its own; ours stay what they are.
        if process::is_own() {
            forget(descriptor, Number::Closed);
        }
    });
}

/// connect() to AF_UNSPEC is about to be called, which dissolves the connection; the socket may be connected again. So the
/// channel is left now if this is its last number, and nothing is kept for those who sleep on it: they would leave it later,
/// under the next connection. They find an end.
pub extern "C" fn before_dissolving(descriptor: c_int) {
    process::unless_confined((), || {
        if process::is_own() {
            forget(descriptor, Number::Stays);
        }
    });
}

/// close() is about to be called: LEAVE if this was the last managed number.
pub extern "C" fn before_close(descriptor: c_int) {
    process::unless_confined((), || {
        // A vfork child closes its copy of the number; ours stays what it is.
        if process::is_own() {
            sleepers::keep(descriptor);
            forget(descriptor, Number::Closes);
        }
    });
}

/// What becomes of a number that no longer means its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// It is about to be closed; until then the kernel's socket exists under it.
    Closes,
    /// The same, with the process: what was bound is remembered, for other threads may still call by the number
    /// ([`super::exiting`]).
    Ends,
    /// It goes on naming the socket, without a connection.
    Stays,
    /// It was closed behind us.
    Closed,
}

/// A number no longer means its endpoint.
pub fn forget(descriptor: c_int, number: Number) {
    let open = number != Number::Closed;
    if changes::set_number_gone(descriptor) {
        return;
    }
    let is_bound = || {
        fd_table::stream(descriptor)
            .is_some_and(|stream| stream.endpoint.binding.load(Ordering::Acquire) != binding::NONE)
    };
    let meant = if number == Number::Ends && is_bound() {
        fd_table::take_and_remember(descriptor)
    } else {
        fd_table::take(descriptor)
    };
    let Some((index, generation, endpoint)) = meant else {
        return;
    };
    let Some(place) = family::process_place() else {
        return;
    };
    let stream = Stream::new(endpoint, generation, descriptor, me());
    let last = if endpoint.binding.load(Ordering::Acquire) == binding::NONE {
        endpoint.remove_number_unbound(place)
    } else {
        // Another thread may be acting for the connection under this number, which the kernel gives to others now.
        stream.wait_for_helpers();
        endpoint.remove_number(place)
    };
    if last {
        upgrade::drop_negotiation(&stream);
    }
    // Nobody asks again: it must be right now.
    let ends = last && !endpoint.clear_the_dead(place);
    let mut given = None;
    // Without a binding there is nothing to leave.
    if ends && open && endpoint.binding.load(Ordering::Acquire) != binding::NONE {
        given = stream.leave(Successor::Nobody).given;
        if stream.drained.get() {
            // A bell that was meant for a set, over whichever of its connections, is gone before its sleeper looked.
            process::readiness_changed(&stream);
        }
    }
    if number == Number::Stays {
        changes::socket_goes_on_unmanaged(index, generation, descriptor);
    }
    changes::socket_number_gone(index, generation, (descriptor, number), last, ends);
    if !last {
        sleepers::release_if_unused(endpoint);
        return;
    }
    if !ends {
        return;
    }
    let retired = stream.retire();
    if retired {
        upgrade::ended(endpoint);
        status::close_row(endpoint);
        // Closed behind us: nobody has left.
        given = given.or_else(|| stream.hand_slot_out());
    }
    if let Some(given) = given {
        give_back(endpoint, given);
    }
    if retired {
        family::free_endpoint(index);
    }
}

/// This side has left: its slot and its part in the channel are given back.
pub fn give_back(endpoint: &'static Endpoint, given: GivenUp) {
    changes::channel_leaves(endpoint);
    given.channel.slot_leave(given.slot, given.generation);
    given.channel.release();
}

/// shutdown() is about to be called on what `word` of the table means; 1: [`after_shutdown`] must follow, the endpoint's
/// sending lock is held.
pub extern "C" fn before_shutdown(word: u64, descriptor: c_int, how: c_int) -> c_int {
    process::unless_confined(0, || {
        let Some(stream) = meant(word, descriptor) else {
            return 0;
        };
        if !(SHUT_RD..=SHUT_RDWR).contains(&how) {
            return 0;
        }
        if how != 1 && stream.is_bound() {
            stream.shut_reading();
        }
        let follow = how != SHUT_RD && stream.begin_shutdown();
        c_int::from(follow)
    })
}

/// shutdown() has returned. Another thread may have seen the end and closed the number: the lock is the endpoint's, which
/// stays what it is as long as it is held.
pub extern "C" fn after_shutdown(word: u64, descriptor: c_int) {
    process::guarded_hook((), || {
        if let Some(stream) = meant(word, descriptor) {
            stream.end_shutdown();
            process::readiness_changed(&stream);
        }
    });
}

fn meant(word: u64, descriptor: c_int) -> Option<Stream> {
    let (generation, endpoint) = fd_table::meant_by(word)?;
    Some(Stream::new(endpoint, generation, descriptor, me()))
}

/// dup(), dup2(), dup3() or F_DUPFD made `to` mean what `from` means.
pub extern "C" fn duplicated(from: c_int, to: c_int) {
    process::unless_confined((), || {
        if family::process_place().is_some() && !process::is_own() {
            // A vfork child moves its copy to where a program wants it. That program reads the kernel's socket; the
            // numbers of the table stay what they are.
            if let Some(stream) = fd_table::stream(from)
                && stream.is_bound()
                && upgrade::is_connection(&stream)
            {
                super::confinement::leave_for_good(&stream, Reason::Inherited);
            }
            return;
        }
        if fd_table::is_used(to) {
            forget(to, Number::Closed);
        }
        if changes::set_duplicated(from, to) {
            return;
        }
        let Some((index, generation, endpoint)) = fd_table::get(from) else {
            fd_table::copy_facts(from, to);
            return;
        };
        let Some(place) = family::process_place() else {
            return;
        };
        if !endpoint.add_numbers(place, 1) {
            return;
        }
        fd_table::note(to);
        fd_table::set(to, index, generation);
        if to <= 2 {
            // A program that is exec'd or stdio will use it without us.
            let stream = Stream::new(endpoint, generation, to, me());
            upgrade::give_up(&stream, Reason::StandardStream);
        }
    });
}
