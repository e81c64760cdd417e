//! Requests and answers, and both directions at once.

use super::{Actor, Ended, fail};
use crate::torture::random::Random;
use crate::torture::status;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Exchanges before anything special, so that the connection is on the ring.
const WARM_UP_ROUNDS: u64 = 60;

impl Actor {
    pub(super) fn goal(&self, more: u64) -> u64 {
        self.notes.taken().load(SeqCst) + more
    }

    /// The survivor's requests and the victim's answers, so that both have seen the other's second request.
    pub(super) fn warm_up(&self, asks: bool) {
        self.exchange(asks, WARM_UP_ROUNDS, 64);
        if !self.script.pattern.has_small_buffers() {
            return;
        }
        // A direction that has carried much by the ring gets a longer one at its next upgrade: more than the kernel's
        // buffers will take.
        self.exchange(asks, WARM_UP_ROUNDS, 512);
        for wanted in [false, true] {
            let _ = status::accelerate(self.descriptor, wanted);
            self.exchange(asks, WARM_UP_ROUNDS, 64);
        }
    }

    pub(super) fn exchange(&self, asks: bool, rounds: u64, bytes: u64) {
        for _ in 0..rounds {
            for writes in [asks, !asks] {
                if writes {
                    if self.write_until(self.goal(bytes), 0) == Ended::Reset {
                        return;
                    }
                } else if self.read_some(bytes, 0) != Ended::Enough {
                    return;
                }
            }
        }
    }

    /// The victim asks; each request says how long it is in its first four bytes' place of a fixed series.
    pub(super) fn ping_pong(&self, rounds: u64, longest: u64) {
        let mut lengths = Random::new(self.script.seed, 77);
        for round in 0..rounds {
            let length = lengths.between(1, longest);
            if self.write_until(self.goal(length), 0) != Ended::Enough
                || self.read_some(length, 0) != Ended::Enough
            {
                fail(&format!(
                    "the survivor ended the connection in round {round}"
                ));
            }
            if round % 16 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    pub(super) fn answer_pings(&self) {
        let mut lengths = Random::new(self.script.seed, 77);
        for _ in 0..300 {
            let length = lengths.between(1, 3000);
            if self.read_some(length, 0) != Ended::Enough
                || self.write_until(self.goal(length), 0) != Ended::Enough
            {
                return;
            }
        }
    }

    pub(super) fn both_directions(&self, bytes: u64, toggles: bool) -> Ended {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let written = self.write_until(self.goal(bytes), 256);
                self.end_direction(written);
            });
            if toggles {
                scope.spawn(|| {
                    let mut random = self.random(5);
                    let mut enable = false;
                    while !over.load(SeqCst) {
                        std::thread::sleep(Duration::from_micros(random.between(100, 1500)));
                        let _ = status::accelerate(self.descriptor, enable);
                        enable = !enable;
                    }
                });
            }
            let ended = self.read_to_end(256);
            over.store(true, SeqCst);
            ended
        })
    }
}
