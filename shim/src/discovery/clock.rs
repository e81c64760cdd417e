//! Monotonic time, and the thread's own.
#![expect(unsafe_code, reason = "a raw system call with a local buffer")]

use fastpath::clock::monotonic_ns;
use fastpath::kernel_call::system_call;
use fastpath::sync::{AtomicU64, Ordering};

/// Milliseconds on the monotonic clock; never 0.
pub fn now_ms() -> u64 {
    monotonic_ns() / 1_000_000 + 1
}

/// True for one of those who ask when `interval_ms` have passed since this was last true.
pub fn is_time(last_ms: &AtomicU64, interval_ms: u64) -> bool {
    let now = now_ms();
    let last = last_ms.load(Ordering::Relaxed);
    now.saturating_sub(last) >= interval_ms
        && last_ms
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

/// Nanoseconds of CPU time this thread has used; a system call. 0 when the kernel does not say.
pub fn thread_cpu_ns() -> u64 {
    let mut time = [0_i64; 2];
    let arguments = [
        libc::CLOCK_THREAD_CPUTIME_ID as usize,
        time.as_mut_ptr() as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: clock_gettime(2) writes one local `struct timespec`.
    let result = unsafe { system_call(libc::SYS_clock_gettime, arguments) };
    match (result, time) {
        (0, [seconds, nanoseconds]) => (seconds as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(nanoseconds as u64),
        _ => 0,
    }
}
