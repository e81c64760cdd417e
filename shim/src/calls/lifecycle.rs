//! Connections come and go: which sockets are managed, and what shutdown, close and dup do to them.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::{opt_in, sleepers};
use crate::boundary::me;
use crate::readiness::changes;
use crate::{fd_table, process, status, upgrade};
use core::ffi::{c_int, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::stream::leave::Successor;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use settings::{Choice, Mode, Protocol, Role};

const EINPROGRESS: c_int = 115;
const SOL_SOCKET: c_int = 1;
const SO_PROTOCOL: c_int = 38;
const IPPROTO_TCP: c_int = 6;

/// Role of an endpoint, as in the statistics page.
pub mod role {
    /// Called connect().
    pub const CONNECTING: u32 = 1;
    /// Came from accept().
    pub const ACCEPTING: u32 = 2;
}

/// Which rule applies to an address.
#[must_use]
pub fn choice(role: Role, address: [u8; 16], port: u16) -> Choice {
    let v6 = Ipv6Addr::from(address);
    let address = v6
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4));
    process::settings()
        .rules
        .decide(Protocol::Tcp, role, address, port)
}

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
            fd_table::for_each(first, last, |descriptor, _, _, _| forget(descriptor, true));
            fd_table::for_each_instance(first, last, |descriptor| forget(descriptor, true));
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
) -> c_int {
    process::unless_confined(0, || {
        process::complain();
        if result != 0 && error != EINPROGRESS {
            after_failed_attempt(descriptor);
            return 0;
        }
        if !(process::is_on() || process::has_failed_strictly())
            || (address as usize) < 4096
            || length < 16
        {
            return 0;
        }
        let mut bytes = [0u8; 28];
        let length = (length as usize).min(bytes.len());
        // SAFETY: connect() has just read the address from there.
        unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), bytes.as_mut_ptr(), length) };
        let Some((far, port)) = kernel_call::internet_name(&bytes) else {
            return 0;
        };
        if let Some((_, _, endpoint)) = fd_table::get(descriptor)
            && endpoint.role.get() == role::CONNECTING
        {
            return 0; // the second connect() of a non-blocking socket
        }
        let is_tcp = fd_table::is_tcp_stream(descriptor) || is_tcp(descriptor);
        if !is_tcp || choice(Role::Client, far, port) == Choice::Kernel {
            fd_table::drop_facts(descriptor);
            return 0;
        }
        let wish = fd_table::wish(descriptor);
        if let Err(reason) = manage(descriptor, role::CONNECTING) {
            strictly_refuse(descriptor, reason, wish);
        } else if let Some(stream) = fd_table::stream(descriptor) {
            opt_in::inherit(&stream, wish);
            upgrade::after_connect(&stream, result == 0);
        }
        0
    })
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
        forget(descriptor, true);
        let _ = fd_table::set_wish(descriptor, wish);
    }
}

/// accept() has returned a connection.
pub extern "C" fn after_accept(listener: c_int, descriptor: c_int) {
    process::unless_confined((), || {
        if fd_table::is_used(descriptor) {
            number_returned(descriptor);
        }
        // Facts about an earlier socket of this number, which was closed behind us.
        fd_table::drop_facts(descriptor);
        if !(process::is_on() || process::has_failed_strictly()) {
            return;
        }
        if !fd_table::accepts_fast(listener).unwrap_or_else(|| may_go_fast(listener, descriptor)) {
            return;
        }
        if let Err(reason) = manage(descriptor, role::ACCEPTING) {
            strictly_refuse(descriptor, reason, fd_table::wish(listener));
        } else if let Some(stream) = fd_table::stream(descriptor) {
            opt_in::inherit(&stream, fd_table::wish(listener));
        }
    });
}

/// Asks the kernel and the rules about a connection that `listener` has accepted, and remembers for the next ones what
/// does not depend on where they were reached. (One listener can accept at several ports, by TPROXY or BPF; those of the
/// fast ones are looked at again before anything is done for them.)
fn may_go_fast(listener: c_int, descriptor: c_int) -> bool {
    let Some((own, port)) = kernel_call::own_name(descriptor) else {
        return false;
    };
    let fast = choice(Role::Server, own, port) == Choice::Fast;
    if fast && !is_tcp(descriptor) {
        return false;
    }
    let everywhere = process::settings()
        .rules
        .decide_everywhere(Protocol::Tcp, Role::Server, port);
    if everywhere.is_some() && fd_table::ensure().is_ok() {
        fd_table::set_accepts_fast(listener, Some(fast));
    }
    fast
}

/// Whether the kernel says that it is TCP.
pub fn is_tcp(descriptor: c_int) -> bool {
    kernel_call::socket_option::<c_int>(descriptor, SOL_SOCKET, SO_PROTOCOL) == Ok(IPPROTO_TCP)
}

/// Begins to manage a socket: an endpoint in family memory, a row in the statistics page, a word in the table.
fn manage(descriptor: c_int, role: u32) -> Result<(), Reason> {
    let managed = begin_managing(descriptor, role);
    if let Err(reason) = managed {
        TROUBLE.store(reason as u32, Ordering::Relaxed);
    }
    managed
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

fn begin_managing(descriptor: c_int, role: u32) -> Result<(), Reason> {
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
    let (index, endpoint) = family::allocate_endpoint().ok_or(Reason::TooManySockets)?;
    endpoint.role.set(role);
    endpoint.next_turn.set(1);
    endpoint.wished.store(1, Ordering::Relaxed);
    endpoint.reason.store(
        if process::settings().mode == Mode::OptIn {
            Reason::NotOptedIn
        } else {
            Reason::NotYet
        } as u32,
        Ordering::Relaxed,
    );
    if !endpoint.add_numbers(place, 1) {
        family::free_endpoint(index);
        return Err(Reason::TooManySockets);
    }
    status::open_row(endpoint, index, descriptor, role);
    count(Counter::SocketsSeen, 1);
    fd_table::note(descriptor);
    fd_table::set(
        descriptor,
        index,
        endpoint.generation.load(Ordering::Acquire),
    );
    crate::readiness::changes::managed(descriptor);
    Ok(())
}

/// The kernel returned a number that the table still knows: it was closed behind us (POSIX.md R11).
pub extern "C" fn number_returned(descriptor: c_int) {
    process::unless_confined((), || {
        // A vfork child's numbers are its own; ours stay what they are.
        if process::is_own() {
            forget(descriptor, false);
        }
    });
}

/// close() is about to be called: LEAVE if this was the last managed number.
pub extern "C" fn before_close(descriptor: c_int) {
    process::unless_confined((), || {
        // A vfork child closes its copy of the number; ours stays what it is.
        if process::is_own() {
            sleepers::keep(descriptor);
            forget(descriptor, true);
        }
    });
}

/// A number no longer means its endpoint; `open`: the kernel socket still exists under it.
pub fn forget(descriptor: c_int, open: bool) {
    if changes::set_number_gone(descriptor) {
        return;
    }
    let Some((index, generation, endpoint)) = fd_table::take(descriptor) else {
        return;
    };
    let Some(place) = family::process_place() else {
        return;
    };
    // Another thread may be acting for the connection under this number, which the kernel gives to others now.
    Stream::new(endpoint, generation, descriptor, me()).wait_for_helpers();
    let last = endpoint.remove_number(place);
    let stream = Stream::new(endpoint, generation, descriptor, me());
    if last {
        upgrade::drop_negotiation(&stream);
    }
    // Nobody asks again: it must be right now.
    let ends = last && !endpoint.clear_the_dead(place);
    if ends && open {
        stream.leave(Successor::Nobody);
        if stream.drained.get() {
            // A bell that was meant for a set, over whichever of its connections, is gone before its sleeper looked.
            process::readiness_changed(&stream);
        }
    }
    changes::socket_number_gone(index, generation, descriptor, open, last);
    if !last {
        sleepers::release_if_unused(endpoint);
        return;
    }
    if !ends {
        return;
    }
    if !stream.retire() {
        return;
    }
    status::close_row(endpoint);
    give_channel_back(endpoint);
    family::free_endpoint(index);
}

/// This side has left: its slot and its part in the channel are given back, once.
pub fn give_channel_back(endpoint: &'static Endpoint) {
    if endpoint.channel.get() == 0 {
        return;
    }
    changes::channel_leaves(endpoint);
    // Two threads may have made the same socket a plain one.
    let Some(index) = endpoint.channel.take().checked_sub(1) else {
        return;
    };
    if let Some(channel) = fastpath::channel::table::get(index) {
        channel.slot_leave(endpoint.slot.get(), endpoint.slot_generation.get());
        channel.release();
    }
}

/// shutdown() is about to be called; what `after_shutdown` must do (0 nothing, 1 end the writing shutdown).
pub extern "C" fn before_shutdown(descriptor: c_int, how: c_int) -> c_int {
    const SHUT_RD: c_int = 0;
    const SHUT_RDWR: c_int = 2;
    process::unless_confined(0, || {
        let Some(stream) = fd_table::stream(descriptor) else {
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

/// shutdown() has returned.
pub extern "C" fn after_shutdown(descriptor: c_int, _follow: c_int, _result: c_int) {
    process::unless_confined((), || {
        if let Some(stream) = fd_table::stream(descriptor) {
            stream.end_shutdown();
            process::readiness_changed(&stream);
        }
    });
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
            forget(to, false);
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
