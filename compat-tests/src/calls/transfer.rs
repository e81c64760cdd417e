//! The read and write families over one buffer or several.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use super::answer::{Answer, answer};
use super::connection::Address;

unsafe extern "C" {
    fn __read_chk(fd: c_int, buffer: *mut c_void, length: usize, room: usize) -> isize;
    fn __recv_chk(
        fd: c_int,
        buffer: *mut c_void,
        length: usize,
        room: usize,
        flags: c_int,
    ) -> isize;
    fn __recvfrom_chk(
        fd: c_int,
        buffer: *mut c_void,
        length: usize,
        room: usize,
        flags: c_int,
        address: *mut libc::sockaddr,
        address_length: *mut libc::socklen_t,
    ) -> isize;
    fn preadv64v2(
        fd: c_int,
        parts: *const libc::iovec,
        count: c_int,
        offset: i64,
        flags: c_int,
    ) -> isize;
    fn pwritev64v2(
        fd: c_int,
        parts: *const libc::iovec,
        count: c_int,
        offset: i64,
        flags: c_int,
    ) -> isize;
}

/// read(2).
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// write(2).
pub fn write(fd: RawFd, bytes: &[u8]) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// recv(2).
pub fn recv(fd: RawFd, buffer: &mut [u8], flags: i32) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// send(2).
pub fn send(fd: RawFd, bytes: &[u8], flags: i32) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// recvfrom(2) with room for an address of `address.length` bytes.
pub fn recvfrom(fd: RawFd, buffer: &mut [u8], flags: i32, address: Option<&mut Address>) -> Answer {
    let (pointer, length) = match address {
        None => (std::ptr::null_mut(), std::ptr::null_mut()),
        Some(address) => (address.pointer_mut(), &raw mut address.length),
    };
    // SAFETY: the buffer is writable for its length; the address is null or writable for the length it names.
    answer(unsafe {
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
            pointer,
            length,
        )
    })
}

/// sendto(2).
pub fn sendto(fd: RawFd, bytes: &[u8], flags: i32, address: Option<&Address>) -> Answer {
    let (pointer, length) = match address {
        None => (std::ptr::null(), 0),
        Some(address) => (address.pointer(), address.length),
    };
    // SAFETY: the bytes are readable for their length; the address is null or readable for its length.
    answer(unsafe {
        libc::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            pointer,
            length,
        )
    })
}

/// The fortified read that programs built with `_FORTIFY_SOURCE` import.
pub fn read_chk(fd: RawFd, buffer: &mut [u8]) -> Answer {
    // SAFETY: the buffer is writable for its length, which is the room named.
    answer(unsafe { __read_chk(fd, buffer.as_mut_ptr().cast(), buffer.len(), buffer.len()) })
}

/// The fortified recv.
pub fn recv_chk(fd: RawFd, buffer: &mut [u8], flags: i32) -> Answer {
    // SAFETY: as above.
    answer(unsafe {
        __recv_chk(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            buffer.len(),
            flags,
        )
    })
}

/// The fortified recvfrom.
pub fn recvfrom_chk(
    fd: RawFd,
    buffer: &mut [u8],
    flags: i32,
    address: Option<&mut Address>,
) -> Answer {
    let (pointer, length) = match address {
        None => (std::ptr::null_mut(), std::ptr::null_mut()),
        Some(address) => (address.pointer_mut(), &raw mut address.length),
    };
    // SAFETY: as for recvfrom; the room named is the buffer's length.
    answer(unsafe {
        __recvfrom_chk(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            buffer.len(),
            flags,
            pointer,
            length,
        )
    })
}

/// Buffers of the given sizes and the iovecs that name them; an iovec never outlives the parts it points into.
pub struct Parts {
    /// What the iovecs point into.
    pub parts: Vec<Vec<u8>>,
    vectors: Vec<libc::iovec>,
}

impl Parts {
    /// Empty buffers of these sizes.
    #[must_use]
    pub fn of_sizes(sizes: &[usize]) -> Parts {
        Parts::of(sizes.iter().map(|size| vec![0; *size]).collect())
    }

    /// Buffers with content.
    #[must_use]
    pub fn of(mut parts: Vec<Vec<u8>>) -> Parts {
        let vectors = parts
            .iter_mut()
            .map(|part| libc::iovec {
                iov_base: part.as_mut_ptr().cast(),
                iov_len: part.len(),
            })
            .collect();
        Parts { parts, vectors }
    }

    /// Copies of these slices.
    #[must_use]
    pub fn copies(slices: &[&[u8]]) -> Parts {
        Parts::of(slices.iter().map(|slice| slice.to_vec()).collect())
    }

    pub(super) fn pointer(&mut self) -> *mut libc::iovec {
        self.vectors.as_mut_ptr()
    }

    /// How many buffers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// The first `filled` bytes, in the order of the buffers.
    #[must_use]
    pub fn joined(&self, filled: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.parts.concat();
        bytes.truncate(filled);
        bytes
    }
}

/// Which call of the vector family.
#[derive(Clone, Copy, Debug)]
pub enum Vectored {
    /// readv or writev.
    Plain,
    /// preadv or pwritev at an offset.
    At(i64),
    /// preadv2 or pwritev2 at an offset with flags.
    AtWithFlags(i64, i32),
    /// The same by the names that large-file programs import, preadv64v2 and pwritev64v2.
    OfLargeFiles(i64, i32),
}

/// readv, preadv or preadv2.
pub fn readv(fd: RawFd, form: Vectored, parts: &mut Parts) -> Answer {
    let count = parts.count() as c_int;
    // SAFETY: each iovec names a buffer owned by `parts` and writable for its length.
    answer(unsafe {
        match form {
            Vectored::Plain => libc::readv(fd, parts.pointer(), count),
            Vectored::At(offset) => libc::preadv(fd, parts.pointer(), count, offset),
            Vectored::AtWithFlags(offset, flags) => {
                libc::preadv2(fd, parts.pointer(), count, offset, flags)
            }
            Vectored::OfLargeFiles(offset, flags) => {
                preadv64v2(fd, parts.pointer(), count, offset, flags)
            }
        }
    })
}

/// writev, pwritev or pwritev2.
pub fn writev(fd: RawFd, form: Vectored, parts: &mut Parts) -> Answer {
    let count = parts.count() as c_int;
    // SAFETY: each iovec names a buffer owned by `parts`, readable for its length.
    answer(unsafe {
        match form {
            Vectored::Plain => libc::writev(fd, parts.pointer(), count),
            Vectored::At(offset) => libc::pwritev(fd, parts.pointer(), count, offset),
            Vectored::AtWithFlags(offset, flags) => {
                libc::pwritev2(fd, parts.pointer(), count, offset, flags)
            }
            Vectored::OfLargeFiles(offset, flags) => {
                pwritev64v2(fd, parts.pointer(), count, offset, flags)
            }
        }
    })
}

/// pread(2).
pub fn pread(fd: RawFd, buffer: &mut [u8], offset: i64) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset) })
}

/// pwrite(2).
pub fn pwrite(fd: RawFd, bytes: &[u8], offset: i64) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), offset) })
}

/// Calls given an address that no buffer lives at (POSIX.md row 32).
pub mod at_address {
    use super::*;

    /// read(2) into an address.
    pub fn read(fd: RawFd, address: usize, length: usize) -> Answer {
        // SAFETY: the address is in page 0 or not canonical, which no object of this process can be: the kernel
        // answers EFAULT, and that is what is tested.
        answer(unsafe { libc::read(fd, std::ptr::without_provenance_mut(address), length) })
    }

    /// write(2) from an address.
    pub fn write(fd: RawFd, address: usize, length: usize) -> Answer {
        // SAFETY: as for read.
        answer(unsafe { libc::write(fd, std::ptr::without_provenance(address), length) })
    }

    /// recv(2) into an address.
    pub fn recv(fd: RawFd, address: usize, length: usize, flags: i32) -> Answer {
        // SAFETY: as for read; with MSG_TRUNC nothing is written anywhere.
        answer(unsafe { libc::recv(fd, std::ptr::without_provenance_mut(address), length, flags) })
    }

    /// send(2) from an address.
    pub fn send(fd: RawFd, address: usize, length: usize, flags: i32) -> Answer {
        // SAFETY: as for read.
        answer(unsafe { libc::send(fd, std::ptr::without_provenance(address), length, flags) })
    }

    /// readv(2) of iovecs given by address and length.
    pub fn readv(fd: RawFd, vectors: &[(usize, usize)]) -> Answer {
        let vectors = iovecs(vectors);
        // SAFETY: as for read; the array itself is valid.
        answer(unsafe { libc::readv(fd, vectors.as_ptr(), vectors.len() as c_int) })
    }

    /// writev(2) of iovecs given by address and length.
    pub fn writev(fd: RawFd, vectors: &[(usize, usize)]) -> Answer {
        let vectors = iovecs(vectors);
        // SAFETY: as for readv.
        answer(unsafe { libc::writev(fd, vectors.as_ptr(), vectors.len() as c_int) })
    }

    /// readv(2) of `count` iovecs at an address.
    pub fn readv_array(fd: RawFd, address: usize, count: i32) -> Answer {
        // SAFETY: as for read: the array is where nothing can be.
        answer(unsafe { libc::readv(fd, std::ptr::without_provenance(address), count) })
    }

    /// writev(2) of `count` iovecs at an address.
    pub fn writev_array(fd: RawFd, address: usize, count: i32) -> Answer {
        // SAFETY: as for readv_array.
        answer(unsafe { libc::writev(fd, std::ptr::without_provenance(address), count) })
    }

    /// sendmsg(2) of a message at an address.
    pub fn sendmsg(fd: RawFd, address: usize, flags: i32) -> Answer {
        // SAFETY: as for read.
        answer(unsafe { libc::sendmsg(fd, std::ptr::without_provenance(address), flags) })
    }

    /// recvmsg(2) into a message at an address.
    pub fn recvmsg(fd: RawFd, address: usize, flags: i32) -> Answer {
        // SAFETY: as for read.
        answer(unsafe { libc::recvmsg(fd, std::ptr::without_provenance_mut(address), flags) })
    }

    fn iovecs(vectors: &[(usize, usize)]) -> Vec<libc::iovec> {
        vectors
            .iter()
            .map(|(address, length)| libc::iovec {
                iov_base: std::ptr::without_provenance_mut(*address),
                iov_len: *length,
            })
            .collect()
    }
}
