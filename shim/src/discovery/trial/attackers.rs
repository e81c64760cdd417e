//! Who attacks: somebody on the box's name, somebody in the place of the accepting end; and how the outcome is judged.

use super::late::always;
use super::{Connection, Outcome, fd, outcome};
use crate::discovery::offer::{self, Received, Sent};
use crate::discovery::{Progress, knock, look, name};
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
pub struct Squatter {
    pub listener: Descriptor,
    pub visitor: Option<Descriptor>,
    pub offer: Option<Offer>,
    pub regions: Option<(OwnRegion, FarRegion)>,
}

impl Squatter {
    pub fn new(pair: &AddressPair) -> Squatter {
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
    pub fn admit(&mut self) {
        let visitor = rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK).unwrap();
        self.visitor = Some(visitor.into());
    }
    /// Takes the offer, and claims to have knocked.
    pub fn take(&mut self) {
        self.take_as_class(None);
    }
    pub fn take_as_class(&mut self, class: Option<u32>) {
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
    pub fn claim_to_be_bound(&self) {
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
pub fn judge(progress: Progress, what: &str) {
    let outcome = outcome(progress);
    let is_bound = matches!(outcome, Some(Outcome::Bound(_)));
    always(!is_bound || !knock::REQUIRED, format_args!("{what}: bound"));
    match outcome {
        Some(Outcome::Failed(Reason::ProofFailed)) if knock::REQUIRED => {}
        Some(Outcome::Bound(bound)) if !knock::REQUIRED => bound.channel.release(),
        other => panic!("{what}: {other:?}"),
    }
}
