//! One end gives a handshake up, at any of its steps.

use super::flow::{both_give_up, names_become_free, release_if_bound};
use super::late::{HANDSHAKE, always, unless_late};
use super::{Connection, connection, fd, listener};
use crate::discovery::{Acceptor, Chance, Connector, Progress};
use fastpath::channel::Role;
use kmod_interface::reason::Reason;

/// A handshake of which the two ends have made so many steps, in turn.
fn begun(connection: &Connection, steps: u32) -> (Connector, Acceptor) {
    let mut c = connection.open(Chance::First).unwrap();
    let mut s = connection.probe().unwrap().unwrap();
    let mut ended = (false, false);
    for step in 0..steps {
        if step % 2 == 0 && !ended.0 {
            ended.0 = release_if_bound(c.advance(fd(&connection.c)));
        } else if step % 2 == 1 && !ended.1 {
            ended.1 = release_if_bound(s.advance(fd(&connection.s)));
        }
    }
    (c, s)
}

#[test]
fn giving_up_at_any_step_restores_the_options_and_frees_the_names() {
    for steps in 0..8 {
        for c_first in [true, false] {
            unless_late(HANDSHAKE, || {
                let connection = connection(&listener());
                let before = connection.shown();
                let (c, s) = begun(&connection, steps);
                both_give_up(&connection, c, s, c_first);
                assert_eq!(connection.shown(), before, "after {steps} steps");
                assert!(names_become_free(&connection), "after {steps} steps");
                let port = connection.pair.accept_port;
                let left = [Role::Connecting, Role::Accepting].map(|role| {
                    fastpath::channel::table::claimable(role, connection.pair.accept_address, port)
                        .count()
                });
                assert_eq!(left, [0, 0], "after {steps} steps");
            });
        }
    }
}

/// Its knock goes with the handshake; the other end finds none, and no lie.
#[test]
fn who_gives_up_a_handshake_is_not_called_a_liar() {
    for steps in 0..8 {
        for c_gives_up in [true, false] {
            unless_late(HANDSHAKE, || {
                let connection = connection(&listener());
                let (mut c, mut s) = begun(&connection, steps);
                if c_gives_up {
                    c.abandon(fd(&connection.c));
                } else {
                    s.abandon(fd(&connection.s));
                }
                for _ in 0..4 {
                    let progress = match c_gives_up {
                        true => s.advance(fd(&connection.s)),
                        false => c.advance(fd(&connection.c)),
                    };
                    match progress {
                        Progress::Failed(reason) => {
                            let is_lie = reason == Reason::ProofFailed;
                            always(!is_lie, format_args!("a liar after {steps} steps"));
                        }
                        Progress::Bound(bound) => bound.channel.release(),
                        Progress::Pending => {}
                    }
                }
                c.abandon(fd(&connection.c));
                s.abandon(fd(&connection.s));
            });
        }
    }
}
