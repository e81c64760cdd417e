//! One buffer, no flag that matters, nothing but the ring concerned: the whole call without the record of a general one.
//! Whatever else there is to do answers -1, and the trampoline begins the general call.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::after_stream;
use super::buffers::is_user_span;
use super::flags::{IS_READ, MSG_DONTWAIT, MSG_NOSIGNAL};
use crate::boundary::me;
use crate::{fd_table, process};
use core::ffi::c_int;
use fastpath::endpoint::Endpoint;
use fastpath::stream::Stream;

/// A send of one buffer while nothing but the ring is concerned; negative: [`begin_send`] must be called.
///
/// # Safety
/// `base` is the program's buffer.
pub unsafe extern "C" fn send_quickly(
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    // First what sends most connections of one request away.
    match fd_table::get(descriptor) {
        Some((_, generation, endpoint)) if endpoint.tx_ep.get() & 1 == 1 => {
            send_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        _ => -1,
    }
}

#[inline(never)]
fn send_by_ring(
    endpoint: &'static Endpoint,
    generation: u32,
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    process::guarded_hook(-1, || {
        if flags & !(MSG_DONTWAIT | MSG_NOSIGNAL) != 0 || !is_user_span(base, bytes) {
            return -1;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is readable (else it faults, a documented limit).
        let sent = unsafe { stream.send_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = sent else { return -1 };
        endpoint.last_transfer.set(2);
        bytes as isize
    })
}

/// Part of a file into the ring, read straight into it, while nothing but the ring is concerned; as much as there is room
/// for. Negative: nothing was done, the bytes go another way.
pub extern "C" fn send_file_quickly(
    descriptor: c_int,
    file: c_int,
    position: i64,
    bytes: usize,
) -> isize {
    match fd_table::get(descriptor) {
        Some((_, generation, endpoint)) if endpoint.tx_ep.get() & 1 == 1 => {
            process::guarded_hook(-1, || {
                let stream = Stream::new(endpoint, generation, descriptor, me());
                let sent = stream.send_file_quickly(file, position, bytes);
                after_stream(&stream);
                let Some(bytes) = sent else { return -1 };
                endpoint.last_transfer.set(2);
                bytes as isize
            })
        }
        _ => -1,
    }
}

/// A receive into one buffer; as [`send_quickly`].
///
/// # Safety
/// As [`send_quickly`].
pub unsafe extern "C" fn receive_quickly(
    descriptor: c_int,
    base: *mut u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    match fd_table::get(descriptor) {
        Some((_, generation, endpoint)) if endpoint.rx_ep.get() & 1 == 1 => {
            receive_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        _ => -1,
    }
}

#[inline(never)]
fn receive_by_ring(
    endpoint: &'static Endpoint,
    generation: u32,
    descriptor: c_int,
    base: *mut u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    process::guarded_hook(-1, || {
        if flags & !(MSG_DONTWAIT | IS_READ) != 0 || !is_user_span(base, bytes) {
            return -1;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is writable (else it faults, a documented limit).
        let received = unsafe { stream.receive_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = received else { return -1 };
        endpoint.last_transfer.set(1);
        bytes as isize
    })
}
