//! The normative flow, both ends in one process.

use super::late::{ATTEMPTS_MAX, CLAIM, HANDSHAKE, unless_late};
use super::{Connection, Outcome, connection, connection_to, failure, fd, leave, listener};
use crate::discovery::patience::STALE_CLAIM_MS;
use crate::discovery::{Acceptor, Chance, Connector, Progress, look, name};
use fastpath::channel::Role;
use fastpath::sync::Ordering;
use kmod_interface::handshake::End;
use kmod_interface::reason::Reason;
use rustix::fd::AsFd;
use std::net::TcpListener;

/// Both names can be taken by anybody again.
fn names_are_free(connection: &Connection) -> bool {
    [End::Connecting, End::Accepting].into_iter().all(|end| {
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            None,
        )
        .unwrap();
        name::hold(socket.as_fd(), &name::address(&connection.pair, end)).is_ok()
    })
}

/// The same, soon: a child that another test forks at this moment has copies of all descriptors until it execs.
pub(super) fn names_become_free(connection: &Connection) -> bool {
    (0..400).any(|_| {
        names_are_free(connection) || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            false
        }
    })
}

#[test]
fn a_handshake_binds_both_ends_and_leaves_nothing_behind() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let before = connection.shown();
        let c = connection.open(Chance::First).unwrap();
        let s = connection.probe().unwrap().unwrap();
        assert!(!names_are_free(&connection));
        let (c, s, rounds) = connection.run(c, s);
        let (Outcome::Bound(c), Outcome::Bound(s)) = (c, s) else {
            panic!("not bound");
        };
        assert!(rounds <= 5, "{rounds} rounds");
        assert_eq!(connection.shown(), before);
        assert!(names_become_free(&connection));
        assert_eq!((c.slot, c.generation), (s.slot, s.generation));
        assert_eq!(c.channel.role(), Role::Connecting);
        assert_eq!(s.channel.role(), Role::Accepting);
        // The two are really two ends of one channel.
        let (own, far) = (
            c.channel.own_entry(c.slot).unwrap(),
            s.channel.far_entry(s.slot).unwrap(),
        );
        own.tail().store(4711, Ordering::Release);
        assert_eq!(far.tail().load(Ordering::Acquire), 4711);
        let cookie = far.cookie().load(Ordering::Relaxed);
        let seen = look::far_end(fd(&connection.s), &connection.pair, End::Accepting).unwrap();
        assert_eq!(cookie, seen.cookie);
        leave((c, s));
    });
}

#[test]
fn addresses_of_all_kinds_are_found() {
    // Connecting socket, listening socket; mapped addresses on IPv6 sockets are filed as IPv4.
    let kinds: &[(&str, &str)] = &[
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        ("127.0.0.1:0", "[::ffff:127.0.0.1]"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "[::ffff:127.0.0.1]"),
        ("[::]:0", "[::1]"),
        ("127.0.0.77:0", "127.0.0.77"),
    ];
    for (bind, connect) in kinds {
        let listener = TcpListener::bind(bind).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = format!("{connect}:{port}").parse().unwrap();
        let connection = connection_to(&listener, address);
        for end in [End::Connecting, End::Accepting] {
            let socket = match end {
                End::Connecting => fd(&connection.c),
                End::Accepting => fd(&connection.s),
            };
            let seen = look::far_end(socket, &connection.pair, end)
                .unwrap_or_else(|reason| panic!("{bind} {connect} {end:?}: {}", reason.name()));
            assert!(seen.is_accepted);
            assert_eq!(seen.user, rustix::process::geteuid().as_raw());
            let (c, s) = connection.shown();
            assert_eq!(seen.shown, if end == End::Connecting { s } else { c });
        }
        leave(connection.bind(Chance::First));
        assert_eq!(connection.shown().0, connection.shown().0);
    }
}

#[test]
fn every_knock_value_is_seen_at_the_far_end_of_every_kind_of_socket() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let connection = connection(&TcpListener::bind(bind).unwrap());
        for value in 0..32 {
            let shown = connection.shown().0;
            super::knock::change(fd(&connection.c), shown, value).unwrap();
            assert_eq!(connection.shown().0, value);
            let seen = look::far_end(fd(&connection.s), &connection.pair, End::Accepting);
            assert_eq!(seen.unwrap().shown, value);
        }
    }
}

#[test]
fn ten_later_connections_claim_slots_in_the_same_channel() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        let mut others = Vec::new();
        for _ in 0..10 {
            let connection = connection(&listener);
            let before = connection.shown();
            let c = connection.open(Chance::First).unwrap();
            assert!(names_become_free(&connection), "a claim needs no box");
            let s = connection.probe().unwrap().unwrap();
            let (c, s, rounds) = connection.run(c, s);
            let (Outcome::Bound(c), Outcome::Bound(s)) = (c, s) else {
                panic!("not bound");
            };
            assert!(rounds <= 2, "{rounds} rounds");
            assert_eq!(connection.shown(), before);
            assert_eq!(c.channel.index(), bound.0.channel.index());
            assert_eq!(s.channel.index(), bound.1.channel.index());
            assert_eq!((c.slot, c.generation), (s.slot, s.generation));
            others.push((connection, (c, s)));
        }
        assert_eq!(bound.0.channel.members(), 11);
        for (_, bound) in others {
            leave(bound);
        }
        // Slots circulate: many more connections than slots, one after the other.
        for _ in 0..40 {
            let connection = connection(&listener);
            let bound = connection.bind(Chance::Between);
            leave(bound);
        }
        leave(bound);
    });
}

#[test]
fn when_the_slots_are_out_c_summons_s_to_a_larger_channel() {
    unless_late(CLAIM, || {
        let listener = listener();
        let mut bound = Vec::new();
        let between = super::Wanted {
            may_dial: false,
            ..super::WANTED
        };
        for index in 0..17 {
            let connection = connection(&listener);
            if index == 0 {
                bound.push((connection.bind(Chance::First), connection));
                continue;
            }
            // No chance for a box or a dial; the claim alone brings the two together.
            let c = connection.open(Chance::Between).unwrap();
            assert!(super::Acceptor::may_have_claims(&connection.pair));
            let s = super::Acceptor::probe(fd(&connection.s), &connection.pair, between);
            match connection.run(c, s.unwrap().unwrap()) {
                (Outcome::Bound(c), Outcome::Bound(s), _) => bound.push(((c, s), connection)),
                other => panic!("{other:?}"),
            }
        }
        let channels: std::collections::HashSet<_> =
            bound.iter().map(|((_, s), _)| s.channel.index()).collect();
        assert_eq!(channels.len(), 2);
        assert_eq!(bound[16].0.1.channel.layout().slots, 128);
        for (bound, _) in bound {
            leave(bound);
        }
    });
}

#[test]
fn at_the_limit_of_slots_a_summons_is_refused_on_both_sides() {
    unless_late(CLAIM, || {
        let listener = listener();
        let small = super::Wanted {
            class_max: 0,
            ..super::WANTED
        };
        let mut bound = vec![(connection(&listener)).bind(Chance::First)];
        let held: Vec<_> = (1..16).map(|_| connection(&listener)).collect();
        bound.extend(held.iter().map(|connection| connection.bind(Chance::First)));
        let late = connection(&listener);
        for chance in [Chance::First, Chance::Between] {
            let mut c = late.open(chance).unwrap();
            let s = super::Acceptor::probe(fd(&late.s), &late.pair, small);
            assert_eq!(s.err(), Some(Reason::TooManySockets));
            assert_eq!(failure(c.advance(fd(&late.c))), Reason::TooManySockets);
            assert!(names_become_free(&late));
        }
        // Dialling for a box of a process that has its share is refused, too.
        let mut c = late.open(Chance::Later).unwrap();
        bound[0].0.channel.claim_failed();
        let s = super::Acceptor::probe(fd(&late.s), &late.pair, small);
        assert_eq!(s.err(), Some(Reason::TooManySockets));
        assert!(matches!(c.advance(fd(&late.c)), Progress::Failed(_)));
        // One leaves, and the late one has its place.
        leave(bound.pop().unwrap());
        bound.push(late.bind(Chance::Between));
        bound.into_iter().for_each(leave);
    });
}

#[test]
fn a_peer_without_axio_is_found_out_and_costs_nothing_lasting() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let before = connection.shown();
        assert!(connection.probe().unwrap().is_none());
        let mut c = connection.open(Chance::First).unwrap();
        for _ in 0..63 {
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        }
        assert_eq!(failure(c.advance(fd(&connection.c))), Reason::PeerHasNoAxio);
        assert_eq!(
            failure(c.advance(fd(&connection.c))),
            Reason::TimedOut,
            "gone"
        );
        assert!(names_become_free(&connection));
        assert_eq!(connection.shown(), before);
    });
}

/// Of two threads with the same connection one ends the negotiation, and then tells the endpoint: the other must not meet
/// one that has ended before the word of it can be there.
#[test]
fn who_comes_while_a_negotiation_ends_finds_it_busy() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut c = connection.open(Chance::First).unwrap();
        let mut s = connection.probe().unwrap().unwrap();
        let (c_number, s_number) = (c.to_number(), s.to_number());
        let (mut c_seen, mut s_seen) = (None, None);
        for _ in 0..20_000 {
            if c_seen.is_none() {
                let tcp = fd(&connection.c);
                let progress = c.advance_or_end(tcp, || {
                    c_seen = Some(Connector::from_number(c_number).advance(tcp));
                });
                release_if_bound(progress);
            }
            if s_seen.is_none() {
                let tcp = fd(&connection.s);
                let progress = s.advance_or_end(tcp, || {
                    s_seen = Some(Acceptor::from_number(s_number).advance(tcp));
                });
                release_if_bound(progress);
            }
            if c_seen.is_some() && s_seen.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        assert!(matches!(c_seen, Some(Progress::Pending)));
        assert!(matches!(s_seen, Some(Progress::Pending)));
        let behind = Connector::from_number(c_number).advance(fd(&connection.c));
        assert_eq!(failure(behind), Reason::TimedOut);
    });
}

/// Both ends give up, C first or S first.
pub(super) fn both_give_up(connection: &Connection, c: Connector, s: Acceptor, c_first: bool) {
    if c_first {
        c.abandon(fd(&connection.c));
        s.abandon(fd(&connection.s));
    } else {
        s.abandon(fd(&connection.s));
        c.abandon(fd(&connection.c));
    }
}

#[test]
fn a_claim_given_up_at_any_step_costs_no_slot() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        for steps in 0..6 {
            for c_first in [true, false] {
                let connection = connection(&listener);
                let before = connection.shown();
                let mut c = connection.open(Chance::Between).unwrap();
                let mut s = connection.probe().unwrap().unwrap();
                let mut kept = Vec::new();
                for step in 0..steps {
                    let progress = if step % 2 == 0 {
                        c.advance(fd(&connection.c))
                    } else {
                        s.advance(fd(&connection.s))
                    };
                    if let Progress::Bound(bound) = progress {
                        kept.push(bound);
                    }
                }
                both_give_up(&connection, c, s, c_first);
                assert_eq!(connection.shown(), before, "after {steps} steps");
                for bound in kept {
                    bound.channel.slot_leave(bound.slot, bound.generation);
                    bound.channel.release();
                }
            }
        }
        // Orphans and leavers are cleared away by the next to ask.
        for _ in 0..3 {
            leave(connection(&listener).bind(Chance::Between));
        }
        assert_eq!(bound.0.channel.slots_in_use(), 1);
        assert_eq!(bound.1.channel.slots_in_use(), 1);
        assert_eq!(bound.0.channel.members(), 1);
        assert_eq!(bound.1.channel.members(), 1);
        leave(bound);
    });
}

#[test]
fn between_chances_nothing_is_tried_without_a_channel() {
    let connection = connection(&listener());
    assert_eq!(
        connection.open(Chance::Between).err(),
        Some(Reason::Negotiating)
    );
    assert!(names_become_free(&connection));
}

#[test]
fn a_burst_opens_two_boxes_and_the_others_claim_later() {
    unless_late(CLAIM, || {
        let opened_quickly = (0..ATTEMPTS_MAX).find_map(|_| {
            let listener = listener();
            let connections: Vec<_> = (0..6).map(|_| connection(&listener)).collect();
            let began = std::time::Instant::now();
            let opened: Vec<_> = connections
                .iter()
                .map(|connection| connection.open(Chance::First))
                .collect();
            // Boxes that stand for longer without a call are idle, and end for others.
            if began.elapsed().as_millis() > u128::from(STALE_CLAIM_MS) * 2 / 3 {
                let boxes = connections.iter().zip(opened);
                boxes.for_each(|(connection, open)| {
                    let _ = open.map(|c| c.abandon(fd(&connection.c)));
                });
                return None;
            }
            Some((connections, opened))
        });
        let (connections, opened) = opened_quickly.expect("a machine that is not too busy");
        assert_eq!(opened.iter().filter(|open| open.is_ok()).count(), 2);
        let mut bound = Vec::new();
        for (connection, open) in connections.iter().zip(opened) {
            match open {
                Ok(c) => {
                    let s = connection.probe().unwrap().unwrap();
                    match connection.run(c, s) {
                        (Outcome::Bound(c), Outcome::Bound(s), _) => bound.push((c, s)),
                        other => panic!("{other:?}"),
                    }
                }
                Err(reason) => assert_eq!(reason, Reason::Negotiating),
            }
        }
        for connection in &connections[2..] {
            bound.push(connection.bind(Chance::Between));
        }
        bound.into_iter().for_each(leave);
    });
}

#[test]
fn an_unanswered_claim_is_withdrawn_and_a_later_chance_opens_a_box() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        let second = connection(&listener);
        let mut c = second.open(Chance::First).unwrap();
        let mut calls = 0;
        let reason = loop {
            calls += 1;
            match c.advance(fd(&second.c)) {
                Progress::Pending => {}
                progress => break failure(progress),
            }
        };
        // As if the chance had not been.
        assert_eq!(reason, Reason::Negotiating);
        assert!(calls < 20, "{calls}");
        // A worker that does not hold this connection's claims is dialled all the same.
        let c = second.open(Chance::Later).unwrap();
        assert!(!names_are_free(&second));
        let s = second.probe().unwrap().unwrap();
        let (Outcome::Bound(c), Outcome::Bound(s), _) = second.run(c, s) else {
            panic!("not bound");
        };
        assert_eq!(
            c.channel.index(),
            bound.0.channel.index(),
            "the claim came first"
        );
        assert!(names_become_free(&second), "and the box was closed");
        leave((c, s));
        leave(bound);
    });
}

#[test]
fn a_far_end_that_is_not_on_this_host_gets_no_box() {
    let connection = connection(&listener());
    let mut pair = connection.pair;
    pair.connect_port ^= 1;
    let translated = super::Connector::open(fd(&connection.c), &pair, Chance::First);
    assert_eq!(translated.err(), Some(Reason::AddressTranslated));
    pair.accept_address[12..].copy_from_slice(&[192, 0, 2, 1]);
    pair.connect_address[12..].copy_from_slice(&[192, 0, 2, 2]);
    let elsewhere = super::Connector::open(fd(&connection.c), &pair, Chance::First);
    assert_eq!(elsewhere.err(), Some(Reason::AddressNotLocal));
}

#[test]
fn a_connection_whose_far_end_has_shut_down_is_not_negotiated() {
    let connection = connection(&listener());
    connection.s.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        connection.open(Chance::First).err(),
        Some(Reason::StreamEnded)
    );
}

#[test]
fn a_connection_nobody_accepted_has_no_far_end_yet() {
    let listener = listener();
    let c = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let pair = super::pair_of(&c, true);
    let seen = look::far_end(fd(&c), &pair, End::Connecting).unwrap();
    assert!(!seen.is_accepted);
}

pub(super) fn release_if_bound(progress: Progress) -> bool {
    match progress {
        Progress::Pending => false,
        Progress::Bound(bound) => {
            bound.channel.release();
            true
        }
        Progress::Failed(reason) => panic!("{}", reason.name()),
    }
}
