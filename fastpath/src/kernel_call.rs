//! The one door to the kernel for what `rustix` has no function for: socket options and requests by number.
//!
//! Inline system calls like rustix's `linux_raw` backend: they never pass through the C library, so they cannot re-enter
//! an interposed call, they take no lock and leave `errno` alone. Errors are positive errno values.
//!
//! * [`socket`]: options, bytes, reset and shutdown.
//! * [`address`]: what the two ends of a socket are called.
//! * [`poll`]: what holds of descriptors.
//! * [`descriptor`]: calls on any descriptor.
//! * [`process`]: processes and threads. [`signal`]: their signals.
#![expect(unsafe_code, reason = "inline system calls")]

mod address;
mod descriptor;
mod poll;
mod process;
mod signal;
mod socket;

pub use address::{InternetName, far_name, forgotten_name_family, internet_name, own_name};
pub use descriptor::{file_control, give_to_pipe, read_cached, take_from_pipe};
pub use poll::{PollEntry, poll_now, poll_one};
pub use process::{
    child_has_ended, exit_process, process_exists, process_has_ended, process_id, resource_limit,
    thread_exists, thread_id,
};
pub use signal::{
    Disposition, pending_signals, set_signal_mask, signal_bit, signal_disposition,
    signal_this_thread, take_signal,
};
pub use socket::{
    receive, request_int, reset_connection, send, set_socket_option, shut_both, shut_writing,
    socket_option, socket_option_bytes,
};

use core::ffi::c_long;

/// A positive errno value.
pub type Errno = i32;

/// One system call by its number (`libc::SYS_`); the kernel's own return value, errors as negative errno.
///
/// # Safety
/// The arguments are what the kernel expects for `number`; pointers are valid for what the call reads or writes.
#[inline(always)]
pub unsafe fn system_call(number: c_long, arguments: [usize; 6]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the clobbers are those of the SYSCALL instruction.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2],
            in("r10") arguments[3], in("r8") arguments[4], in("r9") arguments[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1], in("x2") arguments[2], in("x3") arguments[3],
            in("x4") arguments[4], in("x5") arguments[5], options(nostack));
    }
    result
}

#[inline(always)]
fn checked(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(-result as Errno)
    } else {
        Ok(result as usize)
    }
}
