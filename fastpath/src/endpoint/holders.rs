//! Who holds an endpoint: the fork relatives of which a descriptor names it, how many numbers each has, and which of their
//! threads sleep on the line.
//!
//! An entry belongs to the process that is named in it and is taken by compare-and-exchange, so that nobody needs a lock
//! to enter or leave. A process that died leaves its entry behind, with whatever its threads were counted as; whoever asks
//! for other holders clears it. What a process is counted as stands here alone: the endpoint has sleepers while the entry
//! of a living process has.

use super::{Endpoint, Sleepers, Threads};
use crate::family::gate;
use crate::sync::{AtomicU32, Ordering};

/// Processes that can hold one endpoint; with more the socket goes back to the kernel.
pub const HOLDERS: usize = 16;

/// What is known of one process that holds the endpoint.
#[repr(C)]
pub struct Holder {
    /// Threads of that process asleep on the line (inside the kernel, peeking or polling), and what they armed.
    pub sleepers: Sleepers,
    /// Name of the process in the family (see `family`), plus one; 0 = free.
    pub process: AtomicU32,
    /// Descriptor numbers of that process that name the endpoint.
    pub numbers: AtomicU32,
    /// Threads of that process in a transfer call under one of its numbers, asleep.
    pub asleep_in_transfer: Threads,
    /// Number of a duplicate that is kept for sleepers after the program closed its own, plus one; 0 = none.
    pub kept: AtomicU32,
}

impl Holder {
    /// Nobody's.
    pub(crate) fn clear(&self) {
        // Before the name goes: the next one to take the entry is not to be taken for one with sleepers.
        self.sleepers.forget();
        self.process.store(0, Ordering::Release);
    }

    /// Behind the gate; true when it was the last.
    fn remove_number(&self) -> bool {
        let was_last = self.numbers.fetch_sub(1, Ordering::AcqRel) <= 1;
        if was_last {
            self.clear();
        }
        was_last
    }

    /// Its threads sleep and wake in another memory than this one.
    pub(crate) fn forget_sleepers(&self) {
        self.sleepers.forget();
        self.asleep_in_transfer.forget();
    }

    fn is_taken(&self) -> bool {
        self.process.load(Ordering::Acquire) != 0
    }
}

impl Endpoint {
    pub(super) fn used_holders(&self) -> &[Holder] {
        // Acquire, partner: the release in `take_holder`, before the entry is taken.
        let used = self.holders_used.load(Ordering::Acquire) as usize;
        self.holders.get(..used).unwrap_or(&self.holders)
    }

    /// The holder entry of a process (by its name in the family).
    #[must_use]
    pub fn holder(&self, process: u32) -> Option<&Holder> {
        self.used_holders()
            .iter()
            .find(|holder| holder.process.load(Ordering::Acquire) == process + 1)
    }

    /// Adds descriptor numbers of a process; false when all holder entries are taken by the living.
    pub fn add_numbers(&self, process: u32, numbers: u32) -> bool {
        let _inside = gate::enter();
        if let Some(holder) = self.holder(process) {
            holder.numbers.fetch_add(numbers, Ordering::AcqRel);
            return true;
        }
        if self.take_holder(process, numbers) {
            return true;
        }
        self.clear_the_dead(process);
        self.take_holder(process, numbers)
    }

    /// The process that begins the endpoint's life holds it by one number. The caller is behind the gate and has the block
    /// for itself (see [`crate::family::begin_endpoint`]), so nothing here can be in anybody's way.
    #[inline]
    pub(crate) fn set_first_holder(&self, process: u32) {
        let [first, ..] = &self.holders;
        let life = self.generation.load(Ordering::Relaxed);
        first.sleepers.begin(life);
        first.asleep_in_transfer.begin(life);
        first.kept.store(0, Ordering::Relaxed);
        first.numbers.store(1, Ordering::Relaxed);
        first.process.store(process + 1, Ordering::Relaxed);
        self.holders_used.store(1, Ordering::Release);
    }

    fn take_holder(&self, process: u32, numbers: u32) -> bool {
        for (index, holder) in self.holders.iter().enumerate() {
            if self.holders_used.load(Ordering::Relaxed) <= index as u32 {
                self.holders_used
                    .fetch_max(index as u32 + 1, Ordering::AcqRel);
            }
            let taken = holder
                .process
                .compare_exchange(0, process + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if taken {
                let life = self.generation.load(Ordering::Relaxed);
                holder.sleepers.begin(life);
                holder.asleep_in_transfer.begin(life);
                holder.kept.store(0, Ordering::Relaxed);
                holder.numbers.store(numbers, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Takes one descriptor number of a process away; true when the process holds none any more.
    pub fn remove_number(&self, process: u32) -> bool {
        let _inside = gate::enter();
        self.holder(process).is_none_or(Holder::remove_number)
    }

    /// As [`Self::remove_number`], of an endpoint that is not bound. A number that is the only one is the caller's own: who
    /// duplicates it at this very moment is as late as one who comes after the last went, and has a plain kernel socket,
    /// which an unbound one is in any case.
    #[inline]
    pub fn remove_number_unbound(&self, process: u32) -> bool {
        let _inside = gate::enter();
        // Most have one holder.
        let [first, ..] = &self.holders;
        if first.process.load(Ordering::Acquire) == process + 1
            && first.numbers.load(Ordering::Acquire) == 1
        {
            first.numbers.store(0, Ordering::Relaxed);
            first.clear();
            return true;
        }
        self.holder(process).is_none_or(Holder::remove_number)
    }

    /// True when a living process other than the named one holds the endpoint; see [`crate::family::is_process_alive`].
    #[must_use]
    pub fn has_other_holder(&self, process: u32) -> bool {
        self.may_have_others(process)
            && self.looks_for_others(process, crate::family::is_process_alive)
    }

    /// Nobody holds the endpoint any more. For who ends its life, all its holders being dead, or begins one.
    pub(crate) fn forget_holders(&self) {
        for holder in self.used_holders() {
            holder.clear();
        }
    }

    /// In a copy of family memory, while a process parts from its relatives ([`crate::family::part`]): threads of the
    /// others sleep, and wake, in the memory that was copied.
    pub(crate) fn forget_sleepers_of_others(&self, process: u32) {
        for holder in self.used_holders() {
            if holder.process.load(Ordering::Relaxed) != process + 1 {
                holder.forget_sleepers();
            }
        }
    }

    /// True when another living process holds the endpoint, or this one has no name that others could know it by.
    #[must_use]
    pub fn is_held_elsewhere(&self) -> bool {
        crate::family::process_place().is_none_or(|place| self.has_other_holder(place))
    }

    /// As [`Self::is_held_elsewhere`], and without a system call for what was seen alive some milliseconds ago: for who asks
    /// of many endpoints, over and over.
    #[must_use]
    pub fn is_believed_held_elsewhere(&self) -> bool {
        crate::family::process_place().is_none_or(|place| {
            self.may_have_others(place)
                && self.looks_for_others(place, crate::family::is_process_believed_alive)
        })
    }

    /// The processes that hold the endpoint, by their names; the dead among them.
    pub fn holding_processes(&self) -> impl Iterator<Item = u32> {
        self.used_holders()
            .iter()
            .map(|holder| holder.process.load(Ordering::Acquire))
            .filter(|process| *process != 0)
            .map(|process| process - 1)
    }

    /// False for the many that never had a second holder.
    #[inline(always)]
    pub(super) fn may_have_others(&self, process: u32) -> bool {
        let [first, ..] = &self.holders;
        let seen = first.process.load(Ordering::Acquire);
        self.holders_used.load(Ordering::Acquire) > 1 || (seen != 0 && seen != process + 1)
    }

    /// Clears what dead processes other than the named one have left; true when a living one is left. As
    /// [`Self::has_other_holder`], but as of this moment.
    #[inline]
    pub fn clear_the_dead(&self, process: u32) -> bool {
        self.may_have_others(process)
            && self.looks_for_others(process, crate::family::is_process_alive_now)
    }

    /// Entries of dead processes are cleared, and so their sleepers no longer counted. An epoch that they armed stays; it
    /// costs one bell.
    #[cold]
    fn looks_for_others(&self, process: u32, is_alive: fn(u32) -> bool) -> bool {
        let mut found = false;
        for holder in self.used_holders() {
            let seen = holder.process.load(Ordering::Acquire);
            if seen == 0 || seen == process + 1 {
                continue;
            }
            if is_alive(seen - 1) {
                found = true;
            } else {
                // Not if somebody else was faster, and the entry is another's by now. Its sleepers go with the name.
                let _ =
                    holder
                        .process
                        .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        found
    }

    /// True while a thread may be asleep on the line, of this process or of a living relative.
    #[inline]
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        self.any_sleeper(Sleepers::any) && self.has_living_sleepers()
    }

    #[cold]
    fn has_living_sleepers(&self) -> bool {
        if let Some(process) = crate::family::process_place() {
            let _ = self.has_other_holder(process);
        }
        self.any_sleeper(Sleepers::any)
    }

    /// True while a sleeper has armed the readers' epoch; the dead may count, too.
    pub(crate) fn has_armed_readers(&self) -> bool {
        self.any_sleeper(Sleepers::any_reader)
    }

    /// As [`Self::has_armed_readers`], for writers.
    pub(crate) fn has_armed_writers(&self) -> bool {
        self.any_sleeper(Sleepers::any_writer)
    }

    #[inline]
    fn any_sleeper(&self, asked: fn(&Sleepers) -> bool) -> bool {
        self.used_holders()
            .iter()
            .any(|holder| asked(&holder.sleepers) && holder.is_taken())
    }
}
