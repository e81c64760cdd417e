//! splice(2) while a ring carries: bytes between a pipe and the stream, moved under the lock of their direction.
//!
//! Invariants:
//! * Nothing is lost and nothing doubled, whoever else reads or writes the stream or the pipe: out of a pipe no more is
//!   taken than the ring has room for, and it goes straight into the ring; of the stream no more is taken than the pipe
//!   took.
//! * No call here waits, for the pipe or for anything else (`SPLICE_F_NONBLOCK`); whoever may wait, and for what, is told
//!   by [`Pipe::stop`].
#![expect(unsafe_code, reason = "the kernel copies between pipe and ring")]

use super::Stream;
use super::pieces::{Piece, Pieces};
use super::receive::{Received, Taking};
use super::send::Source;
use crate::kernel_call::{self, Errno, poll_one};
use crate::ring::Producer;
use core::ffi::c_int;
use core::ptr::null_mut;
use libc::{EAGAIN, ENOMEM, POLLERR, POLLOUT};
use rustix::mm::{MapFlags, ProtFlags};

/// Moved into a pipe at once, at most: what a pipe holds unless it was made larger.
const BYTES_MOST: usize = 64 * 1024;

/// The pipe of one call, and how far the call has come.
#[derive(Clone, Copy, Debug)]
pub struct Pipe {
    /// Descriptor of the end that is read or written. An end that is both reads and writes nothing here: the direction of
    /// vmsplice(2) is the descriptor's.
    pub descriptor: c_int,
    /// Bytes that the call may still move.
    pub left: usize,
    /// Why the last step moved less than it might have.
    pub stop: Option<Stop>,
}

/// Why a pipe takes or gives no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is empty, or full.
    Waits,
    /// It is empty, and nobody can write to it any more.
    Ended,
    /// The kernel's errno.
    Failed(Errno),
}

impl Source for Pipe {
    type Span = ();

    #[inline]
    fn present(&mut self) -> Option<((), usize)> {
        (self.stop.is_none() && self.left > 0).then_some(((), self.left))
    }

    #[inline]
    unsafe fn fill(&mut self, ring: &mut Producer, (): (), bytes: usize) -> usize {
        // SAFETY: the caller promises that so many bytes behind the tail are free; both pieces lie in the own ring.
        let taken =
            unsafe { kernel_call::take_from_pipe(self.descriptor, ring.free_pieces(bytes)) };
        let taken = match taken {
            Ok(taken) => taken.min(bytes),
            Err(errno) => {
                self.stop = Some(if errno == EAGAIN {
                    Stop::Waits
                } else {
                    Stop::Failed(errno)
                });
                return 0;
            }
        };
        ring.advance(taken);
        self.left -= taken;
        if taken < bytes {
            // Less than there is room for: the pipe ran dry.
            self.stop = Some(if taken == 0 { Stop::Ended } else { Stop::Waits });
        }
        taken
    }
}

impl Stream {
    /// Takes what is there into a pipe, or says where to look instead. `Bytes(0)`: see [`Pipe::stop`].
    pub fn receive_to_pipe(&self, pipe: &mut Pipe) -> Received {
        self.receive_by(|ring_writers| self.receive_to_pipe_locked(pipe, ring_writers))
    }

    /// Looked at first, and taken when the pipe has it. Under `rx_lock`, so that no other reader comes between. Memory is
    /// mapped for what is known to be there: to map and unmap some is dearer than the kernel's own splice.
    fn receive_to_pipe_locked(&self, pipe: &mut Pipe, ring_writers: &mut bool) -> Received {
        let mut first = 0u8;
        let piece = Piece {
            base: &raw mut first,
            bytes: 1,
        };
        // SAFETY: one piece, writable for its length.
        match unsafe { self.look_for_pipe(piece, ring_writers) } {
            Received::Bytes(1..) => {}
            other => return other,
        }
        let Some(pages) = Pages::new(pipe.left.min(BYTES_MOST)) else {
            pipe.stop = Some(Stop::Failed(ENOMEM));
            return Received::Bytes(0);
        };
        // SAFETY: as above.
        let seen = match unsafe { self.look_for_pipe(pages.piece(pages.bytes), ring_writers) } {
            Received::Bytes(seen) => seen,
            other => return other,
        };
        if poll_one(pipe.descriptor, POLLOUT, 0) & POLLERR != 0 {
            // Nobody reads from it. The signal that tells so may run a handler, which must not meet the lock.
            pipe.stop = Some(Stop::Waits);
            return Received::Bytes(0);
        }
        // SAFETY: mapped, written up to `seen`, and not written again.
        let moved = match unsafe { kernel_call::give_to_pipe(pipe.descriptor, pages.base, seen) } {
            Ok(moved @ 1..) => moved.min(seen),
            Ok(0) | Err(EAGAIN) => {
                pipe.stop = Some(Stop::Waits);
                return Received::Bytes(0);
            }
            Err(errno) => {
                pipe.stop = Some(Stop::Failed(errno));
                return Received::Bytes(0);
            }
        };
        pipe.left -= moved;
        let mut left = moved;
        while left > 0 {
            let take = Taking {
                peek: false,
                discard: true,
                behind: true,
                wanted: left,
                minimum: 1,
            };
            let piece = pages.piece(left);
            // SAFETY: as above; discarded bytes are not copied.
            let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
            match self.receive_segment_apart(&mut pieces, take, ring_writers) {
                Received::Bytes(taken @ 1..) => left = left.saturating_sub(taken),
                // What was seen under this lock is there; should the far side lie about that, the connection was condemned.
                _ => break,
            }
        }
        Received::Bytes(moved)
    }

    /// What is there, left where it is.
    ///
    /// # Safety
    /// The piece is writable for its length.
    unsafe fn look_for_pipe(&self, piece: Piece, ring_writers: &mut bool) -> Received {
        let look = Taking {
            peek: true,
            discard: false,
            behind: false,
            wanted: piece.bytes,
            minimum: 1,
        };
        // SAFETY: as promised; one piece.
        let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
        self.receive_segment_apart(&mut pieces, look, ring_writers)
    }
}

/// Memory that a pipe may keep: pages of their own, written once and given up at the end of the call, so that what lies in
/// the pipe never changes (vmsplice(2)).
#[derive(Debug)]
struct Pages {
    base: *mut u8,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize) -> Option<Pages> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: new memory, wherever the kernel likes.
        let base =
            unsafe { rustix::mm::mmap_anonymous(null_mut(), bytes, access, MapFlags::PRIVATE) };
        base.ok().map(|base| Pages {
            base: base.cast(),
            bytes,
        })
    }

    fn piece(&self, bytes: usize) -> Piece {
        Piece {
            base: self.base,
            bytes,
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; the pipe holds the pages it took by itself.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.bytes) };
    }
}
