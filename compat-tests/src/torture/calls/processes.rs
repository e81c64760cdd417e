//! Processes, threads and signals.
#![expect(unsafe_code, reason = "calls into the C library")]

use super::{Outcome, done, errno, number};

/// `fork`: 0 in the child.
pub fn fork() -> Outcome<i32> {
    // SAFETY: the callers only go on in ways that do not depend on other threads of the parent.
    number(unsafe { libc::fork() })
}

/// Waits for a child: its exit code, or 128 + the signal that ended it.
pub fn wait_for(child: i32) -> Outcome<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        match number(unsafe { libc::waitpid(child, &raw mut status, 0) }) {
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    })
}

/// Ends the process at once, without destructors of the program (the shim still hears of it).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: no pointers; never returns.
    unsafe { libc::_exit(code) }
}

/// `kill`; a negative number names a process group.
pub fn signal_process(process: i32, signal: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::kill(process, signal) })
}

/// `setpgid(0, 0)`: a process group of its own.
pub fn own_group() -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::setpgid(0, 0) })
}

/// Ends this process when its parent dies.
pub fn die_with_parent() -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// `alarm`: the kernel ends this process when it takes longer, whatever it hangs in.
pub fn alarm(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}

extern "C" fn only_interrupt(_signal: i32) {}

/// An empty handler for `SIGUSR1`, with or without `SA_RESTART`.
pub fn handle_interrupts(restart: bool) -> Outcome<()> {
    // SAFETY: all zeros is a valid sigaction, completed below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = only_interrupt as extern "C" fn(i32) as usize;
    action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
    // SAFETY: the handler does nothing, so it is safe in any context.
    done(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) })
}

/// The process id.
#[must_use]
pub fn process_id() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::getpid() }
}

/// The thread id.
#[must_use]
pub fn thread_id() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process, which must still exist.
pub fn signal_thread(thread: i32, signal: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process_id(), thread, signal) };
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// Raises the soft limit of open descriptors to at least `wanted`, and the hard one where that is allowed.
pub fn raise_descriptor_limit(wanted: u64) -> Outcome<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives through the call.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max.max(wanted),
        };
        // SAFETY: as above.
        done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) })?;
        limit.rlim_cur = wanted;
    }
    Ok(limit.rlim_cur)
}
