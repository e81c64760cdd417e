//! Axio's own requests on a descriptor: accelerate, release, status. The contract is `kmod-interface/include/axio.h`.
//!
//! A connected socket that is managed has an endpoint, and the answer is there. A socket that is not connected yet has
//! none: its wish waits in the descriptor table ([`fd_table::facts`]) until connect() or accept() makes one.
#![expect(
    unsafe_code,
    reason = "reads and writes the program's argument, as ioctl() does"
)]

use super::choosing::{choice, is_tcp};
use crate::{fd_table, process, status, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::ioctl::{AXIO_SIOCACCEL, Acceleration, STATUS_VERSION, Status, path, state};
use kmod_interface::reason::Reason;
use libc::{EFAULT, EINVAL, EOPNOTSUPP, SO_PROTOCOL, SOL_SOCKET};
use settings::{Choice, Mode, Role};

/// Answers one of the two requests: 0 or minus errno, or nothing when `descriptor` is no socket and the kernel is to
/// refuse.
///
/// # Safety
/// `argument` is null, in the first page, or the structure of this request.
pub unsafe fn answer(descriptor: c_int, request: u64, argument: *mut c_void) -> Option<c_int> {
    let managed = fd_table::stream(descriptor);
    if managed.is_none() {
        kernel_call::socket_option::<c_int>(descriptor, SOL_SOCKET, SO_PROTOCOL).ok()?;
    }
    if (argument as usize) < 4096 {
        return Some(-EFAULT);
    }
    if request == AXIO_SIOCACCEL {
        let wish = argument.cast::<Acceleration>();
        // SAFETY: a plausible address; the program vouches for the rest.
        let Acceleration { enable, .. } = unsafe { wish.read_unaligned() };
        if enable > 1 {
            return Some(-EINVAL);
        }
        let now = match &managed {
            Some(stream) => {
                ask(stream, enable == 1);
                status::status_of(stream)
            }
            None => ask_unmanaged(descriptor, enable == 1),
        };
        let reason = now.reason;
        // SAFETY: as above.
        unsafe { wish.write_unaligned(Acceleration { enable, reason }) };
        Some(result(reason))
    } else {
        let now = match &managed {
            Some(stream) => status::status_of(stream),
            None => unmanaged(unmanaged_reason(descriptor)),
        };
        // SAFETY: as above.
        unsafe { argument.cast::<Status>().write_unaligned(now) };
        Some(result(now.reason))
    }
}

fn result(reason: u32) -> c_int {
    if reason == Reason::NotStreamSocket as u32 {
        -EOPNOTSUPP
    } else {
        0
    }
}

/// Does to a new endpoint what the program had asked of its socket, or of the listening socket it came from.
pub fn inherit(stream: &Stream, wish: Option<bool>) {
    if let Some(accelerate) = wish {
        ask(stream, accelerate);
    }
}

/// What the program has asked of the endpoint, for the next one of the same socket.
pub fn wish_of(stream: &Stream) -> Option<bool> {
    let endpoint = stream.endpoint;
    let reason = Reason::from_code(endpoint.reason.load(Ordering::Relaxed));
    let is_asked_for = process::settings().mode == Mode::OptIn
        && endpoint.wished.load(Ordering::Relaxed) != 0
        && reason != Some(Reason::NotOptedIn);
    match reason {
        Some(Reason::Released) => Some(false),
        _ => is_asked_for.then_some(true),
    }
}

/// A wish lifts what an earlier one decided, and what `optin` waits for; nothing else.
fn ask(stream: &Stream, accelerate: bool) {
    let endpoint = stream.endpoint;
    let was_wished = endpoint.wished.load(Ordering::Relaxed) != 0;
    if !accelerate {
        // What was given up for a reason of its own keeps that reason, and a later wish does not lift it.
        if was_wished {
            upgrade::give_up(stream, Reason::Released);
        }
        return;
    }
    let lifted = matches!(
        Reason::from_code(endpoint.reason.load(Ordering::Relaxed)),
        Some(Reason::Released | Reason::NotOptedIn)
    );
    if lifted {
        endpoint
            .reason
            .store(Reason::NotYet as u32, Ordering::Relaxed);
        status::update_row(stream);
    }
    if lifted || was_wished {
        stream.wish();
        endpoint
            .next_turn
            .set(endpoint.turns.get().saturating_add(1));
    }
}

fn ask_unmanaged(descriptor: c_int, accelerate: bool) -> Status {
    let reason = unmanaged_reason(descriptor);
    let waits = matches!(
        reason,
        Reason::NotYet | Reason::NotOptedIn | Reason::Released
    );
    if !waits {
        return unmanaged(reason);
    }
    if fd_table::ensure().is_err() || !fd_table::set_wish(descriptor, Some(accelerate)) {
        return unmanaged(Reason::TooManySockets);
    }
    unmanaged(unmanaged_reason(descriptor))
}

/// Why a socket without an endpoint is on the kernel path.
fn unmanaged_reason(descriptor: c_int) -> Reason {
    if !is_tcp(descriptor) {
        return Reason::NotStreamSocket;
    }
    if let Some(reason) = process::reason_when_off() {
        return reason;
    }
    let Some((far, far_port)) = kernel_call::far_name(descriptor) else {
        return match fd_table::facts(descriptor).wish() {
            Some(true) => Reason::NotYet,
            Some(false) => Reason::Released,
            None if process::settings().mode == Mode::OptIn => Reason::NotOptedIn,
            None => Reason::NotYet,
        };
    };
    // Connected, but its connect() or accept() made no endpoint: a rule, or not this program's call.
    let by_rule = choice(Role::Client, far, far_port) == Choice::Kernel
        || kernel_call::own_name(descriptor)
            .is_some_and(|(own, port)| choice(Role::Server, own, port) == Choice::Kernel);
    if by_rule {
        Reason::Rule
    } else if descriptor as u32 >= fd_table::LIMIT {
        Reason::TooManySockets
    } else {
        super::lifecycle::trouble().unwrap_or(Reason::Inherited)
    }
}

fn unmanaged(reason: Reason) -> Status {
    Status {
        version: STATUS_VERSION,
        path: path::KERNEL,
        state: state::UNMANAGED,
        reason: reason as u32,
        ..Status::default()
    }
}
