//! Naps, process ids, killing, and threads cancelled inside a call.
#![expect(unsafe_code, reason = "calls libc and the C file of this crate")]

use std::ffi::{c_int, c_long};
use std::os::fd::RawFd;

use super::answer::{Answer, answer, answer_int};

unsafe extern "C" {
    fn compat_cancel_blocked(
        fd: c_int,
        call: c_int,
        nap_ms: c_long,
        until_asleep: Option<extern "C" fn(c_int)>,
    ) -> c_int;
    fn compat_cancel_pending(fd: c_int) -> c_int;
}

/// Which call a thread is cancelled in; the numbers of `c/cancel.c`.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum CancelledIn {
    /// recv(2)
    Recv = 0,
    /// read(2)
    Read = 1,
    /// recvmsg(2)
    Recvmsg = 2,
    /// send(2), repeated until it blocks
    Send = 3,
    /// poll(2)
    Poll = 4,
}

/// The bits of an answer of `c/cancel.c`, in words.
fn cancellation(bits: c_int) -> String {
    let words = [
        (8, "created"),
        (1, "joined"),
        (2, "cancelled"),
        (4, "cleanup ran once"),
    ];
    let shown: Vec<&str> = words
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| *word)
        .collect();
    shown.join(", ")
}

/// Cancels a thread that sleeps in a call on this descriptor, once `until_asleep` of its number has returned; what became
/// of it, in words.
#[must_use]
pub fn cancel_asleep(fd: RawFd, call: CancelledIn, until_asleep: extern "C" fn(c_int)) -> String {
    // SAFETY: the C function owns its thread and its memory; the function it calls must not unwind and is not cancelled.
    cancellation(unsafe { compat_cancel_blocked(fd, call as c_int, 0, Some(until_asleep)) })
}

/// Cancels a thread a while after it has set out for a call on this descriptor; what became of it, in words.
#[must_use]
pub fn cancel_after_ms(fd: RawFd, call: CancelledIn, nap_ms: i64) -> String {
    // SAFETY: as above.
    cancellation(unsafe { compat_cancel_blocked(fd, call as c_int, nap_ms, None) })
}

/// A thread whose cancellation is pending enters recv on this descriptor.
#[must_use]
pub fn cancel_pending(fd: RawFd) -> String {
    // SAFETY: as above.
    cancellation(unsafe { compat_cancel_pending(fd) })
}

/// kill(2).
pub fn kill(process: i32, signal: i32) -> Answer {
    // SAFETY: no pointers. Callers name processes this run has started.
    answer_int(unsafe { libc::kill(process, signal) })
}

/// kill(2) of a whole process group.
pub fn kill_group(group: i32, signal: i32) -> Answer {
    if group <= 1 {
        return Err(super::answer::Errno(libc::EINVAL));
    }
    kill(-group, signal)
}

/// True when a thread of this process is, at this moment, inside a system call that takes bytes from the descriptor;
/// looking at them (MSG_PEEK) or waiting for them by poll is none.
#[must_use]
pub fn is_in_consuming_receive(thread: i32, fd: RawFd) -> bool {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
    text.is_ok_and(|text| is_consuming_receive(&text, fd))
}

/// `/proc/PID/syscall`: the number of the call, then its arguments (proc(5)).
fn is_consuming_receive(text: &str, fd: RawFd) -> bool {
    let mut words = text.split_whitespace();
    let Some(number) = words.next().and_then(|word| word.parse::<c_long>().ok()) else {
        return false;
    };
    let arguments: Vec<u64> = words
        .filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok())
        .collect();
    let flags = match number {
        libc::SYS_read | libc::SYS_readv | libc::SYS_splice => Some(0),
        libc::SYS_recvfrom | libc::SYS_recvmmsg => arguments.get(3).copied(),
        libc::SYS_recvmsg => arguments.get(2).copied(),
        _ => None,
    };
    let takes = flags.is_some_and(|flags| flags & libc::MSG_PEEK as u64 == 0);
    takes && arguments.first().is_some_and(|first| *first == fd as u64)
}

/// tgkill(2) of a thread of this process.
pub fn signal_thread(thread: i32, signal: i32) -> Answer {
    // SAFETY: no pointers.
    answer(
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id() as i32, thread, signal) }
            as isize,
    )
}

/// The number of the calling thread.
#[must_use]
pub fn own_thread() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// Ends this process when the one that started it ends, so that an interrupted run leaves nothing behind.
pub fn die_with_parent() -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })
}

/// Sleeps until a signal ends the process.
pub fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}

/// read(2) by `syscall()`, as programs do that go around the wrapper but not around libc.
pub fn syscall_read(fd: RawFd, buffer: &mut [u8]) -> Answer {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { libc::syscall(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()) } as isize)
}

/// write(2) by `syscall()`.
pub fn syscall_write(fd: RawFd, bytes: &[u8]) -> Answer {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) } as isize)
}

/// close(2) by `syscall()`, as Node does it.
pub fn syscall_close(fd: RawFd) -> Answer {
    // SAFETY: no pointers.
    answer(unsafe { libc::syscall(libc::SYS_close, fd) } as isize)
}

/// io_uring_setup(2) by `syscall()`, as event loops do it.
pub fn syscall_io_uring_setup() -> Answer {
    let mut parameters = [0u8; 120];
    // SAFETY: the parameters have the size of struct io_uring_params (120 bytes) and are writable.
    answer(unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) } as isize)
}

/// The same with parameters that the kernel refuses, as where it has no io_uring to give.
pub fn syscall_io_uring_setup_refused() -> Answer {
    // SAFETY: the kernel looks at no parameters at this address.
    answer(
        unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, std::ptr::null_mut::<u8>()) } as isize,
    )
}

#[cfg(test)]
mod tests {
    use super::is_consuming_receive;

    #[test]
    fn only_calls_that_take_bytes_from_the_descriptor_count() {
        let recv = "45 0x5 0x7ffe0000 0x64 0x100 0x0 0x0 0x7ffe1000 0x7f001000\n";
        assert!(is_consuming_receive(recv, 5));
        assert!(!is_consuming_receive(recv, 6));
        let peek = "45 0x5 0x7ffe0000 0x1 0x2 0x0 0x0 0x7ffe1000 0x7f001000\n";
        assert!(!is_consuming_receive(peek, 5));
        assert!(is_consuming_receive("47 0x5 0x7ffe0000 0x0 0x0", 5));
        assert!(is_consuming_receive("275 0x5 0x0 0x6 0x0 0x64 0x0", 5));
        assert!(
            !is_consuming_receive("7 0x5 0x1 0x64", 5),
            "poll takes nothing"
        );
        assert!(!is_consuming_receive("running\n", 5));
    }
}
