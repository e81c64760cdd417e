//! Data in, by every call a program may use.
#![expect(unsafe_code, reason = "calls into the C library")]

use super::pieces::{PIECES, halves, message, messages, pieces};
use super::{Outcome, count, done, number};

/// `read`.
pub fn read(descriptor: i32, buffer: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length.
    count(unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `recv`.
pub fn recv(descriptor: i32, buffer: &mut [u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length.
    count(unsafe { libc::recv(descriptor, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `recvfrom` without asking for the address.
pub fn recvfrom(descriptor: i32, buffer: &mut [u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length; null asks for no address.
    count(unsafe {
        libc::recvfrom(
            descriptor,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    })
}

/// `readv` into pieces of the buffer.
pub fn readv(descriptor: i32, buffer: &mut [u8], cuts: [usize; PIECES - 1]) -> Outcome<usize> {
    let (list, used) = pieces(buffer.as_mut_ptr(), buffer.len(), cuts);
    // SAFETY: the pieces lie in the buffer, which is writable for its length.
    count(unsafe { libc::readv(descriptor, list.as_ptr(), used as i32) })
}

/// `recvmsg` into pieces of the buffer.
pub fn recvmsg(
    descriptor: i32,
    buffer: &mut [u8],
    cuts: [usize; PIECES - 1],
    flags: i32,
) -> Outcome<usize> {
    let (mut list, used) = pieces(buffer.as_mut_ptr(), buffer.len(), cuts);
    let mut header = message(&mut list[..used]);
    // SAFETY: the pieces lie in the buffer, which is writable for its length.
    count(unsafe { libc::recvmsg(descriptor, &raw mut header, flags) })
}

/// `recvmmsg` of two messages that share the buffer at `cut`; the bytes come back moved together.
pub fn recvmmsg(descriptor: i32, buffer: &mut [u8], cut: usize, flags: i32) -> Outcome<usize> {
    let cut = match buffer.len() {
        0 | 1 => return recv(descriptor, buffer, flags & !libc::MSG_WAITFORONE),
        length => 1 + cut % (length - 1),
    };
    let mut parts = halves(buffer.as_mut_ptr(), buffer.len(), cut);
    let mut list = messages(&mut parts);
    // SAFETY: both messages lie in the buffer, which is writable for its length; null means no time-out.
    let received = number(unsafe {
        libc::recvmmsg(
            descriptor,
            list.as_mut_ptr(),
            2,
            flags as _,
            std::ptr::null_mut(),
        )
    })?;
    let first_bytes = list[0].msg_len as usize;
    if received < 2 {
        return Ok(first_bytes);
    }
    let second_bytes = list[1].msg_len as usize;
    buffer.copy_within(cut..cut + second_bytes, first_bytes);
    Ok(first_bytes + second_bytes)
}

/// A pipe: the end to read, the end to write.
pub fn pipe() -> Outcome<(i32, i32)> {
    let mut ends = [0i32; 2];
    // SAFETY: pipe2 writes two ints.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((ends[0], ends[1]))
}

/// `splice` from one descriptor to another without offsets.
pub fn splice(from: i32, to: i32, bytes: usize, flags: u32) -> Outcome<usize> {
    // SAFETY: null means the descriptors' own positions.
    count(unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            bytes,
            flags,
        )
    })
}
