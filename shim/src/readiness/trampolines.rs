//! Words that the trampolines and this side share.
#![expect(unsafe_code, reason = "reads arrays of the trampolines")]

use super::kernel_set::{ONE_SHOT, Told};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A number was added to more than one set.
pub const MANY: u32 = u32::MAX;
const LIMIT: usize = 1 << 16;

/// Mirrors `struct axio_watched_as` of `c/call.h`.
#[repr(C)]
struct WatchedAs {
    state: AtomicU32,
    events: AtomicU32,
    data: AtomicU64,
    forks: AtomicU64,
}
const _: () = assert!(size_of::<WatchedAs>() == 24);
/// Mirrors AXIO_WATCHED_KNOWN: the words are there, and nobody is changing them.
const KNOWN: u32 = 1;

unsafe extern "C" {
    #[link_name = "axio_watched_as"]
    static WATCHED_AS: [WatchedAs; LIMIT];
    #[link_name = "axio_forks"]
    safe static FORKS: AtomicU64;
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

/// The set is none of ours after all.
pub fn leave_early_sleepers(set: c_int) {
    // SAFETY: as above.
    let words = unsafe { &EARLY_SLEEPERS };
    if let Some(word) = words.get(set as u32 as usize) {
        word.fetch_and(!ADOPTED, Ordering::AcqRel);
    }
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

/// A number is in this set, with what only the kernel's list tells.
pub fn note_watched(number: c_int, set: c_int) {
    forget_watched_as(number);
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let words = unsafe { &WATCHED_BY };
    if let Some(word) = words.get(number as u32 as usize) {
        let noted = (set as u32).wrapping_add(1);
        let before = word.load(Ordering::Relaxed);
        let now = if before == 0 || before == noted {
            noted
        } else {
            MANY
        };
        word.store(now, Ordering::Relaxed);
    }
}

/// The registration of such a number, as the program last asked for it. Nothing where the kernel's own list must say: two
/// threads changed it at once, relatives may have changed it since, or the kernel itself does.
#[must_use]
pub fn watched_as(number: c_int) -> Option<Told> {
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let all = unsafe { &WATCHED_AS };
    let words = all.get(number as u32 as usize)?;
    // Acquire, partner: the release behind the words.
    if words.state.load(Ordering::Acquire) != KNOWN {
        return None;
    }
    let told = Told {
        number,
        events: words.events.load(Ordering::Relaxed),
        data: words.data.load(Ordering::Relaxed),
    };
    let forks = words.forks.load(Ordering::Relaxed);
    (forks == FORKS.load(Ordering::Relaxed) && told.events & ONE_SHOT == 0).then_some(told)
}

/// The number is connected, or never will be by a call that we see: from here on nothing is noted of it.
pub fn forget_watched_as(number: c_int) {
    // SAFETY: an array of the trampolines' object, for the life of the process.
    let all = unsafe { &WATCHED_AS };
    if let Some(words) = all.get(number as u32 as usize) {
        words.state.store(0, Ordering::Relaxed);
    }
}
