//! The clock that deadlines and pauses are counted by.

use rustix::time::{ClockId, clock_gettime};

/// Monotonic time in nanoseconds; no system call where the vDSO has the clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}
