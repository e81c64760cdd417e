//! What holds of descriptors, poll(2).
#![expect(unsafe_code, reason = "inline system calls")]

use super::system_call;
use core::ffi::c_int;

/// One entry of poll(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PollEntry {
    /// Descriptor.
    pub descriptor: c_int,
    /// Events asked for.
    pub events: i16,
    /// Events that hold.
    pub returned: i16,
}

/// poll(2) of one descriptor for a number of milliseconds; the events that hold (0 on time-out or signal).
pub fn poll_one(descriptor: c_int, events: i16, timeout_ms: u64) -> i16 {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut entry = PollEntry {
        descriptor,
        events,
        returned: 0,
    };
    let timeout: [i64; 2] = [
        (timeout_ms / 1000) as i64,
        (timeout_ms % 1000 * 1_000_000) as i64,
    ];
    // SAFETY: one local entry, a local time-out, no signal mask.
    let result = unsafe {
        system_call(
            libc::SYS_ppoll,
            [
                &raw mut entry as usize,
                1,
                &raw const timeout as usize,
                0,
                8,
                0,
            ],
        )
    };
    if result > 0 { entry.returned } else { 0 }
}

/// poll(2) of many descriptors without waiting; the number of entries with something, 0 on any error.
///
/// # Safety
/// `entries` is readable and writable for `count` entries.
pub unsafe fn poll_now(entries: *mut PollEntry, count: usize) -> usize {
    let timeout: [i64; 2] = [0; 2];
    // SAFETY: as promised; a local time-out, no signal mask.
    let result = unsafe {
        system_call(
            libc::SYS_ppoll,
            [
                entries as usize,
                count,
                &raw const timeout as usize,
                0,
                8,
                0,
            ],
        )
    };
    result.max(0) as usize
}
