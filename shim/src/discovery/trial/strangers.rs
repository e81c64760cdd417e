//! Strangers of other users: who sits at C's name, or comes to its box with S's, gets nothing.

use super::attackers::{socket, take_name};
use super::processes::{become_other, is_skipped};
use super::role::{finish, start};
use super::{connection, failure, fd, listener};
use crate::discovery::offer::Sent;
use crate::discovery::{Chance, Progress, name};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use rustix::fd::AsFd;
use std::time::{Duration, Instant};

/// Every 5 ms: a minute, for a stranger that is slow to start.
const LOOKS: u32 = 12_000;

/// The roles of this file.
pub fn play(words: &[&str]) -> Option<String> {
    let number = |index: usize| -> u32 { words[index].parse().unwrap() };
    let role = match words[0] {
        "squat" => squat,
        "dial" => dial,
        _ => return None,
    };
    become_other(number(3), 0);
    Some(role(&loopback_pair(number(1) as u16, number(2) as u16)))
}

fn loopback_pair(connect_port: u16, accept_port: u16) -> AddressPair {
    let loopback = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    AddressPair {
        connect_address: loopback,
        accept_address: loopback,
        connect_port,
        accept_port,
    }
}

/// A stranger at C's name; waits until somebody has dialled and gone again.
fn squat(pair: &AddressPair) -> String {
    let listener = socket();
    take_name(&listener, pair, End::Connecting).expect("free name");
    rustix::net::listen(&listener, 1).unwrap();
    for _ in 0..LOOKS {
        if let Ok(visitor) = rustix::net::accept(&listener) {
            let mut byte = [0; 1];
            for _ in 0..1000 {
                let flags = rustix::net::RecvFlags::DONTWAIT;
                match rustix::net::recv(&visitor, &mut byte, flags) {
                    Ok((0, _)) => return "hung_up".to_owned(),
                    Ok(_) => return "talked".to_owned(),
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
                }
            }
            return "kept".to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    "nobody".to_owned()
}

/// A stranger at C's box, with S's name; how often it could send descriptors.
fn dial(pair: &AddressPair) -> String {
    let dialer = socket();
    take_name(&dialer, pair, End::Accepting).expect("free name");
    // Between two boxes there is none for a moment.
    let began = Instant::now();
    while let Err(errno) = name::dial(dialer.as_fd(), &name::address(pair, End::Connecting)) {
        assert_eq!(errno, libc::ECONNREFUSED);
        assert!(began.elapsed() < Duration::from_secs(10), "no box");
        std::thread::sleep(Duration::from_millis(1));
    }
    let memory = fastpath::path::shm::make_memfd(0).unwrap();
    let offer = kmod_interface::handshake::Offer {
        features: 0,
        connect_cookie: 0,
        accept_cookie: 0,
        class: 0,
        knock_value: 0,
        slot: 0,
        generation: 1,
    };
    for _ in 0..1000 {
        let memories = [memory.as_fd(), memory.as_fd()];
        match crate::discovery::offer::send(dialer.as_fd(), &offer, memories) {
            Sent::Done => return "sent".to_owned(),
            Sent::Gone => return "hung_up".to_owned(),
            Sent::NotYet | Sent::Refused(_) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
    "waiting".to_owned()
}

#[test]
fn a_squatter_of_another_user_is_seen_by_the_filter() {
    if is_skipped("needs root to become another user") {
        return;
    }
    let connection = connection(&listener());
    let (connect, accept) = (connection.pair.connect_port, connection.pair.accept_port);
    let stranger = start(&["squat", &connect.to_string(), &accept.to_string(), "1002"]);
    let found = (0..LOOKS).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        match connection.probe() {
            Ok(None) => None,
            Ok(Some(_)) => panic!("dialled a stranger"),
            Err(reason) => Some(reason),
        }
    });
    assert_eq!(found, Some(Reason::ProofFailed));
    assert_eq!(finish(stranger), ["hung_up"]);
}

#[test]
fn a_false_acceptor_of_another_user_is_not_let_in() {
    if is_skipped("needs root to become another user") {
        return;
    }
    let connection = connection(&listener());
    let mut c = connection.open(Chance::First).unwrap();
    let (connect, accept) = (connection.pair.connect_port, connection.pair.accept_port);
    let mut stranger = start(&["dial", &connect.to_string(), &accept.to_string(), "1002"]);
    while stranger.try_wait().unwrap().is_none() {
        // New boxes as the calls of one are used up, or its time: the stranger may be slow to start.
        match c.advance(fd(&connection.c)) {
            Progress::Pending => {}
            Progress::Failed(Reason::PeerHasNoAxio) => {
                c = connection.open_again(Chance::Later);
            }
            progress => panic!("{}", failure(progress).name()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    c.abandon(fd(&connection.c));
    assert_eq!(finish(stranger), ["hung_up"]);
}
