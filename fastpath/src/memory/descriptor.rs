//! A descriptor of Axio's own, closed by a raw system call.
//!
//! rustix's `OwnedFd` becomes the standard library's as soon as any crate of a build turns on rustix's `std` feature;
//! that one closes through the C library and so through an interposed `close`. This one never does.
#![expect(unsafe_code, reason = "borrows and closes descriptors by number")]

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// An open descriptor that nobody else closes.
#[derive(Debug)]
pub struct Descriptor(RawFd);

impl Descriptor {
    /// Takes over a descriptor number that this process has just opened.
    #[must_use]
    pub fn from_number(number: RawFd) -> Descriptor {
        Descriptor(number)
    }
    /// The number.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0
    }
    /// Gives the number away; the caller closes it.
    #[must_use]
    pub fn into_number(self) -> RawFd {
        let number = self.0;
        core::mem::forget(self);
        number
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(owned: OwnedFd) -> Self {
        Descriptor(owned.into_raw_fd())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed here only.
        unsafe { rustix::io::close(self.0) };
    }
}
