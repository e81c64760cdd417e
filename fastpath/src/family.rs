//! Family memory: shared with fork relatives only, never given to a peer (CHANNEL.md "Family memory").
//!
//! One anonymous `MAP_SHARED` arena, made before the first managed call and inherited by fork at the same address. It
//! holds the truth that fork must find: endpoints with their locks, own indices and counts, and the table of processes.
//! Blocks have a fixed size and never move; a block that is free is linked by index.
#![expect(
    unsafe_code,
    reason = "maps the arena and hands out references to its blocks, which are made of atomics"
)]

mod parting;

pub use parting::{copy_over, part};

use crate::channel::home;
use crate::endpoint::Endpoint;
use crate::life;
use crate::lock::Owner;
use crate::stream::monotonic_ns;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::sync::atomic::AtomicPtr;

/// Endpoints a family can have at a time.
pub const ENDPOINTS: u32 = 65536;
/// Processes a family can have at a time.
pub const PROCESSES: usize = 512;

/// A place in the table of processes. It is given out again after its process has died, under a new *name*: index and
/// incarnation in one number below 2^31. Whatever names a holder or an owner of a lock does so by that, so what a dead
/// process has left behind never passes for its successor's.
#[repr(C)]
struct Process {
    /// Low half: process id, or 0 = free, or one of the two below; high half: incarnation.
    occupant: AtomicU64,
    /// When the process was started (see [`life::own_start`]); 0 = not known (yet).
    start: AtomicU64,
    /// While reserved or leaving: since when, monotonic ns.
    since_ns: AtomicU64,
    /// When it was last seen to live by a thorough look, monotonic ns; see [`is_process_alive`].
    seen_alive_ns: AtomicU64,
    /// While reserved: name of the process that forks.
    forker: AtomicU32,
    spare: AtomicU32,
}

/// In place of an id: kept for a child that is being forked.
const RESERVED: u32 = u32::MAX;
/// Beside an id: the process ends or makes way for another program at any moment.
const LEAVING: u32 = 1 << 31;
/// After that long a reservation whose maker is dead is nobody's, and an exec has happened.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How long a process that was seen to live is believed to, if one of its id exists.
const BELIEVED_NS: u64 = 10_000_000;

const INDEX_BITS: u32 = PROCESSES.trailing_zeros();
const _: () = assert!(PROCESSES.is_power_of_two());
const INCARNATIONS: u32 = 1 << (31 - INDEX_BITS);

/// What the word of a place says.
#[derive(Clone, Copy)]
struct Occupant {
    incarnation: u32,
    id: u32,
}

impl Occupant {
    const fn from_word(word: u64) -> Occupant {
        Occupant {
            incarnation: (word >> 32) as u32,
            id: word as u32,
        }
    }
    const fn word(self) -> u64 {
        (self.incarnation as u64) << 32 | self.id as u64
    }
    /// The next process at the same place; incarnation 0 is nobody's.
    const fn next(self, id: u32) -> Occupant {
        let next = (self.incarnation + 1) % INCARNATIONS;
        Occupant {
            incarnation: if next == 0 { 1 } else { next },
            id,
        }
    }
    const fn name(self, index: usize) -> u32 {
        self.incarnation << INDEX_BITS | index as u32
    }
}

impl Process {
    fn occupant(&self) -> Occupant {
        Occupant::from_word(self.occupant.load(Ordering::Acquire))
    }

    fn replace(&self, seen: Occupant, new: Occupant) -> bool {
        self.occupant
            .compare_exchange(seen.word(), new.word(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn has_waited(&self) -> bool {
        let since = self.since_ns.load(Ordering::Relaxed);
        monotonic_ns().saturating_sub(since) > PATIENCE_NS
    }

    /// True unless the process is known to be gone; one that is leaving is, as long as its threads run.
    fn lives(&self, occupant: Occupant) -> bool {
        match occupant.id {
            0 => false,
            RESERVED => {
                // A child that has just been forked says in a moment who it is, and so does its parent.
                !self.has_waited()
                    || place_named(self.forker.load(Ordering::Acquire))
                        .is_some_and(|(forker, seen)| seen.id != RESERVED && forker.lives(seen))
            }
            id if id & LEAVING != 0 => {
                !self.has_waited() && life::process_lives(id & !LEAVING, self.start())
            }
            id => life::process_lives(id, self.start()),
        }
    }

    fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }
}

/// The place of that name, and who has it; nothing when it was given to another process since.
fn place_named(name: u32) -> Option<(&'static Process, Occupant)> {
    let place = header()?.processes.get(name as usize % PROCESSES)?;
    let occupant = place.occupant();
    (occupant.incarnation == name >> INDEX_BITS).then_some((place, occupant))
}

#[repr(C)]
struct Header {
    free_head: AtomicU64,
    used: AtomicU32,
    spare: AtomicU32,
    processes: [Process; PROCESSES],
}

static ARENA: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// The name of this process's place in the table of processes, plus one; 0 = none yet. Process-private by being reset after
/// fork.
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
        let name = take_process_place(crate::kernel_call::process_id())
            .ok_or(crate::error::Blame::Exhausted)?;
        PROCESS_TOKEN.store(home::token().unwrap_or(0), Ordering::Relaxed);
        if PROCESS_PLACE
            .compare_exchange(0, name + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            release_process_place(name);
        }
    }
    Ok(())
}

fn take_process_place(id: u32) -> Option<u32> {
    let header = header()?;
    let take = |index: usize, place: &Process, seen: Occupant| {
        let reserved = seen.next(RESERVED);
        // Before the place is taken: until then nobody reads them, or they are those of a dead process.
        place.since_ns.store(monotonic_ns(), Ordering::Relaxed);
        if !place.replace(seen, reserved) {
            return None;
        }
        place.seen_alive_ns.store(0, Ordering::Relaxed);
        place.start.store(0, Ordering::Relaxed);
        // Incarnation 0, of nobody: a process that takes a place for itself settles at once.
        let forker = process_place().unwrap_or(0);
        place.forker.store(forker, Ordering::Release);
        let name = reserved.name(index);
        (id == RESERVED || settle(name, id)).then_some(name)
    };
    // Places that were given back are many; only without one is it asked who has died.
    for only_free in [true, false] {
        for (index, place) in header.processes.iter().enumerate() {
            let seen = place.occupant();
            let is_free = seen.id == 0;
            if (is_free || (!only_free && seen.id != id && !place.lives(seen)))
                && let Some(name) = take(index, place, seen)
            {
                return Some(name);
            }
        }
    }
    None
}

/// The calling process, whose id that is, settles at a reserved place.
fn settle(name: u32, id: u32) -> bool {
    let Some((place, seen)) = place_named(name) else {
        return false;
    };
    place.start.store(life::own_start(), Ordering::Relaxed);
    let settled = Occupant { id, ..seen };
    seen.id == id || (seen.id == RESERVED && place.replace(seen, settled)) || {
        // Its parent was faster with the id.
        place.occupant().word() == settled.word()
    }
}

fn release_process_place(name: u32) {
    if let Some((place, seen)) = place_named(name) {
        place.replace(seen, Occupant { id: 0, ..seen });
    }
}

/// This process's place, by its name, or nothing when it has no family memory.
#[inline(always)]
#[must_use]
pub fn process_place() -> Option<u32> {
    PROCESS_PLACE.load(Ordering::Relaxed).checked_sub(1)
}

/// Before fork: reserves a place for the child. The parent names it to its endpoints as a holder; the child fills it.
#[must_use]
pub fn reserve_child_place() -> Option<u32> {
    parting::a_relative_is_born();
    take_process_place(RESERVED)
}

/// In the parent when fork failed.
pub fn release_child_place(name: u32) {
    release_process_place(name);
}

/// In the parent once the child's id is known: a child that dies before it could say so is still found to be dead.
pub fn name_child(name: u32, id: u32) {
    if let Some((place, seen)) = place_named(name)
        && seen.id == RESERVED
    {
        place.replace(seen, Occupant { id, ..seen });
    }
}

/// In the child: takes over the reserved place. False: it has none, or none that its relatives could find it by, because
/// it is in another namespace of process ids (it sees no parent then).
pub fn become_child(name: Option<u32>) -> bool {
    PROCESS_PLACE.store(0, Ordering::Release);
    let is_known_by_id = rustix::process::getppid().is_some();
    let Some(name) =
        name.filter(|name| is_known_by_id && settle(*name, crate::kernel_call::process_id()))
    else {
        return false;
    };
    PROCESS_TOKEN.store(home::token().unwrap_or(0), Ordering::Relaxed);
    PROCESS_PLACE.store(name + 1, Ordering::Release);
    true
}

/// Id of the process of that name; nothing when it is only reserved, or another has the place.
#[must_use]
pub fn process_id_at(name: u32) -> Option<u32> {
    let (_, occupant) = place_named(name)?;
    (occupant.id != 0 && occupant.id != RESERVED).then_some(occupant.id & !LEAVING)
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

/// Before exec and at exit: the process holds nothing any more. Its other threads run on until it has happened, perhaps
/// with a lock in their hands, so the name stays theirs; exec keeps the id, so it counts for a second only.
pub fn leave_place() {
    if let Some((place, seen)) = process_place().and_then(place_named)
        && seen.id & LEAVING == 0
    {
        place.since_ns.store(monotonic_ns(), Ordering::Relaxed);
        // Release, partner: the acquire in `occupant`.
        place.replace(
            seen,
            Occupant {
                id: seen.id | LEAVING,
                ..seen
            },
        );
    }
}

/// True behind [`leave_place`].
#[must_use]
pub fn is_leaving() -> bool {
    process_place()
        .and_then(place_named)
        .is_some_and(|(_, seen)| seen.id != RESERVED && seen.id & LEAVING != 0)
}

/// After an exec that failed: the process stays under its name, or under a new one. True if it had been leaving.
pub fn stay() -> bool {
    let Some(name) = process_place() else {
        return false;
    };
    match place_named(name) {
        Some((_, seen)) if seen.id & LEAVING == 0 => return false,
        Some((place, seen)) => {
            let id = seen.id & !LEAVING;
            if place.replace(seen, Occupant { id, ..seen }) {
                return true;
            }
        }
        None => {}
    }
    // It was thought to be gone.
    PROCESS_PLACE.store(0, Ordering::Release);
    true
}

/// True unless the process of that name is known to be gone. Believes for some milliseconds what was seen, so a zombie or
/// a later process of its id may still count.
#[must_use]
pub fn is_process_alive(name: u32) -> bool {
    let Some((place, occupant)) = place_named(name) else {
        return false;
    };
    if occupant.id == 0 || occupant.id & LEAVING != 0 {
        return is_process_alive_now(name);
    }
    if !crate::kernel_call::process_exists(occupant.id) {
        return false;
    }
    let now = monotonic_ns();
    if now.saturating_sub(place.seen_alive_ns.load(Ordering::Relaxed)) < BELIEVED_NS {
        return true;
    }
    is_process_alive_now(name)
}

/// True unless the process of that name is known to be gone, as of this moment.
#[must_use]
pub fn is_process_alive_now(name: u32) -> bool {
    let Some((place, occupant)) = place_named(name) else {
        return false;
    };
    let lives = place.lives(occupant);
    if lives {
        place.seen_alive_ns.store(monotonic_ns(), Ordering::Relaxed);
    }
    lives
}

/// True unless the owner of a lock in family memory is known to be gone.
#[must_use]
pub fn is_owner_alive(owner: Owner) -> bool {
    is_process_alive_now(owner.process_slot)
        && process_id_at(owner.process_slot)
            .is_some_and(|process| life::thread_lives(process, owner.thread))
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
