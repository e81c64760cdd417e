//! Data of registrations that are in no book of ours: ordinary descriptors in a set that has accelerated members, too.
//!
//! An event of the kernel that no accelerated member explains may be an ordinary descriptor's with the same data. Only
//! the kernel knows all registrations, but reading its list costs a line for each: milliseconds in a set of thousands. So
//! the list is read once in the life of a set, what is registered later passes by here, and what remains is a filter:
//! "no" is certain, "perhaps" is worth another reading.

use super::instance::Held;
use super::links::By;
use super::{kernel_set, tables};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const WORDS: usize = 16;

/// Hashes of data, ever growing. All zero when empty, as fresh memory is.
pub struct DataFilter {
    /// 1 once the kernel's list was read.
    is_complete: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl DataFilter {
    /// Of a set that begins.
    pub fn clear(&self) {
        self.is_complete.store(0, Ordering::Relaxed);
        for word in &self.words {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// An ordinary descriptor is about to be registered, or changed. Without the lock of the set.
    pub fn add(&self, data: u64) {
        let (word, bit) = place(data);
        if let Some(word) = self.words.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn may_hold(&self, data: u64) -> bool {
        let (word, bit) = place(data);
        self.words
            .get(word)
            .is_none_or(|word| word.load(Ordering::Relaxed) & bit != 0)
    }
}

fn place(data: u64) -> (usize, u64) {
    let hash = data.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    ((hash / 64) as usize % WORDS, 1 << (hash % 64))
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
            words: [const { AtomicU64::new(0) }; WORDS],
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
}
