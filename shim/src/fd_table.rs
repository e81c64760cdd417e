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
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::stream::Stream;

/// Numbers that can be managed; sockets beyond stay on the kernel path.
pub const LIMIT: u32 = 1 << 20;

unsafe extern "C" {
    #[link_name = "axio_descriptors"]
    static TABLE: AtomicPtr<AtomicU64>;
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

/// What the program asked for (AXIO_SIOCACCEL) at a number that means no endpoint yet: a socket that is not connected.
/// It lies in the upper half of the word, whose lower half then is 0, and goes with the number.
#[must_use]
pub fn wish(descriptor: c_int) -> Option<bool> {
    match word(descriptor)?.load(Ordering::Acquire) {
        WISH_ACCELERATE => Some(true),
        WISH_RELEASE => Some(false),
        _ => None,
    }
}

const WISH_ACCELERATE: u64 = 1 << 32;
const WISH_RELEASE: u64 = 2 << 32;

/// Keeps a wish for a number that means no endpoint; `None` drops it. False when the number means one, or cannot.
pub fn set_wish(descriptor: c_int, accelerate: Option<bool>) -> bool {
    let Some(word) = word(descriptor) else {
        return false;
    };
    let value = match accelerate {
        Some(true) => WISH_ACCELERATE,
        Some(false) => WISH_RELEASE,
        None => 0,
    };
    let kept = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |before| {
        (before as u32 == 0).then_some(value)
    });
    kept.is_ok()
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

/// Highest number ever managed, for sweeps.
static HIGHEST: core::sync::atomic::AtomicI32 = core::sync::atomic::AtomicI32::new(-1);

/// Notes a number for sweeps.
pub fn note(descriptor: c_int) {
    HIGHEST.fetch_max(descriptor, Ordering::Relaxed);
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

/// True when another number of this process means the same endpoint.
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
