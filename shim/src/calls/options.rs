//! getsockopt, setsockopt, ioctl, fcntl: options that a line needs otherwise are answered from a copy (POSIX.md R1),
//! counts include the ring, and Axio's own requests are served.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::opt_in;
use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::stream::line::shadow;
use fastpath::sync::Ordering;
use kmod_interface::ioctl::{AXIO_SIOCACCEL, AXIO_SIOCSTATUS};
use kmod_interface::reason::Reason;

const SOL_SOCKET: c_int = 1;
const IPPROTO_TCP: c_int = 6;
const TCP_NODELAY: c_int = 1;
const TCP_CORK: c_int = 3;
const TCP_ULP: c_int = 31;
const TCP_REPAIR: c_int = 19;
const SO_RCVLOWAT: c_int = 18;
const SO_OOBINLINE: c_int = 10;
const SO_ERROR: c_int = 4;
const SO_PEEK_OFF: c_int = 42;
const SO_ATTACH_FILTER: c_int = 26;
const SO_ATTACH_BPF: c_int = 50;
const SO_ZEROCOPY: c_int = 60;
const SO_TIMESTAMP: c_int = 29;
const SO_TIMESTAMPNS: c_int = 35;
const SO_TIMESTAMPING: c_int = 37;
const FIONREAD: u64 = 0x541B;
const SIOCOUTQ: u64 = 0x5411;
const FIOASYNC: u64 = 0x5452;
const SIOCATMARK: u64 = 0x8905;
const F_SETOWN: c_int = 8;
const F_SETFL: c_int = 4;
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const O_ASYNC: u64 = 0o20000;

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
            (IPPROTO_TCP, TCP_ULP | TCP_REPAIR)
            | (
                SOL_SOCKET,
                SO_OOBINLINE | SO_PEEK_OFF | SO_ATTACH_FILTER | SO_ATTACH_BPF | SO_ZEROCOPY
                | SO_TIMESTAMP | SO_TIMESTAMPNS | SO_TIMESTAMPING,
            ) => {
                upgrade::give_up(&stream, Reason::KernelFeature);
                PASS
            }
            _ => PASS,
        }
    })
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

/// Before fcntl().
///
/// # Safety
/// The program's own arguments.
pub unsafe extern "C" fn control(
    descriptor: c_int,
    command: c_int,
    argument: u64,
    _result: *mut c_int,
) -> c_int {
    process::unless_confined(PASS, || {
        let asynchronous = match command {
            F_SETOWN | F_SETSIG | F_SETOWN_EX => true,
            F_SETFL => argument & O_ASYNC != 0,
            _ => false,
        };
        if asynchronous && let Some(stream) = fd_table::stream(descriptor) {
            upgrade::give_up(&stream, Reason::KernelFeature);
        }
        PASS
    })
}
