//! Atomics for the model checker: loom's, plus what loom's search needs to be complete.
//!
//! loom 0.7 decides where to try another thread by comparing an access with the *last* one to the same atomic only, and
//! does not count two loads as rivals. A thread that loads a word and then exchanges it thereby hides an earlier load of
//! another thread: "exchange first, load later" is never tried (rt/atomic.rs, `last_dependent_access`). Ready bits and locks
//! are exactly that shape, and deliberate bugs in them went unnoticed.
//!
//! So each atomic here carries one more for each thread, which nobody reads: a load stores to its own thread's, and a write
//! stores to those of the threads whose loads it would hide from loom. Two stores are rivals, so every order of a load and
//! a write is tried; loads of different threads stay free of each other, which keeps the search small; and as nobody reads
//! the added atomics, they order nothing.

use loom::sync::atomic::AtomicBool;
use std::hash::{Hash, Hasher};

pub use loom::cell::UnsafeCell as ModelCell;
pub use loom::sync::atomic::{Ordering, fence};

/// Threads of a model, the test's own included.
const THREADS: usize = 4;

#[derive(Debug)]
struct Turns {
    turns: [AtomicBool; THREADS],
    /// Threads that loaded since the last write, the latest last, each once, as base-8 digits plus one. Book-keeping of
    /// this module: an ordinary atomic, because loom runs one thread at a time.
    loaded: std::sync::atomic::AtomicU64,
}

impl Turns {
    fn new() -> Self {
        Self {
            turns: std::array::from_fn(|_| AtomicBool::new(false)),
            loaded: std::sync::atomic::AtomicU64::new(0),
        }
    }
    fn loaded(&self) -> Vec<usize> {
        let mut digits = self.loaded.load(Ordering::Relaxed);
        let mut threads = Vec::new();
        while digits != 0 {
            threads.insert(0, (digits % 8) as usize - 1);
            digits /= 8;
        }
        threads
    }
    fn set_loaded(&self, threads: &[usize]) {
        let digits = threads
            .iter()
            .fold(0, |digits, &thread| digits * 8 + thread as u64 + 1);
        self.loaded.store(digits, Ordering::Relaxed);
    }
    fn note_load(&self) {
        let me = thread_index();
        self.turns[me].store(false, Ordering::Relaxed);
        let mut threads = self.loaded();
        threads.retain(|&thread| thread != me);
        threads.push(me);
        self.set_loaded(&threads);
    }
    fn note_write(&self) {
        let me = thread_index();
        // loom sees the latest load itself.
        if let Some((_, hidden)) = self.loaded().split_last() {
            for &thread in hidden.iter().filter(|&&thread| thread != me) {
                self.turns[thread].store(false, Ordering::Relaxed);
            }
        }
        self.set_loaded(&[]);
    }
}

/// loom numbers the threads of an execution from 0, but shows the number only to a hasher.
fn thread_index() -> usize {
    struct LastNumber(usize);
    impl Hasher for LastNumber {
        fn finish(&self) -> u64 {
            self.0 as u64
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_usize(&mut self, number: usize) {
            self.0 = number;
        }
    }
    let mut hasher = LastNumber(THREADS);
    loom::thread::current().id().hash(&mut hasher);
    hasher.0
}

macro_rules! atomic {
    ($name:ident $int:ident) => {
        /// See the module.
        #[derive(Debug)]
        pub struct $name {
            value: loom::sync::atomic::$name,
            turns: Turns,
        }
        impl $name {
            /// An atomic with this value.
            pub fn new(value: $int) -> Self {
                Self {
                    value: loom::sync::atomic::$name::new(value),
                    turns: Turns::new(),
                }
            }
            fn to_write(&self) -> &loom::sync::atomic::$name {
                self.turns.note_write();
                &self.value
            }
            /// Atomic load.
            pub fn load(&self, order: Ordering) -> $int {
                self.turns.note_load();
                self.value.load(order)
            }
            /// Atomic store.
            pub fn store(&self, value: $int, order: Ordering) {
                self.to_write().store(value, order);
            }
            /// Atomic exchange.
            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.to_write().swap(value, order)
            }
            /// Atomic compare and exchange.
            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.to_write()
                    .compare_exchange(current, new, success, failure)
            }
            /// Atomic addition; returns the value before.
            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                self.to_write().fetch_add(value, order)
            }
            /// Atomic subtraction; returns the value before.
            pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                self.to_write().fetch_sub(value, order)
            }
            /// Atomic or; returns the value before.
            pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                self.to_write().fetch_or(value, order)
            }
            /// Atomic and; returns the value before.
            pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                self.to_write().fetch_and(value, order)
            }
            /// Atomic exclusive or; returns the value before.
            pub fn fetch_xor(&self, value: $int, order: Ordering) -> $int {
                self.to_write().fetch_xor(value, order)
            }
        }
    };
}

atomic!(AtomicI32 i32);
atomic!(AtomicU32 u32);
atomic!(AtomicU64 u64);
