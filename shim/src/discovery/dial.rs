//! S dials the box of the far end (TRUST.md steps 2 and 3).
//!
//! The dialling socket can not be read from (`SHUT_RD` before the connect): whatever somebody sends into it, nothing of
//! it is ever ours to close. It is kept from probe to probe and bound only when it has found a box.

use super::look::{self, FarEnd};
use super::mailbox::peer_credentials;
use super::private::{Kept, PrivateDescriptor};
use super::{clock, failure, knock, name, quota};
use fastpath::clock::monotonic_ns;
use fastpath::memory::descriptor::Descriptor;
use fastpath::sync::{AtomicU64, Ordering};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

/// A probe that cost more was made dear by somebody (TRUST.md row 14: floods of names in one bucket), or the machine is
/// busy: it is repeated at once, and of the repeats CPU time is counted.
const SLOW_PROBE_NS: u64 = 50_000;
/// So many repeats in a row, each as slow, stop probing for a time. A flood makes every one of them slow. On a busy machine
/// one may be: by an interrupt, or a processor that the host took away; not this many, of a microsecond each.
const REPEATS: u32 = 3;
/// First silence; doubles.
const SILENCE_MS: u64 = 10_000;
const LONGEST_SILENCE_MS: u64 = 3_600_000;

static KEPT: Kept = Kept::empty();
static TEMPER: Temper = Temper::new();

/// How dear probes were lately.
struct Temper {
    silent_until_ms: AtomicU64,
    next_silence_ms: AtomicU64,
}

impl Temper {
    const fn new() -> Self {
        Self {
            silent_until_ms: AtomicU64::new(0),
            next_silence_ms: AtomicU64::new(SILENCE_MS),
        }
    }
    fn is_silent(&self, now_ms: u64) -> bool {
        now_ms < self.silent_until_ms.load(Ordering::Relaxed)
    }
    /// Dials until a try that finds nobody was quick, or too many were slow. `wall_ns` and `cpu_ns` are the clocks.
    fn dial(
        &self,
        mut try_once: impl FnMut() -> Result<(), i32>,
        wall_ns: impl Fn() -> u64,
        cpu_ns: impl Fn() -> u64,
    ) -> Result<(), i32> {
        let start_ns = wall_ns();
        let mut dialled = try_once();
        if wall_ns().saturating_sub(start_ns) <= SLOW_PROBE_NS {
            return dialled;
        }
        for _ in 0..REPEATS {
            if dialled != Err(libc::ECONNREFUSED) {
                return dialled;
            }
            let start_ns = cpu_ns();
            dialled = try_once();
            if cpu_ns().saturating_sub(start_ns) <= SLOW_PROBE_NS {
                return dialled;
            }
        }
        let silence_ms = self.next_silence_ms.load(Ordering::Relaxed);
        let next_ms = (silence_ms * 2).min(LONGEST_SILENCE_MS);
        self.next_silence_ms.store(next_ms, Ordering::Relaxed);
        self.silent_until_ms
            .store(wall_ns() / 1_000_000 + silence_ms, Ordering::Relaxed);
        dialled
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
    let address = name::address(pair, End::Connecting);
    match TEMPER.dial(
        || name::dial(socket, &address),
        monotonic_ns,
        clock::thread_cpu_ns,
    ) {
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

    use std::cell::Cell;

    /// Dials once where each try takes so long by the processor's clock; with pauses in which others have the processor.
    fn dialled(temper: &Temper, costs_ns: &[u64], pauses_ns: u64, now_ns: &Cell<u64>) -> usize {
        let cpu_ns = Cell::new(0);
        let tries = Cell::new(0);
        let found = temper.dial(
            || {
                let cost_ns = costs_ns[tries.get().min(costs_ns.len() - 1)];
                tries.set(tries.get() + 1);
                cpu_ns.set(cpu_ns.get() + cost_ns);
                now_ns.set(now_ns.get() + cost_ns + pauses_ns);
                Err(libc::ECONNREFUSED)
            },
            || now_ns.get(),
            || cpu_ns.get(),
        );
        assert_eq!(found, Err(libc::ECONNREFUSED));
        tries.get()
    }

    #[test]
    fn probes_that_stay_slow_are_followed_by_silence_that_doubles() {
        let temper = Temper::new();
        for round in 0..3 {
            let now_ns = Cell::new(1_000_000_000_000 * (round + 1));
            assert_eq!(dialled(&temper, &[60_000], 0, &now_ns), 4);
            let now_ms = now_ns.get() / 1_000_000;
            let silence_ms = SILENCE_MS << round;
            assert!(temper.is_silent(now_ms + silence_ms - 1));
            assert!(!temper.is_silent(now_ms + silence_ms));
        }
    }

    #[test]
    fn a_busy_machine_is_no_flood() {
        let temper = Temper::new();
        let now_ns = Cell::new(1);
        // Put aside in every try, interrupted in some; never is the whole row dear.
        for round in 0..1000 {
            let costs_ns = [&[60_000, 60_000, 1_000][..], &[1_000], &[900_000, 1_000]][round % 3];
            assert!(dialled(&temper, costs_ns, 20_000_000, &now_ns) <= 3);
            assert!(!temper.is_silent(now_ns.get() / 1_000_000));
        }
    }

    #[test]
    fn a_quick_probe_is_made_once_and_a_slow_one_that_finds_somebody_is_no_flood() {
        let temper = Temper::new();
        let now_ns = Cell::new(1);
        assert_eq!(dialled(&temper, &[1_000], 0, &now_ns), 1);
        let tries = Cell::new(0);
        let found = temper.dial(
            || {
                tries.set(tries.get() + 1);
                now_ns.set(now_ns.get() + 1_000_000);
                Ok(())
            },
            || now_ns.get(),
            || now_ns.get(),
        );
        assert_eq!((found, tries.get()), (Ok(()), 1));
        assert!(!temper.is_silent(now_ns.get() / 1_000_000));
    }
}
