//! Connections beside the one that is judged, between the same two processes: they compete with it for slots and for ring
//! space.
//!
//! What they carry is of no account. Both ends take them in the same order, so that nothing but the order is agreed on.

use super::{Actor, Part, fail, must};
use crate::peer_death::pattern::Pattern;
use crate::torture::calls;
use crate::torture::status;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of a request, and of its answer.
const REQUEST_BYTES: usize = 64;
/// Rounds of one half of the companions, a pause after each: long enough for the other half to count as quiet.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(3);
/// Exchanges of a companion that is to have a longer ring.
const LONG_REQUEST_BYTES: usize = 600;
const LONG_ROUNDS: usize = 60;

/// Connects the companions.
pub(super) fn connect(pattern: Pattern, address: &SocketAddr) -> Vec<i32> {
    let one = |_| {
        let descriptor = must("socket", calls::stream_socket(address, 0));
        must("connect", calls::connect(descriptor, address));
        without_delay(descriptor)
    };
    (0..pattern.companions()).map(one).collect()
}

/// Accepts them.
pub(super) fn accept(pattern: Pattern, listener: i32) -> Vec<i32> {
    let one = |_| without_delay(must("accept", calls::accept(listener, 0)));
    (0..pattern.companions()).map(one).collect()
}

fn without_delay(descriptor: i32) -> i32 {
    let no_delay = calls::set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    must("TCP_NODELAY", no_delay);
    descriptor
}

impl Actor {
    /// Until an end dies: one half of the companions is busy, then the other, by a thread of its own. Each half needs
    /// what slots there are.
    pub(super) fn keep_company(&self) {
        let (companions, asks) = (self.companions.clone(), self.asks_companions());
        std::thread::spawn(move || {
            let half = companions.len().div_ceil(2);
            for busy in companions.chunks(half.max(1)).cycle() {
                for _ in 0..ROUNDS {
                    if !busy.iter().all(|one| exchange(*one, asks, REQUEST_BYTES)) {
                        return;
                    }
                    if asks {
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        });
    }

    /// The companions take the ring space of the channel, so that there is no larger ring for the connection itself: a
    /// direction that has carried much gets a longer one at its next upgrade.
    pub(super) fn take_ring_space(&self) {
        let asks = self.asks_companions();
        for one in &self.companions {
            let serve = || (0..LONG_ROUNDS).all(|_| exchange(*one, asks, LONG_REQUEST_BYTES));
            for wanted in [false, true] {
                if !serve() {
                    return;
                }
                let _ = status::accelerate(*one, wanted);
            }
            if !serve() {
                return;
            }
        }
    }

    /// A child that holds the connection, too, and does nothing: this end cannot leave the channel any more.
    pub(super) fn share_with_child(&self) {
        if must("fork", calls::fork()) != 0 {
            return;
        }
        let _ = calls::die_with_parent();
        for one in &self.companions {
            let _ = calls::close(*one);
        }
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn asks_companions(&self) -> bool {
        self.script.part == Part::Survivor
    }
}

/// One request and its answer. False when the other end has gone.
fn exchange(descriptor: i32, asks: bool, bytes: usize) -> bool {
    let turns = [asks, !asks];
    turns
        .iter()
        .all(|sends| transfer(descriptor, *sends, bytes))
}

fn transfer(descriptor: i32, sends: bool, bytes: usize) -> bool {
    let mut buffer = vec![0; bytes];
    let mut done = 0;
    while done < bytes {
        let outcome = if sends {
            calls::send(descriptor, &buffer[done..], libc::MSG_NOSIGNAL)
        } else {
            calls::recv(descriptor, &mut buffer[done..], 0)
        };
        match outcome {
            Ok(0) | Err(libc::EPIPE | libc::ECONNRESET) => return false,
            Ok(count) => done += count,
            Err(libc::EINTR) => {}
            Err(code) => fail(&format!("a companion: {}", calls::errno_text(code))),
        }
    }
    true
}
