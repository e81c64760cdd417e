//! Data of registrations that are in no book of ours: ordinary descriptors in a set that has accelerated members, too.
//!
//! An event of the kernel that no accelerated member explains may be an ordinary descriptor's with the same data. Only
//! the kernel knows all registrations, but reading its list costs a line for each: milliseconds in a set of thousands. So
//! the list is read once in the life of a set, what is registered later passes by here, and what remains is a filter:
//! "no" is certain, "perhaps" is worth another reading. What is registered first and connected then is ordinary in between
//! only: it is counted out again, or the filter of a proxy's set would know all its data.

use super::instance::{Held, Instance};
use super::links::By;
use super::{kernel_set, tables, trampolines};
use crate::fd_table;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Numbers that are marked; those above are counted in only.
const NUMBERS: usize = 1 << 16;
const PLACES: usize = 1024;
/// A place that has counted so many counts no more, up or down: "perhaps" for ever. Half of what the word can say, for
/// those who count at the same time.
const FULL: u8 = 128;

/// Hashes of data, counted. All zero when empty, as fresh memory is.
pub struct DataFilter {
    /// 1 once the kernel's list was read.
    is_complete: AtomicU32,
    counts: [AtomicU8; PLACES],
}

impl DataFilter {
    /// Of a set that begins.
    pub fn clear(&self) {
        self.is_complete.store(0, Ordering::Relaxed);
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn add(&self, data: u64) {
        if let Some(count) = self.counts.get(place(data))
            && count.load(Ordering::Relaxed) < FULL
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What [`Self::add`] has counted, once.
    fn remove(&self, data: u64) {
        if let Some(count) = self.counts.get(place(data))
            && (1..FULL).contains(&count.load(Ordering::Relaxed))
        {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn may_hold(&self, data: u64) -> bool {
        self.counts
            .get(place(data))
            .is_none_or(|count| count.load(Ordering::Relaxed) != 0)
    }
}

fn place(data: u64) -> usize {
    (data.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % PLACES
}

/// With what a number was counted last, and in which set. Each mark stands for one count, which goes with it.
struct Mark {
    /// Generation of the instance in the upper half, its index + 1 in the lower; 0 = none.
    set: AtomicU64,
    data: AtomicU64,
}

static MARKS: [Mark; NUMBERS] = [const {
    Mark {
        set: AtomicU64::new(0),
        data: AtomicU64::new(0),
    }
}; NUMBERS];

fn name_of(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index + 1)
}

/// An ordinary descriptor is about to be registered (`is_added`), or changed. Without the lock of the set.
#[inline]
pub fn comes(known: (u32, u32, &Instance), number: c_int, data: u64, is_added: bool) {
    if fd_table::facts(number).is_tcp_stream() {
        return comes_unconnected(known, number, data, is_added);
    }
    // Never counted out.
    known.2.ordinary_data.add(data);
}

/// It was a managed socket, and stays in the set. Under the lock of the set.
pub fn stays(held: &Held, number: c_int, data: u64) {
    let generation = held.instance.generation.load(Ordering::Relaxed);
    comes_unconnected((held.index, generation, held.instance), number, data, false);
}

#[inline(never)]
fn comes_unconnected(
    (index, generation, instance): (u32, u32, &Instance),
    number: c_int,
    data: u64,
    is_added: bool,
) {
    // A number in no set yet is new: nothing that it was marked with before is its own.
    let is_new = is_added && trampolines::watched_by(number) == 0;
    let name = name_of(index, generation);
    let mark = MARKS.get(number as u32 as usize);
    let is_marked = mark.is_some_and(|mark| {
        mark.set.load(Ordering::Relaxed) == name && mark.data.load(Ordering::Relaxed) == data
    });
    if is_marked && !is_new {
        return;
    }
    instance.ordinary_data.add(data);
    if let Some(mark) = mark {
        // Not to be taken for the one before while it is changed.
        mark.set.store(0, Ordering::Relaxed);
        mark.data.store(data, Ordering::Release);
        mark.set.store(name, Ordering::Release);
    }
}

/// It is a managed socket now, and in the books with this data: ordinary no more. Under the lock of the set.
pub fn goes(held: &Held, number: c_int, data: u64) {
    let Some(mark) = MARKS.get(number as u32 as usize) else {
        return;
    };
    let name = name_of(held.index, held.instance.generation.load(Ordering::Relaxed));
    // Acquire, partner: the release behind the data.
    if mark.set.load(Ordering::Acquire) == name
        && mark.data.load(Ordering::Relaxed) == data
        && mark
            .set
            .compare_exchange(name, 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        held.instance.ordinary_data.remove(data);
    }
}

/// False when surely no ordinary descriptor of the set was registered with this data. Under the lock of the set.
pub fn may_have(held: &Held, data: u64) -> bool {
    let instance = held.instance;
    // Relatives register what does not pass by here.
    if instance.forked.get() | instance.inherited.get() | instance.shared.get() != 0 {
        return true;
    }
    let filter = &instance.ordinary_data;
    if filter.is_complete.load(Ordering::Relaxed) == 0 {
        let readable = kernel_set::for_each_registration(instance.number.get() as c_int, |told| {
            if !is_in_books(held, told) {
                filter.add(told.data);
            }
        });
        if !readable {
            return true;
        }
        filter.is_complete.store(1, Ordering::Relaxed);
    }
    filter.may_hold(data)
}

fn is_in_books(held: &Held, told: kernel_set::Told) -> bool {
    held.instance
        .by_data
        .find(By::Data, told.data, |index, registration| {
            let same = registration.data.get() == told.data
                && registration.number.get() as c_int == told.number;
            (same && tables::registration(index).is_some()).then_some(())
        })
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_most_of_the_rest_is_not() {
        let filter = DataFilter {
            is_complete: AtomicU32::new(0),
            counts: [const { AtomicU8::new(0) }; PLACES],
        };
        for data in 0..5000_u64 {
            assert!(!filter.may_hold(data));
        }
        let added = [3, 4, 7, 0xdead_beef_0000_0010, u64::MAX];
        for data in added {
            filter.add(data);
        }
        assert!(added.iter().all(|data| filter.may_hold(*data)));
        let perhaps = (100..5100).filter(|data| filter.may_hold(*data)).count();
        assert!(perhaps < 100, "{perhaps}");
        filter.clear();
        assert!(!filter.may_hold(3));
    }

    #[test]
    fn what_was_counted_in_twice_and_out_once_is_still_there_and_what_was_counted_too_often_for_ever()
     {
        let filter = DataFilter {
            is_complete: AtomicU32::new(0),
            counts: [const { AtomicU8::new(0) }; PLACES],
        };
        filter.add(7);
        filter.add(7);
        filter.remove(7);
        assert!(filter.may_hold(7));
        filter.remove(7);
        assert!(!filter.may_hold(7));
        for _ in 0..300 {
            filter.add(7);
        }
        for _ in 0..300 {
            filter.remove(7);
        }
        assert!(filter.may_hold(7));
    }
}
