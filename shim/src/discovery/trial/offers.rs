//! Malformed offers and wrong memory from somebody who has the right name and user: the connection stays on the kernel
//! path with a reason, nothing stays open, nothing stays mapped.

use super::attackers::FalseAcceptor;
use super::late::{HANDSHAKE, unless_late};
use super::{Connection, connection, failure, fd, listener};
use crate::discovery::offer::Sent;
use crate::discovery::{Chance, Progress};
use fastpath::memory::descriptor::Descriptor;
use kmod_interface::handshake::{OFFER_BYTES, Offer};
use kmod_interface::reason::Reason;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::IoSlice;
use std::mem::MaybeUninit;

/// Sends any bytes with any descriptors.
fn send_raw(dialer: &Descriptor, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let rights = rustix::net::SendAncillaryMessage::ScmRights(descriptors);
        assert!(control.push(rights));
    }
    let parts = [IoSlice::new(bytes)];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    rustix::net::sendmsg(dialer, &parts, &mut control, flags).expect("sent");
}

/// What C says after an offer that `send` sends.
fn verdict(send: impl Fn(&Connection, &mut FalseAcceptor)) -> Reason {
    unless_late(HANDSHAKE, || verdict_once(&send))
}

fn verdict_once(send: impl Fn(&Connection, &mut FalseAcceptor)) -> Reason {
    let connection = connection(&listener());
    let before = connection.shown();
    let mut c = connection.open(Chance::First).unwrap();
    let mut liar = FalseAcceptor::new(&connection, true);
    assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
    send(&connection, &mut liar);
    let mut progress = c.advance(fd(&connection.c));
    if matches!(progress, Progress::Pending) {
        liar.claim_to_know();
        progress = c.advance(fd(&connection.c));
    }
    assert_eq!(connection.shown(), before);
    let reason = failure(progress);
    assert_ne!(reason, Reason::TimedOut, "no word of the offer");
    reason
}

fn with_offer(change: impl Fn(&mut Offer)) -> Reason {
    verdict(|_, liar| {
        change(&mut liar.offer);
        assert_eq!(liar.send(), Sent::Done);
    })
}

fn with_bytes(bytes: &[u8]) -> Reason {
    verdict(|_, liar| {
        let memories = [liar.own_memory.as_fd(), liar.given_memory.as_fd()];
        send_raw(&liar.dialer, bytes, &memories);
    })
}

#[test]
fn wrong_lengths_are_bad_offers() {
    for length in [
        1,
        OFFER_BYTES - 1,
        OFFER_BYTES + 1,
        OFFER_BYTES + 2,
        4096,
        65536,
    ] {
        assert_eq!(with_bytes(&vec![0; length]), Reason::BadOffer, "{length}");
    }
}

#[test]
fn wrong_magic_and_versions_are_told_apart() {
    let spoil = |at: usize, value: u8| {
        verdict(|_, liar| {
            let mut bytes = liar.offer.to_bytes();
            bytes[at] = value;
            let memories = [liar.own_memory.as_fd(), liar.given_memory.as_fd()];
            send_raw(&liar.dialer, &bytes, &memories);
        })
    };
    assert_eq!(spoil(0, 0), Reason::BadOffer);
    assert_eq!(spoil(6, 9), Reason::VersionMismatch);
    // A later minor version is taken, and what fails then is the proof.
    if crate::discovery::knock::REQUIRED {
        assert_eq!(spoil(4, 9), Reason::ProofFailed);
    }
}

#[test]
fn fields_out_of_range_are_bad_offers() {
    assert_eq!(with_offer(|offer| offer.class = 3), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.class = u32::MAX), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.slot = 16), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.slot = u32::MAX), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.generation = 0), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.knock_value = 32), Reason::BadOffer);
    // The class of other memory than was sent.
    assert_eq!(with_offer(|offer| offer.class = 1), Reason::BadOffer);
    assert_eq!(with_offer(|offer| offer.class = 2), Reason::BadOffer);
}

#[test]
fn wrong_cookies_are_bad_offers() {
    assert_eq!(
        with_offer(|offer| offer.connect_cookie += 1),
        Reason::BadOffer
    );
    assert_eq!(
        with_offer(|offer| offer.accept_cookie = 0),
        Reason::BadOffer
    );
}

#[test]
fn too_few_and_too_many_descriptors_are_bad_offers_and_none_stays_open() {
    for count in [0, 1, 3, 8] {
        let reason = verdict(|_, liar| {
            let all = [&liar.own_memory, &liar.given_memory];
            let memories: Vec<_> = (0..count).map(|index| all[index % 2].as_fd()).collect();
            send_raw(&liar.dialer, &liar.offer.to_bytes(), &memories);
        });
        assert_eq!(reason, Reason::BadOffer, "{count}");
    }
}

#[test]
fn descriptors_of_other_kinds_are_bad_offers() {
    let kinds: [Descriptor; 3] = [
        rustix::pipe::pipe().unwrap().0.into(),
        rustix::event::eventfd(0, rustix::event::EventfdFlags::empty())
            .unwrap()
            .into(),
        unsealed(),
    ];
    for kind in kinds {
        for place in 0..2 {
            let reason = verdict(|_, liar| {
                let mut memories = [liar.own_memory.as_fd(), liar.given_memory.as_fd()];
                memories[place] = kind.as_fd();
                send_raw(&liar.dialer, &liar.offer.to_bytes(), &memories);
            });
            assert_eq!(reason, Reason::BadOffer);
        }
    }
    // The right memories in the wrong order.
    let swapped = verdict(|_, liar| {
        let memories = [liar.given_memory.as_fd(), liar.own_memory.as_fd()];
        send_raw(&liar.dialer, &liar.offer.to_bytes(), &memories);
    });
    assert_eq!(swapped, Reason::BadOffer);
}

fn unsealed() -> Descriptor {
    let memfd = rustix::fs::memfd_create(c"unsealed", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memfd, 128 << 10).unwrap();
    memfd.into()
}

#[test]
fn memory_with_holes_is_a_bad_offer() {
    let holes = unsealed();
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&holes, all).unwrap();
    let reason = verdict(|_, liar| {
        let memories = [holes.as_fd(), liar.given_memory.as_fd()];
        send_raw(&liar.dialer, &liar.offer.to_bytes(), &memories);
    });
    assert_eq!(reason, Reason::BadOffer);
}

#[test]
fn an_acceptor_that_hangs_up_is_noticed() {
    unless_late(HANDSHAKE, || {
        let connection = connection(&listener());
        let mut c = connection.open(Chance::First).unwrap();
        let liar = FalseAcceptor::new(&connection, true);
        assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
        drop(liar);
        // Soon: a child that another test forks at this moment has copies of all descriptors until it execs. As long as the
        // handshake lasts.
        let reason = (0..200).find_map(|_| match c.advance(fd(&connection.c)) {
            Progress::Pending => {
                std::thread::sleep(std::time::Duration::from_millis(5));
                None
            }
            progress => Some(failure(progress)),
        });
        assert_eq!(reason, Some(Reason::PeerLeft));
    });
}
