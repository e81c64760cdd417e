//! Many connections at once, with the policy of the socket calls.

use super::late::{Trouble, unless_too_busy};
use super::processes::{MESSAGE_BYTES, State, is_joined};
use super::role::{finish, start};
use super::{WANTED, fd, listener, pair_of};
use crate::discovery::{Acceptor, Chance, Connector, Wanted};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

/// The roles of this file.
pub fn play(words: &[&str]) -> Option<String> {
    let number = |index: usize| -> u32 { words[index].parse().unwrap() };
    Some(match words[0] {
        "connect_burst" => connect_burst(number(1) as u16, number(2), number(3)),
        "accept_burst" => {
            // SAFETY: the parent left this descriptor open for us.
            let listener = unsafe { TcpListener::from_raw_fd(number(1) as i32) };
            accept_burst(&listener, number(2))
        }
        _ => return None,
    })
}

/// A connection of a burst, with the policy that the socket calls are meant to have: boxes and probes at the 2nd, 8th
/// and 64th exchange; claims at every turn in between, unless the last attempt came to nothing for want of anything but
/// slots.
struct Burst<N> {
    stream: TcpStream,
    pair: AddressPair,
    state: State<N>,
    exchange: u32,
    between: bool,
}

impl<N> Burst<N> {
    fn new(stream: TcpStream, is_connecting: bool) -> Burst<N> {
        stream.set_nodelay(true).unwrap();
        Burst {
            pair: pair_of(&stream, is_connecting),
            stream,
            state: State::Waiting,
            exchange: 0,
            between: true,
        }
    }
    fn chance(&self) -> Option<Chance> {
        match self.exchange {
            0 => None,
            1 => Some(Chance::First),
            7 | 63 => Some(Chance::Later),
            _ if self.between => Some(Chance::Between),
            _ => None,
        }
    }
}

fn connect_burst(port: u16, count: u32, exchanges: u32) -> String {
    let mut all: Vec<Burst<Connector>> = (0..count)
        .map(|_| Burst::new(TcpStream::connect(("127.0.0.1", port)).unwrap(), true))
        .collect();
    let mut message = [0; MESSAGE_BYTES];
    let mut troubles = std::collections::BTreeSet::new();
    for exchange in 0..exchanges {
        for one in &mut all {
            one.exchange = exchange;
            let socket = fd(&one.stream);
            if matches!(one.state, State::Waiting)
                && let Some(chance) = one.chance()
            {
                match Connector::open(socket, &one.pair, chance) {
                    Ok(connector) => one.state = State::Negotiating(connector),
                    Err(Reason::Negotiating) => one.between = true,
                    Err(_) => one.between = false,
                }
            }
            one.state.step(|connector| connector.advance(socket));
            one.stream.write_all(&message).unwrap();
        }
        for (index, one) in all.iter_mut().enumerate() {
            one.stream.read_exact(&mut message).unwrap();
            let socket = fd(&one.stream);
            one.state.step(|connector| connector.advance(socket));
            if let State::Failed(reason) = one.state {
                one.state = State::Waiting;
                // Slots that others have are a reason to come again, which a burst is about; and claims that nobody has
                // heard leave all as if the chance had not been.
                one.between = matches!(reason, Reason::TooManySockets | Reason::Negotiating);
                if !one.between {
                    troubles.insert(format!("{index}:{}", reason.name()));
                }
            }
        }
    }
    let mut channels = std::collections::HashSet::new();
    let mut bound_count = 0;
    for one in &all {
        if let State::Bound(bound) = one.state {
            channels.insert(bound.channel.index());
            bound_count += 1;
            assert!(is_joined(&one.stream, &one.pair, End::Connecting, bound));
        }
    }
    let troubles: Vec<String> = troubles.into_iter().collect();
    format!("{bound_count} {} {}", channels.len(), troubles.join(","))
}

fn accept_burst(listener: &TcpListener, count: u32) -> String {
    let mut all: Vec<Burst<Acceptor>> = (0..count)
        .map(|_| Burst::new(listener.accept().unwrap().0, false))
        .collect();
    let mut message = [0; MESSAGE_BYTES];
    let mut troubles = std::collections::BTreeSet::new();
    loop {
        // Every client sends once a round, so plain turns serve all of them.
        for (index, one) in all.iter_mut().enumerate() {
            if one.stream.read_exact(&mut message).is_err() {
                let bound = all
                    .iter()
                    .filter(|one| matches!(one.state, State::Bound(_)))
                    .count();
                let troubles: Vec<String> = troubles.into_iter().collect();
                return format!("{bound} {}", troubles.join(","));
            }
            let socket = fd(&one.stream);
            if matches!(one.state, State::Waiting) {
                let may_dial = matches!(one.exchange, 1 | 7 | 63);
                if may_dial || (one.exchange > 0 && Acceptor::may_have_claims(&one.pair)) {
                    let wanted = Wanted { may_dial, ..WANTED };
                    if let Ok(Some(acceptor)) = Acceptor::probe(socket, &one.pair, wanted) {
                        one.state = State::Negotiating(acceptor);
                    }
                }
            }
            one.state.step(|acceptor| acceptor.advance(socket));
            if let State::Failed(reason) = one.state {
                troubles.insert(format!("{index}:{}", reason.name()));
                one.state = State::Waiting;
            }
            one.exchange += 1;
            one.stream.write_all(&message).unwrap();
        }
    }
}

#[test]
fn a_burst_of_three_hundred_connections_binds_within_a_hundred_exchanges() {
    unless_too_busy(|| {
        let listener = listener();
        let port = listener.local_addr().unwrap().port().to_string();
        // SAFETY: a duplicate without close-on-exec, for the child.
        let inherited = unsafe { libc::dup(listener.as_raw_fd()) };
        let s = start(&["accept_burst", &inherited.to_string(), "300"]);
        let c = start(&["connect_burst", &port, "300", "100"]);
        let (c, s) = (finish(c), finish(s));
        // SAFETY: ours, see above.
        unsafe { libc::close(inherited) };
        let channels: u32 = c[1].parse().unwrap();
        if (&c[0][..], &s[0][..]) != ("300", "300") || channels > 6 {
            // What S fails at C tries again.
            return Err(Trouble::of(
                format!("C bound, channels: {:?}; S bound: {}", &c[..2], s[0]),
                &[(c.get(2), s.get(1))],
            ));
        }
        Ok(())
    });
}
