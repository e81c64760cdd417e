//! One epoll file of this process that has, or had, managed members. Several descriptor numbers may name it.
//!
//! Made when the first managed socket is added. The words behind a descriptor number in the table of descriptors say
//! which instance it is, so that an epoll descriptor without managed members costs its calls two loads.
//!
//! * [`locking`]: its lock. [`waiters`]: its waiter and epochs. [`joined`]: the channels it has joined.
#![expect(
    unsafe_code,
    reason = "a harvest position in a cell guarded by the lock"
)]

mod joined;
mod locking;
mod waiters;

pub use joined::Joined;
pub use locking::{Held, is_alive, lock, lock_all, lock_any, unlock_all, unlock_all_in_child};
pub use waiters::forget_waiters;

use super::departed::Departed;
use super::links::{BUCKETS, Chains, List};
use super::ordinary::DataFilter;
use super::sharing::words;
use super::{exposed, kernel_set, tables, trampolines};
use crate::fd_table;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use fastpath::endpoint::{Plain32, Plain64};
use fastpath::kernel_call::Errno;
use fastpath::lock::LockWord;
use fastpath::wait::WaitHistory;
use kmod_interface::limits::CHANNELS_PER_PROCESS;
use waiters::{EPOCHS, WAITERS_TAKEN, take_waiter};

const _: () = assert!(BUCKETS.is_power_of_two());

/// One epoll file.
#[repr(C, align(64))]
pub struct Instance {
    lock: LockWord,
    /// 1 while in use. Claimed before it is filled.
    in_use: AtomicU32,
    /// Raised when it is given up, so that a number that still names it does not.
    pub generation: AtomicU32,
    /// Descriptor numbers that name it.
    pub numbers: Plain32,
    /// One of them, for system calls of other threads.
    pub number: Plain32,
    /// Registrations, ghosts included.
    pub registrations: AtomicU32,
    /// Threads asleep in the kernel, in this process.
    pub sleepers: Plain32,
    /// Present epoch of the waiter; odd = armed.
    pub epoch: Plain32,
    /// Index of the waiter; 0 = none: members arm the connections' own epochs.
    pub waiter: Plain32,
    /// Registered in a set, polled or selected: other waiters see it through the kernel.
    pub exposed: Plain32,
    /// Came to this process by fork: the parent owns the waiter and the kernel's masks.
    pub inherited: Plain32,
    /// The parent of a fork: a child may use it, too.
    pub forked: Plain32,
    /// Two processes use it: its members stay on the kernel.
    pub shared: Plain32,
    /// Its word in the shared mapping.
    pub family_word: Plain32,
    /// What that word counted when the books were last compared with the kernel's set.
    pub known_changes: Plain32,
    /// Accelerated members without the waiter.
    pub without_waiter: Plain32,
    /// Ready registrations that another thread listed, as a spinner sees it without the lock.
    pub listed: AtomicU32,
    /// When the kernel's set was last looked at, in time stamp ticks.
    pub last_look_ticks: AtomicU64,
    /// Whose turn it is with room for one event: 0 the ring's, 1 the kernel's.
    pub kernel_turn: Plain32,
    /// Channel whose bits were found last, plus one, for the hints of its bells.
    pub last_channel: AtomicU32,
    /// Changes of the kernel's registrations.
    pub control_count: AtomicU32,
    /// Data that descriptors in no book of ours were ever registered with.
    pub ordinary_data: DataFilter,
    /// What has left a ring, for sleepers who bring events of it.
    pub departed: Departed,
    /// Counts waits, so that none reports a member twice.
    pub serial: Plain32,
    /// The member whose OUT makes the set readable, plus one; 0 = none.
    pub beacon: Plain32,
    /// When the impatient were last visited, in time stamp ticks.
    pub last_visit_ticks: Plain64,
    /// Longest sleep that the impatient allowed then; 0 when something has become impatient since.
    pub patience_ms: Plain32,
    /// Worth a look.
    pub ready: List,
    /// All registrations.
    pub all: List,
    /// Those that a ring carries.
    pub accelerated: List,
    /// Those that must be looked at after some time.
    pub impatient: List,
    /// How long waits take.
    pub history: WaitHistory,
    /// By descriptor number.
    pub by_number: Chains,
    /// By data.
    pub by_data: Chains,
    /// By channel and slot.
    pub by_slot: Chains,
    /// Channels joined, densely.
    pub joined_count: AtomicU32,
    joined: [Joined; CHANNELS_PER_PROCESS],
}

// SAFETY: `harvest` is touched under the lock only; the rest is atomics.
unsafe impl Sync for Instance {}

/// In a fork child: nothing is joined, nobody sleeps; the words of the waiter are the parent's.
pub fn disown(instance: &Instance) {
    instance.joined_count.store(0, Ordering::Relaxed);
    instance.waiter.set(0);
    instance.sleepers.set(0);
    instance.without_waiter.set(0);
    instance.beacon.set(0);
    instance.inherited.set(1);
}

/// The instance a descriptor number names.
#[inline(always)]
#[must_use]
pub fn of_number(number: c_int) -> Option<(u32, u32, &'static Instance)> {
    let (index, generation) = fd_table::instance(number)?;
    let instance = tables::instance(index)?;
    (instance.generation.load(Ordering::Acquire) == generation)
        .then_some((index, generation, instance))
}

/// Calls `each` for every other number of the epoll file in which `member` is registered.
fn for_each_copy(set: c_int, member: c_int, mut each: impl FnMut(c_int)) {
    trampolines::for_each_copy(set, |copy| {
        if fd_table::is_used(copy) {
            return;
        }
        match kernel_set::control(copy, kernel_set::ADD, member, 0, 0) {
            Err(libc::EEXIST) => each(copy),
            // Another file has the number by now: another set, or no set at all.
            Ok(()) => {
                let _ = kernel_set::control(copy, kernel_set::DELETE, member, 0, 0);
            }
            Err(_) => {}
        }
    });
}

/// What [`create`] comes to.
pub enum Created {
    /// A new one. Its lock is held.
    New(Held),
    /// Another thread was first; nothing was registered here.
    Known,
    /// There is no room for one; nothing was registered here.
    NoRoom,
    /// The kernel's answer to `register`. The set is none of ours.
    Refused(Errno),
}

/// Makes an instance for an epoll descriptor that had none, and in which `register` registers `member`, if it is not
/// already. From now on all numbers of the epoll file name it. Whatever the kernel tells of the member is sorted behind its
/// coming into the books, for the set is ours before, and the lock held.
#[must_use]
pub fn create(
    number: c_int,
    member: c_int,
    register: impl FnOnce() -> Result<(), Errno>,
) -> Created {
    locking::in_creation(|| {
        Some(if of_number(number).is_some() {
            Created::Known
        } else {
            make(number, member, register)
        })
    })
    .unwrap_or(Created::NoRoom)
}

fn make(number: c_int, member: c_int, register: impl FnOnce() -> Result<(), Errno>) -> Created {
    // What means a socket is no set.
    if !tables::ensure() || fd_table::ensure().is_err() || fd_table::get(number).is_some() {
        return Created::NoRoom;
    }
    for (index, instance) in tables::instances() {
        if instance.in_use.load(Ordering::Relaxed) != 0 {
            continue;
        }
        let Some(held) = lock_any(index, instance) else {
            continue;
        };
        if instance.in_use.load(Ordering::Relaxed) != 0 {
            continue;
        }
        let generation = instance.generation.load(Ordering::Relaxed);
        for word in [
            &instance.sleepers,
            &instance.exposed,
            &instance.inherited,
            &instance.forked,
            &instance.shared,
            &instance.known_changes,
            &instance.without_waiter,
            &instance.kernel_turn,
            &instance.beacon,
            &instance.patience_ms,
        ] {
            word.set(0);
        }
        instance.last_visit_ticks.set(0);
        instance.control_count.store(0, Ordering::Relaxed);
        instance.ordinary_data.clear();
        instance.departed.clear();
        instance.numbers.set(1);
        instance.number.set(number as u32);
        instance.registrations.store(0, Ordering::Relaxed);
        instance.listed.store(0, Ordering::Relaxed);
        instance.last_channel.store(0, Ordering::Relaxed);
        instance.last_look_ticks.store(0, Ordering::Relaxed);
        instance.joined_count.store(0, Ordering::Relaxed);
        instance.history.reset();
        // The words that others read without the lock are in order.
        if !fd_table::set_instance(number, index, generation) {
            return Created::NoRoom;
        }
        instance.family_word.set(words::take());
        let waiter = take_waiter();
        instance.waiter.set(waiter);
        instance.epoch.set(
            EPOCHS
                .get(waiter as usize)
                .map_or(0, |epoch| epoch.load(Ordering::Relaxed)),
        );
        instance
            .sleepers
            .set(trampolines::adopt_early_sleepers(number));
        instance.in_use.store(1, Ordering::Release);
        fd_table::note(number);
        // In another set, polled or selected before it had a managed member. Partner of the fence: a sleeper says that it
        // looks, fence, and asks whether the number is ours, which it has been since `set_instance`.
        fence(Ordering::SeqCst);
        if let Err(errno) = register() {
            // First: who finds itself let in nowhere still finds the set managed, or tries again.
            trampolines::leave_early_sleepers(number);
            fd_table::take_instance(number);
            held.retire();
            return Created::Refused(errno);
        }
        let mut is_watched = trampolines::watched_by(number) != 0;
        for_each_copy(number, member, |copy| {
            if fd_table::set_instance(copy, index, generation) {
                fd_table::note(copy);
                instance.numbers.add(1);
                instance
                    .sleepers
                    .add(trampolines::adopt_early_sleepers(copy));
                is_watched |= trampolines::watched_by(copy) != 0;
            }
        });
        if is_watched {
            exposed::mark(&held);
        }
        return Created::New(held);
    }
    Created::NoRoom
}

impl Held {
    /// Ends the instance: its registrations are gone already.
    pub fn retire(&self) {
        let instance = self.instance;
        exposed::unmark(self);
        instance.generation.store(
            instance.generation.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Release,
        );
        let waiter = instance.waiter.get();
        instance.waiter.set(0);
        if waiter != 0 {
            WAITERS_TAKEN.fetch_and(!(1 << waiter), Ordering::AcqRel);
        }
        if let Some(own) = fastpath::family::process_place() {
            words::give_back(instance.family_word.get(), own);
        }
        instance.in_use.store(0, Ordering::Release);
    }
}

impl Instance {
    /// True while it is one of this process's sets.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) != 0
    }

    /// True while nobody needs anything of ours: the kernel serves the set alone.
    #[inline(always)]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.accelerated.count() == 0 && self.impatient.count() == 0
    }

    /// As a spinner looks, without the lock: has a far side marked something, or another thread listed something?
    #[inline]
    #[must_use]
    pub fn sees_something(&self) -> bool {
        if self.listed.load(Ordering::Relaxed) != 0 {
            return true;
        }
        let waiter = self.waiter.get() as usize;
        let count = self.joined_count.load(Ordering::Acquire) as usize;
        self.joined.iter().take(count).any(|joined| {
            joined.channel().is_some_and(|channel| {
                match (
                    channel.far_ready_summary(waiter),
                    channel.own_answer_summary(waiter),
                ) {
                    (Some(summary), Some(answer)) => {
                        summary.load(fastpath::sync::Ordering::Acquire)
                            != answer.load(fastpath::sync::Ordering::Relaxed)
                    }
                    _ => false,
                }
            })
        })
    }
}
