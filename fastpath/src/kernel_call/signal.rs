//! Signals: which are held back, pending or taken, what one would do.
#![expect(unsafe_code, reason = "inline system calls")]

use super::process::{process_id, thread_id};
use super::system_call;
use core::ffi::c_int;

/// Sends a signal to one thread of this process (SIGPIPE is the sender's own).
pub fn signal_this_thread(signal: c_int) {
    // SAFETY: plain numbers.
    unsafe {
        system_call(
            libc::SYS_tgkill,
            [
                process_id() as usize,
                thread_id() as usize,
                signal as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Sets the thread's signal mask; returns the mask before.
pub fn set_signal_mask(mask: u64) -> u64 {
    let mut before: u64 = 0;
    // SAFETY: two local masks of eight bytes.
    unsafe {
        system_call(
            libc::SYS_rt_sigprocmask,
            [
                libc::SIG_SETMASK as usize,
                &raw const mask as usize,
                &raw mut before as usize,
                8,
                0,
                0,
            ],
        )
    };
    before
}

/// Signals that are pending for this thread or process, as a mask.
#[must_use]
pub fn pending_signals() -> u64 {
    let mut pending: u64 = 0;
    // SAFETY: one local mask of eight bytes.
    unsafe {
        system_call(
            libc::SYS_rt_sigpending,
            [&raw mut pending as usize, 8, 0, 0, 0, 0],
        )
    };
    pending
}

/// Takes a pending signal that is held back, without waiting for one (rt_sigtimedwait); this thread's own before the
/// process's.
pub fn take_signal(signal: c_int) {
    let set: u64 = signal_bit(signal);
    let no_time: [i64; 2] = [0; 2];
    // SAFETY: a local mask of eight bytes and a local time-out; nothing is written.
    unsafe {
        system_call(
            libc::SYS_rt_sigtimedwait,
            [
                &raw const set as usize,
                0,
                &raw const no_time as usize,
                8,
                0,
                0,
            ],
        )
    };
}

/// A signal's bit in a mask.
#[must_use]
pub fn signal_bit(signal: c_int) -> u64 {
    1u64.checked_shl((signal as u32).wrapping_sub(1))
        .unwrap_or(0)
}

/// What a signal does when it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Ignored, or the default action.
    None,
    /// A handler runs; `restart`: SA_RESTART is set.
    Handler {
        /// Interrupted calls are restarted.
        restart: bool,
    },
}

/// What a signal would do (rt_sigaction with nothing to set).
#[must_use]
pub fn signal_disposition(signal: c_int) -> Disposition {
    // struct kernel_sigaction: handler, flags, (restorer,) mask.
    let mut action: [u64; 4] = [0; 4];
    // SAFETY: a local structure of the kernel's size.
    unsafe {
        system_call(
            libc::SYS_rt_sigaction,
            [signal as usize, 0, &raw mut action as usize, 8, 0, 0],
        )
    };
    if action[0] <= 1 {
        Disposition::None
    } else {
        Disposition::Handler {
            restart: action[1] & libc::SA_RESTART as u64 != 0,
        }
    }
}
