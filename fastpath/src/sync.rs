//! The one door to atomics, fences, the time stamp counter and pauses.
//!
//! A [`Word32`] or [`Word64`] is a *handle*: a copyable address of a word that may live in memory another process
//! writes. No Rust reference to such a word outlives one machine instruction. Under `cfg(loom)` the same handles stand
//! for loom's atomics, so the shipped source of rings, bells, ready bits and locks is what the model checker runs.
//!
//! Who may write a word is a matter of type: [`OwnWord32`] stores and loads (memory that this side writes),
//! [`FarWord32`] only loads (memory that the far side writes; each load is one untrusted value).
#![expect(
    unsafe_code,
    reason = "turns addresses of shared words into single atomic instructions"
)]

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::{AtomicI32, AtomicU32, AtomicU64, ModelCell, Ordering, fence};

use crate::fault::{Fault, sound};
// Test builds only: the path with faults sees each store, look and fence here, and nowhere else.
#[cfg(all(feature = "test-paths", not(loom)))]
use crate::path::faulty;

macro_rules! word {
    ($word:ident $own:ident $far:ident $atomic:ident $int:ident) => {
        /// Handle of a word that several processes may map.
        #[derive(Clone, Copy, Debug)]
        pub struct $word(
            #[cfg(not(loom))] *const $atomic,
            #[cfg(loom)] &'static $atomic,
        );
        // SAFETY: a handle is an address; every access through it is atomic.
        unsafe impl Send for $word {}
        // SAFETY: as above.
        unsafe impl Sync for $word {}

        impl $word {
            /// Handle of the word at `address`.
            ///
            /// # Safety
            /// `address` is aligned and stays mapped readable (and writable, if stored to) as long as the handle is used.
            #[cfg(not(loom))]
            #[inline(always)]
            pub const unsafe fn at(address: *mut u8) -> Self {
                Self(address as *const $atomic)
            }
            /// A fresh word for the model checker.
            #[cfg(loom)]
            pub fn fresh(value: $int) -> Self {
                Self(Box::leak(Box::new($atomic::new(value))))
            }
            #[inline(always)]
            fn atomic(&self) -> &$atomic {
                #[cfg(not(loom))]
                // SAFETY: `at` promised a mapped, aligned word; an atomic may be shared with any other writer.
                return unsafe { &*self.0 };
                #[cfg(loom)]
                return self.0;
            }
            #[cfg(all(feature = "test-paths", not(loom)))]
            fn address(&self) -> usize {
                self.0 as usize
            }
            /// Atomic load.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                self.atomic().load(order)
            }
            /// Atomic store.
            #[inline(always)]
            pub fn store(&self, value: $int, order: Ordering) {
                self.atomic().store(value, order);
            }
            /// Atomic exchange; on x86 this is the cheapest full fence.
            #[inline(always)]
            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.atomic().swap(value, order)
            }
            /// Atomic compare and exchange.
            #[inline(always)]
            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.atomic()
                    .compare_exchange(current, new, success, failure)
            }
            /// Atomic exclusive or; returns the value before.
            #[inline(always)]
            pub fn fetch_xor(&self, mask: $int, order: Ordering) -> $int {
                self.atomic().fetch_xor(mask, order)
            }
        }

        /// A word in memory that this side writes and the far side reads.
        #[derive(Clone, Copy, Debug)]
        pub struct $own($word);
        impl $own {
            /// Declares that this side is the word's one writer.
            #[inline(always)]
            pub const fn new(word: $word) -> Self {
                Self(word)
            }
            /// This side's own value; nothing another side could have changed.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                self.0.load(order)
            }
            /// Publishes a value.
            #[inline(always)]
            pub fn store(&self, value: $int, order: Ordering) {
                #[cfg(all(feature = "test-paths", not(loom)))]
                faulty::about_to_store(self.0.address(), &value.to_ne_bytes());
                self.0.store(value, order);
            }
            /// Publishes a value with a full fence behind it.
            #[inline(always)]
            pub fn publish_and_fence(&self, value: $int) {
                if !sound(Fault::PublishWithoutFence) {
                    return self.0.store(value, Ordering::Release);
                }
                #[cfg(all(feature = "test-paths", not(loom)))]
                {
                    faulty::about_to_store(self.0.address(), &value.to_ne_bytes());
                    faulty::full_fence(Some(self.0.address()));
                }
                self.0.swap(value, Ordering::SeqCst);
                #[cfg(any(loom, not(target_arch = "x86_64")))]
                fence(Ordering::SeqCst);
            }
            /// For words that several threads of this side write.
            #[inline(always)]
            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                #[cfg(all(feature = "test-paths", not(loom)))]
                {
                    // One thread drives both ends: what is equal here is equal below.
                    if self.0.load(Ordering::Relaxed) == current {
                        faulty::about_to_store(self.0.address(), &new.to_ne_bytes());
                    }
                    faulty::full_fence(Some(self.0.address()));
                }
                self.0.compare_exchange(current, new, success, failure)
            }
            /// The bare handle.
            #[inline(always)]
            pub fn word(&self) -> $word {
                self.0
            }
        }

        /// A word in memory that the far side writes: every load is an untrusted value, to be checked where it enters.
        #[derive(Clone, Copy, Debug)]
        pub struct $far($word);
        impl $far {
            /// Declares that the far side is the word's writer.
            #[inline(always)]
            pub const fn new(word: $word) -> Self {
                Self(word)
            }
            /// One untrusted value.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                #[cfg(all(feature = "test-paths", not(loom)))]
                faulty::look(self.0.address());
                self.0.load(order)
            }
        }
    };
}

word!(Word32 OwnWord32 FarWord32 AtomicU32 u32);
word!(Word64 OwnWord64 FarWord64 AtomicU64 u64);

/// Orders earlier stores before later loads (the only reordering x86 does by itself).
#[inline(always)]
pub fn full_fence() {
    #[cfg(all(feature = "test-paths", not(loom)))]
    faulty::full_fence(None);
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    {
        // A locked instruction is a full fence and costs half of MFENCE (WAITING.md: 5 ns against 11).
        // SAFETY: adds zero to a word on the own stack.
        unsafe { core::arch::asm!("lock add dword ptr [rsp - 4], 0", options(nostack)) };
    }
    #[cfg(any(loom, not(target_arch = "x86_64")))]
    fence(Ordering::SeqCst);
}

/// Tells the CPU (or the model) that this thread waits for another.
#[inline(always)]
pub fn spin_pause() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// The fence between a step that may have ended with a locked instruction and a later load.
///
/// On x86 it costs nothing: either the locked instruction ran and was the full fence, or the step only loaded, and x86
/// keeps loads in order. Elsewhere, and in the model, it is a full fence.
#[inline(always)]
pub fn fence_after_toggle() {
    #[cfg(any(loom, not(target_arch = "x86_64")))]
    fence(Ordering::SeqCst);
}

/// Lets another thread of this machine run; a raw system call, never our own hook.
pub fn yield_to_others() {
    #[cfg(not(loom))]
    rustix::thread::sched_yield();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Sleeps for less than a second; a raw system call that ends early when a signal arrives.
pub fn nap_ns(nap_ns: u32) {
    #[cfg(not(loom))]
    {
        let request = rustix::thread::Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(nap_ns.min(999_999_999)),
        };
        let _ = rustix::thread::nanosleep(&request);
    }
    #[cfg(loom)]
    {
        let _ = nap_ns;
        loom::thread::yield_now();
    }
}

/// Time stamp counter: a monotonic count, the same on all CPUs, comparable between processes of one host.
#[inline(always)]
#[must_use]
pub fn time_stamp() -> u64 {
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    // SAFETY: RDTSC has no effect but its result.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(all(not(loom), target_arch = "aarch64"))]
    {
        let count: u64;
        // SAFETY: reading the virtual counter has no effect but its result.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack)) };
        return count;
    }
    #[cfg(loom)]
    0
}
