//! exit() among threads: until the process has ended, the others are to notice nothing.
//!
//! The thread that exits leaves every connection as close would ([`super::forking::at_exit`]), and the far side may answer
//! that before the kernel has ended this process: on Linux the others would still be in their calls, on a connection that
//! is there. So whoever would be told of an end or an error from then on waits for the end of the process instead. Not
//! for ever, and all their calls together no longer than [`WAIT_NS`]: a destructor of another library may wait for one of
//! those threads, which may have many calls to make.

use core::sync::atomic::{AtomicU32, AtomicU64};
use fastpath::clock::monotonic_ns;
use fastpath::kernel_call;
use fastpath::sync::Ordering;

/// The thread that exits; 0: none does.
static EXITING: AtomicU32 = AtomicU32::new(0);
/// When the others go on, monotonic.
static UNTIL_NS: AtomicU64 = AtomicU64::new(0);

/// The others' longest wait.
const WAIT_NS: u64 = 500_000_000;

/// The calling thread exits, and with it the process. Of several the first.
pub fn begin() {
    if EXITING.load(Ordering::Relaxed) == 0 {
        UNTIL_NS.store(monotonic_ns() + WAIT_NS, Ordering::Relaxed);
        // Release, partner: the acquire in `wait`.
        let _ = EXITING.compare_exchange(
            0,
            kernel_call::thread_id(),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}

/// In a fork child: nobody exits here.
pub fn on_fork_child() {
    EXITING.store(0, Ordering::Relaxed);
}

/// Before a call tells its program of an end, or fails.
#[inline(always)]
pub fn wait_for_the_end() {
    if EXITING.load(Ordering::Relaxed) != 0 {
        wait();
    }
}

#[cold]
#[inline(never)]
fn wait() {
    if EXITING.load(Ordering::Acquire) == kernel_call::thread_id() {
        return;
    }
    loop {
        let left_ns = UNTIL_NS
            .load(Ordering::Relaxed)
            .saturating_sub(monotonic_ns());
        if left_ns == 0 {
            return;
        }
        let _ = rustix::thread::nanosleep(&rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: left_ns.min(WAIT_NS) as i64,
        });
    }
}
