//! connect(2).

use crate::calls::answer::shown;
use crate::calls::connection::{self, Address};
use crate::calls::epoll::{self, Wait};
use crate::calls::{readiness, signals};
use crate::case;
use crate::case::{Case, ONE_OF_EACH_FAMILY, Proof, Start};
use crate::cases::resets::{sleeps_in_poll, sleeps_in_set};
use crate::side::Side;
use crate::side::sets::{Set, events};
use crate::side::waiting;
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
    case!("connect", connect_is_called_until_it_says_connected)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", a_connect_that_a_handler_interrupts_goes_on)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", refused_connect_then_the_same_socket_connects)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", refused_nonblocking_connect_is_told_by_so_error)
        .start(Start::Empty)
        .kinds(ONE_OF_EACH_FAMILY),
    case!(
        "connect",
        a_set_that_saw_a_refused_attempt_tells_of_the_next_connection
    )
    .start(Start::Empty)
    .kinds(ONE_OF_EACH_FAMILY),
    case!("connect", connecting_a_connected_socket_is_refused),
    case!("connect", listening_on_a_connected_socket_is_refused),
    case!("connect", connect_to_nowhere_dissolves_the_connection),
    case!("connect", dissolved_socket_connects_again).proof(Proof::AtLeast(5)),
    case!(
        "connect",
        a_set_knows_a_dissolved_socket_that_connects_again
    )
    .proof(Proof::AtLeast(5)),
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
        let (answer, events) = readiness::poll_one(side.fd, libc::POLLOUT, 60_000);
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

/// Makes the accepting end listen with room for one connection, which another one takes: what connects next stays on its
/// way until [`makes_room`]. The number of that other connection at the connecting end.
fn listens_without_room(stage: &mut Stage) -> i32 {
    stage.listen(|_| {});
    stage.acceptor(|side| {
        let answer = connection::listen(side.listener, 0);
        let _ = side.observe("listen", answer);
    });
    let (family, address) = (stage.family(), stage.listening_address());
    let mut other = -1;
    stage.connector(|side| {
        side.open_socket(family);
        other = side.fd;
        let answer = connection::connect(other, &address);
        let _ = side.observe("connect another", answer);
        side.open_socket(family);
    });
    stage.acceptor(Side::until_listener_readable);
    other
}

/// Behind [`listens_without_room`].
fn makes_room(stage: &mut Stage, other: i32) {
    stage.acceptor(|side| {
        side.accepts();
        let _ = side.close_quietly();
    });
    stage.connector(|_| {
        let _ = connection::close(other);
    });
}

fn connect_is_called_until_it_says_connected(stage: &mut Stage) {
    let other = listens_without_room(stage);
    let address = stage.listening_address();
    stage.connector(|side| {
        side.set_nonblocking(true);
        for _ in 0..3 {
            let answer = connection::connect(side.fd, &address);
            let _ = side.observe("connect", answer);
        }
    });
    makes_room(stage, other);
    stage.connector(|side| {
        let mut answer = Ok(0);
        let _ = waiting::eventually(|| {
            answer = connection::connect(side.fd, &address);
            !answer.is_err_and(|errno| errno.0 == libc::EALREADY)
        });
        let _ = side.observe("connect in the end", answer);
        for _ in 0..2 {
            let answer = connection::connect(side.fd, &address);
            let _ = side.observe("connect once more", answer);
        }
        side.set_nonblocking(false);
    });
    stage.acceptor(|side| side.accepts());
    stage.goes_on_by_ring();
}

/// By POSIX the attempt goes on without the caller, who waits until the socket can be written.
fn a_connect_that_a_handler_interrupts_goes_on(stage: &mut Stage) {
    let other = listens_without_room(stage);
    let address = stage.listening_address();
    stage.connector(|side| {
        side.must(signals::count_signals(libc::SIGALRM, false));
        side.must(signals::alarm_every_us(100_000, 100_000));
        let answer = connection::connect(side.fd, &address);
        side.must(signals::alarm_every_us(0, 0));
        let _ = side.observe("connect", answer);
    });
    makes_room(stage, other);
    stage.connector(|side| {
        side.until_poll(libc::POLLOUT);
        side.pending_error();
        side.tcp_state();
    });
    stage.acceptor(|side| side.accepts());
    stage.goes_on_by_ring();
}

fn refused_connect_then_the_same_socket_connects(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| {
        let nobody = nobody_listens_at(side, &address);
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
    stage.connector(|side| {
        let nobody = nobody_listens_at(side, &address);
        side.open_socket(family);
        side.set_nonblocking(true);
        let answer = connection::connect(side.fd, &nobody);
        let _ = side.observe("connect", answer);
        sleeps_in_poll(side, "of both", libc::POLLIN | libc::POLLOUT, 60_000);
        side.pending_error();
        side.pending_error();
        let _ = side.recv(10, 0);
        let _ = side.send(b"x", libc::MSG_NOSIGNAL);
        side.set_nonblocking(false);
        connects_behind_a_refusal(side, &address);
    });
    stage.acceptor(|side| side.accepts());
    stage.goes_on_by_ring();
}

/// The first call only hears of the attempt before.
fn connects_behind_a_refusal(side: &mut Side, address: &Address) {
    for _ in 0..2 {
        let answer = connection::connect(side.fd, address);
        let _ = side.observe("connect to somebody", answer);
    }
}

/// What is sent by ring on the connection under test is told by a set of its connecting end, nothing of which was changed.
fn tells_of_each_message(stage: &mut Stage, set: Set) {
    stage.connector(|side| set.reports_nothing(side));
    for message in [b"one ", b"two ", b"tri "] {
        stage.acceptor(|side| side.send_all(message));
        stage.connector(|side| {
            set.reports(side);
            side.receives(4);
        });
    }
}

/// The registration is made while the first attempt is under way, and lasts.
fn a_set_that_saw_a_refused_attempt_tells_of_the_next_connection(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    let mut set = Set { fd: -1 };
    stage.connector(|side| {
        let nobody = nobody_listens_at(side, &address);
        side.open_socket(family);
        side.set_nonblocking(true);
        let answer = connection::connect(side.fd, &nobody);
        let _ = side.observe("connect", answer);
        set = Set::new(side);
        set.add(side, events::IN | events::ET, 7);
        sleeps_in_set(side, set);
        side.set_nonblocking(false);
        connects_behind_a_refusal(side, &address);
    });
    stage.acceptor(|side| side.accepts());
    stage.settle();
    stage.connector(|_| {
        // Of the warm-up, edges may be left.
        let _ = epoll::wait(set.fd, 16, Wait::Plain(0));
    });
    tells_of_each_message(stage, set);
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

fn a_set_knows_a_dissolved_socket_that_connects_again(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    stage.connector(|side| {
        set = Set::new(side);
        set.add(side, events::IN, 7);
    });
    stage.both(|side| side.take_status());
    stage.connector(|side| {
        let answer = connection::connect(side.fd, &Address::unspecified());
        let _ = side.observe("connect to AF_UNSPEC", answer);
    });
    stage.acceptor(|side| {
        side.end_arrived();
        side.close();
    });
    let own = stage.own_descriptor();
    stage.listen(|_| {});
    let address = stage.listening_address();
    stage.connector(|side| {
        side.fd = own;
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect again", answer);
    });
    stage.acceptor(|side| side.accepts());
    stage.settle();
    tells_of_each_message(stage, set);
}

/// The same host, at a port that a socket without a listener keeps for itself until the process ends.
fn nobody_listens_at(side: &mut Side, address: &Address) -> Address {
    let mut nobody = *address;
    nobody.set_port(0);
    let keeper = side.must(connection::socket(address.family(), libc::SOCK_STREAM)) as i32;
    side.must(connection::bind(keeper, &nobody));
    let name = side.must(connection::getsockname(keeper, 128));
    nobody.set_port(name.port());
    nobody
}
