//! Attackers of the same user who hold neither socket (TRUST.md rows 6 and 7). Each must get nothing, and each must
//! succeed in a build with the feature `without-knock`: otherwise the test would prove nothing about the knock.

use super::attackers::{FalseAcceptor, Squatter, judge, socket, take_name};
use super::late::{HANDSHAKE, always, unless_late};
use super::{Outcome, connection, failure, fd, leave, listener};
use crate::discovery::offer::Sent;
use crate::discovery::{Chance, Progress, knock, name};
use kmod_interface::handshake::End;
use kmod_interface::reason::Reason;
use rustix::fd::AsFd;

#[test]
fn a_squatter_on_the_box_name_gets_nothing() {
    for _ in 0..200 {
        unless_late(HANDSHAKE, || {
            let connection = connection(&listener());
            let before = connection.shown();
            let mut squatter = Squatter::new(&connection.pair);
            let mut s = connection.probe().unwrap().expect("dials the squatter");
            squatter.admit();
            assert!(matches!(s.advance(fd(&connection.s)), Progress::Pending));
            squatter.take();
            let mut progress = s.advance(fd(&connection.s));
            if matches!(progress, Progress::Pending) {
                squatter.claim_to_be_bound();
                progress = s.advance(fd(&connection.s));
            }
            judge(progress, "squatter");
            assert_eq!(connection.shown(), before);
            // The true C finds its name taken.
            assert_eq!(
                connection.open(Chance::First).err(),
                Some(Reason::NameTaken)
            );
        });
    }
}

#[test]
fn memory_that_comes_back_with_another_header_is_refused() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut squatter = Squatter::new(&connection.pair);
        let mut s = connection.probe().unwrap().expect("dials the squatter");
        squatter.admit();
        assert!(matches!(s.advance(fd(&connection.s)), Progress::Pending));
        squatter.take_as_class(Some(1));
        // One that knocks as it was asked to; only the header is wrong.
        let offer = squatter.offer.expect("taken");
        knock::change(fd(&connection.c), connection.shown().0, offer.knock_value).unwrap();
        assert_eq!(failure(s.advance(fd(&connection.s))), Reason::BadOffer);
    });
}

#[test]
fn a_false_acceptor_gets_nothing() {
    for _ in 0..200 {
        unless_late(HANDSHAKE, || {
            let connection = connection(&listener());
            let before = connection.shown();
            let mut c = connection.open(Chance::First).unwrap();
            let false_acceptor = FalseAcceptor::new(&connection, true);
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            assert_eq!(false_acceptor.send(), Sent::Done);
            // The true S finds its name taken.
            if knock::REQUIRED {
                assert_eq!(connection.probe().err(), Some(Reason::NameTaken));
            }
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            false_acceptor.claim_to_know();
            judge(c.advance(fd(&connection.c)), "false acceptor");
            assert_eq!(connection.shown(), before);
        });
    }
}

#[test]
fn a_relay_between_the_true_ends_gets_nothing() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let before = connection.shown();
        // It squats, and S dials it; it lets the box name go, C opens its box, and the relay dials that.
        let mut towards_s = Squatter::new(&connection.pair);
        let mut s = connection.probe().unwrap().expect("dials the relay");
        towards_s.admit();
        towards_s.listener = socket();
        let mut c = connection.open_again(Chance::First);
        let towards_c = FalseAcceptor::new(&connection, false);
        let taken = take_name(&towards_c.dialer, &connection.pair, End::Accepting);
        assert_eq!(
            taken,
            Err(libc::EADDRINUSE),
            "S holds its name while it knocks"
        );
        assert!(matches!(s.advance(fd(&connection.s)), Progress::Pending));
        towards_s.take();
        // C lets no nameless dialer in, however often it looks.
        for _ in 0..3 {
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        }
        if knock::REQUIRED {
            always(towards_c.send() != Sent::Done, "the relay is let in");
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            c.abandon(fd(&connection.c));
        } else {
            assert_eq!(towards_c.send(), Sent::Done);
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            towards_c.claim_to_know();
            judge(c.advance(fd(&connection.c)), "relay towards C");
        }
        // Towards S it is a squatter who cannot make C knock.
        let mut progress = s.advance(fd(&connection.s));
        if matches!(progress, Progress::Pending) {
            towards_s.claim_to_be_bound();
            progress = s.advance(fd(&connection.s));
        }
        judge(progress, "relay towards S");
        assert_eq!(connection.shown(), before);
    });
}

#[test]
fn a_nameless_or_wrongly_named_dialer_is_not_let_in() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut c = connection.open(Chance::First).unwrap();
        let nameless: Vec<_> = (0..5)
            .map(|_| FalseAcceptor::new(&connection, false))
            .collect();
        let misnamed = FalseAcceptor::new(&connection, false);
        let mut other = connection.pair;
        other.accept_port ^= 1;
        take_name(&misnamed.dialer, &other, End::Accepting).unwrap();
        for _ in 0..8 {
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        }
        for dialer in nameless.iter().chain([&misnamed]) {
            if knock::REQUIRED {
                always(dialer.send() != Sent::Done, "a wrong dialer is let in");
            }
        }
        if !knock::REQUIRED {
            return c.abandon(fd(&connection.c));
        }
        // And the true S comes through behind them.
        let s = connection.probe().unwrap().unwrap();
        match connection.run(c, s) {
            (Outcome::Bound(c), Outcome::Bound(s), _) => leave((c, s)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_dialer_that_takes_its_name_only_after_it_was_seen_is_let_in_at_the_next_call() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut c = connection.open(Chance::First).unwrap();
        let late = FalseAcceptor::new(&connection, false);
        assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        take_name(&late.dialer, &connection.pair, End::Accepting).unwrap();
        assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        assert_eq!(late.send(), Sent::Done);
        c.abandon(fd(&connection.c));
    });
}

#[test]
fn strangers_who_fill_the_box_keep_s_on_the_kernel_path_with_a_reason() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut c = connection.open(Chance::First).unwrap();
        let address = name::address(&connection.pair, End::Connecting);
        let mut strangers = Vec::new();
        let full = loop {
            let stranger = socket();
            match name::dial(stranger.as_fd(), &address) {
                Ok(()) => strangers.push(stranger),
                Err(errno) => break errno,
            }
        };
        assert_eq!((full, strangers.len()), (libc::EAGAIN, 17));
        assert_eq!(connection.probe().err(), Some(Reason::NameTaken));
        // C clears them away, a few at each call, and S comes through at its next chance.
        if knock::REQUIRED {
            for _ in 0..36 {
                assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            }
            let s = connection.probe().unwrap().unwrap();
            match connection.run(c, s) {
                (Outcome::Bound(c), Outcome::Bound(s), _) => leave((c, s)),
                other => panic!("{other:?}"),
            }
        } else {
            c.abandon(fd(&connection.c));
        }
    });
}

#[test]
fn descriptors_sent_to_a_box_before_it_knows_the_dialer_are_refused_by_the_kernel() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let c = connection.open(Chance::First).unwrap();
        let bomb = FalseAcceptor::new(&connection, true);
        // EPERM where SO_PASSRIGHTS exists (Linux 6.16).
        let sent = bomb.send();
        always(sent != Sent::Done, "descriptors in a box");
        assert_eq!(sent, Sent::NotYet);
        c.abandon(fd(&connection.c));
    });
}
