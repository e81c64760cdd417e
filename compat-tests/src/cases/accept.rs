//! accept(2) and accept4(2).

use crate::calls::connection::{self, Address};
use crate::calls::{files, options, readiness};
use crate::case;
use crate::case::{Case, ONE_OF_EACH_FAMILY, Proof, Start};
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("accept", accept_fills_in_the_address)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", accept_cuts_an_address_that_does_not_fit)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept4", accept4_sets_the_flags_asked_for)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept4", accept4_refuses_unknown_flags)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", nonblocking_accept_without_a_connection)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", blocking_accept_waits_for_a_connection)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", accepted_socket_inherits_options_but_not_flags)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", accept_after_the_client_has_sent_and_gone)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", accepting_on_what_does_not_listen)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", transfers_on_a_listening_socket)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("accept", two_connections_do_not_mix)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY)
        .proof(Proof::AtLeast(12)),
];

/// The connecting end connects; what it says is not in the transcript.
fn connect(stage: &mut Stage) {
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| connect_side(side, family, &address));
}

fn connect_side(side: &mut Side, family: i32, address: &Address) {
    side.open_socket(family);
    let answer = connection::connect(side.fd, address);
    side.must(answer);
}

/// Another connection to the same listening socket, which both ends have got by the usual calls, goes on by ring.
fn another_goes_on_by_ring(stage: &mut Stage) {
    connect(stage);
    stage.acceptor(Side::accepts);
    stage.goes_on_by_ring();
}

fn accept_fills_in_the_address(stage: &mut Stage) {
    stage.listen(|_| {});
    connect(stage);
    stage.acceptor(|side| {
        let mut address = Address::empty();
        let answer = connection::accept(side.listener, Some(&mut address));
        side.fd = side.must(answer) as i32;
        let shown = side.named(Ok(address));
        side.say(&format!("accept: {shown}"));
        side.status_flags();
        side.descriptor_flags();
    });
    stage.goes_on_by_ring();
}

fn accept_cuts_an_address_that_does_not_fit(stage: &mut Stage) {
    stage.listen(|_| {});
    connect(stage);
    stage.acceptor(|side| {
        let mut address = Address::empty();
        address.length = 2;
        let answer = connection::accept(side.listener, Some(&mut address));
        side.fd = side.must(answer) as i32;
        side.say(&format!(
            "accept: family {}, length {}, port {}",
            address.family(),
            address.length,
            address.port()
        ));
    });
    stage.goes_on_by_ring();
}

fn accept4_sets_the_flags_asked_for(stage: &mut Stage) {
    stage.listen(|_| {});
    for flags in [
        0,
        libc::SOCK_NONBLOCK,
        libc::SOCK_CLOEXEC,
        libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
    ] {
        connect(stage);
        stage.acceptor(|side| {
            let answer = connection::accept4(side.listener, None, flags);
            side.fd = side.must(answer) as i32;
            side.say(&format!("accept4 with {flags:#x}"));
            side.status_flags();
            side.descriptor_flags();
            side.close();
        });
        stage.connector(Side::close);
    }
    another_goes_on_by_ring(stage);
}

fn accept4_refuses_unknown_flags(stage: &mut Stage) {
    stage.listen(|_| {});
    connect(stage);
    stage.acceptor(|side| {
        let answer = connection::accept4(side.listener, None, 1);
        let _ = side.observe("accept4 with flag 1", answer);
        side.accepts();
    });
    stage.goes_on_by_ring();
}

fn nonblocking_accept_without_a_connection(stage: &mut Stage) {
    stage.listen(|_| {});
    stage.acceptor(|side| {
        let answer = files::fcntl(side.listener, libc::F_SETFL, libc::O_NONBLOCK);
        side.must(answer);
        let answer = connection::accept(side.listener, None);
        let _ = side.observe("accept", answer);
        let (answer, events) = readiness::poll_one(side.listener, libc::POLLIN, 0);
        side.say(&format!("poll = {answer:?} {events:#x}"));
    });
    connect(stage);
    stage.acceptor(|side| {
        let (answer, events) = readiness::poll_one(side.listener, libc::POLLIN, 60_000);
        side.say(&format!("poll = {answer:?} {events:#x}"));
        side.accepts();
        side.status_flags();
        let answer = connection::accept(side.listener, None);
        let _ = side.observe("accept", answer);
    });
    stage.goes_on_by_ring();
}

fn blocking_accept_waits_for_a_connection(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    let near_connects = stage.kind.near_connects;
    let act = |side: &mut Side, connects: bool| {
        if connects {
            side.other_asleep();
            connect_side(side, family, &address);
            let _ = side.send(b"late", 0);
        } else {
            side.waits_at_least_ms(20, Side::accepts);
            side.receives(4);
        }
    };
    stage.together(
        |near| act(near, near_connects),
        |far| act(far, !near_connects),
    );
    stage.goes_on_by_ring();
}

fn accepted_socket_inherits_options_but_not_flags(stage: &mut Stage) {
    stage.listen(|side| {
        let _ = options::set(side.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        let _ = options::set(side.fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        let _ = options::set(side.fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 32768);
        let _ = options::set(side.fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 3);
        let _ = options::set_timeout_ms(side.fd, libc::SO_RCVTIMEO, 15_000);
        let _ = files::fcntl(side.fd, libc::F_SETFL, libc::O_NONBLOCK);
    });
    connect(stage);
    stage.acceptor(|side| {
        side.until_listener_readable();
        side.accepts();
        side.status_flags();
        side.option("TCP_NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY);
        side.option("SO_KEEPALIVE", libc::SOL_SOCKET, libc::SO_KEEPALIVE);
        side.option("SO_RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF);
        side.option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT);
        let timeout = options::get_bytes(side.fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, 16);
        side.say(&format!("SO_RCVTIMEO = {timeout:?}"));
    });
    stage.goes_on_by_ring();
}

fn accept_after_the_client_has_sent_and_gone(stage: &mut Stage) {
    stage.listen(|_| {});
    connect(stage);
    stage.connector(|side| {
        let _ = side.send(b"parting words", 0);
        side.close();
    });
    stage.acceptor(|side| {
        side.accepts();
        side.receives(13);
        let _ = side.recv(10, 0);
        side.tcp_state();
    });
    stage.acceptor(Side::close);
    another_goes_on_by_ring(stage);
}

fn accepting_on_what_does_not_listen(stage: &mut Stage) {
    let family = stage.family();
    stage.near(|near| {
        near.open_socket(family);
        let answer = connection::accept(near.fd, None);
        let _ = near.observe("accept on a new socket", answer);
        let answer = connection::accept(-1, None);
        let _ = near.observe("accept on -1", answer);
        let answer = connection::accept(0, None);
        let _ = near.observe("accept on a file", answer);
        let answer = connection::shutdown(near.fd, libc::SHUT_RDWR);
        let _ = near.observe("shutdown of a new socket", answer);
        let _ = near.recv(1, 0);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        let _ = near.read(1);
        near.names();
    });
    stage.near(Side::close);
    stage.connect();
    stage.goes_on_by_ring();
}

fn transfers_on_a_listening_socket(stage: &mut Stage) {
    stage.listen(|_| {});
    stage.acceptor(|side| {
        side.fd = side.listener;
        let _ = side.recv(1, 0);
        let _ = side.send(b"x", libc::MSG_NOSIGNAL);
        let _ = side.recv(1, libc::MSG_DONTWAIT);
        side.readable_bytes();
        side.peer_name();
        side.tcp_state();
        side.option("SO_ACCEPTCONN", libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
        side.fd = -1;
    });
    another_goes_on_by_ring(stage);
}

fn two_connections_do_not_mix(stage: &mut Stage) {
    stage.connect();
    stage.settle();
    let first = stage.own_descriptor();
    stage.listen(|_| {});
    connect(stage);
    stage.acceptor(Side::accepts);
    let second = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"second", 0);
        near.fd = first;
        let _ = near.send(b"the first", 0);
    });
    stage.far(|far| {
        far.receives(6);
        far.fd = first;
        far.receives(9);
        let _ = far.send(b"one", 0);
        far.fd = second;
        let _ = far.send(b"two", 0);
        far.fd = first;
    });
    stage.near(|near| {
        near.receives(3);
        near.fd = second;
        near.receives(3);
        near.fd = first;
    });
}
