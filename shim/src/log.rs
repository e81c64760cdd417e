//! One line to standard error, without the C library: a fixed buffer and one raw write.
//!
//! `AXIO_LOG` decides which levels are said at all. A reader that has gone away costs the line, not the program: SIGPIPE is
//! held back and taken. Where the program has put a connection in place of standard error nothing is said.

#![expect(unsafe_code, reason = "borrows standard error by its number")]

use fastpath::kernel_call;
use fastpath::text::Text;
use libc::{AF_INET, AF_INET6, SIGPIPE, SO_DOMAIN, SOL_SOCKET};
use settings::LogLevel;

/// Longest line.
const LINE_BYTES: usize = 600;

/// Says something about a descriptor of the program's.
#[inline]
pub fn about(level: LogLevel, descriptor: i32, parts: &[&[u8]]) {
    if (level as u32) <= (crate::process::settings().log as u32) {
        say_about(level, descriptor, parts);
    }
}

#[cold]
fn say_about(level: LogLevel, descriptor: i32, parts: &[&[u8]]) {
    let mut number = Text::<10>::new();
    number.add_number(descriptor.unsigned_abs().into());
    let mut all: [&[u8]; 8] = [&[]; 8];
    let known: [&[u8]; 3] = [b"axio: descriptor ", number.bytes(), b" "];
    for (place, part) in all.iter_mut().zip(known.iter().chain(parts)) {
        *place = part;
    }
    line(level, &all);
}

/// Says a line made of `parts`, if its level is asked for. Never more than one write.
pub fn line(level: LogLevel, parts: &[&[u8]]) {
    if (level as u32) > (crate::process::settings().log as u32) {
        return;
    }
    let mut buffer = [0u8; LINE_BYTES];
    let mut length = 0;
    for part in parts {
        for byte in part.iter() {
            if let Some(place) = buffer.get_mut(length).filter(|_| length + 1 < LINE_BYTES) {
                *place = *byte;
                length += 1;
            }
        }
    }
    if let Some(place) = buffer.get_mut(length) {
        *place = b'\n';
        length += 1;
    }
    let bytes = buffer.get(..length).unwrap_or(&[]);
    if !is_connection(STANDARD_ERROR) {
        write_without_signal(bytes);
    }
}

const STANDARD_ERROR: i32 = 2;

/// A socket of an internet family: what is written there is part of some protocol.
fn is_connection(descriptor: i32) -> bool {
    matches!(
        kernel_call::socket_option::<i32>(descriptor, SOL_SOCKET, SO_DOMAIN),
        Ok(AF_INET | AF_INET6)
    )
}

fn write_without_signal(bytes: &[u8]) {
    let pipe_bit = kernel_call::signal_bit(SIGPIPE);
    // One that is pending already is somebody else's.
    let was_pending = kernel_call::pending_signals() & pipe_bit != 0;
    let before = kernel_call::set_signal_mask(u64::MAX);
    // SAFETY: descriptor 2 is only borrowed for one raw write; if it is closed the kernel says so.
    let standard_error = unsafe { rustix::fd::BorrowedFd::borrow_raw(STANDARD_ERROR) };
    let written = rustix::io::write(standard_error, bytes);
    if written == Err(rustix::io::Errno::PIPE) && !was_pending {
        kernel_call::take_signal(SIGPIPE);
    }
    kernel_call::set_signal_mask(before);
}
