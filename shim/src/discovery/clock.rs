//! Monotonic time.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// Milliseconds on the monotonic clock; never 0.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000 + 1
}
