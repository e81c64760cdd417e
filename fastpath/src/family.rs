//! Family memory: shared with fork relatives only, never given to a peer (CHANNEL.md "Family memory").
//!
//! One anonymous `MAP_SHARED` arena, made before the first managed call and inherited by fork at the same address. It
//! holds the truth that fork must find: endpoints with their locks, own indices and counts, and the table of processes.
//! Blocks have a fixed size and never move; a block that is free is linked by index.
#![expect(
    unsafe_code,
    reason = "maps the arena and hands out references to its blocks, which are made of atomics"
)]

use crate::channel::home;
use crate::endpoint::Endpoint;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::sync::atomic::AtomicPtr;

/// Endpoints a family can have at a time.
pub const ENDPOINTS: u32 = 65536;
/// Processes a family can have at a time.
pub const PROCESSES: usize = 512;

/// A member of the family.
#[repr(C)]
pub struct Process {
    /// Process id; 0 = free, `u32::MAX` = reserved for a child that is being forked.
    pub id: AtomicU32,
}

#[repr(C)]
struct Header {
    free_head: AtomicU64,
    used: AtomicU32,
    spare: AtomicU32,
    processes: [Process; PROCESSES],
}

static ARENA: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// This process's place in the table of processes, plus one; 0 = none yet. Process-private by being reset after fork.
static PROCESS_PLACE: AtomicU32 = AtomicU32::new(0);

/// The token of the process that has that place (see [`crate::channel::home`]); a raw clone's child has another one.
static PROCESS_TOKEN: AtomicU64 = AtomicU64::new(0);

const ENDPOINTS_OFFSET: usize = size_of::<Header>().div_ceil(4096) * 4096;
const ARENA_BYTES: usize = ENDPOINTS_OFFSET + ENDPOINTS as usize * size_of::<Endpoint>();
const NO_INDEX: u32 = u32::MAX;

fn header() -> Option<&'static Header> {
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() {
        return None;
    }
    // SAFETY: the arena is never unmapped, zero-filled and large enough; Header is made of atomics.
    Some(unsafe { &*base.cast::<Header>() })
}

/// Maps the arena if this family has none yet, and gives this process a place in it.
///
/// # Errors
/// When the kernel has no memory or the family has no place for one more process.
pub fn ensure() -> Result<(), crate::error::Blame> {
    if ARENA.load(Ordering::Acquire).is_null() {
        use rustix::mm::{MapFlags, ProtFlags};
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                core::ptr::null_mut(),
                ARENA_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
            )
        }
        .map_err(|errno| crate::error::Blame::Os(errno.raw_os_error()))?
        .cast::<u8>();
        // Release pairs with the acquire in `header`; a thread that lost the race gives its mapping back.
        if ARENA
            .compare_exchange(
                core::ptr::null_mut(),
                base,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_err()
        {
            // SAFETY: the mapping made above, which nobody else has seen.
            let _ = unsafe { rustix::mm::munmap(base.cast(), ARENA_BYTES) };
        }
    }
    if PROCESS_PLACE.load(Ordering::Acquire) == 0 {
        let place = take_process_place(crate::kernel_call::process_id())
            .ok_or(crate::error::Blame::Exhausted)?;
        PROCESS_TOKEN.store(home::token().unwrap_or(0), Ordering::Relaxed);
        if PROCESS_PLACE
            .compare_exchange(0, place + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            release_process_place(place);
        }
    }
    Ok(())
}

fn take_process_place(id: u32) -> Option<u32> {
    let header = header()?;
    for (place, process) in header.processes.iter().enumerate() {
        let seen = process.id.load(Ordering::Acquire);
        let dead = seen != 0
            && seen != u32::MAX
            && seen != id
            && !crate::kernel_call::process_exists(seen);
        if (seen == 0 || dead)
            && process
                .id
                .compare_exchange(seen, id, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            return Some(place as u32);
        }
    }
    None
}

fn release_process_place(place: u32) {
    if let Some(process) = header().and_then(|header| header.processes.get(place as usize)) {
        process.id.store(0, Ordering::Release);
    }
}

/// This process's place, or nothing when it has no family memory.
#[inline(always)]
#[must_use]
pub fn process_place() -> Option<u32> {
    PROCESS_PLACE.load(Ordering::Relaxed).checked_sub(1)
}

/// Before fork: reserves a place for the child. The parent names it to its endpoints as a holder; the child fills it.
#[must_use]
pub fn reserve_child_place() -> Option<u32> {
    take_process_place(u32::MAX)
}

/// In the parent when fork failed.
pub fn release_child_place(place: u32) {
    release_process_place(place);
}

/// In the parent once the child's id is known: a child that dies before it could say so is still found to be dead.
pub fn name_child(place: u32, id: u32) {
    if let Some(process) = header().and_then(|header| header.processes.get(place as usize)) {
        let _ = process
            .id
            .compare_exchange(u32::MAX, id, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// In the child: takes over the reserved place.
pub fn become_child(place: Option<u32>) {
    PROCESS_PLACE.store(0, Ordering::Release);
    let (Some(place), Some(header)) = (place, header()) else {
        return;
    };
    if let Some(process) = header.processes.get(place as usize) {
        process
            .id
            .store(crate::kernel_call::process_id(), Ordering::Release);
        PROCESS_TOKEN.store(home::token().unwrap_or(0), Ordering::Relaxed);
        PROCESS_PLACE.store(place + 1, Ordering::Release);
    }
}

/// Id of the process at `place`; nothing when the place is free or only reserved.
#[must_use]
pub fn process_id_at(place: u32) -> Option<u32> {
    let id = header()?
        .processes
        .get(place as usize)?
        .id
        .load(Ordering::Acquire);
    (id != 0 && id != u32::MAX).then_some(id)
}

/// False in a child that shares this memory without having been forked through us (vfork): nothing may be written on its
/// behalf. One system call.
#[must_use]
pub fn is_own_process() -> bool {
    process_place().and_then(process_id_at) == Some(crate::kernel_call::process_id())
}

/// As [`is_own_process`] as long as no child shares this memory, without a system call: false in a raw clone's child.
#[must_use]
pub fn is_own_memory() -> bool {
    match PROCESS_TOKEN.load(Ordering::Relaxed) {
        // No place yet, or a kernel without wiping.
        0 => is_own_process(),
        token => home::is_current(token) && process_place().is_some(),
    }
}

/// Before exec: the process will hold nothing any more, under the same id.
pub fn leave_place() {
    if let Some(place) = process_place() {
        PROCESS_PLACE.store(0, Ordering::Release);
        release_process_place(place);
    }
}

/// True unless the process at `place` is known to be gone.
#[must_use]
pub fn is_process_alive(place: u32) -> bool {
    match header().and_then(|header| header.processes.get(place as usize)) {
        None => false,
        Some(process) => match process.id.load(Ordering::Acquire) {
            0 => false,
            u32::MAX => true,
            id => crate::kernel_call::process_exists(id),
        },
    }
}

/// The endpoint of an index, if this family has memory for it.
#[inline(always)]
#[must_use]
pub fn endpoint(index: u32) -> Option<&'static Endpoint> {
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() || index >= ENDPOINTS {
        return None;
    }
    // SAFETY: inside the arena, aligned (the offset is page aligned, the size a multiple of 64), made of atomics.
    Some(unsafe {
        &*base
            .add(ENDPOINTS_OFFSET + index as usize * size_of::<Endpoint>())
            .cast::<Endpoint>()
    })
}

/// The index of an endpoint of this family.
#[must_use]
pub fn index_of(endpoint: &'static Endpoint) -> Option<u32> {
    let base = ARENA.load(Ordering::Acquire) as usize;
    let offset = (core::ptr::from_ref(endpoint) as usize)
        .checked_sub(base.checked_add(ENDPOINTS_OFFSET)?)?;
    let index = offset / size_of::<Endpoint>();
    (base != 0 && index < ENDPOINTS as usize).then_some(index as u32)
}

/// Takes a free endpoint; its state is that of a socket nothing is known about.
#[must_use]
pub fn allocate_endpoint() -> Option<(u32, &'static Endpoint)> {
    let header = header()?;
    loop {
        // Low half: index + 1 of the first free block; high half: a count against ABA.
        let head = header.free_head.load(Ordering::Acquire);
        let first = (head as u32).wrapping_sub(1);
        if first == NO_INDEX {
            let used = header.used.fetch_add(1, Ordering::AcqRel);
            if used >= ENDPOINTS {
                header.used.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            let block = endpoint(used)?;
            block.reset();
            return Some((used, block));
        }
        let block = endpoint(first)?;
        let next = block.next_free.load(Ordering::Acquire);
        let count = (head >> 32).wrapping_add(1);
        let new = count << 32 | u64::from(next);
        if header
            .free_head
            .compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            block.reset();
            return Some((first, block));
        }
    }
}

/// Gives an endpoint back. The caller is its last holder and has raised its generation.
pub fn free_endpoint(index: u32) {
    let (Some(header), Some(block)) = (header(), endpoint(index)) else {
        return;
    };
    loop {
        let head = header.free_head.load(Ordering::Acquire);
        block.next_free.store(head as u32, Ordering::Release);
        let new = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
        if header
            .free_head
            .compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return;
        }
    }
}

/// Endpoints ever used: no index at or beyond this one is in use.
#[must_use]
pub fn endpoints_used() -> u32 {
    header().map_or(0, |header| {
        header.used.load(Ordering::Acquire).min(ENDPOINTS)
    })
}
