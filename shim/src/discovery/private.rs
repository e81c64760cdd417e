//! Private descriptors: few, close-on-exec, high, and never believed without a look.
//!
//! A program may close every descriptor it finds and open its own under the same number. So a private descriptor that
//! lives from one call to the next carries the identity of its file, and is used and closed only while the number still
//! names that file. The question is put with `AT_STATX_DONT_SYNC`, which no file system can make hang (TRUST.md row 2).
#![expect(unsafe_code, reason = "borrows and closes descriptors by number")]

use super::failure;
use core::cell::UnsafeCell;
use fastpath::kernel_call::{file_control, resource_limit};
use fastpath::memory::descriptor::Descriptor;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::reason::Reason;
use libc::{F_DUPFD_CLOEXEC, RLIMIT_NOFILE};
use rustix::fd::{BorrowedFd, RawFd};
use rustix::fs::{AtFlags, StatxFlags};

/// Room kept below the limit for private descriptors.
const PRIVATE_RANGE: u64 = 256;
/// Descriptors are not moved higher than this, FD_SETSIZE, however high the limit. The kernel's table grows to the highest
/// one; every fork copies it, and select(2) reads and writes as much of a program's sets as the table is long, whatever
/// limit it was given: a program that says getdtablesize() has sets of FD_SETSIZE all the same.
const HIGHEST_LIMIT: u64 = 1024;

/// A descriptor of ours that lives between calls. `NONE` is no descriptor.
#[derive(Clone, Copy, Debug)]
pub struct PrivateDescriptor {
    number: RawFd,
    device: u64,
    inode: u64,
}

fn identity(number: RawFd) -> Option<(u64, u64)> {
    // SAFETY: borrowed for the question only; a number without a file is EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let status = rustix::fs::statx(borrowed, c"", flags, StatxFlags::INO).ok()?;
    let device = u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor);
    Some((device, status.stx_ino))
}

/// The first number of the private range.
fn private_start() -> Result<u64, Reason> {
    let limit = resource_limit(RLIMIT_NOFILE)
        .map_err(failure::of_errno)?
        .min(HIGHEST_LIMIT);
    Ok(limit.saturating_sub(PRIVATE_RANGE).max(limit / 2))
}

/// A duplicate at a private number.
pub(super) fn duplicate_high(number: RawFd) -> Result<Descriptor, Reason> {
    match file_control(number, F_DUPFD_CLOEXEC, private_start()? as usize) {
        Ok(high) => Ok(Descriptor::from_number(high as RawFd)),
        Err(errno) => Err(failure::of_errno(errno)),
    }
}

/// Moves a fresh descriptor out of the numbers that programs expect.
pub(super) fn move_high(low: Descriptor) -> Result<Descriptor, Reason> {
    if low.number() as u64 >= private_start()? {
        return Ok(low);
    }
    match duplicate_high(low.number()) {
        Ok(high) if (high.number() as u64) < HIGHEST_LIMIT => Ok(high),
        // All below was taken: it would make the table longer.
        Ok(_) if low.number() > 2 => Ok(low),
        Ok(high) => Ok(high),
        // Full up there: where the kernel put it, unless that is a standard stream.
        Err(_) if low.number() > 2 => Ok(low),
        Err(reason) => Err(reason),
    }
}

impl PrivateDescriptor {
    /// No descriptor.
    pub const NONE: PrivateDescriptor = PrivateDescriptor {
        number: -1,
        device: 0,
        inode: 0,
    };

    /// Keeps a fresh close-on-exec descriptor, at a high number.
    pub fn keep(fresh: Descriptor) -> Result<PrivateDescriptor, Reason> {
        let high = move_high(fresh)?;
        let (device, inode) = identity(high.number()).ok_or(Reason::Unsupported)?;
        Ok(PrivateDescriptor {
            number: high.into_number(),
            device,
            inode,
        })
    }
    /// True unless this is `NONE`.
    pub fn is_some(&self) -> bool {
        self.number >= 0
    }
    /// The descriptor, if the number still names our file.
    pub fn get(&self) -> Option<BorrowedFd<'static>> {
        if !self.is_some() || identity(self.number) != Some((self.device, self.inode)) {
            return None;
        }
        // SAFETY: open as seen above. Another thread of the program that closes descriptors it does not know in this
        // very moment makes the calls that follow fail or miss, as it would with any library.
        Some(unsafe { BorrowedFd::borrow_raw(self.number) })
    }
    /// Closes it, if it is still ours, and forgets it.
    pub fn close(&mut self) {
        if self.get().is_some() {
            // SAFETY: ours, as seen above.
            unsafe { rustix::io::close(self.number) };
        }
        *self = Self::NONE;
    }
}

/// A place where one descriptor waits for its next use. Whoever uses it takes it out; two users at once have two.
pub struct Kept {
    flag: AtomicU32,
    descriptor: UnsafeCell<PrivateDescriptor>,
}

// SAFETY: the cell is touched by the holder of the flag only.
unsafe impl Sync for Kept {}

impl Kept {
    /// An empty place.
    pub const fn empty() -> Self {
        Self {
            flag: AtomicU32::new(0),
            descriptor: UnsafeCell::new(PrivateDescriptor::NONE),
        }
    }
    /// Exchanges what lies there; gives `new` back when another thread (or the thread this signal handler interrupted)
    /// is at it.
    fn exchange(&self, new: PrivateDescriptor) -> PrivateDescriptor {
        let mine = self
            .flag
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if !mine {
            return new;
        }
        // SAFETY: this thread holds the flag.
        let old = unsafe { core::mem::replace(&mut *self.descriptor.get(), new) };
        self.flag.store(0, Ordering::Release);
        old
    }
    /// Takes the descriptor out, or `NONE`.
    pub fn take(&self) -> PrivateDescriptor {
        self.exchange(PrivateDescriptor::NONE)
    }
    /// Puts a descriptor in; one that has no place is closed.
    pub fn put(&self, descriptor: PrivateDescriptor) {
        self.exchange(descriptor).close();
    }
    /// Fork child: closes the copy of what the parent keeps.
    pub fn close_in_child(&self) {
        self.flag.store(0, Ordering::Relaxed);
        self.take().close();
    }
}
