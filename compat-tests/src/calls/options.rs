//! Socket options and ioctls.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use kmod_interface::ioctl::{AXIO_SIOCACCEL, AXIO_SIOCSTATUS, Acceleration, Status};

use super::answer::{Answer, Errno, answer_int};

/// getsockopt(2) of an `int`: the value and the length the kernel gave.
pub fn get(fd: RawFd, level: i32, name: i32) -> Result<(i32, u32), Errno> {
    let mut value = 0i32;
    let mut length = size_of::<i32>() as u32;
    // SAFETY: the value is writable for the length given.
    answer_int(unsafe {
        libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok((value, length))
}

/// getsockopt(2) into bytes of the given room.
pub fn get_bytes(fd: RawFd, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0u8; room];
    let mut length = room as u32;
    // SAFETY: the bytes are writable for the length given.
    answer_int(unsafe {
        libc::getsockopt(fd, level, name, bytes.as_mut_ptr().cast(), &raw mut length)
    })?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// setsockopt(2) of an `int`.
pub fn set(fd: RawFd, level: i32, name: i32, value: i32) -> Answer {
    set_bytes(fd, level, name, &value.to_ne_bytes())
}

/// setsockopt(2) of bytes.
pub fn set_bytes(fd: RawFd, level: i32, name: i32, value: &[u8]) -> Answer {
    // SAFETY: the value is readable for its length.
    answer_int(unsafe {
        libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as u32)
    })
}

/// SO_RCVTIMEO or SO_SNDTIMEO, in milliseconds; 0 means none.
pub fn set_timeout_ms(fd: RawFd, name: i32, timeout_ms: i64) -> Answer {
    let mut bytes = [0u8; 16];
    bytes[0..8].copy_from_slice(&(timeout_ms / 1000).to_ne_bytes());
    bytes[8..16].copy_from_slice(&(timeout_ms % 1000 * 1000).to_ne_bytes());
    set_bytes(fd, libc::SOL_SOCKET, name, &bytes)
}

/// SO_LINGER.
pub fn set_linger(fd: RawFd, on: bool, seconds: i32) -> Answer {
    let mut bytes = [0u8; 8];
    bytes[0..4].copy_from_slice(&i32::from(on).to_ne_bytes());
    bytes[4..8].copy_from_slice(&seconds.to_ne_bytes());
    set_bytes(fd, libc::SOL_SOCKET, libc::SO_LINGER, &bytes)
}

/// ioctl(2) whose argument is a pointer to an `int`: the answer and the value afterwards.
pub fn ioctl_int(fd: RawFd, request: u64, value: i32) -> Result<i32, Errno> {
    let mut value = value;
    // SAFETY: the requests used read or write one int.
    answer_int(unsafe { libc::ioctl(fd, request, &raw mut value) })?;
    Ok(value)
}

/// sockatmark(3).
pub fn at_mark(fd: RawFd) -> Answer {
    unsafe extern "C" {
        fn sockatmark(fd: libc::c_int) -> libc::c_int;
    }
    // SAFETY: no pointers.
    answer_int(unsafe { sockatmark(fd) })
}

/// ioctl(2) without argument.
pub fn ioctl_none(fd: RawFd, request: u64) -> Answer {
    // SAFETY: the requests used take no argument.
    answer_int(unsafe { libc::ioctl(fd, request, 0) })
}

/// `AXIO_SIOCSTATUS`: what the fast path says of this socket; ENOTTY on a bare kernel.
pub fn status(fd: RawFd) -> Result<Status, Errno> {
    let mut status = Status::default();
    // SAFETY: the structure is the one the request is defined for.
    answer_int(unsafe { libc::ioctl(fd, AXIO_SIOCSTATUS, &raw mut status) })?;
    Ok(status)
}

/// `AXIO_SIOCACCEL`: accelerate or release; the reason that holds afterwards. ENOTTY on a bare kernel.
pub fn accelerate(fd: RawFd, enable: bool) -> Result<u32, Errno> {
    let mut request = Acceleration {
        enable: u32::from(enable),
        reason: 0,
    };
    // SAFETY: the structure is the one the request is defined for.
    answer_int(unsafe { libc::ioctl(fd, AXIO_SIOCACCEL, &raw mut request) })?;
    Ok(request.reason)
}
