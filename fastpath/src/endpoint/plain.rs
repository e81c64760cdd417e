//! Words that only one thread changes at a time: atomic because the memory is shared with fork relatives, plain because a
//! lock guards them.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A word that changes under a lock (or is private to one thread) and is atomic only because memory is shared.
#[repr(transparent)]
pub struct Plain32(AtomicU32);
/// As [`Plain32`], eight bytes.
#[repr(transparent)]
pub struct Plain64(AtomicU64);

macro_rules! plain {
    ($name:ident $int:ident) => {
        impl $name {
            /// The value.
            #[inline(always)]
            pub fn get(&self) -> $int {
                self.0.load(Ordering::Relaxed)
            }
            /// Sets the value.
            #[inline(always)]
            pub fn set(&self, value: $int) {
                self.0.store(value, Ordering::Relaxed);
            }
            /// Sets the value behind all that this thread has stored before: should it be killed, whoever takes its lock
            /// (SWITCH.md §6) finds that, too.
            #[inline(always)]
            pub fn publish(&self, value: $int) {
                self.0.store(value, Ordering::Release);
            }
            /// The value, and behind it all that was stored before it was published.
            #[inline(always)]
            pub fn get_published(&self) -> $int {
                self.0.load(Ordering::Acquire)
            }
            /// Takes the value, leaving 0: of several threads one gets it.
            pub fn take(&self) -> $int {
                self.0.swap(0, Ordering::AcqRel)
            }
            /// Adds without a locked instruction: the caller holds the lock that guards the word.
            #[inline(always)]
            pub fn add(&self, amount: $int) -> $int {
                let value = self.get().wrapping_add(amount);
                self.set(value);
                value
            }
        }
    };
}
plain!(Plain32 u32);
plain!(Plain64 u64);
