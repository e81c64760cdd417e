//! Calls on any descriptor: its flags, reading what is in memory already, and the two ends of a pipe.
#![expect(unsafe_code, reason = "inline system calls")]

use super::{Errno, checked, system_call};
use core::ffi::c_int;

/// fcntl(2) with an integer argument.
pub fn file_control(descriptor: c_int, command: c_int, argument: usize) -> Result<usize, Errno> {
    // SAFETY: callers use commands whose argument is an integer.
    checked(unsafe {
        system_call(
            libc::SYS_fcntl,
            [descriptor as usize, command as usize, argument, 0, 0, 0],
        )
    })
}

/// preadv2(2) of what is in memory already (RWF_NOWAIT): EAGAIN when none is, EOPNOTSUPP where the file system cannot tell.
///
/// # Safety
/// Each piece is writable memory of this process that nobody else reads or writes meanwhile.
pub unsafe fn read_cached(
    descriptor: c_int,
    pieces: [(*mut u8, usize); 2],
    position: i64,
) -> Result<usize, Errno> {
    // As `struct iovec` has it.
    let vector = pieces.map(|(base, bytes)| [base as usize, bytes]);
    // SAFETY: a local vector of two; the caller vouches for what it names. The position fits one register; the other half
    // is ignored on 64 bits.
    let result = unsafe {
        system_call(
            libc::SYS_preadv2,
            [
                descriptor as usize,
                vector.as_ptr() as usize,
                vector.len(),
                position as usize,
                0,
                libc::RWF_NOWAIT as usize,
            ],
        )
    };
    checked(result)
}

/// vmsplice(2) of a pipe's reading end: bytes out of the pipe into memory. Never waits: EAGAIN when it is empty, 0 when
/// nobody can write to it any more.
///
/// # Safety
/// Each piece is writable memory of this process that nobody else reads or writes meanwhile; the descriptor cannot be
/// written to, or the kernel would take the memory into the pipe.
pub unsafe fn take_from_pipe(
    descriptor: c_int,
    pieces: [(*mut u8, usize); 2],
) -> Result<usize, Errno> {
    // As `struct iovec` has it.
    let vector = pieces.map(|(base, bytes)| [base as usize, bytes]);
    // SAFETY: the caller's promise.
    unsafe { vmsplice(descriptor, &vector) }
}

/// vmsplice(2) of a pipe's writing end: memory becomes part of the pipe, as much as there is room for. Never waits: EAGAIN
/// when the pipe is full; EPIPE and the signal when nobody can read from it.
///
/// # Safety
/// The memory is readable, and never written again.
pub unsafe fn give_to_pipe(
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
) -> Result<usize, Errno> {
    // SAFETY: the caller's promise.
    unsafe { vmsplice(descriptor, &[[base as usize, bytes]]) }
}

/// # Safety
/// As for the two calls above, whichever the descriptor makes of it.
unsafe fn vmsplice(descriptor: c_int, vector: &[[usize; 2]]) -> Result<usize, Errno> {
    // SAFETY: a local vector; the callers vouch for what it names.
    let result = unsafe {
        system_call(
            libc::SYS_vmsplice,
            [
                descriptor as usize,
                vector.as_ptr() as usize,
                vector.len(),
                libc::SPLICE_F_NONBLOCK as usize,
                0,
                0,
            ],
        )
    };
    checked(result)
}
