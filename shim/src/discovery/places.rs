//! Where negotiations live between calls: a fixed table, process-private.
//!
//! A handle is an index and a serial number; a handle of something that has ended finds nothing. Whoever is inside a
//! place has it alone; another thread, or a signal handler above, finds it busy and leaves it alone.
#![expect(unsafe_code, reason = "cells guarded by a state word")]

use core::cell::UnsafeCell;
use fastpath::sync::{AtomicU32, AtomicU64, Ordering};

const FREE: u32 = 0;
const IDLE: u32 = 1;
const BUSY: u32 = 2;

/// Which place, and its how-manieth use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    index: u16,
    serial: u32,
}

impl Handle {
    /// As a number, to be kept in an atomic word; never 0.
    pub fn to_number(self) -> u64 {
        u64::from(self.serial) << 16 | u64::from(self.index)
    }
    /// The handle of [`Self::to_number`].
    pub fn from_number(number: u64) -> Handle {
        Handle {
            index: number as u16,
            serial: (number >> 16) as u32,
        }
    }
}

/// What entering a place gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered<R> {
    /// The answer.
    Inside(R),
    /// Another thread is inside.
    Busy,
    /// It has ended.
    Gone,
}

/// What to do with a place on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It goes on.
    Keep,
    /// It has ended.
    Free,
}

struct Place<T> {
    state: AtomicU32,
    serial: AtomicU32,
    /// For counting without entering; 0 while free.
    tag: AtomicU64,
    value: UnsafeCell<Option<T>>,
}

/// A table of `COUNT` places.
pub struct Places<T, const COUNT: usize> {
    places: [Place<T>; COUNT],
}

// SAFETY: each cell is touched only by the one who made its state BUSY.
unsafe impl<T: Send, const COUNT: usize> Sync for Places<T, COUNT> {}

impl<T: Copy, const COUNT: usize> Places<T, COUNT> {
    /// All free.
    pub const fn vacant() -> Self {
        Self {
            places: [const {
                Place {
                    state: AtomicU32::new(FREE),
                    serial: AtomicU32::new(1),
                    tag: AtomicU64::new(0),
                    value: UnsafeCell::new(None),
                }
            }; COUNT],
        }
    }

    fn claim(place: &Place<T>, from: u32) -> bool {
        place
            .state
            .compare_exchange(from, BUSY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn leave(place: &Place<T>, leave: Leave) {
        let state = match leave {
            Leave::Keep => IDLE,
            Leave::Free => {
                place.tag.store(0, Ordering::Relaxed);
                // Skips 0, so that no handle is the number 0.
                let next = place.serial.load(Ordering::Relaxed).wrapping_add(1).max(1);
                place.serial.store(next, Ordering::Relaxed);
                FREE
            }
        };
        place.state.store(state, Ordering::Release);
    }

    /// Puts a value into a free place.
    pub fn put(&self, tag: u64, value: T) -> Option<Handle> {
        let (index, place) = self
            .places
            .iter()
            .enumerate()
            .find(|(_, place)| Self::claim(place, FREE))?;
        // SAFETY: this thread made the place busy.
        unsafe { *place.value.get() = Some(value) };
        place.tag.store(tag, Ordering::Relaxed);
        let serial = place.serial.load(Ordering::Relaxed);
        Self::leave(place, Leave::Keep);
        Some(Handle {
            index: index as u16,
            serial,
        })
    }

    /// Enters the place of a handle.
    pub fn enter<R>(&self, handle: Handle, act: impl FnOnce(&mut T) -> (R, Leave)) -> Entered<R> {
        let Some(place) = self.places.get(usize::from(handle.index)) else {
            return Entered::Gone;
        };
        let is_this = || place.serial.load(Ordering::Relaxed) == handle.serial;
        if !Self::claim(place, IDLE) {
            return if is_this() && place.state.load(Ordering::Relaxed) == BUSY {
                Entered::Busy
            } else {
                Entered::Gone
            };
        }
        // SAFETY: this thread made the place busy.
        match unsafe { &mut *place.value.get() } {
            Some(value) if is_this() => {
                let (answer, leave) = act(value);
                Self::leave(place, leave);
                Entered::Inside(answer)
            }
            _ => {
                Self::leave(place, Leave::Keep);
                Entered::Gone
            }
        }
    }

    /// Enters every place that is idle.
    pub fn for_each_idle(&self, mut act: impl FnMut(&mut T) -> Leave) {
        for place in &self.places {
            if !Self::claim(place, IDLE) {
                continue;
            }
            // SAFETY: this thread made the place busy.
            let leave = match unsafe { &mut *place.value.get() } {
                Some(value) => act(value),
                None => Leave::Free,
            };
            Self::leave(place, leave);
        }
    }

    /// Fork child, where no other thread exists: enters every place in use, however it was left, and frees it.
    pub fn drain_in_child(&self, mut act: impl FnMut(&mut T)) {
        for place in &self.places {
            if place.state.load(Ordering::Relaxed) == FREE {
                continue;
            }
            // SAFETY: the child has one thread, this one.
            if let Some(value) = unsafe { &mut *place.value.get() } {
                act(value);
            }
            Self::leave(place, Leave::Free);
        }
    }

    /// Number of places in use whose tag answers yes.
    pub fn count(&self, is_counted: impl Fn(u64) -> bool) -> usize {
        self.places
            .iter()
            .filter(|place| {
                place.state.load(Ordering::Relaxed) != FREE
                    && is_counted(place.tag.load(Ordering::Relaxed))
            })
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_value_until_it_ends_and_nothing_after() {
        static PLACES: Places<u32, 2> = Places::vacant();
        let first = PLACES.put(7, 1).unwrap();
        let second = PLACES.put(8, 2).unwrap();
        assert_eq!(PLACES.put(9, 3), None);
        assert_eq!(PLACES.count(|tag| tag == 8), 1);
        assert_eq!(Handle::from_number(second.to_number()), second);
        let doubled = PLACES.enter(first, |value| {
            *value *= 10;
            (*value, Leave::Keep)
        });
        assert_eq!(doubled, Entered::Inside(10));
        let inside = PLACES.enter(first, |_| {
            let again = PLACES.enter(first, |_| ((), Leave::Free));
            (again, Leave::Free)
        });
        assert_eq!(inside, Entered::Inside(Entered::Busy));
        assert_eq!(PLACES.enter(first, |_| ((), Leave::Keep)), Entered::Gone);
        let third = PLACES.put(7, 3).unwrap();
        assert_eq!(PLACES.enter(first, |_| ((), Leave::Keep)), Entered::Gone);
        assert_eq!(
            PLACES.enter(third, |value| (*value, Leave::Free)),
            Entered::Inside(3)
        );
        let mut seen = Vec::new();
        PLACES.for_each_idle(|value| {
            seen.push(*value);
            Leave::Free
        });
        assert_eq!(seen, [2]);
        assert_eq!(PLACES.enter(second, |_| ((), Leave::Keep)), Entered::Gone);
    }
}
