//! Attackers of the same user who hold neither socket (TRUST.md rows 6 and 7). Each must get nothing, and each must
//! succeed in a build with the feature `without-knock`: otherwise the test would prove nothing about the knock.

use super::{Connection, Outcome, connection, failure, fd, leave, listener, outcome};
use crate::discovery::offer::{self, Received, Sent};
use crate::discovery::{Chance, Connector, Progress, knock, look, name};
use fastpath::channel::claims::ClaimAnswer;
use fastpath::memory::descriptor::Descriptor;
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::shm;
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::header;
use kmod_interface::handshake::{AddressPair, End, Offer};
use kmod_interface::reason::Reason;
use rustix::fd::AsFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A socket of an attacker.
pub fn socket() -> Descriptor {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .unwrap()
        .into()
}

/// Takes a name, if it is free.
pub fn take_name(socket: &Descriptor, pair: &AddressPair, end: End) -> Result<(), i32> {
    name::hold(socket.as_fd(), &name::address(pair, end))
}

pub fn cookie_of(connection: &Connection, end: End) -> u64 {
    let socket = match end {
        End::Connecting => fd(&connection.s),
        End::Accepting => fd(&connection.c),
    };
    let other = match end {
        End::Connecting => End::Accepting,
        End::Accepting => End::Connecting,
    };
    look::far_end(socket, &connection.pair, other)
        .unwrap()
        .cookie
}

/// Somebody at the connecting end's name, who waits for S.
struct Squatter {
    listener: Descriptor,
    visitor: Option<Descriptor>,
    offer: Option<Offer>,
    regions: Option<(OwnRegion, FarRegion)>,
}

impl Squatter {
    fn new(pair: &AddressPair) -> Squatter {
        let listener = socket();
        take_name(&listener, pair, End::Connecting).expect("free name");
        rustix::net::listen(&listener, 16).unwrap();
        Squatter {
            listener,
            visitor: None,
            offer: None,
            regions: None,
        }
    }
    fn admit(&mut self) {
        let visitor = rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK).unwrap();
        self.visitor = Some(visitor.into());
    }
    /// Takes the offer, and claims to have knocked.
    fn take(&mut self) {
        self.take_as_class(None);
    }
    fn take_as_class(&mut self, class: Option<u32>) {
        let visitor = self.visitor.as_ref().unwrap().as_fd();
        let Received { offer, far, own } = offer::receive(visitor).unwrap().expect("an offer");
        let (own, far) = shm::take_offered(far.as_fd(), own.as_fd(), offer.class).unwrap();
        fastpath::channel::table::write_header(&own);
        if let Some(class) = class {
            own.word32(header::CLASS).store(class, Ordering::Relaxed);
        }
        own.word32(header::KNOCK_VALUE).store(7, Ordering::Relaxed);
        own.word32(header::MAPPED).store(1, Ordering::Release);
        self.offer = Some(offer);
        self.regions = Some((own, far));
    }
    fn claim_to_be_bound(&self) {
        let (own, _) = self.regions.as_ref().unwrap();
        own.word32(header::BOUND).store(1, Ordering::Release);
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        if let Some((own, far)) = self.regions.take() {
            own.unmap();
            far.unmap();
        }
    }
}

/// Somebody who dials C's box in the place of S.
pub struct FalseAcceptor {
    pub dialer: Descriptor,
    pub own_memory: Descriptor,
    pub given_memory: Descriptor,
    pub own: OwnRegion,
    pub offer: Offer,
}

impl FalseAcceptor {
    pub fn new(connection: &Connection, holds_name: bool) -> FalseAcceptor {
        let dialer = socket();
        name::dial(
            dialer.as_fd(),
            &name::address(&connection.pair, End::Connecting),
        )
        .expect("a box");
        if holds_name {
            take_name(&dialer, &connection.pair, End::Accepting).expect("free name");
        }
        let own_memory = shm::make_memfd(0).unwrap();
        let given_memory = shm::make_memfd(0).unwrap();
        shm::seal_size(given_memory.as_fd()).unwrap();
        let own = OwnRegion::map_and_seal(own_memory.as_fd(), 0).unwrap();
        FalseAcceptor {
            dialer,
            own_memory,
            given_memory,
            own,
            offer: Offer {
                features: 0,
                connect_cookie: cookie_of(connection, End::Connecting),
                accept_cookie: cookie_of(connection, End::Accepting),
                class: 0,
                knock_value: 9,
                slot: 0,
                generation: 1,
            },
        }
    }
    pub fn send(&self) -> Sent {
        let memories = [self.own_memory.as_fd(), self.given_memory.as_fd()];
        offer::send(self.dialer.as_fd(), &self.offer, memories)
    }
    pub fn claim_to_know(&self) {
        self.own.word32(header::KNOWN).store(1, Ordering::Release);
    }
}

impl Drop for FalseAcceptor {
    fn drop(&mut self) {
        self.own.unmap();
    }
}

/// The attack got nothing; in builds without the knock it got everything.
fn judge(progress: Progress, what: &str) {
    match outcome(progress) {
        Some(Outcome::Failed(Reason::ProofFailed)) if knock::REQUIRED => {}
        Some(Outcome::Bound(bound)) if !knock::REQUIRED => bound.channel.release(),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_squatter_on_the_box_name_gets_nothing() {
    let listener = listener();
    for _ in 0..200 {
        let connection = connection(&listener);
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
    }
}

#[test]
fn memory_that_comes_back_with_another_header_is_refused() {
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
}

#[test]
fn a_false_acceptor_gets_nothing() {
    let listener = listener();
    for _ in 0..200 {
        let connection = connection(&listener);
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
    }
}

#[test]
fn a_relay_between_the_true_ends_gets_nothing() {
    let connection = connection(&listener());
    let before = connection.shown();
    // It squats, and S dials it; it lets the box name go, C opens its box, and the relay dials that.
    let mut towards_s = Squatter::new(&connection.pair);
    let mut s = connection.probe().unwrap().expect("dials the relay");
    towards_s.admit();
    towards_s.listener = socket();
    let mut c = connection
        .open(Chance::First)
        .expect("the name is free again");
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
        assert_ne!(towards_c.send(), Sent::Done);
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
}

#[test]
fn a_nameless_or_wrongly_named_dialer_is_not_let_in() {
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
            assert_ne!(dialer.send(), Sent::Done);
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
}

#[test]
fn a_dialer_that_takes_its_name_only_after_it_was_seen_is_let_in_at_the_next_call() {
    let connection = connection(&listener());
    let mut c = connection.open(Chance::First).unwrap();
    let late = FalseAcceptor::new(&connection, false);
    assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
    take_name(&late.dialer, &connection.pair, End::Accepting).unwrap();
    assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
    assert_eq!(late.send(), Sent::Done);
    c.abandon(fd(&connection.c));
}

#[test]
fn strangers_who_fill_the_box_keep_s_on_the_kernel_path_with_a_reason() {
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
}

#[test]
fn descriptors_sent_to_a_box_before_it_knows_the_dialer_are_refused_by_the_kernel() {
    let connection = connection(&listener());
    let c = connection.open(Chance::First).unwrap();
    let bomb = FalseAcceptor::new(&connection, true);
    // EPERM where SO_PASSRIGHTS exists (Linux 6.16).
    assert_eq!(bomb.send(), Sent::NotYet);
    c.abandon(fd(&connection.c));
}

#[test]
fn a_partner_who_claims_anothers_connection_gets_nothing() {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    // The far end of `bound.1` is the liar: it knows everything about the victim but does not hold its socket.
    for failures in 1..=9 {
        let victim = connection(&listener);
        let cookie = cookie_of(&victim, End::Connecting);
        let Some(ticket) = bound.0.channel.claim_begin(&victim.pair, cookie, 5) else {
            panic!("no place");
        };
        let found = victim.probe();
        if failures == 9 && knock::REQUIRED {
            assert!(found.unwrap().is_none(), "the channel takes no more");
            break;
        }
        let mut s = found.unwrap().expect("the claim is found");
        let ClaimAnswer::Given {
            slot, generation, ..
        } = bound.0.channel.claim_answer(ticket)
        else {
            panic!("not answered");
        };
        bound.0.channel.claim_acknowledge(ticket);
        judge(s.advance(fd(&victim.s)), "liar");
        assert_eq!(
            bound.0.channel.claim_outcome(ticket),
            Some(!knock::REQUIRED)
        );
        bound.0.channel.claim_end(ticket);
        let _ = (slot, generation);
    }
    leave(bound);
}

#[test]
fn a_partner_who_answers_for_anothers_connection_gets_nothing() {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    // The far end of `bound.0` is the liar: it answers a claim although another process holds the accepted socket.
    let victim = connection(&listener);
    let before = victim.shown();
    let mut c = victim.open(Chance::First).unwrap();
    let found = bound.1.channel.claim_find(&victim.pair).unwrap();
    assert!(bound.1.channel.claim_take(found.ticket));
    let (slot, generation) = bound.1.channel.allocate_slot().unwrap();
    bound
        .1
        .channel
        .claim_give(found.ticket, slot, generation, 3);
    let progress = c.advance(fd(&victim.c));
    if knock::REQUIRED {
        assert_eq!(failure(progress), Reason::ProofFailed);
    } else {
        bound.1.channel.claim_bound(found.ticket);
        judge(c.advance(fd(&victim.c)), "liar");
    }
    assert_eq!(victim.shown(), before);
    leave(bound);
}

#[test]
fn impossible_answers_to_a_claim_are_a_failed_proof() {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    for (slot, generation, value) in [(16, 1, 0), (u32::MAX, 1, 0), (1, 0, 0), (1, 1, 32)] {
        let victim = connection(&listener);
        let mut c = victim.open(Chance::First).unwrap();
        let found = bound.1.channel.claim_find(&victim.pair).unwrap();
        assert!(bound.1.channel.claim_take(found.ticket));
        bound
            .1
            .channel
            .claim_give(found.ticket, slot, generation, value);
        assert_eq!(failure(c.advance(fd(&victim.c))), Reason::ProofFailed);
    }
    // A slot that is in use already, by a partner who does hold the socket.
    let third = connection(&listener);
    let mut c = third.open(Chance::First).unwrap();
    let found = bound.1.channel.claim_find(&third.pair).unwrap();
    assert!(bound.1.channel.claim_take(found.ticket));
    let before = third.shown();
    knock::change(fd(&third.s), before.1, found.knock_value).unwrap();
    bound
        .1
        .channel
        .claim_give(found.ticket, bound.1.slot, bound.1.generation, 3);
    assert!(matches!(c.advance(fd(&third.c)), Progress::Pending));
    bound.1.channel.claim_bound(found.ticket);
    assert_eq!(failure(c.advance(fd(&third.c))), Reason::BadOffer);
    assert_eq!(third.shown().0, before.0);
    leave(bound);
}

#[test]
fn a_claim_with_a_wrong_cookie_is_refused() {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    let victim = connection(&listener);
    let ticket = bound.0.channel.claim_begin(&victim.pair, 1, 5).unwrap();
    assert_eq!(victim.probe().err(), Some(Reason::ProofFailed));
    assert_eq!(bound.0.channel.claim_answer(ticket), ClaimAnswer::Refused);
    bound.0.channel.claim_end(ticket);
    let _: Option<Connector> = None;
    leave(bound);
}
