//! connect(2).

use crate::calls::answer::shown;
use crate::calls::connection::{self, Address};
use crate::calls::readiness;
use crate::case;
use crate::case::{Case, ONE_OF_EACH_FAMILY, Proof, Start};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("connect", blocking_connect_then_exchange)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", nonblocking_connect_is_in_progress_then_writable)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", nonblocking_connection_is_accelerated)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", refused_connect_then_the_same_socket_connects)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", refused_nonblocking_connect_is_told_by_so_error)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", connecting_a_connected_socket_is_refused),
    case!("connect", listening_on_a_connected_socket_is_refused),
    case!("connect", connect_to_nowhere_dissolves_the_connection),
    case!("connect", dissolved_socket_connects_again).proof(Proof::AtLeast(5)),
];

fn blocking_connect_then_exchange(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| {
        side.open_socket(family);
        side.tcp_state();
        side.peer_name();
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        side.tcp_state();
        side.names();
        let _ = side.send(b"first", 0);
    });
    stage.acceptor(|side| {
        side.accepts();
        side.names();
        side.receives(5);
        let _ = side.send(b"answer", 0);
    });
    stage.connector(|side| side.receives(6));
    stage.goes_on_by_ring();
}

fn nonblocking_connect_is_in_progress_then_writable(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| {
        side.open_socket(family);
        side.set_nonblocking(true);
        let (answer, events) = readiness::poll_one(side.fd, libc::POLLIN | libc::POLLOUT, 0);
        side.say(&format!(
            "poll before connect = {} {events:#x}",
            shown(answer)
        ));
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        let (answer, events) = readiness::poll_one(side.fd, libc::POLLOUT, 5000);
        side.say(&format!("poll = {} {events:#x}", shown(answer)));
        side.pending_error();
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect when done", answer);
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect once more", answer);
        let _ = side.recv(10, 0);
        let _ = side.send(b"first", 0);
    });
    stage.acceptor(|side| {
        side.accepts();
        side.receives(5);
        let _ = side.send(b"answer", 0);
    });
    stage.connector(|side| {
        side.arrived(6);
        let _ = side.recv(10, 0);
        let _ = side.recv(10, 0);
        side.set_nonblocking(false);
    });
    stage.goes_on_by_ring();
}

fn nonblocking_connection_is_accelerated(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| {
        side.open_socket(family);
        side.set_nonblocking(true);
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        side.until_poll(libc::POLLOUT);
        side.set_nonblocking(false);
    });
    stage.acceptor(|side| side.accepts());
    stage.settle();
    stage.near(|near| {
        let _ = near.send(b"by ring", 0);
    });
    stage.far(|far| far.receives(7));
}

fn refused_connect_then_the_same_socket_connects(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    let nobody = nobody_listens_at(&address);
    stage.connector(|side| {
        side.open_socket(family);
        let answer = connection::connect(side.fd, &nobody);
        let _ = side.observe("connect to nobody", answer);
        side.tcp_state();
        side.pending_error();
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        let _ = side.send(b"after all", 0);
    });
    stage.acceptor(|side| {
        side.accepts();
        side.receives(9);
    });
    stage.goes_on_by_ring();
}

fn refused_nonblocking_connect_is_told_by_so_error(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    let nobody = nobody_listens_at(&address);
    stage.connector(|side| {
        side.open_socket(family);
        side.set_nonblocking(true);
        let answer = connection::connect(side.fd, &nobody);
        let _ = side.observe("connect", answer);
        let (answer, events) = readiness::poll_one(side.fd, libc::POLLIN | libc::POLLOUT, 5000);
        side.say(&format!("poll = {} {events:#x}", shown(answer)));
        side.pending_error();
        side.pending_error();
        let _ = side.recv(10, 0);
        let _ = side.send(b"x", libc::MSG_NOSIGNAL);
        side.set_nonblocking(false);
        // The first one only hears of the attempt before.
        for _ in 0..2 {
            let answer = connection::connect(side.fd, &address);
            let _ = side.observe("connect to somebody", answer);
        }
    });
    stage.acceptor(|side| side.accepts());
    stage.goes_on_by_ring();
}

fn connecting_a_connected_socket_is_refused(stage: &mut Stage) {
    let address = stage.listening_address();
    stage.near(|near| {
        let answer = connection::connect(near.fd, &address);
        let _ = near.observe("connect", answer);
        let _ = near.send(b"still here", 0);
    });
    stage.far(|far| far.receives(10));
}

fn listening_on_a_connected_socket_is_refused(stage: &mut Stage) {
    stage.near(|near| {
        let answer = connection::listen(near.fd, 1);
        let _ = near.observe("listen", answer);
        let answer = connection::accept(near.fd, None);
        let _ = near.observe("accept", answer);
        let answer = connection::bind(near.fd, &Address::ipv4([127, 0, 0, 1], 0));
        let _ = near.observe("bind", answer);
        let _ = near.send(b"still here", 0);
    });
    stage.far(|far| far.receives(10));
}

fn connect_to_nowhere_dissolves_the_connection(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"last words", 0);
    });
    stage.far(|far| far.arrived(10));
    stage.near(|near| {
        near.take_status();
        let answer = connection::connect(near.fd, &Address::unspecified());
        let _ = near.observe("connect to AF_UNSPEC", answer);
        near.peer_name();
        let _ = near.recv(10, 0);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(20, 0);
        let _ = far.recv(20, 0);
        let _ = far.recv(20, 0);
    });
}

fn dissolved_socket_connects_again(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"hello", 0);
    });
    stage.far(|far| far.receives(5));
    stage.both(|side| side.take_status());
    stage.connector(|side| {
        let answer = connection::connect(side.fd, &Address::unspecified());
        let _ = side.observe("connect to AF_UNSPEC", answer);
    });
    stage.acceptor(|side| {
        side.end_arrived();
        let _ = side.recv(5, 0);
        side.close();
    });
    let own = stage.own_descriptor();
    stage.listen(|_| {});
    let address = stage.listening_address();
    stage.connector(|side| {
        side.fd = own;
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect again", answer);
        let _ = side.send(b"again", 0);
    });
    stage.acceptor(|side| {
        side.accepts();
        side.receives(5);
        let _ = side.send(b"and again", 0);
    });
    stage.connector(|side| side.receives(9));
}

/// The same host, at a port that was free a moment ago and that nobody listens at: the discard port.
fn nobody_listens_at(address: &Address) -> Address {
    let mut nobody = *address;
    nobody.set_port(9);
    nobody
}
