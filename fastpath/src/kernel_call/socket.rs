//! Calls on a socket: its options, its bytes, its end.
//!
//! The `test-paths` lines tell a faulty path that the kernel is being asked or given something, because a stream's order
//! against the kernel is part of a path's contract (path.rs P6).
#![expect(unsafe_code, reason = "inline system calls")]

use super::{Errno, checked, system_call};
use core::ffi::c_int;

/// getsockopt(2) of a plain value; the length the kernel returned must be at least the value's.
pub fn socket_option<T: Copy + Default>(
    descriptor: c_int,
    level: c_int,
    name: c_int,
) -> Result<T, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut value = T::default();
    let mut length: u32 = size_of::<T>() as u32;
    // SAFETY: value and length are local and of the stated size.
    let result = unsafe {
        system_call(
            libc::SYS_getsockopt,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                &raw mut value as usize,
                &raw mut length as usize,
                0,
            ],
        )
    };
    checked(result).map(|_| value)
}

/// getsockopt(2) into a buffer; returns the length the kernel wrote.
pub fn socket_option_bytes(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut length: u32 = buffer.len().min(65535) as u32;
    // SAFETY: the buffer is writable for its length.
    let result = unsafe {
        system_call(
            libc::SYS_getsockopt,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                buffer.as_mut_ptr() as usize,
                &raw mut length as usize,
                0,
            ],
        )
    };
    checked(result).map(|_| length as usize)
}

/// setsockopt(2) of a plain value.
pub fn set_socket_option<T: Copy>(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: T,
) -> Result<(), Errno> {
    // SAFETY: value is local and of the stated size.
    let result = unsafe {
        system_call(
            libc::SYS_setsockopt,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                &raw const value as usize,
                size_of::<T>(),
                0,
            ],
        )
    };
    checked(result).map(|_| ())
}

/// ioctl(2) that writes one int: FIONREAD, SIOCOUTQ, SIOCOUTQNSD.
pub fn request_int(descriptor: c_int, request: usize) -> Result<i32, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut value: i32 = 0;
    // SAFETY: value is local; the requests named write one int.
    let result = unsafe {
        system_call(
            libc::SYS_ioctl,
            [
                descriptor as usize,
                request,
                &raw mut value as usize,
                0,
                0,
                0,
            ],
        )
    };
    checked(result).map(|_| value)
}

/// send(2) from raw memory.
///
/// # Safety
/// `source` is readable for `bytes`, or the kernel may answer EFAULT.
pub unsafe fn send(
    descriptor: c_int,
    source: *const u8,
    bytes: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    // SAFETY: promised by the caller.
    checked(unsafe {
        system_call(
            libc::SYS_sendto,
            [
                descriptor as usize,
                source as usize,
                bytes,
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// recv(2) into raw memory.
///
/// # Safety
/// `target` is writable for `bytes`, or the kernel may answer EFAULT.
pub unsafe fn receive(
    descriptor: c_int,
    target: *mut u8,
    bytes: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    // SAFETY: promised by the caller.
    checked(unsafe {
        system_call(
            libc::SYS_recvfrom,
            [
                descriptor as usize,
                target as usize,
                bytes,
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// Resets a TCP connection: connect(2) to AF_UNSPEC sends RST and drops both queues.
pub fn reset_connection(descriptor: c_int) {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    let address: [u16; 8] = [0; 8];
    // SAFETY: sixteen readable bytes, family AF_UNSPEC.
    unsafe {
        system_call(
            libc::SYS_connect,
            [
                descriptor as usize,
                &raw const address as usize,
                16,
                0,
                0,
                0,
            ],
        )
    };
}

/// shutdown(SHUT_RDWR), which wakes whoever waits for an end, also of a socket that has none any more.
pub fn shut_both(descriptor: c_int) {
    shut(descriptor, libc::SHUT_RDWR);
}

/// shutdown(SHUT_WR).
pub fn shut_writing(descriptor: c_int) {
    shut(descriptor, libc::SHUT_WR);
}

fn shut(descriptor: c_int, how: c_int) {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    // SAFETY: no memory.
    unsafe {
        system_call(
            libc::SYS_shutdown,
            [descriptor as usize, how as usize, 0, 0, 0, 0],
        )
    };
}
