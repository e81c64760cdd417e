//! Calls that give a new file the lowest number which is free.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

use super::answer::{Errno, answer_int};

unsafe extern "C" {
    #[link_name = "creat"]
    fn create(path: *const c_char, mode: libc::mode_t) -> c_int;
    #[link_name = "creat64"]
    fn create_large(path: *const c_char, mode: libc::mode_t) -> c_int;
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// open(2) of /dev/null, for writing.
    Open,
    /// open64, the name that large-file programs import.
    Open64,
    /// openat(2)
    Openat,
    /// openat64
    Openat64,
    /// creat(2) of what exists.
    Creat,
    /// creat64
    Creat64,
    /// eventfd(2) that counts from 0.
    Eventfd,
    /// timerfd_create(2)
    Timer,
    /// signalfd(2) of no signal.
    Signals,
    /// memfd_create(2)
    MemoryFile,
    /// pipe(2)
    Pipe,
    /// pipe2(2)
    Pipe2,
    /// socketpair(2) of AF_UNIX.
    Socketpair,
}

impl Opened {
    /// All of them.
    pub const ALL: [Opened; 13] = [
        Opened::Open,
        Opened::Open64,
        Opened::Openat,
        Opened::Openat64,
        Opened::Creat,
        Opened::Creat64,
        Opened::Eventfd,
        Opened::Timer,
        Opened::Signals,
        Opened::MemoryFile,
        Opened::Pipe,
        Opened::Pipe2,
        Opened::Socketpair,
    ];

    /// How many numbers it takes.
    #[must_use]
    pub const fn numbers(self) -> usize {
        match self {
            Opened::Pipe | Opened::Pipe2 | Opened::Socketpair => 2,
            _ => 1,
        }
    }
}

/// Makes the call: the numbers it took.
pub fn open_by(call: Opened) -> Result<Vec<RawFd>, Errno> {
    let null = c"/dev/null".as_ptr();
    let mut pair = [-1; 2];
    // SAFETY: the path is a C string, the mask initialised before it is used, and a pair has room for two numbers.
    let answer = answer_int(unsafe {
        match call {
            Opened::Open => libc::open(null, libc::O_WRONLY),
            Opened::Open64 => libc::open64(null, libc::O_WRONLY),
            Opened::Openat => libc::openat(libc::AT_FDCWD, null, libc::O_WRONLY),
            Opened::Openat64 => libc::openat64(libc::AT_FDCWD, null, libc::O_WRONLY),
            Opened::Creat => create(null, 0o600),
            Opened::Creat64 => create_large(null, 0o600),
            Opened::Eventfd => libc::eventfd(0, 0),
            Opened::Timer => libc::timerfd_create(libc::CLOCK_MONOTONIC, 0),
            Opened::Signals => {
                let mut mask: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut mask);
                libc::signalfd(-1, &raw const mask, 0)
            }
            Opened::MemoryFile => libc::memfd_create(c"compat".as_ptr(), 0),
            Opened::Pipe => libc::pipe(pair.as_mut_ptr()),
            Opened::Pipe2 => libc::pipe2(pair.as_mut_ptr(), 0),
            Opened::Socketpair => {
                libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr())
            }
        }
    })?;
    Ok(match call.numbers() {
        2 => pair.to_vec(),
        _ => vec![answer as RawFd],
    })
}
