//! getsockopt, setsockopt, ioctl, fcntl: options that a line needs otherwise are answered from a copy (POSIX.md R1),
//! counts include the ring, and Axio's own requests are served.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::opt_in;
use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::stream::Stream;
use fastpath::stream::line::shadow;
use fastpath::sync::Ordering;
use kmod_interface::ioctl::{AXIO_SIOCACCEL, AXIO_SIOCSTATUS};
use kmod_interface::reason::Reason;
use libc::{
    EACCES, F_GETFL, F_SETFL, F_SETOWN, FIOASYNC, FIONREAD, IPPROTO_TCP, SO_ATTACH_BPF,
    SO_ATTACH_FILTER, SO_ERROR, SO_OOBINLINE, SO_PEEK_OFF, SO_RCVLOWAT, SO_TIMESTAMP,
    SO_TIMESTAMP_NEW, SO_TIMESTAMPING, SO_TIMESTAMPING_NEW, SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW,
    SO_ZEROCOPY, SOL_SOCKET, TCP_CORK, TCP_INQ, TCP_NODELAY, TCP_REPAIR, TCP_ULP,
    TCP_ZEROCOPY_RECEIVE,
};

// Those of sockios.h and fcntl.h that libc does not name.
const SIOCOUTQ: u64 = 0x5411;
const SIOCATMARK: u64 = 0x8905;
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const O_ASYNC: u64 = libc::O_ASYNC as u64;

/// The shim has answered; the trampoline does not ask the kernel.
const ANSWERED: c_int = 1;
/// The trampoline asks the kernel as always.
const PASS: c_int = 0;

/// Before setsockopt().
///
/// # Safety
/// The program's own arguments.
pub unsafe extern "C" fn set_option(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: u32,
    result: *mut c_int,
) -> c_int {
    process::unless_confined(PASS, || {
        let Some(stream) = fd_table::stream(descriptor) else {
            return PASS;
        };
        let endpoint = stream.endpoint;
        let reads_int = (value as usize) >= 4096 && length >= 4;
        let number = if reads_int {
            // SAFETY: a plausible address; the program vouches for the rest.
            unsafe { value.cast::<c_int>().read_unaligned() }
        } else {
            0
        };
        match (level, name) {
            (IPPROTO_TCP, TCP_NODELAY | TCP_CORK)
                if reads_int && endpoint.shadowed.get() & shadow::SENDING != 0 =>
            {
                let word = if name == TCP_NODELAY {
                    &endpoint.shadow_no_delay
                } else {
                    &endpoint.shadow_cork
                };
                word.set(u32::from(number != 0));
                // SAFETY: the trampoline's own local.
                unsafe { *result = 0 };
                ANSWERED
            }
            (SOL_SOCKET, SO_RCVLOWAT)
                if reads_int && stream.is_bound() && endpoint.granted.get() != 0 =>
            {
                // The kernel judges and clamps the value; the line keeps 1.
                let set = fastpath::kernel_call::set_socket_option::<c_int>(
                    descriptor, level, name, number,
                );
                let clamped =
                    fastpath::kernel_call::socket_option::<c_int>(descriptor, level, name)
                        .unwrap_or(1);
                let _ =
                    fastpath::kernel_call::set_socket_option::<c_int>(descriptor, level, name, 1);
                if set.is_err() {
                    return PASS;
                }
                endpoint.low_water.set(clamped.max(1) as u32);
                // SAFETY: the trampoline's own local.
                unsafe { *result = 0 };
                process::readiness_changed(&stream);
                ANSWERED
            }
            (IPPROTO_TCP, TCP_ULP | TCP_REPAIR | TCP_INQ)
            | (
                SOL_SOCKET,
                SO_OOBINLINE | SO_PEEK_OFF | SO_ATTACH_FILTER | SO_ATTACH_BPF | SO_ZEROCOPY
                | SO_TIMESTAMP | SO_TIMESTAMPNS | SO_TIMESTAMPING | SO_TIMESTAMP_NEW
                | SO_TIMESTAMPNS_NEW | SO_TIMESTAMPING_NEW,
            ) => {
                upgrade::give_up(&stream, Reason::KernelFeature);
                PASS
            }
            _ => PASS,
        }
    })
}

/// A feature of the kernel that a ring cannot imitate and that was switched on before the socket was managed, or inherited
/// from the listener: the options that [`set_option`] and [`control`] watch for later (POSIX.md R13).
#[must_use]
pub fn uses_kernel_feature(descriptor: c_int) -> bool {
    use fastpath::kernel_call::{file_control, socket_option, socket_option_bytes};
    let is_on = |level, name| socket_option::<c_int>(descriptor, level, name).unwrap_or(0) != 0;
    let is_asynchronous =
        file_control(descriptor, F_GETFL, 0).is_ok_and(|flags| flags as u64 & O_ASYNC != 0);
    // SO_GET_FILTER has the number of SO_ATTACH_FILTER: without a buffer it tells the filter's length, and refuses to for
    // one that is not of the classic kind.
    let is_filtered = socket_option_bytes(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &mut [])
        .map_or_else(|errno| errno == EACCES, |length| length != 0);
    is_asynchronous
        || is_filtered
        || [
            SO_OOBINLINE,
            SO_ZEROCOPY,
            SO_TIMESTAMP,
            SO_TIMESTAMPNS,
            SO_TIMESTAMPING,
            SO_TIMESTAMP_NEW,
            SO_TIMESTAMPNS_NEW,
            SO_TIMESTAMPING_NEW,
        ]
        .into_iter()
        .any(|name| is_on(SOL_SOCKET, name))
        || is_on(IPPROTO_TCP, TCP_INQ)
        || socket_option::<c_int>(descriptor, SOL_SOCKET, SO_PEEK_OFF).is_ok_and(|at| at >= 0)
}

/// Before getsockopt().
///
/// # Safety
/// The program's own arguments.
pub unsafe extern "C" fn get_option(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut u32,
    result: *mut c_int,
) -> c_int {
    process::unless_confined(PASS, || {
        let Some(stream) = fd_table::stream(descriptor) else {
            return PASS;
        };
        let endpoint = stream.endpoint;
        if (level, name) == (IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE) {
            // SAFETY: the program's own arguments.
            return unsafe { receive_by_copying(&stream, value, length, result) };
        }
        let answer = match (level, name) {
            (IPPROTO_TCP, TCP_NODELAY) if endpoint.shadowed.get() & shadow::SENDING != 0 => {
                endpoint.shadow_no_delay.get()
            }
            (IPPROTO_TCP, TCP_CORK) if endpoint.shadowed.get() & shadow::SENDING != 0 => {
                endpoint.shadow_cork.get()
            }
            (SOL_SOCKET, SO_RCVLOWAT) if endpoint.low_water.get() > 1 => endpoint.low_water.get(),
            (SOL_SOCKET, SO_ERROR) if endpoint.error.load(Ordering::Acquire) != 0 => {
                endpoint.error.swap(0, Ordering::AcqRel)
            }
            _ => return PASS,
        };
        if (value as usize) < 4096 || (length as usize) < 4096 {
            return PASS;
        }
        // SAFETY: plausible addresses; the kernel's own rule: as many bytes as asked for, at most an int's.
        unsafe {
            let asked = (*length).min(4);
            core::ptr::copy_nonoverlapping(
                (&raw const answer).cast::<u8>(),
                value.cast::<u8>(),
                asked as usize,
            );
            *length = asked;
            *result = 0;
        }
        ANSWERED
    })
}

/// getsockopt(TCP_ZEROCOPY_RECEIVE) would take bytes off the line by itself. What it may say at any time (tcp(7), `struct
/// tcp_zerocopy_receive`): nothing is mapped, so many bytes are to be received by copying.
///
/// # Safety
/// The program's own arguments.
unsafe fn receive_by_copying(
    stream: &Stream,
    value: *mut c_void,
    length: *mut u32,
    result: *mut c_int,
) -> c_int {
    const LENGTH: usize = 8;
    const RECEIVE_SKIP_HINT: usize = 12;
    if !stream.is_bound() || (value as usize) < 4096 || (length as usize) < 4096 {
        return PASS;
    }
    // SAFETY: plausible addresses; the program vouches for the rest.
    unsafe {
        if (*length as usize) < RECEIVE_SKIP_HINT + 4 {
            return PASS;
        }
        let bytes = stream.readable_bytes().min(u64::from(u32::MAX)) as u32;
        process::readiness_changed(stream);
        let place = value.cast::<u8>();
        place.add(LENGTH).cast::<u32>().write_unaligned(0);
        place
            .add(RECEIVE_SKIP_HINT)
            .cast::<u32>()
            .write_unaligned(bytes);
        *result = 0;
    }
    ANSWERED
}

/// Before ioctl(). `result` is the return value, or minus errno.
///
/// # Safety
/// The program's own arguments.
pub unsafe extern "C" fn request(
    descriptor: c_int,
    request: u64,
    argument: *mut c_void,
    result: *mut c_int,
) -> c_int {
    process::unless_confined(PASS, || {
        // SAFETY: the trampoline's own local.
        let answer = |value: c_int| unsafe {
            *result = value;
            ANSWERED
        };
        if request == AXIO_SIOCACCEL || request == AXIO_SIOCSTATUS {
            // SAFETY: as for the caller.
            return match unsafe { opt_in::answer(descriptor, request, argument) } {
                Some(value) => answer(value),
                None => PASS,
            };
        }
        let Some(stream) = fd_table::stream(descriptor) else {
            return PASS;
        };
        match request {
            FIONREAD if stream.is_bound() && (argument as usize) >= 4096 => {
                let bytes = stream.readable_bytes();
                process::readiness_changed(&stream);
                // SAFETY: a plausible address.
                unsafe {
                    argument
                        .cast::<c_int>()
                        .write_unaligned(bytes.min(i32::MAX as u64) as c_int)
                };
                answer(0)
            }
            SIOCOUTQ
                if stream.is_bound()
                    && (argument as usize) >= 4096
                    && stream.unsent_ring_bytes() > 0 =>
            {
                let bytes = stream.unsent_ring_bytes();
                // SAFETY: a plausible address.
                unsafe {
                    argument
                        .cast::<c_int>()
                        .write_unaligned(bytes.min(i32::MAX as u64) as c_int)
                };
                answer(0)
            }
            FIOASYNC | SIOCATMARK => {
                if request == FIOASYNC {
                    upgrade::give_up(&stream, Reason::KernelFeature);
                } else {
                    // The mark is looked for behind the bells of a switch back.
                    let _ = stream.readable_bytes();
                }
                PASS
            }
            _ => PASS,
        }
    })
}

/// Before fcntl(), ioctl() and setsockopt() that may change whether calls wait, and for how long; and behind them.
pub extern "C" fn waiting_changes(descriptor: c_int) {
    process::guarded_hook((), || {
        if let Some(stream) = fd_table::stream(descriptor) {
            stream.endpoint.waiting.changed();
        }
    });
}

/// Before fcntl().
pub extern "C" fn control(descriptor: c_int, command: c_int, argument: u64) {
    process::unless_confined((), || {
        let asynchronous = match command {
            F_SETOWN | F_SETSIG | F_SETOWN_EX => true,
            F_SETFL => argument & O_ASYNC != 0,
            _ => false,
        };
        if asynchronous && let Some(stream) = fd_table::stream(descriptor) {
            upgrade::give_up(&stream, Reason::KernelFeature);
        }
    });
}
