//! What the rules say of a connection, by the names of its ends: a client's by the far name, a server's by its own.
//!
//! Most rules look at the port alone; what they say of it is remembered, so that a connection costs one comparison. They
//! do not change after start-up.
#![expect(unsafe_code, reason = "reads the name that connect() was given")]

use crate::{fd_table, process};
use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use fastpath::kernel_call;
use fastpath::sync::{AtomicU32, Ordering};
use libc::{IPPROTO_TCP, SO_PROTOCOL, SOL_SOCKET};
use settings::{Choice, Protocol, Role};

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

/// What the rules said of the port that was connected to last, if they say so of every address: [`SAID`], [`SAID_FAST`] and
/// the port.
static LAST_PORT: AtomicU32 = AtomicU32::new(0);
const SAID: u32 = 1 << 31;
const SAID_FAST: u32 = 1 << 30;

/// What is to become of a socket that was connected to this name, and the number that connections to its address have in
/// common; nothing when it is no internet address.
///
/// # Safety
/// `name` is readable for `length`, which is 16 or more.
#[inline(always)]
pub unsafe fn choice_of_far_name(name: *const u8, length: usize) -> Option<(Choice, u32)> {
    // SAFETY: family and port are the first four bytes.
    let head: [u8; 4] = unsafe { name.cast::<[u8; 4]>().read() };
    let family = c_int::from(u16::from_ne_bytes([head[0], head[1]]));
    let port = u32::from(u16::from_be_bytes([head[2], head[3]]));
    if family != libc::AF_INET && family != libc::AF_INET6 {
        return None;
    }
    // The last byte of sin_addr, or of sin6_addr.
    let last = if family == libc::AF_INET { 7 } else { 23 };
    let kin = if last < length {
        // SAFETY: inside the name.
        port ^ u32::from(unsafe { name.add(last).read() })
    } else {
        port
    };
    let said = LAST_PORT.load(Ordering::Relaxed);
    let choice = if said & !SAID_FAST != SAID | port {
        // SAFETY: as promised.
        unsafe { choice_by_rules(name, length) }?
    } else if said & SAID_FAST != 0 {
        Choice::Fast
    } else {
        Choice::Kernel
    };
    Some((choice, kin))
}

/// # Safety
/// As [`choice_of_far_name`].
#[inline(never)]
unsafe fn choice_by_rules(name: *const u8, length: usize) -> Option<Choice> {
    let mut bytes = [0u8; 28];
    let length = length.min(bytes.len());
    // SAFETY: as promised.
    unsafe { core::ptr::copy_nonoverlapping(name, bytes.as_mut_ptr(), length) };
    let (far, port) = kernel_call::internet_name(&bytes)?;
    let everywhere = process::settings()
        .rules
        .decide_everywhere(Protocol::Tcp, Role::Client, port);
    if let Some(choice) = everywhere {
        let fast = if choice == Choice::Fast { SAID_FAST } else { 0 };
        LAST_PORT.store(SAID | fast | u32::from(port), Ordering::Relaxed);
        return Some(choice);
    }
    Some(choice(Role::Client, far, port))
}

/// Asks the kernel and the rules about a connection that `listener` has accepted, and remembers for the next ones what
/// does not depend on where they were reached. (One listener can accept at several ports, by TPROXY or BPF; those of the
/// fast ones are looked at again before anything is done for them.)
pub fn may_go_fast(listener: c_int, descriptor: c_int) -> bool {
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
