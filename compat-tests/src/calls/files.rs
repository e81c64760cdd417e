//! Calls that join a socket to files and pipes, and descriptor flags.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer, answer_int};
use super::transfer::Parts;

/// sendfile(2); the offset is updated in place when there is one.
pub fn sendfile(out: RawFd, input: RawFd, offset: Option<&mut i64>, length: usize) -> Answer {
    let pointer = offset.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the offset is null or writable.
    answer(unsafe { libc::sendfile(out, input, pointer, length) })
}

/// sendfile64, the name that large-file programs import.
pub fn sendfile64(out: RawFd, input: RawFd, offset: Option<&mut i64>, length: usize) -> Answer {
    let pointer = offset.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the offset is null or writable.
    answer(unsafe { libc::sendfile64(out, input, pointer, length) })
}

/// splice(2) without offsets.
pub fn splice(input: RawFd, out: RawFd, length: usize, flags: u32) -> Answer {
    // SAFETY: both offsets are null.
    answer(unsafe {
        libc::splice(
            input,
            std::ptr::null_mut(),
            out,
            std::ptr::null_mut(),
            length,
            flags,
        )
    })
}

/// splice(2) with an offset on the input.
pub fn splice_at(input: RawFd, offset: &mut i64, out: RawFd, length: usize) -> Answer {
    // SAFETY: the offset is writable.
    answer(unsafe { libc::splice(input, offset, out, std::ptr::null_mut(), length, 0) })
}

/// tee(2).
pub fn tee(input: RawFd, out: RawFd, length: usize) -> Answer {
    // SAFETY: no pointers.
    answer(unsafe { libc::tee(input, out, length, 0) })
}

/// vmsplice(2).
pub fn vmsplice(fd: RawFd, parts: &mut Parts) -> Answer {
    // SAFETY: the iovecs name buffers of `parts`; they are not given away (no SPLICE_F_GIFT).
    answer(unsafe { libc::vmsplice(fd, parts.pointer(), parts.count(), 0) })
}

/// copy_file_range(2) without offsets.
pub fn copy_file_range(input: RawFd, out: RawFd, length: usize) -> Answer {
    // SAFETY: both offsets are null.
    answer(unsafe {
        libc::copy_file_range(
            input,
            std::ptr::null_mut(),
            out,
            std::ptr::null_mut(),
            length,
            0,
        )
    })
}

/// lseek(2).
pub fn lseek(fd: RawFd, offset: i64, whence: i32) -> Answer {
    // SAFETY: no pointers.
    answer(unsafe { libc::lseek(fd, offset, whence) } as isize)
}

/// pipe2(2): the reading and the writing end.
pub fn pipe(flags: i32) -> Result<(RawFd, RawFd), Errno> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    answer_int(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    Ok((ends[0], ends[1]))
}

/// A nameless file in memory with this content, its position at the start.
pub fn memory_file(content: &[u8]) -> Result<RawFd, Errno> {
    // SAFETY: the name is a C string.
    let fd =
        answer_int(unsafe { libc::memfd_create(c"compat".as_ptr(), libc::MFD_CLOEXEC) })? as RawFd;
    let mut written = 0;
    while written < content.len() {
        written += super::transfer::pwrite(fd, &content[written..], written as i64)?;
    }
    Ok(fd)
}

/// fcntl(2) with an integer argument.
pub fn fcntl(fd: RawFd, command: i32, argument: i32) -> Answer {
    // SAFETY: only commands that take an integer are used.
    answer_int(unsafe { libc::fcntl(fd, command, argument) })
}

/// dup(2).
pub fn dup(fd: RawFd) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::dup(fd) })
}

/// dup2(2).
pub fn dup2(fd: RawFd, number: RawFd) -> Answer {
    // SAFETY: no pointers; the harness owns descriptors by number.
    answer_int(unsafe { libc::dup2(fd, number) })
}

/// A FIFO without a name any more, open for reading and writing by one descriptor.
pub fn nameless_fifo() -> Result<RawFd, Errno> {
    let path = std::env::temp_dir().join(format!("compat-fifo-{}", std::process::id()));
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes())
        .map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: the path is a C string. Somebody of the same number may have been ended before the unlink below.
    answer_int(unsafe {
        libc::unlink(path.as_ptr());
        libc::mkfifo(path.as_ptr(), 0o600)
    })?;
    let opened = open(&path);
    // SAFETY: as above.
    answer_int(unsafe { libc::unlink(path.as_ptr()) })?;
    opened.map(|fd| fd as RawFd)
}

/// Opens a file for reading and writing.
pub fn open(path: &std::ffi::CStr) -> Answer {
    // SAFETY: the path is a C string.
    answer_int(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })
}

/// Opens a file for reading only.
pub fn open_to_read(path: &std::ffi::CStr) -> Answer {
    // SAFETY: the path is a C string.
    answer_int(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) })
}
