//! One buffer, no flag that matters, nothing but the ring concerned: the whole call without the record of a general one.
//! Or nothing but the kernel concerned ([`super::plain`]). Whatever else there is to do answers [`GENERAL`], and the
//! trampoline begins the general call.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::buffers::is_user_span;
use super::flags::IS_READ;
use super::{after_stream, plain};
use crate::boundary::me;
use crate::{fd_table, process};
use core::ffi::c_int;
use fastpath::endpoint::Endpoint;
use fastpath::stream::Stream;
use libc::{MSG_DONTWAIT, MSG_NOSIGNAL};

/// Nothing was done: [`super::begin_send`] or [`super::begin_receive`] must be called.
const GENERAL: isize = -1;
/// The thread is counted: the trampoline makes the program's own call, then `after_plain_send` or `after_plain_receive`.
/// Mirrored in `c/transfer.c`.
const BY_KERNEL: isize = -2;

/// A send of one buffer, all of it by the ring, or [`GENERAL`], or [`BY_KERNEL`]. `word`: what the table says of the number.
///
/// # Safety
/// `base` is the program's buffer.
pub unsafe extern "C" fn send_quickly(
    word: u64,
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    match fd_table::meant_by(word) {
        Some((generation, endpoint)) if endpoint.tx_ep.get() & 1 == 1 => {
            send_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        Some((generation, endpoint)) if plain::enter_send(endpoint, generation, flags) => BY_KERNEL,
        _ => GENERAL,
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
    process::guarded_hook(GENERAL, || {
        if flags & !(MSG_DONTWAIT | MSG_NOSIGNAL) != 0 || !is_user_span(base, bytes) {
            return GENERAL;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is readable (else it faults, a documented limit).
        let sent = unsafe { stream.send_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = sent else { return GENERAL };
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
            process::guarded_hook(GENERAL, || {
                let stream = Stream::new(endpoint, generation, descriptor, me());
                let sent = stream.send_file_quickly(file, position, bytes);
                after_stream(&stream);
                let Some(bytes) = sent else { return GENERAL };
                endpoint.last_transfer.set(2);
                bytes as isize
            })
        }
        _ => GENERAL,
    }
}

/// A receive into one buffer; as [`send_quickly`].
///
/// # Safety
/// As [`send_quickly`].
pub unsafe extern "C" fn receive_quickly(
    word: u64,
    descriptor: c_int,
    base: *mut u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    match fd_table::meant_by(word) {
        Some((generation, endpoint)) if endpoint.rx_ep.get() & 1 == 1 => {
            receive_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        Some((generation, endpoint)) if plain::enter_receive(endpoint, generation, flags) => {
            BY_KERNEL
        }
        _ => GENERAL,
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
    process::guarded_hook(GENERAL, || {
        if flags & !(MSG_DONTWAIT | IS_READ) != 0 || !is_user_span(base, bytes) {
            return GENERAL;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is writable (else it faults, a documented limit).
        let received = unsafe { stream.receive_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = received else {
            return GENERAL;
        };
        endpoint.last_transfer.set(1);
        bytes as isize
    })
}
