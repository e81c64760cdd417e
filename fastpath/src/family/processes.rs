//! The processes of a family: each has a place in the table, and a name that no later process gets.
//!
//! A place is reserved before a fork, for the child, and settled by whoever first knows the child's id; it is given out
//! again once its process is known to be gone ([`crate::life`]).

use super::{gate, header, parting};
use crate::channel::home;
use crate::clock::monotonic_ns;
use crate::error::Blame;
use crate::life;
use crate::lock::Owner;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Processes a family can have at a time.
pub const PROCESSES: usize = 512;

/// A place in the table of processes. It is given out again after its process has died, under a new *name*: index and
/// incarnation in one number below 2^31. Whatever names a holder or an owner of a lock does so by that, so what a dead
/// process has left behind never passes for its successor's.
#[repr(C)]
pub(super) struct Process {
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
/// A name that no process ever has: the first place in its incarnation before the family's first process.
pub(super) const NOBODY: u32 = 0;
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

    /// Its process was seen alive a moment ago.
    fn is_believed_alive(&self) -> bool {
        let seen_ns = self.seen_alive_ns.load(Ordering::Relaxed);
        monotonic_ns().saturating_sub(seen_ns) < BELIEVED_NS
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

/// The name of this process's place in the table of processes, plus one; 0 = none yet. Process-private by being reset after
/// fork.
static PROCESS_PLACE: AtomicU32 = AtomicU32::new(0);

/// The token of the process that has that place (see [`crate::channel::home`]); a raw clone's child has another one.
static PROCESS_TOKEN: AtomicU64 = AtomicU64::new(0);

/// Gives this process a place, if it has none.
pub(super) fn take_own() -> Result<(), Blame> {
    if PROCESS_PLACE.load(Ordering::Acquire) == 0 {
        let name = take_process_place(crate::kernel_call::process_id()).ok_or(Blame::Exhausted)?;
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

/// 1 in a fork child that got no place: it holds nothing, and manages no socket any more. So do its later children.
static IS_UNKNOWN: AtomicU32 = AtomicU32::new(0);

/// True in a process that its relatives could not find, see [`become_child`].
pub(super) fn is_unknown() -> bool {
    IS_UNKNOWN.load(Ordering::Relaxed) != 0
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

/// Before fork: reserves a place for the child. The parent names it to its endpoints as a holder; the child fills it. In any
/// case [`name_child`] or [`release_child_place`] follows in the parent.
#[must_use]
pub fn reserve_child_place() -> Option<u32> {
    let _inside = gate::enter();
    parting::a_fork_begins();
    take_process_place(RESERVED)
}

/// The same before the fork of a child that gets no place, since its relatives could not find it by its id.
pub fn expect_unknown_child() {
    let _inside = gate::enter();
    parting::a_fork_begins();
}

/// In the parent when fork failed. `name`: of the place, if there is one.
pub fn release_child_place(name: Option<u32>) {
    let _inside = gate::enter();
    parting::a_fork_has_ended();
    if let Some(name) = name {
        release_process_place(name);
    }
}

/// In the parent once the child's id is known: a child that dies before it could say so is still found to be dead. `name`: of
/// its place, if it has one.
pub fn name_child(name: Option<u32>, id: u32) {
    let _inside = gate::enter();
    parting::a_fork_has_ended();
    if let Some((place, seen)) = name.and_then(place_named)
        && seen.id == RESERVED
    {
        place.replace(seen, Occupant { id, ..seen });
    }
}

/// In the child: takes over the reserved place. False: it has none, or none that its relatives could find it by, because
/// it is in another namespace of process ids (it sees no parent then). The caller leaves what it inherited, and manages
/// no socket any more. Without family memory nothing is done.
pub fn become_child(name: Option<u32>) -> bool {
    if header().is_none() {
        return false;
    }
    PROCESS_PLACE.store(0, Ordering::Release);
    gate::reset();
    parting::only_relatives();
    let is_known_by_id = rustix::process::getppid().is_some();
    let Some(name) =
        name.filter(|name| is_known_by_id && settle(*name, crate::kernel_call::process_id()))
    else {
        IS_UNKNOWN.store(1, Ordering::Relaxed);
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
    crate::kernel_call::process_exists(occupant.id)
        && (place.is_believed_alive() || is_process_alive_now(name))
}

/// As [`is_process_alive`], also of a process that has ended some milliseconds ago; no system call as long as it is believed.
#[must_use]
pub fn is_process_believed_alive(name: u32) -> bool {
    let Some((place, occupant)) = place_named(name) else {
        return false;
    };
    let is_settled = occupant.id != 0 && occupant.id & LEAVING == 0;
    (is_settled && place.is_believed_alive()) || is_process_alive_now(name)
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
