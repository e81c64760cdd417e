//! Intrusive lists and chains of registrations, linked by index + 1, 0 = none. The lock of the instance guards them.

use super::registration::Registration;
use super::tables;
use fastpath::endpoint::Plain32;

/// The lists a registration can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// Worth a look at the next harvest.
    Ready = 0,
    /// Every registration of the instance.
    All = 1,
    /// Those that a ring carries.
    Accelerated = 2,
    /// Those that need a look after some time even if nothing rings: bounded sleeps.
    Impatient = 3,
}

/// Number of [`Kind`]s.
pub const KINDS: usize = 4;

/// Place of one registration in one list.
#[repr(C)]
pub struct Link {
    next: Plain32,
    previous: Plain32,
    linked: Plain32,
}

/// Both ends of a list.
#[repr(C)]
pub struct List {
    first: Plain32,
    last: Plain32,
    count: Plain32,
}

fn link_of(place: u32, kind: Kind) -> Option<&'static Link> {
    let registration = tables::registration(place.checked_sub(1)?)?;
    registration.links.get(kind as usize)
}

impl Registration {
    /// True while it is in the list.
    #[inline(always)]
    #[must_use]
    pub fn is_in(&self, kind: Kind) -> bool {
        self.links
            .get(kind as usize)
            .is_some_and(|link| link.linked.get() != 0)
    }
}

impl List {
    /// Registrations in it.
    #[inline(always)]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.get()
    }

    /// The first, as an index.
    #[inline(always)]
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.first.get().checked_sub(1)
    }

    /// The one behind `index`.
    #[must_use]
    pub fn after(&self, kind: Kind, index: u32) -> Option<u32> {
        link_of(index + 1, kind)?.next.get().checked_sub(1)
    }

    /// Puts a registration at the end, if it is not in the list.
    #[inline]
    pub fn push(&self, kind: Kind, index: u32) {
        let Some(link) = link_of(index + 1, kind) else {
            return;
        };
        if link.linked.get() != 0 {
            return;
        }
        let last = self.last.get();
        link.linked.set(1);
        link.next.set(0);
        link.previous.set(last);
        match link_of(last, kind) {
            Some(before) => before.next.set(index + 1),
            None => self.first.set(index + 1),
        }
        self.last.set(index + 1);
        self.count.add(1);
    }

    /// Takes a registration out, if it is in the list.
    #[inline]
    pub fn remove(&self, kind: Kind, index: u32) {
        let Some(link) = link_of(index + 1, kind) else {
            return;
        };
        if link.linked.get() == 0 {
            return;
        }
        let (next, previous) = (link.next.get(), link.previous.get());
        match link_of(previous, kind) {
            Some(before) => before.next.set(next),
            None => self.first.set(next),
        }
        match link_of(next, kind) {
            Some(behind) => behind.previous.set(previous),
            None => self.last.set(previous),
        }
        link.linked.set(0);
        self.count.set(self.count.get().wrapping_sub(1));
    }

    /// Takes the first out.
    #[inline]
    pub fn pop(&self, kind: Kind) -> Option<u32> {
        let first = self.first()?;
        self.remove(kind, first);
        Some(first)
    }

    /// Calls `each` for every one; `each` may take the one it is called for out.
    pub fn for_each(&self, kind: Kind, mut each: impl FnMut(u32)) {
        let mut next = self.first();
        // A bound against a broken chain; no list is longer than the table.
        for _ in 0..tables::REGISTRATIONS {
            let Some(index) = next else { return };
            next = self.after(kind, index);
            each(index);
        }
    }
}

/// What a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum By {
    /// Descriptor number.
    Number = 0,
    /// The data the kernel holds.
    Data = 1,
    /// Channel and slot.
    Slot = 2,
}

/// Number of ways to look a registration up.
pub const WAYS: usize = 3;
/// Buckets of each, in each instance.
pub const BUCKETS: usize = 2048;

/// Chains of one way to look up, by hash.
#[repr(C)]
pub struct Chains([Plain32; BUCKETS]);

fn bucket_of(key: u64) -> usize {
    // Multiplicative hashing: descriptor numbers and addresses differ in few bits.
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize % BUCKETS
}

impl Chains {
    /// Puts a registration into the chain of `key`.
    pub fn insert(&self, by: By, key: u64, index: u32) {
        let (Some(head), Some(next)) = (self.0.get(bucket_of(key)), next_of(index, by)) else {
            return;
        };
        next.set(head.get());
        head.set(index + 1);
    }

    /// Takes a registration out of the chain of `key`.
    pub fn remove(&self, by: By, key: u64, index: u32) {
        let Some(mut place) = self.0.get(bucket_of(key)) else {
            return;
        };
        for _ in 0..tables::REGISTRATIONS {
            let Some(present) = place.get().checked_sub(1) else {
                return;
            };
            let Some(next) = next_of(present, by) else {
                return;
            };
            if present == index {
                place.set(next.get());
                return;
            }
            place = next;
        }
    }

    /// Calls `each` for every registration in the bucket of `key` until it says that it is done. The caller compares the
    /// key; `each` must not change the chain.
    #[inline]
    pub fn find<T>(
        &self,
        by: By,
        key: u64,
        mut each: impl FnMut(u32, &'static Registration) -> Option<T>,
    ) -> Option<T> {
        let mut place = self.0.get(bucket_of(key))?;
        for _ in 0..tables::REGISTRATIONS {
            let index = place.get().checked_sub(1)?;
            let registration = tables::registration(index)?;
            if let Some(found) = each(index, registration) {
                return Some(found);
            }
            place = registration.chains.get(by as usize)?;
        }
        None
    }
}

fn next_of(index: u32, by: By) -> Option<&'static Plain32> {
    tables::registration(index)?.chains.get(by as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "zeroed lists, as in the mapping")]
    fn zeroed<T>() -> Box<T> {
        // SAFETY: lists and chains are made of atomics; all zero is empty.
        unsafe { Box::<T>::new_zeroed().assume_init() }
    }

    fn some(count: usize) -> Vec<u32> {
        assert!(tables::ensure());
        (0..count)
            .map(|_| tables::allocate_registration().unwrap().0)
            .collect()
    }

    fn content(list: &List) -> Vec<u32> {
        let mut seen = Vec::new();
        list.for_each(Kind::Impatient, |index| seen.push(index));
        seen
    }

    #[test]
    fn a_list_keeps_its_order_and_removes_anywhere() {
        let list: Box<List> = zeroed();
        let [a, b, c] = some(3)[..] else { panic!() };
        for index in [a, b, c, a] {
            list.push(Kind::Impatient, index);
        }
        assert_eq!(content(&list), [a, b, c]);
        list.remove(Kind::Impatient, b);
        list.remove(Kind::Impatient, b);
        assert_eq!(content(&list), [a, c]);
        list.push(Kind::Impatient, b);
        assert_eq!(list.pop(Kind::Impatient), Some(a));
        assert_eq!(content(&list), [c, b]);
        assert_eq!(list.count(), 2);
        list.for_each(Kind::Impatient, |index| list.remove(Kind::Impatient, index));
        assert_eq!((list.first(), list.count()), (None, 0));
        for index in [a, b, c] {
            tables::free_registration(index);
        }
    }

    #[test]
    fn a_chain_finds_what_was_put_in_and_not_what_was_taken_out() {
        let chains: Box<Chains> = zeroed();
        let indices = some(3 * BUCKETS);
        for (key, index) in indices.iter().enumerate() {
            chains.insert(By::Slot, key as u64, *index);
        }
        let find = |key: usize| {
            chains.find(By::Slot, key as u64, |index, _| {
                (index == indices[key]).then_some(index)
            })
        };
        assert!((0..indices.len()).all(|key| find(key) == Some(indices[key])));
        for key in (0..indices.len()).step_by(2) {
            chains.remove(By::Slot, key as u64, indices[key]);
        }
        assert!((0..indices.len()).all(|key| find(key).is_some() == (key % 2 == 1)));
        for (key, index) in indices.iter().enumerate() {
            chains.remove(By::Slot, key as u64, *index);
            tables::free_registration(*index);
        }
    }
}
