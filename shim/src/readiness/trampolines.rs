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
    #[link_name = "axio_early_sleepers"]
    static EARLY_SLEEPERS: [AtomicU32; LIMIT];
    #[link_name = "axio_set_ids"]
    static SET_IDS: [AtomicU32; LIMIT];
    #[link_name = "axio_set_ids_end"]
    safe static SET_IDS_END: AtomicU32;
}

/// Numbers that are tried for copies of an epoll file that nobody saw made: it came through exec, or from another process.
const UNSEEN_COPIES: usize = 4096;

/// Calls `each` for every other number that may mean the same epoll file: the kernel knows for sure.
pub fn for_each_copy(set: c_int, mut each: impl FnMut(c_int)) {
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let ids = unsafe { &SET_IDS };
    let id_of = |number: usize| ids.get(number).map_or(0, |id| id.load(Ordering::Relaxed));
    let id = id_of(set as u32 as usize);
    let end = if id == 0 {
        UNSEEN_COPIES
    } else {
        // Acquire, partner: the release behind which a number has its id.
        SET_IDS_END.load(Ordering::Acquire) as usize
    };
    for number in 0..end {
        if number != set as usize && id_of(number) == id {
            each(number as c_int);
        }
    }
}

/// Mirrors AXIO_ADOPTED of `c/early_sleepers.h`.
const ADOPTED: u32 = 1 << 31;

/// A set becomes one of ours: the threads that sleep in it, which nobody had told us of. When they wake they find it out,
/// and who comes later knows it before.
#[must_use]
pub fn adopt_early_sleepers(set: c_int) -> u32 {
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let words = unsafe { &EARLY_SLEEPERS };
    // Partner: the trampolines' own exchanges; one word holds both, so each thread is counted on one side only.
    words.get(set as u32 as usize).map_or(0, |word| {
        word.fetch_or(ADOPTED, Ordering::AcqRel) & !ADOPTED
    })
}

/// Whether [`watched_by`] is kept for a number at all.
#[must_use]
pub fn is_watching_recorded(number: c_int) -> bool {
    (number as u32 as usize) < LIMIT
}

/// Whether this process has been seen to make an epoll set.
#[must_use]
pub fn is_any_set_known() -> bool {
    SET_IDS_END.load(Ordering::Relaxed) != 0
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
