//! What the loom tests share: one model run at a time, with or without one deliberate bug.
#![allow(dead_code, reason = "each test program uses its part")]

use fastpath::fault::{Fault, activate};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The deliberate bug is a setting of the process, so models take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Preemptions that an execution of three threads may have; a bug that needs more than this many at chosen points is not
/// seen. Every deliberate bug is found with fewer.
pub const PREEMPTIONS: usize = 3;

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores the interleavings of `body` and says how many executions that took.
fn explore(preemptions: Option<usize>, body: fn()) {
    EXECUTIONS.store(0, Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Relaxed);
        body();
    });
}

/// The shipped source holds in every execution. `None` explores all of them.
pub fn holds(preemptions: Option<usize>, body: fn()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    activate(None);
    explore(preemptions, body);
    println!("{} executions", EXECUTIONS.load(Relaxed));
}

/// With this edge taken away some execution fails: the model can see what the edge is for.
pub fn is_caught(fault: Fault, preemptions: Option<usize>, body: fn()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    activate(Some(fault));
    let outcome = catch_unwind(AssertUnwindSafe(|| explore(preemptions, body)));
    activate(None);
    println!("{fault:?}: {} executions", EXECUTIONS.load(Relaxed));
    assert!(outcome.is_err(), "the model does not notice {fault:?}");
}
