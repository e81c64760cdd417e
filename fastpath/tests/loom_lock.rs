//! The recoverable lock: one owner at a time, also when an owner dies and several wait. Runs the shipped source; see
//! `loom.sh`.
#![cfg(loom)]
#![expect(
    unsafe_code,
    reason = "the guarded value is a raw cell that loom watches"
)]

mod model;

use fastpath::fault::Fault;
use fastpath::lock::{LockWord, Locked, Owner};
use fastpath::sync::{AtomicU32, ModelCell, Ordering};
use loom::sync::Arc;
use loom::thread;
use model::{PREEMPTIONS, holds, is_caught};

const fn owner(thread: u32) -> Owner {
    Owner {
        thread,
        process_slot: 0,
    }
}

struct Guarded {
    lock: LockWord,
    value: ModelCell<u32>,
    dead: AtomicU32,
}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: LockWord::new(),
            value: ModelCell::new(0),
            dead: AtomicU32::new(0),
        })
    }
    /// The caller holds the lock; loom reports it when two do.
    fn add_one(&self) {
        // SAFETY: loom reports any second access at the same time.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
    fn take(&self, thread: u32) -> Locked {
        // Acquire, partner: the release below: what the dead owner did is seen, as after the end of a process.
        self.lock.lock(owner(thread), |seen| {
            self.dead.load(Ordering::Acquire) != seen.thread
        })
    }
}

// SAFETY: loom's cells check every access.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

fn two_threads_take_turns() {
    let guarded = Guarded::new();
    let other = {
        let guarded = guarded.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(guarded.take(1), Locked::Taken);
                guarded.add_one();
                guarded.lock.unlock(owner(1));
            }
        })
    };
    assert_eq!(guarded.take(2), Locked::Taken);
    guarded.add_one();
    guarded.lock.unlock(owner(2));
    while !guarded.lock.try_lock(owner(2)) {
        thread::yield_now();
    }
    assert_eq!(guarded.take(2), Locked::OwnThread);
    guarded.add_one();
    guarded.lock.unlock(owner(2));
    other.join().unwrap();
    assert_eq!(guarded.lock.owner(), None);
    guarded.value.with(|value| {
        // SAFETY: the other thread has ended.
        assert_eq!(unsafe { *value }, 4);
    });
}

fn an_owner_dies_and_two_wait() {
    let guarded = Guarded::new();
    assert_eq!(guarded.take(1), Locked::Taken);
    let wait = |guarded: &Guarded, thread: u32| {
        let how = guarded.take(thread);
        guarded.add_one();
        assert_eq!(guarded.lock.owner(), Some(owner(thread)));
        guarded.lock.unlock(owner(thread));
        u32::from(how == Locked::Recovered)
    };
    let other = {
        let guarded = guarded.clone();
        thread::spawn(move || wait(&guarded, 2))
    };
    guarded.add_one();
    // Thread 1 dies holding the lock; what runs on here stands for thread 3.
    guarded.dead.store(1, Ordering::Release);
    let recovered = wait(&guarded, 3) + other.join().unwrap();
    assert_eq!(recovered, 1, "exactly one repairs");
    guarded.value.with(|value| {
        // SAFETY: the other thread has ended.
        assert_eq!(unsafe { *value }, 3);
    });
}

#[test]
fn one_owner_at_a_time() {
    holds(Some(PREEMPTIONS), two_threads_take_turns);
}

#[test]
fn a_dead_owners_lock_is_recovered_by_exactly_one() {
    holds(Some(PREEMPTIONS), an_owner_dies_and_two_wait);
}

#[test]
fn release_order_and_recovery_from_the_very_word_are_needed() {
    is_caught(
        Fault::UnlockWithoutRelease,
        Some(PREEMPTIONS),
        two_threads_take_turns,
    );
    is_caught(
        Fault::RecoveryByStore,
        Some(PREEMPTIONS),
        an_owner_dies_and_two_wait,
    );
}
