//! Before a process changes who it is, or confines itself, it parts from its relatives' memory.
//!
//! Family memory holds addresses and locks that relatives believe. A process that is about to trust less in itself (it
//! will read what strangers send) must not be able to write there afterwards, so while it is still honest it puts a copy
//! in the place of the arena (TRUST.md row 17, "Memory, credentials, storms"). It goes on with its copy, and its later
//! children with it.
//!
//! What it shared with others was left before: plain kernel sockets, for which nobody needs the other's words. In the
//! old memory it holds nothing any more; only an endpoint that could not be left without a reset stays as it is, for the
//! one who parts, and is of no use to the others.
//!
//! Its other threads run on. Whatever one of them stored in the old memory after the word was copied would be lost, so
//!
//! * P1. both locks of every endpoint that the process holds are taken first, here and for its relatives; they are freed
//!   in the copy and, through a second mapping, in the old memory;
//! * P2. then the gate is closed: no block is taken or given back, no life begins, no number comes or goes, no child gets
//!   a place;
//! * P3. counts of threads inside the kernel rise and fall without either. The copy counts from a base, and what the old
//!   memory counts in the end is added behind the exchange. Sleepers stay where they wake: the relatives' in the old
//!   memory, the process's own in the copy;
//! * P4. relatives go on with other blocks; so that the list of free ones is not copied while it changes, it is taken out
//!   for that time.
#![expect(
    unsafe_code,
    reason = "copies the arena, and maps the copy over it at the same address"
)]

use super::endpoints::{block_at, give_free_list_back, link, take_free_list};
use super::processes::{NOBODY, is_unknown};
use super::{
    ARENA, ARENA_BYTES, ENDPOINTS_OFFSET, Header, gate, header_at, is_owner_alive, process_place,
};
use crate::backoff::Backoff;
use crate::clock::monotonic_ns;
use crate::endpoint::Endpoint;
use crate::lock::{LockWord, Owner};
use crate::stream::mark_condemned;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ptr::null_mut;
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

/// Whether the arena may be another process's, too: [`SOME`], and beside it [`PARTING`]; above them the forks that are under
/// way, in steps of [`FORK`].
static RELATIVES: AtomicU32 = AtomicU32::new(NONE);
const NONE: u32 = 0;
/// A fork was prepared or made, in parent and child; since then the process has not parted.
const SOME: u32 = 1;
/// A thread is about to part from them.
const PARTING: u32 = 2;
/// A fork was prepared: its child has the memory that there is then, before a parting or behind it.
const FORK: u32 = 4;

/// Longest wait for those who hold a lock of an endpoint: a LEAVE takes up to a second.
const PATIENCE_NS: u64 = 3_000_000_000;

/// Also while another thread parts: whether it parts from that one, too, it cannot know. Behind the gate, as is the end, so
/// that what a thread says of the memory it sees is not taken for the one before.
pub(super) fn a_fork_begins() {
    RELATIVES.fetch_add(FORK, Ordering::AcqRel);
    a_relative_is_born();
}

/// In the parent, by whom [`a_fork_begins`] was called: it has been made, or has failed.
pub(super) fn a_fork_has_ended() {
    a_relative_is_born();
    RELATIVES.fetch_sub(FORK, Ordering::AcqRel);
}

fn a_relative_is_born() {
    RELATIVES.fetch_or(SOME, Ordering::AcqRel);
}

/// In a fork child: no thread of it parts, or forks.
pub(super) fn only_relatives() {
    RELATIVES.store(SOME, Ordering::Release);
}

/// Maps a copy of `used` bytes of shared memory at `base`, `bytes` long, over it: anonymous, or a `file` of that length,
/// zero-filled. Between the two, `before` is given the copy's address. False, and nothing has changed, without memory or
/// when `before` says so. What other threads store meanwhile is lost: who cannot bear that keeps them away.
///
/// # Safety
/// `base` is the start of a mapping of that length made of atomics, which stays; `used` is a multiple of eight.
pub unsafe fn copy_over(
    base: *mut u8,
    used: usize,
    bytes: usize,
    file: Option<BorrowedFd<'_>>,
    before: impl FnOnce(*mut u8) -> bool,
) -> bool {
    // Shared again: children yet to come are relatives.
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    let (any, access) = (null_mut(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let fresh = unsafe {
        match file {
            Some(file) => rustix::mm::mmap(any, bytes, access, flags, file, 0),
            None => rustix::mm::mmap_anonymous(any, bytes, access, flags),
        }
    };
    let Ok(fresh) = fresh else {
        return false;
    };
    for offset in (0..used).step_by(size_of::<u64>()) {
        // SAFETY: aligned words inside both mappings; others change theirs by atomic stores.
        unsafe {
            let word = (*base.add(offset).cast::<AtomicU64>()).load(Ordering::Acquire);
            if word != 0 {
                (*fresh.cast::<u8>().add(offset).cast::<AtomicU64>())
                    .store(word, Ordering::Relaxed);
            }
        }
    }
    let over = MremapFlags::MAYMOVE;
    // SAFETY: both mappings are ours and of that length; what lies at `base` is replaced by its copy in one step.
    let moved = before(fresh.cast())
        && unsafe { rustix::mm::mremap_fixed(fresh, bytes, bytes, over, base.cast()) }.is_ok();
    if !moved {
        // SAFETY: the mapping made above.
        let _ = unsafe { rustix::mm::munmap(fresh, bytes) };
    }
    moved
}

/// The calling process parts from its relatives, if there can be any. Its connections were left before, but for those
/// that could not be. False when it could not part.
#[must_use]
pub fn part() -> bool {
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() {
        return true;
    }
    let until_ns = monotonic_ns().saturating_add(PATIENCE_NS);
    match begin(until_ns) {
        SOME => {}
        seen => return seen == NONE,
    }
    let me = process_place().map(|process_slot| Owner {
        thread: crate::kernel_call::thread_id(),
        process_slot,
    });
    let parted = match me {
        Some(me) => Parting::new(base, me, until_ns).is_some_and(|parting| parting.go()),
        None => is_unknown() && part_unknown(base),
    };
    // A relative that was born meanwhile, or is about to be, shares what there is now, perhaps. Births in an unknown process
    // are not seen.
    if !parted || me.is_none() || RELATIVES.load(Ordering::Acquire) >= FORK {
        a_relative_is_born();
    }
    RELATIVES.fetch_and(!PARTING, Ordering::AcqRel);
    parted
}

/// A process that has no place holds nothing: nothing of what its threads store meanwhile is missed. It gets a copy still,
/// since a call of its parent's may go on in it, below a signal handler that has forked; but no lock, which the parent
/// frees in the old memory.
fn part_unknown(base: *mut u8) -> bool {
    // SAFETY: the arena, which stays.
    let header = unsafe { header_at(base) };
    let count = header.used.load(Ordering::Acquire).min(super::ENDPOINTS);
    let prepare = |copy: *mut u8| {
        for index in 0..count {
            // SAFETY: inside the copy of the arena.
            let endpoint = unsafe { block_at(copy, index) };
            locks(endpoint).into_iter().for_each(LockWord::reset);
        }
        true
    };
    // SAFETY: the arena has that length, is never unmapped and made of atomics; see `bytes_of`.
    unsafe { copy_over(base, bytes_of(count), ARENA_BYTES, None, prepare) }
}

/// Of an arena of which that many endpoints were ever used. An endpoint is a multiple of eight bytes.
fn bytes_of(count: u32) -> usize {
    (ENDPOINTS_OFFSET + count as usize * size_of::<Endpoint>()).min(ARENA_BYTES)
}

/// What was there: [`SOME`], and they are the calling thread's to part from; [`NONE`]; or [`PARTING`], by a thread that does
/// not come to an end, perhaps this very one below a signal handler.
fn begin(until_ns: u64) -> u32 {
    let mut backoff = Backoff::yielding();
    loop {
        let mine = |seen| (seen & (SOME | PARTING) == SOME).then_some(seen ^ (SOME | PARTING));
        let seen = RELATIVES
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, mine)
            .unwrap_or_else(|seen| seen)
            & (SOME | PARTING);
        if seen & PARTING == 0 || monotonic_ns() > until_ns {
            return seen;
        }
        backoff.wait();
    }
}

/// The two locks of an endpoint, in the order in which they are taken.
fn locks(endpoint: &Endpoint) -> [&LockWord; 2] {
    [&endpoint.rx_lock, &endpoint.tx_lock]
}

struct Parting {
    me: Owner,
    until_ns: u64,
    /// The arena, where all threads find it: first the old memory, then the copy.
    base: *mut u8,
    /// The old memory once more.
    old: *mut u8,
    /// Locks that frames below a signal handler of this thread hold, by index of the endpoint and of the lock.
    interrupted: [Option<(u32, usize)>; 2],
}

impl Drop for Parting {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nobody else knows.
        let _ = unsafe { rustix::mm::munmap(self.old.cast(), ARENA_BYTES) };
    }
}

impl Parting {
    fn new(base: *mut u8, me: Owner, until_ns: u64) -> Option<Parting> {
        // A length of 0 maps shared memory a second time, see mremap(2).
        // SAFETY: the arena, which stays where it is; the new mapping's address is the kernel's choice.
        let old = unsafe { rustix::mm::mremap(base.cast(), 0, ARENA_BYTES, MremapFlags::MAYMOVE) };
        let mut parting = Parting {
            me,
            until_ns,
            base,
            old: old.ok()?.cast(),
            interrupted: [None; 2],
        };
        let mut places = [None; 2];
        let mut found = 0;
        parting.for_each(base, parting.used(base), |index, endpoint| {
            for (which, lock) in locks(endpoint).into_iter().enumerate() {
                if lock.owner() == Some(me)
                    && let Some(place) = places.get_mut(found)
                {
                    *place = Some((index, which));
                    found += 1;
                }
            }
        });
        parting.interrupted = places;
        Some(parting)
    }

    fn header(&self, memory: *mut u8) -> &Header {
        // SAFETY: one of the two mappings of an arena, which stay as long as this does.
        unsafe { header_at(memory) }
    }

    fn used(&self, memory: *mut u8) -> u32 {
        let used = self.header(memory).used.load(Ordering::Acquire);
        used.min(super::ENDPOINTS)
    }

    fn for_each(&self, memory: *mut u8, count: u32, mut each: impl FnMut(u32, &Endpoint)) {
        for index in 0..count {
            // SAFETY: inside an arena, as above, or its copy.
            each(index, unsafe { block_at(memory, index) });
        }
    }

    /// Those that this process holds.
    fn for_each_held(&self, memory: *mut u8, mut each: impl FnMut(u32, &Endpoint)) {
        let own = self.me.process_slot;
        self.for_each(memory, self.used(memory), |index, endpoint| {
            if endpoint.holder(own).is_some() {
                each(index, endpoint);
            }
        });
    }

    fn go(&self) -> bool {
        let mut backoff = Backoff::yielding();
        while monotonic_ns() < self.until_ns {
            // P1, P2.
            if self.take_locks(true) && gate::close(self.until_ns) {
                let replaced = self.take_locks(false) && self.replace();
                if replaced {
                    self.settle_counts();
                }
                self.free_locks(self.base);
                gate::open();
                if replaced {
                    self.give_up();
                    self.free_locks(self.old);
                    self.leave_interrupted();
                    return true;
                }
            } else {
                self.free_locks(self.base);
            }
            backoff.wait();
        }
        false
    }

    /// Takes the locks of what the process holds; without `waits`, of what has come since. A lock of the dead stays theirs,
    /// in both memories, to be found out by the next to want it.
    fn take_locks(&self, waits: bool) -> bool {
        let mut taken = true;
        self.for_each_held(self.base, |_, endpoint| {
            for lock in locks(endpoint) {
                let mut backoff = Backoff::new();
                while taken && lock.owner() != Some(self.me) && !lock.try_lock(self.me) {
                    let is_dead = |owner| (backoff.is_long() || !waits) && !is_owner_alive(owner);
                    if lock.owner().is_some_and(is_dead) {
                        break;
                    }
                    taken = waits && monotonic_ns() < self.until_ns;
                    backoff.wait();
                }
            }
        });
        taken
    }

    /// Frees what [`Self::take_locks`] took.
    fn free_locks(&self, memory: *mut u8) {
        self.for_each(memory, self.used(memory), |index, endpoint| {
            for (which, lock) in locks(endpoint).into_iter().enumerate() {
                if lock.owner() == Some(self.me)
                    && !self.interrupted.contains(&Some((index, which)))
                {
                    lock.unlock(self.me);
                }
            }
        });
    }

    /// Puts the copy in the place of the arena.
    fn replace(&self) -> bool {
        let count = self.used(self.base);
        // P4.
        let free = take_free_list(self.header(self.old));
        let prepare = |copy: *mut u8| {
            self.header(copy).used.store(count, Ordering::Relaxed);
            self.header(copy)
                .free_head
                .store(u64::from(free), Ordering::Relaxed);
            let mut is_quiet = true;
            self.for_each(copy, count, |_, endpoint| {
                is_quiet &= self.prepare_copy(endpoint);
            });
            is_quiet
        };
        // SAFETY: the arena has that length, is never unmapped and made of atomics; see `bytes_of`.
        let replaced = unsafe { copy_over(self.base, bytes_of(count), ARENA_BYTES, None, prepare) };
        // SAFETY: the memory it was taken from.
        unsafe { give_free_list_back(self.old, free) };
        replaced
    }

    /// False: a thread of this process is inside a critical section of an endpoint that it holds no more, and would free
    /// the lock in either memory. Once more, then.
    fn prepare_copy(&self, endpoint: &Endpoint) -> bool {
        let own = self.me.process_slot;
        if let Some(holder) = endpoint.holder(own) {
            // P3.
            endpoint.irx.begin_copy();
            endpoint.itx.begin_copy();
            holder.sleepers.begin_copy();
            holder.asleep_in_transfer.begin_copy();
            endpoint.forget_sleepers_of_others(own);
            return true;
        }
        locks(endpoint).into_iter().all(|lock| {
            let owner = lock.owner();
            if owner.is_some_and(|owner| owner.process_slot != own) {
                // Who holds it frees the one in the old memory.
                lock.reset();
            }
            owner.is_none_or(|owner| owner.process_slot != own || owner == self.me)
        })
    }

    /// No thread of this process counts in the old memory any more.
    fn settle_counts(&self) {
        let own = self.me.process_slot;
        self.for_each_held(self.base, |index, endpoint| {
            // SAFETY: as in `for_each`; the old memory has at least as many blocks.
            let old = unsafe { block_at(self.old, index) };
            endpoint.irx.end_copy(&old.irx);
            endpoint.itx.end_copy(&old.itx);
            if let (Some(holder), Some(old)) = (endpoint.holder(own), old.holder(own)) {
                holder.sleepers.end_copy(&old.sleepers);
                holder.asleep_in_transfer.end_copy(&old.asleep_in_transfer);
            }
        });
    }

    /// In the old memory: the process holds no endpoint any more.
    fn give_up(&self) {
        let own = self.me.process_slot;
        self.for_each_held(self.old, |index, endpoint| {
            let Some(holder) = endpoint.holder(own) else {
                return;
            };
            if !endpoint.clear_the_dead(own) {
                // Nobody's: no call of a relative finds it any more, nor goes on in it. The life ends before the locks are
                // free, as in reaping (R2).
                holder.clear();
                endpoint.generation.fetch_add(1, Ordering::AcqRel);
                locks(endpoint).into_iter().for_each(LockWord::reset);
                // SAFETY: a block of that memory.
                unsafe { link(self.old, index, index) };
            } else if mark_condemned(endpoint, Reason::Confined) {
                // The one who parts reads on. It stays a holder, so that nobody gives its slot back.
                holder.forget_sleepers();
            } else {
                holder.clear();
            }
        });
    }

    /// In the old memory: what a signal handler of this thread has interrupted goes on in the copy.
    fn leave_interrupted(&self) {
        let dead = Owner {
            process_slot: NOBODY,
            ..self.me
        };
        self.for_each(self.old, self.used(self.old), |index, endpoint| {
            for (which, lock) in locks(endpoint).into_iter().enumerate() {
                if lock.owner() == Some(self.me) && self.interrupted.contains(&Some((index, which)))
                {
                    lock.leave_to(dead);
                }
            }
        });
    }
}
