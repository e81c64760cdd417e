//! Which descriptor number means which endpoint, in this process.
//!
//! One word per number: generation in the upper half, index + 1 in the lower; 0 = not managed. A number that names an
//! epoll instance with managed members has a word, too, marked as such. The trampolines read it
//! before anything else, so the table is an array that is mapped when the first matching socket appears and never moves.
#![expect(
    unsafe_code,
    reason = "indexes the mapped table and shares its address with the trampolines"
)]

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::stream::Stream;

/// Numbers that can be managed; sockets beyond stay on the kernel path.
pub const LIMIT: u32 = 1 << 20;

unsafe extern "C" {
    #[link_name = "axio_descriptors"]
    static TABLE: AtomicPtr<AtomicU64>;
    /// Highest number ever managed, for sweeps, and for the trampolines, who need not look at any while it is -1.
    #[link_name = "axio_descriptors_highest"]
    safe static HIGHEST: AtomicI32;
}

fn table() -> *mut AtomicU64 {
    // SAFETY: the trampolines' object defines the symbol for the life of the process.
    unsafe { TABLE.load(Ordering::Acquire) }
}

/// Maps the table if there is none yet.
///
/// # Errors
/// errno of the mapping.
pub fn ensure() -> Result<(), i32> {
    if !table().is_null() {
        return Ok(());
    }
    use rustix::mm::{MapFlags, ProtFlags};
    let bytes = LIMIT as usize * size_of::<AtomicU64>();
    // SAFETY: a fresh private mapping; pages appear when touched.
    let fresh = unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(|errno| errno.raw_os_error())?
    .cast::<AtomicU64>();
    // SAFETY: as in `table`. Release pairs with the acquire in `table` and in the trampolines.
    let won = unsafe {
        TABLE.compare_exchange(
            core::ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        )
    };
    if won.is_err() {
        // SAFETY: the mapping made above, which nobody has seen.
        let _ = unsafe { rustix::mm::munmap(fresh.cast(), bytes) };
    }
    Ok(())
}

/// The trampolines find no table any more: every call is the program's own. Who has its address already goes on with it.
pub fn close_for_good() {
    // SAFETY: as in `table`.
    unsafe { TABLE.store(core::ptr::null_mut(), Ordering::Release) };
}

#[inline(always)]
fn word(descriptor: c_int) -> Option<&'static AtomicU64> {
    let table = table();
    if table.is_null() || descriptor as u32 >= LIMIT {
        return None;
    }
    // SAFETY: inside the table, which is never unmapped.
    Some(unsafe { &*table.add(descriptor as usize) })
}

/// The endpoint a number means: its index, generation and block.
#[inline(always)]
#[must_use]
pub fn get(descriptor: c_int) -> Option<(u32, u32, &'static Endpoint)> {
    let value = word(descriptor)?.load(Ordering::Acquire);
    let index = (value as u32).checked_sub(1)?;
    let endpoint = family::endpoint(index)?;
    let generation = (value >> 32) as u32;
    (endpoint.generation.load(Ordering::Acquire) == generation)
        .then_some((index, generation, endpoint))
}

/// What the table says of a number; 0 = nothing. The trampolines hand this on, so that a call means one thing throughout.
#[inline(always)]
#[must_use]
pub fn word_of(descriptor: c_int) -> u64 {
    word(descriptor).map_or(0, |word| word.load(Ordering::Acquire))
}

/// The endpoint that such a word means, if it lives: generation and block.
#[inline(always)]
#[must_use]
pub fn meant_by(word: u64) -> Option<(u32, &'static Endpoint)> {
    let endpoint = family::endpoint((word as u32).checked_sub(1)?)?;
    let generation = (word >> 32) as u32;
    (endpoint.generation.load(Ordering::Acquire) == generation).then_some((generation, endpoint))
}

/// True when a number means anything here, also something that has ended.
#[inline(always)]
#[must_use]
pub fn is_used(descriptor: c_int) -> bool {
    word(descriptor).is_some_and(|word| word.load(Ordering::Acquire) as u32 != 0)
}

/// The endpoint a number means, as a call's view of its stream.
#[inline(always)]
#[must_use]
pub fn stream(descriptor: c_int) -> Option<Stream> {
    let (_, generation, endpoint) = get(descriptor)?;
    let me = crate::boundary::me();
    Some(Stream::new(endpoint, generation, descriptor, me))
}

// ---- facts: what is known of a number that means nothing here. They lie in the upper half of the word, whose lower half
// then is 0, and go with the number.

/// The program asked for the ring (AXIO_SIOCACCEL) before the socket was connected.
const WISH_ACCELERATE: u64 = 1 << 32;
/// It asked for the kernel.
const WISH_RELEASE: u64 = 2 << 32;
const WISHES: u64 = WISH_ACCELERATE | WISH_RELEASE;
/// Made by socket() as a TCP stream; mirrored in `c/call.h`.
const TCP_STREAM: u64 = 1 << 34;
/// What it accepts is TCP, and the rules let it go fast at whichever address it was reached.
const ACCEPTS_FAST: u64 = 1 << 35;
/// What it accepts the rules leave to the kernel, at whichever address it was reached.
const ACCEPTS_KERNEL: u64 = 1 << 36;
/// Both bits: nothing is remembered. The socket has another number, under which it can be made to listen elsewhere.
const ACCEPTS: u64 = ACCEPTS_FAST | ACCEPTS_KERNEL;

/// What is known of a number that means nothing here.
#[derive(Clone, Copy)]
pub struct Facts(u64);

impl Facts {
    /// What the program asked for (AXIO_SIOCACCEL) while the number means no endpoint: a socket that is not connected.
    #[inline(always)]
    #[must_use]
    pub fn wish(self) -> Option<bool> {
        match self.0 & WISHES {
            0 => None,
            WISH_ACCELERATE => Some(true),
            WISH_RELEASE => Some(false),
            _ => None,
        }
    }

    /// True when socket() made a TCP stream under this number. What became of it in the kernel meanwhile (a library behind
    /// us may have made it MPTCP) is looked at again before anything is done for the connection.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp_stream(self) -> bool {
        self.0 & TCP_STREAM != 0
    }

    /// What the rules say of everything that this listener accepts: `Some(true)` TCP that may go fast.
    #[inline(always)]
    #[must_use]
    pub fn accepts_fast(self) -> Option<bool> {
        match self.0 & ACCEPTS {
            ACCEPTS_FAST => Some(true),
            ACCEPTS_KERNEL => Some(false),
            _ => None,
        }
    }
}

/// What is known of a number.
#[inline(always)]
#[must_use]
pub fn facts(descriptor: c_int) -> Facts {
    let value = word_of(descriptor);
    Facts(if value as u32 == 0 { value } else { 0 })
}

/// Exchanges some facts; false when the number means something, or is out of range.
fn exchange_facts(descriptor: c_int, without: u64, with: u64) -> bool {
    let Some(word) = word(descriptor) else {
        return false;
    };
    let exchanged = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |before| {
        (before as u32 == 0).then_some(before & !without | with)
    });
    exchanged.is_ok()
}

/// Keeps a wish for a number that means no endpoint; `None` drops it. False when the number means one, or cannot.
pub fn set_wish(descriptor: c_int, accelerate: Option<bool>) -> bool {
    let value = match accelerate {
        Some(true) => WISH_ACCELERATE,
        Some(false) => WISH_RELEASE,
        None => 0,
    };
    exchange_facts(descriptor, WISHES, value)
}

/// Nothing is known of the number any more, if it means nothing here.
pub fn drop_facts(descriptor: c_int) {
    if facts(descriptor).0 != 0 {
        exchange_facts(descriptor, u64::MAX, 0);
    }
}

/// `to` is another number of the socket `from`, and means nothing here.
pub fn copy_facts(from: c_int, to: c_int) {
    let mut known = facts(from).0;
    if known != 0 {
        known |= ACCEPTS;
        exchange_facts(from, 0, ACCEPTS);
    }
    exchange_facts(to, u64::MAX, known);
}

/// Remembers it, or forgets (`None`); a listener with more than one number is asked about each time.
pub fn set_accepts_fast(listener: c_int, fast: Option<bool>) {
    let value = match fast {
        Some(true) => ACCEPTS_FAST,
        Some(false) => ACCEPTS_KERNEL,
        None => 0,
    };
    let before = facts(listener).0 & ACCEPTS;
    if before != value && before != ACCEPTS {
        exchange_facts(listener, ACCEPTS, value);
    }
}

/// Marks a word that means an epoll instance, in the half that holds an index.
const INSTANCE: u32 = 1 << 31;

/// The epoll instance a number means: its index and generation.
#[inline(always)]
#[must_use]
pub fn instance(descriptor: c_int) -> Option<(u32, u32)> {
    let value = word(descriptor)?.load(Ordering::Acquire);
    (value as u32 & INSTANCE != 0).then_some((value as u32 & !INSTANCE, (value >> 32) as u32))
}

/// Lets a number mean an epoll instance.
pub fn set_instance(descriptor: c_int, index: u32, generation: u32) -> bool {
    word(descriptor)
        .map(|word| {
            word.store(
                u64::from(generation) << 32 | u64::from(index | INSTANCE),
                Ordering::Release,
            );
        })
        .is_some()
}

/// Forgets a number that means an epoll instance.
pub fn take_instance(descriptor: c_int) -> Option<(u32, u32)> {
    let word = word(descriptor)?;
    let value = word.load(Ordering::Acquire);
    (value as u32 & INSTANCE != 0
        && word
            .compare_exchange(value, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok())
    .then_some((value as u32 & !INSTANCE, (value >> 32) as u32))
}

/// Calls `each` for every number in `first..=last` that means an epoll instance.
pub fn for_each_instance(first: c_int, last: c_int, mut each: impl FnMut(c_int)) {
    (first.max(0)..=last.min(HIGHEST.load(Ordering::Relaxed)))
        .filter(|descriptor| instance(*descriptor).is_some())
        .for_each(&mut each);
}

/// Another number that means an epoll instance.
#[must_use]
pub fn any_number_of_instance(index: u32, generation: u32) -> Option<c_int> {
    (0..=HIGHEST.load(Ordering::Relaxed))
        .find(|descriptor| instance(*descriptor) == Some((index, generation)))
}

/// Lets a number mean an endpoint.
pub fn set(descriptor: c_int, index: u32, generation: u32) -> bool {
    match word(descriptor) {
        Some(word) => {
            word.store(
                u64::from(generation) << 32 | u64::from(index + 1),
                Ordering::Release,
            );
            true
        }
        None => false,
    }
}

/// Forgets a number; what it meant, if anything.
pub fn take(descriptor: c_int) -> Option<(u32, u32, &'static Endpoint)> {
    let value = word(descriptor)?.swap(0, Ordering::AcqRel);
    let index = (value as u32).checked_sub(1)?;
    let endpoint = family::endpoint(index)?;
    let generation = (value >> 32) as u32;
    (endpoint.generation.load(Ordering::Acquire) == generation)
        .then_some((index, generation, endpoint))
}

/// As [`take`], but the number goes on meaning something that has ended. Nothing where another thread has closed it
/// meanwhile.
pub fn take_and_remember(descriptor: c_int) -> Option<(u32, u32, &'static Endpoint)> {
    /// Of a life half a turn of the generations away.
    const ENDED: u64 = 1 << 63;
    let word = word(descriptor)?;
    let value = word.load(Ordering::Acquire);
    let (generation, endpoint) = meant_by(value)?;
    word.compare_exchange(value, value ^ ENDED, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
        .then_some((value as u32 - 1, generation, endpoint))
}

/// Notes a number for sweeps.
pub fn note(descriptor: c_int) {
    // Adding is a locked instruction, and numbers come again.
    if HIGHEST.load(Ordering::Relaxed) < descriptor {
        HIGHEST.fetch_max(descriptor, Ordering::Relaxed);
    }
}

/// Calls `each` for every managed number in `first..=last`.
pub fn for_each(
    first: c_int,
    last: c_int,
    mut each: impl FnMut(c_int, u32, u32, &'static Endpoint),
) {
    let last = last.min(HIGHEST.load(Ordering::Relaxed));
    let mut descriptor = first.max(0);
    while descriptor <= last {
        if let Some((index, generation, endpoint)) = get(descriptor) {
            each(descriptor, index, generation, endpoint);
        }
        descriptor += 1;
    }
}

/// Calls `each` for every managed number, with a call's view of its stream.
pub fn for_each_stream(mut each: impl FnMut(Stream)) {
    for_each(0, c_int::MAX, |descriptor, _, generation, endpoint| {
        let me = crate::boundary::me();
        each(Stream::new(endpoint, generation, descriptor, me));
    });
}

/// A number of this process that means the endpoint: the lowest.
#[must_use]
pub fn any_number_of(index: u32) -> Option<c_int> {
    let mut found = None;
    for_each(0, c_int::MAX, |descriptor, other, _, _| {
        if other == index && found.is_none() {
            found = Some(descriptor);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_go_with_the_number_and_never_touch_what_is_managed() {
        ensure().expect("memory for the table");
        // Numbers that no other test of this process gets.
        let (one, other) = (LIMIT as c_int - 2, LIMIT as c_int - 1);
        assert!(set_wish(one, Some(true)));
        set_accepts_fast(one, Some(false));
        assert_eq!(
            (facts(one).wish(), facts(one).accepts_fast()),
            (Some(true), Some(false))
        );
        set_accepts_fast(one, Some(true));
        assert_eq!(facts(one).accepts_fast(), Some(true));
        copy_facts(one, other);
        assert_eq!(
            (facts(other).wish(), facts(other).accepts_fast()),
            (Some(true), None)
        );
        for number in [one, other] {
            set_accepts_fast(number, Some(true));
            assert_eq!(
                (facts(number).wish(), facts(number).accepts_fast()),
                (Some(true), None),
                "with two numbers nothing is remembered"
            );
        }
        assert!(!is_used(one));
        set(one, 7, 3);
        assert!(!set_wish(one, Some(false)));
        set_accepts_fast(one, Some(true));
        drop_facts(one);
        assert!(is_used(one) && facts(one).accepts_fast().is_none());
        assert_eq!(take(one).map(|_| ()), None, "no family memory, no endpoint");
        drop_facts(other);
        assert_eq!(facts(other).wish(), None);
    }
}
