//! Words that the trampolines and this side share.
#![expect(unsafe_code, reason = "reads arrays of the trampolines")]

use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering};

/// A number was added to more than one set.
pub const MANY: u32 = u32::MAX;
const LIMIT: usize = 1 << 16;

unsafe extern "C" {
    #[link_name = "axio_watched_by"]
    static WATCHED_BY: [AtomicU32; LIMIT];
    /// Sets with managed members that other waiters see through the kernel: while there are some, the trampolines call
    /// `refresh_sets` before the kernel's own looks.
    #[link_name = "axio_exposed_sets"]
    pub safe static EXPOSED_SETS: AtomicU32;
}

/// The set that a number was added to while it was none of ours, plus one; 0 none, [`MANY`] several.
#[must_use]
pub fn watched_by(number: c_int) -> u32 {
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let words = unsafe { &WATCHED_BY };
    words
        .get(number as u32 as usize)
        .map_or(0, |word| word.load(Ordering::Relaxed))
}
