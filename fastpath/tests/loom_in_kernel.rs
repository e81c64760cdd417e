//! Who is inside a kernel call: a thread that enters without a lock is seen by whoever grants, and leaves no life but its
//! own. Runs the shipped source; see `loom.sh`.
#![cfg(loom)]
#![expect(
    unsafe_code,
    reason = "the kernel stream is a raw cell that loom watches"
)]

mod model;

use fastpath::fault::Fault;
use fastpath::in_kernel::InKernel;
use fastpath::lock::{LockWord, Locked, Owner};
use fastpath::sync::{AtomicU32, ModelCell, Ordering};
use loom::sync::Arc;
use loom::thread;
use model::{PREEMPTIONS, holds, is_caught};

const LIFE: u32 = 3;

struct Side {
    lock: LockWord,
    inside: InKernel,
    /// 1 once the endpoint is bound.
    binding: AtomicU32,
    /// Bytes of the kernel stream: who consumes them has it for himself.
    kernel: ModelCell<u32>,
}

// SAFETY: loom's cells check every access.
unsafe impl Sync for Side {}
// SAFETY: as above.
unsafe impl Send for Side {}

impl Side {
    fn new() -> Arc<Self> {
        let side = Self {
            lock: LockWord::new(),
            inside: InKernel::new(),
            binding: AtomicU32::new(0),
            kernel: ModelCell::new(0),
        };
        side.inside.begin_life(LIFE);
        Arc::new(side)
    }
    fn consume(&self) {
        // SAFETY: loom reports any second access at the same time.
        self.kernel.with_mut(|bytes| unsafe { *bytes += 1 });
    }
    fn locked(&self, thread: u32, step: impl FnOnce()) {
        let me = Owner {
            thread,
            process_slot: 0,
        };
        assert_eq!(self.lock.lock(me, |_| true), Locked::Taken);
        step();
        self.lock.unlock(me);
    }
}

fn a_receive_without_a_lock_and_a_grant_exclude_each_other() {
    let side = Side::new();
    let reader = {
        let side = side.clone();
        thread::spawn(move || {
            if side.inside.enter_if_unbound(LIFE) {
                side.consume();
                side.inside.leave(LIFE, 1);
            }
        })
    };
    let binder = {
        let side = side.clone();
        thread::spawn(move || {
            side.inside.bind();
            side.binding.store(1, Ordering::Release);
        })
    };
    // The grant, and what may be read under it, by a thread that did not bind.
    side.locked(1, || {
        if side.binding.load(Ordering::Acquire) == 1 && !side.inside.any() {
            side.consume();
        }
    });
    reader.join().unwrap();
    binder.join().unwrap();
    assert!(!side.inside.any());
}

fn who_comes_out_late_leaves_the_next_life_alone() {
    let side = Side::new();
    assert!(side.inside.enter_if_unbound(LIFE));
    let late = {
        let side = side.clone();
        thread::spawn(move || {
            side.inside.leave(LIFE, 1);
        })
    };
    side.inside.begin_life(LIFE + 1);
    side.inside.bind();
    side.locked(1, || side.inside.enter());
    late.join().unwrap();
    assert!(side.inside.any());
}

#[test]
fn a_grant_sees_who_is_inside() {
    holds(
        Some(PREEMPTIONS),
        a_receive_without_a_lock_and_a_grant_exclude_each_other,
    );
}

#[test]
fn a_count_belongs_to_its_life() {
    holds(
        Some(PREEMPTIONS),
        who_comes_out_late_leaves_the_next_life_alone,
    );
}

#[test]
fn entering_in_one_step_and_knowing_the_life_are_needed() {
    is_caught(
        Fault::EntersBehindTheLook,
        Some(PREEMPTIONS),
        a_receive_without_a_lock_and_a_grant_exclude_each_other,
    );
    is_caught(
        Fault::LeavesAnyLife,
        Some(PREEMPTIONS),
        who_comes_out_late_leaves_the_next_life_alone,
    );
}
