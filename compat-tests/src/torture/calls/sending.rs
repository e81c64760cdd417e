//! Data out, by every call a program may use.
#![expect(unsafe_code, reason = "calls into the C library")]

use super::pieces::{PIECES, halves, message, messages, pieces};
use super::{Outcome, count, number};

/// `write`.
pub fn write(descriptor: i32, bytes: &[u8]) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) })
}

/// `send`.
pub fn send(descriptor: i32, bytes: &[u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `writev` from pieces of the bytes.
pub fn writev(descriptor: i32, bytes: &[u8], cuts: [usize; PIECES - 1]) -> Outcome<usize> {
    let (list, used) = pieces(bytes.as_ptr().cast_mut(), bytes.len(), cuts);
    // SAFETY: the pieces lie in the bytes, which are only read.
    count(unsafe { libc::writev(descriptor, list.as_ptr(), used as i32) })
}

/// `sendmsg` from pieces of the bytes.
pub fn sendmsg(
    descriptor: i32,
    bytes: &[u8],
    cuts: [usize; PIECES - 1],
    flags: i32,
) -> Outcome<usize> {
    let (mut list, used) = pieces(bytes.as_ptr().cast_mut(), bytes.len(), cuts);
    let header = message(&mut list[..used]);
    // SAFETY: the pieces lie in the bytes, which are only read.
    count(unsafe { libc::sendmsg(descriptor, &raw const header, flags) })
}

/// `sendmmsg` of two messages cut at `cut`: the bytes taken from the front.
pub fn sendmmsg(descriptor: i32, bytes: &[u8], cut: usize, flags: i32) -> Outcome<usize> {
    // Neither message is empty: an empty one counts as sent even where there is no room for a byte.
    let cut = match bytes.len() {
        0 | 1 => return send(descriptor, bytes, flags),
        length => 1 + cut % (length - 1),
    };
    let mut parts = halves(bytes.as_ptr().cast_mut(), bytes.len(), cut);
    let mut list = messages(&mut parts);
    // SAFETY: both messages lie in the bytes, which are only read.
    let sent = number(unsafe { libc::sendmmsg(descriptor, list.as_mut_ptr(), 2, flags as _) })?;
    Ok(list[..sent as usize]
        .iter()
        .map(|message| message.msg_len as usize)
        .sum())
}

/// A memory file of its own, to be sent by [`sendfile`].
pub fn memory_file() -> Outcome<i32> {
    // SAFETY: the name ends with a zero byte.
    number(unsafe { libc::memfd_create(c"content".as_ptr(), libc::MFD_CLOEXEC) })
}

/// `pwrite`.
pub fn write_at(descriptor: i32, bytes: &[u8], offset: u64) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe {
        libc::pwrite(
            descriptor,
            bytes.as_ptr().cast(),
            bytes.len(),
            offset as libc::off_t,
        )
    })
}

/// `sendfile` from an offset in a file.
pub fn sendfile(descriptor: i32, file: i32, offset: u64, bytes: usize) -> Outcome<usize> {
    let mut offset = offset as libc::off_t;
    // SAFETY: the offset lives through the call.
    count(unsafe { libc::sendfile(descriptor, file, &raw mut offset, bytes) })
}
