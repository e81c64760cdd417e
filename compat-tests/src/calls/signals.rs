//! Signal handlers that only count, interval timers and masks.
#![expect(unsafe_code, reason = "calls libc")]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::{Answer, answer_int};

static CAUGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: libc::c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// How often a counting handler ran in this process since [`count_signals`].
#[must_use]
pub fn caught() -> usize {
    CAUGHT.load(Ordering::Relaxed)
}

/// Installs the counting handler, with or without SA_RESTART, and starts the count at 0.
pub fn count_signals(signal: i32, restart: bool) -> Answer {
    CAUGHT.store(0, Ordering::Relaxed);
    // SAFETY: a sigaction of zeros has an empty mask and no flags; the handler only touches an atomic.
    answer_int(unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    })
}

/// Gives a signal its default effect.
pub fn default_effect(signal: i32) -> Answer {
    // SAFETY: as above, with SIG_DFL.
    answer_int(unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    })
}

/// Makes a signal ignored.
pub fn ignore(signal: i32) -> Answer {
    // SAFETY: as above, with SIG_IGN.
    answer_int(unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_IGN;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    })
}

/// Sends SIGALRM to this process every `interval_us`, first after `first_us`; 0 and 0 stops it. Repeats, so that a
/// signal which comes before the call under test has begun cannot leave it asleep for ever.
pub fn alarm_every_us(first_us: i64, interval_us: i64) -> Answer {
    let time = |us: i64| libc::timeval {
        tv_sec: us / 1_000_000,
        tv_usec: us % 1_000_000,
    };
    let timer = libc::itimerval {
        it_interval: time(interval_us),
        it_value: time(first_us),
    };
    // SAFETY: the timer is readable, the old value is not asked for.
    answer_int(unsafe {
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut())
    })
}

/// Blocks (true) or admits (false) a signal in this thread.
pub fn block(signal: i32, blocked: bool) -> Answer {
    // SAFETY: the set is initialised before it is used.
    answer_int(unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        let how = if blocked {
            libc::SIG_BLOCK
        } else {
            libc::SIG_UNBLOCK
        };
        libc::sigprocmask(how, &raw const set, std::ptr::null_mut())
    })
}

/// Sends a signal to this thread.
pub fn raise(signal: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::raise(signal) })
}
