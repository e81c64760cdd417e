//! S dials the box of the far end (TRUST.md steps 2 and 3).
//!
//! The dialling socket can not be read from (`SHUT_RD` before the connect): whatever somebody sends into it, nothing of
//! it is ever ours to close. It is kept from probe to probe and bound only when it has found a box.

use super::look::{self, FarEnd};
use super::mailbox::peer_credentials;
use super::private::{Kept, PrivateDescriptor};
use super::{clock, failure, knock, name, quota};
use fastpath::memory::descriptor::Descriptor;
use fastpath::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

/// A probe that cost more was made dear by somebody (TRUST.md row 14: floods of names in one bucket).
const SLOW_PROBE_NS: u64 = 50_000;
/// So many slow probes in a row, after one that only took long, stop probing for a time. On a busy machine a thread is often put aside for longer than
/// that, so after the first one CPU time is counted, which costs a system call more.
const SLOW_PROBES: u32 = 3;
/// First silence; doubles.
const SILENCE_MS: u64 = 10_000;
const LONGEST_SILENCE_MS: u64 = 3_600_000;

static KEPT: Kept = Kept::empty();
static TEMPER: Temper = Temper::new();

enum Start {
    Wall(u64),
    Cpu(u64),
}

/// How dear probes were lately.
struct Temper {
    slow: AtomicU32,
    silent_until_ms: AtomicU64,
    next_silence_ms: AtomicU64,
}

impl Temper {
    const fn new() -> Self {
        Self {
            slow: AtomicU32::new(0),
            silent_until_ms: AtomicU64::new(0),
            next_silence_ms: AtomicU64::new(SILENCE_MS),
        }
    }
    fn is_silent(&self, now_ms: u64) -> bool {
        now_ms < self.silent_until_ms.load(Ordering::Relaxed)
    }
    /// Time before a probe, by the clock that its cost is to be counted with.
    fn start(&self) -> Start {
        if self.slow.load(Ordering::Relaxed) == 0 {
            Start::Wall(clock::now_ns())
        } else {
            Start::Cpu(clock::thread_cpu_ns())
        }
    }
    fn end(&self, start: Start) {
        let duration_ns = match start {
            Start::Wall(start_ns) => clock::now_ns().saturating_sub(start_ns),
            Start::Cpu(start_ns) => clock::thread_cpu_ns().saturating_sub(start_ns),
        };
        self.note(duration_ns, clock::now_ms());
    }
    fn note(&self, duration_ns: u64, now_ms: u64) {
        if duration_ns <= SLOW_PROBE_NS {
            self.slow.store(0, Ordering::Relaxed);
            return;
        }
        if self.slow.fetch_add(1, Ordering::Relaxed) + 1 > SLOW_PROBES {
            self.slow.store(0, Ordering::Relaxed);
            let silence_ms = self.next_silence_ms.load(Ordering::Relaxed);
            let next_ms = (silence_ms * 2).min(LONGEST_SILENCE_MS);
            self.next_silence_ms.store(next_ms, Ordering::Relaxed);
            self.silent_until_ms
                .store(now_ms + silence_ms, Ordering::Relaxed);
        }
    }
}

/// A box that answered.
pub struct Dialled {
    /// The connection to it, holding the accepting side's name.
    pub dialer: PrivateDescriptor,
    /// The far socket.
    pub far: FarEnd,
    /// The far process as far as we can see it, for choosing sizes.
    pub far_process: u32,
}

fn open() -> Result<PrivateDescriptor, Reason> {
    let socket: Descriptor = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| failure::of_errno(errno.raw_os_error()))?
    .into();
    rustix::net::shutdown(&socket, Shutdown::Read)
        .map_err(|errno| failure::of_errno(errno.raw_os_error()))?;
    PrivateDescriptor::keep(socket)
}

/// One probe: dials once. Nothing: no box, so no Axio at the far end yet, or probing has become too dear.
///
/// # Errors
/// A box was there, or might have been, and it came to nothing.
pub fn probe(tcp: BorrowedFd<'_>, pair: &AddressPair) -> Result<Option<Dialled>, Reason> {
    if TEMPER.is_silent(clock::now_ms()) {
        return Ok(None);
    }
    let mut dialer = KEPT.take();
    let socket = match dialer.get() {
        Some(socket) => socket,
        None => {
            dialer = open()?;
            dialer.get().ok_or(Reason::Internal)?
        }
    };
    let start = TEMPER.start();
    let dialled = name::dial(socket, &name::address(pair, End::Connecting));
    TEMPER.end(start);
    match dialled {
        Ok(()) => {}
        Err(libc::ECONNREFUSED) => {
            KEPT.put(dialer);
            return Ok(None);
        }
        Err(errno) => {
            dialer.close();
            return Err(match errno {
                // Strangers fill its backlog, or a socket of another kind holds the name.
                libc::EAGAIN | libc::EPROTOTYPE => Reason::NameTaken,
                errno => failure::of_errno(errno),
            });
        }
    }
    match introduce(socket, tcp, pair) {
        Ok((far, far_process)) => Ok(Some(Dialled {
            dialer,
            far,
            far_process,
        })),
        Err(reason) => {
            dialer.close();
            Err(reason)
        }
    }
}

/// Takes our name, looks, and filters by user.
fn introduce(
    socket: BorrowedFd<'_>,
    tcp: BorrowedFd<'_>,
    pair: &AddressPair,
) -> Result<(FarEnd, u32), Reason> {
    match name::hold(socket, &name::address(pair, End::Accepting)) {
        Ok(()) => {}
        Err(libc::EADDRINUSE) if !knock::REQUIRED => {}
        Err(libc::EADDRINUSE) => return Err(Reason::NameTaken),
        Err(errno) => return Err(failure::of_errno(errno)),
    }
    let far = look::far_end(tcp, pair, End::Accepting)?;
    let (user, process) = peer_credentials(socket).ok_or(Reason::Internal)?;
    if !far.is_accepted || look::users_differ(user, far.user) {
        return Err(Reason::ProofFailed);
    }
    quota::may_prove(far.user)?;
    Ok((far, process))
}

/// Fork child: closes the copy of the parent's dialer.
pub fn on_fork_child() {
    KEPT.close_in_child();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_slow_probes_in_a_row_are_followed_by_silence_that_doubles() {
        let temper = Temper::new();
        for round in 0..3 {
            let now_ms = 1_000_000 * (round + 1);
            assert!(matches!(temper.start(), Start::Wall(_)));
            for _ in 0..3 {
                temper.note(60_000, now_ms);
                assert!(matches!(temper.start(), Start::Cpu(_)));
            }
            temper.note(10_000, now_ms);
            assert!(!temper.is_silent(now_ms), "not in a row");
            for _ in 0..4 {
                temper.note(60_000, now_ms);
            }
            let silence = SILENCE_MS << round;
            assert!(temper.is_silent(now_ms + silence - 1));
            assert!(!temper.is_silent(now_ms + silence));
        }
    }
}
