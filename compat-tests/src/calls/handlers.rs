//! Signal handlers that use the connection themselves, as event loops of old do. A handler keeps errno, as it must.
#![expect(unsafe_code, reason = "installs handlers that call libc")]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering};

use super::answer::{Answer, answer_int};
use super::children::Leaving;

unsafe extern "C" {
    fn at_quick_exit(handler: extern "C" fn()) -> libc::c_int;
}

static FD: AtomicI32 = AtomicI32::new(-1);
static FLAGS: AtomicI32 = AtomicI32::new(0);
static MOVED: AtomicUsize = AtomicUsize::new(0);
static SUM: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
static RAN: AtomicUsize = AtomicUsize::new(0);
static LAST_ERROR: AtomicI32 = AtomicI32::new(0);

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Sends the one byte [`MARK`].
    Send,
    /// Receives a word of four bytes and adds it up.
    Receive,
}

/// What a sending handler sends: a byte that ordinary messages of the case do not have.
pub const MARK: u8 = 0xFE;

/// What the handlers did since they were installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Calls of the handler.
    pub ran: usize,
    /// Transfers that moved something.
    pub moved: usize,
    /// The sum of the words received.
    pub sum: i64,
    /// errno of the last transfer that failed.
    pub last_error: i32,
}

fn keep(result: isize) -> bool {
    RAN.fetch_add(1, Ordering::Relaxed);
    if result > 0 {
        MOVED.fetch_add(1, Ordering::Relaxed);
        return true;
    }
    let error = std::io::Error::last_os_error().raw_os_error();
    LAST_ERROR.store(error.unwrap_or(0), Ordering::Relaxed);
    false
}

fn with_errno_kept(act: impl FnOnce()) {
    // SAFETY: the address of this thread's errno is valid for its life.
    unsafe {
        let place = libc::__errno_location();
        let before = *place;
        act();
        *place = before;
    }
}

extern "C" fn sends(_signal: libc::c_int) {
    if MOVED.load(Ordering::Relaxed) >= MOST.load(Ordering::Relaxed) {
        return;
    }
    with_errno_kept(|| {
        let byte = [MARK];
        // SAFETY: one readable byte.
        let result = unsafe {
            libc::send(
                FD.load(Ordering::Relaxed),
                byte.as_ptr().cast(),
                1,
                FLAGS.load(Ordering::Relaxed) | libc::MSG_NOSIGNAL,
            )
        };
        keep(result);
    });
}

extern "C" fn receives(_signal: libc::c_int) {
    with_errno_kept(|| {
        let mut word = [0u8; 4];
        // SAFETY: four writable bytes.
        let result = unsafe {
            libc::recv(
                FD.load(Ordering::Relaxed),
                word.as_mut_ptr().cast(),
                4,
                FLAGS.load(Ordering::Relaxed),
            )
        };
        if keep(result) {
            let value = if result == 4 {
                i64::from(i32::from_ne_bytes(word))
            } else {
                // A torn word spoils the sum for good.
                i64::MIN / 4
            };
            SUM.fetch_add(value, Ordering::Relaxed);
        }
    });
}

/// Installs a handler that does this on the descriptor with these message flags; counts start at 0.
pub fn install(signal: i32, deed: Deed, fd: RawFd, flags: i32, restart: bool) -> Answer {
    FD.store(fd, Ordering::Relaxed);
    FLAGS.store(flags, Ordering::Relaxed);
    MOVED.store(0, Ordering::Relaxed);
    MOST.store(usize::MAX, Ordering::Relaxed);
    RAN.store(0, Ordering::Relaxed);
    SUM.store(0, Ordering::Relaxed);
    LAST_ERROR.store(0, Ordering::Relaxed);
    let handler = match deed {
        Deed::Send => sends,
        Deed::Receive => receives,
    };
    // SAFETY: a sigaction of zeros has an empty mask; the handlers touch atomics and make async-signal-safe calls.
    answer_int(unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    })
}

/// From here on handlers send at most so many marks, until they are allowed more: what nobody may be reading has to fit.
pub fn allow(marks: usize) {
    MOST.store(MOVED.load(Ordering::Relaxed) + marks, Ordering::Relaxed);
}

/// What the handlers did.
#[must_use]
pub fn done() -> Done {
    Done {
        ran: RAN.load(Ordering::Relaxed),
        moved: MOVED.load(Ordering::Relaxed),
        sum: SUM.load(Ordering::Relaxed),
        last_error: LAST_ERROR.load(Ordering::Relaxed),
    }
}

/// Sends back what has come.
extern "C" fn answers() {
    let mut bytes = [0u8; 64];
    let fd = FD.load(Ordering::Relaxed);
    // SAFETY: the buffer is writable for its length, and readable for what was filled.
    unsafe {
        let count = libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0);
        if let Ok(count) = usize::try_from(count) {
            libc::send(fd, bytes.as_ptr().cast(), count, libc::MSG_NOSIGNAL);
        }
    }
}

/// A handler that runs while the process ends in this way, quickly or in order: it sends back what has come.
pub fn answers_at_the_end(fd: RawFd, leaving: Leaving) -> Answer {
    FD.store(fd, Ordering::Relaxed);
    // SAFETY: the handler touches atomics and makes calls.
    answer_int(unsafe {
        if leaving == Leaving::Quickly {
            at_quick_exit(answers)
        } else {
            libc::atexit(answers)
        }
    })
}
