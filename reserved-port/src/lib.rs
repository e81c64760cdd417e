//! Ports for servers that must be told one and cannot take "any": those that `axio bench` and the tests start.
//!
//! A port is ours while a datagram socket of ours has its number: a stream server can take the same number, but nobody else
//! who asks here, in this process or another one, can reserve it. The kernel ends the reservation with the process, however
//! that ends. A connecting socket gets its number from the kernel, out of `ip_local_port_range`, so the ports outside that
//! range come first.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The well-known servers listen below, and those of their users, too.
const LEAST: u16 = 10_000;
/// From one reservation of a process to its next, and from one process to another: so that they seldom try the same.
const STRIDE: usize = 61;
/// The kernel's own choice, where it does not say.
const USUAL_RANGE: RangeInclusive<u16> = 32_768..=60_999;

/// A port of the loopback interface on which nobody listened when it was reserved; until it is dropped, nobody else
/// reserves it.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _reservation: UdpSocket,
}

impl ReservedPort {
    /// Reserves one.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]: no port of the loopback interface is free.
    pub fn find() -> io::Result<ReservedPort> {
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let turn = std::process::id() as usize + FOUND.fetch_add(1, Ordering::Relaxed);
        candidates(&range_of_connecting_sockets(), turn.wrapping_mul(STRIDE))
            .find_map(ReservedPort::of)
            .ok_or_else(|| io::ErrorKind::AddrInUse.into())
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// This one, unless it is reserved or somebody listens there.
    fn of(number: u16) -> Option<ReservedPort> {
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        let _trial = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(ReservedPort {
            number,
            _reservation: reservation,
        })
    }
}

/// The ports in the order of trying: those that no connecting socket is given, beginning somewhere among them, then the
/// rest.
fn candidates(connecting: &RangeInclusive<u16>, turn: usize) -> impl Iterator<Item = u16> {
    let (mut quiet, rest): (Vec<u16>, Vec<u16>) =
        (LEAST..=u16::MAX).partition(|port| !connecting.contains(port));
    let start = turn.checked_rem(quiet.len()).unwrap_or(0);
    quiet.rotate_left(start);
    quiet.into_iter().chain(rest)
}

/// What the kernel gives connecting sockets their ports from (ip(7), `ip_local_port_range`).
fn range_of_connecting_sockets() -> RangeInclusive<u16> {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => USUAL_RANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn those_who_ask_at_the_same_time_get_different_ports_and_can_listen_there() {
        let ports: Vec<ReservedPort> = std::thread::scope(|scope| {
            let ask = || -> Vec<_> {
                (0..20)
                    .map(|_| ReservedPort::find().expect("a port"))
                    .collect()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("it asks"))
                .collect()
        });
        let numbers: BTreeSet<u16> = ports.iter().map(ReservedPort::number).collect();
        assert_eq!(numbers.len(), 160);
        for number in numbers {
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).expect("the server's own");
            assert!(ReservedPort::of(number).is_none(), "{number} twice");
        }
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_not_reserved() {
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let server = TcpListener::bind((address, 0)).expect("a server");
            let number = server.local_addr().expect("its address").port();
            assert!(ReservedPort::of(number).is_none(), "{address}");
        }
    }

    #[test]
    fn what_connecting_sockets_are_given_comes_last() {
        let all = usize::from(u16::MAX - LEAST) + 1;
        for (range, quiet) in [(32_768..=60_999, 27_304), (1_024..=65_535, 0), (1..=2, all)] {
            for turn in [0, 1, 27_303, usize::MAX] {
                let ports: Vec<u16> = candidates(&range, turn).collect();
                assert!(ports.iter().take(quiet).all(|port| !range.contains(port)));
                assert!(ports.iter().skip(quiet).all(|port| range.contains(port)));
                assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), all);
            }
        }
        let first = |turn| candidates(&(32_768..=60_999), turn).next();
        assert_eq!((first(0), first(7)), (Some(LEAST), Some(LEAST + 7)));
    }
}
