//! POSIX's asynchronous transfers, which threads of the C library make where no hook sees them; and the names that programs
//! built for large files import.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer, answer_int};

/// `struct aiocb64` is the same where `off_t` has 64 bits.
type Block = libc::aiocb;

unsafe extern "C" {
    fn aio_read64(block: *mut Block) -> c_int;
    fn aio_write64(block: *mut Block) -> c_int;
    fn lio_listio64(
        mode: c_int,
        list: *const *mut Block,
        count: c_int,
        event: *mut libc::sigevent,
    ) -> c_int;
}

/// Which set of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// aio_read(3), aio_write(3), lio_listio(3).
    Usual,
    /// The same with `64` at the end.
    OfLargeFiles,
}

/// A transfer that the C library has, with the bytes it is about.
pub struct Transfer {
    block: Box<Block>,
    bytes: Vec<u8>,
}

impl Transfer {
    fn of(fd: RawFd, mut bytes: Vec<u8>) -> Transfer {
        // SAFETY: a block of zeros is at offset 0, of the usual priority.
        let mut block: Box<Block> = Box::new(unsafe { std::mem::zeroed() });
        block.aio_fildes = fd;
        block.aio_buf = bytes.as_mut_ptr().cast();
        block.aio_nbytes = bytes.len();
        block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
        Transfer { block, bytes }
    }

    /// Waits for its end: what the transfer answered, and the bytes.
    pub fn end(mut self) -> (Answer, Vec<u8>) {
        let list = [&raw const *self.block];
        // SAFETY: the block stays where it is until the transfer is over, and its result is taken once.
        unsafe {
            while libc::aio_error(list[0]) == libc::EINPROGRESS {
                libc::aio_suspend(list.as_ptr(), 1, std::ptr::null());
            }
            let error = libc::aio_error(list[0]);
            let result = libc::aio_return(&raw mut *self.block);
            let answer = match error {
                0 => answer(result),
                error => Err(Errno(error)),
            };
            (answer, self.bytes)
        }
    }
}

/// Begins a read of so many bytes. A transfer that is not ended must not be dropped.
pub fn begin_read(names: Names, fd: RawFd, length: usize) -> Result<Transfer, Errno> {
    let mut transfer = Transfer::of(fd, vec![0; length]);
    let block = &raw mut *transfer.block;
    // SAFETY: block and buffer live until `end`, wherever the transfer is moved.
    answer_int(unsafe {
        match names {
            Names::Usual => libc::aio_read(block),
            Names::OfLargeFiles => aio_read64(block),
        }
    })?;
    Ok(transfer)
}

/// Begins a write.
pub fn begin_write(names: Names, fd: RawFd, bytes: &[u8]) -> Result<Transfer, Errno> {
    let mut transfer = Transfer::of(fd, bytes.to_vec());
    let block = &raw mut *transfer.block;
    // SAFETY: as above.
    answer_int(unsafe {
        match names {
            Names::Usual => libc::aio_write(block),
            Names::OfLargeFiles => aio_write64(block),
        }
    })?;
    Ok(transfer)
}

/// A list of a read, a gap and a write, waited for: the list's answer, and both transfers.
pub fn read_and_write(
    names: Names,
    fd: RawFd,
    length: usize,
    bytes: &[u8],
) -> (Answer, [Transfer; 2]) {
    let mut transfers = [
        Transfer::of(fd, vec![0; length]),
        Transfer::of(fd, bytes.to_vec()),
    ];
    let [read, write] = &mut transfers;
    read.block.aio_lio_opcode = libc::LIO_READ;
    write.block.aio_lio_opcode = libc::LIO_WRITE;
    let list = [
        &raw mut *read.block,
        std::ptr::null_mut(),
        &raw mut *write.block,
    ];
    let none = std::ptr::null_mut();
    // SAFETY: as above; LIO_WAIT returns when both are over.
    let answer = answer_int(unsafe {
        match names {
            Names::Usual => libc::lio_listio(libc::LIO_WAIT, list.as_ptr(), 3, none),
            Names::OfLargeFiles => lio_listio64(libc::LIO_WAIT, list.as_ptr(), 3, none),
        }
    });
    (answer, transfers)
}
