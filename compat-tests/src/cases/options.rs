//! getsockopt(2) and setsockopt(2) while the connection is accelerated: values the fast path needs for itself are
//! shadowed, and the program sees its own.

use crate::calls::options;
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::stage::Stage;

const TCP: i32 = libc::IPPROTO_TCP;
const SOCKET: i32 = libc::SOL_SOCKET;

/// The family.
pub const CASES: &[Case] = &[
    case!("TCP_NODELAY", no_delay_shows_the_programs_value).rows(&[1]),
    case!("TCP_CORK", cork_shows_the_programs_value).rows(&[2]),
    case!("TCP_CORK", corked_bytes_arrive_when_uncorked).rows(&[2]),
    case!("TCP_CORK", corked_bytes_arrive_in_the_end).rows(&[2]),
    case!("TCP_NODELAY", options_set_before_acceleration_are_kept)
        .rows(&[1, 2])
        .start(Start::Connected),
    case!("getsockopt", buffer_sizes),
    case!("getsockopt", what_kind_of_socket),
    case!("getsockopt", keepalive_and_friends_can_be_set_and_read),
    case!("getsockopt", pending_error_of_a_healthy_connection),
    case!("getsockopt", lengths_and_levels_are_checked),
    case!("TCP_INFO", connection_state),
    case!("TCP_QUICKACK", quick_acknowledgement_can_be_set).proof(Proof::AtLeast(2)),
    case!("TCP_USER_TIMEOUT", user_timeout_can_be_set),
    case!("SO_LINGER", linger_can_be_set_and_read),
];

fn no_delay_shows_the_programs_value(stage: &mut Stage) {
    stage.both(|side| side.option("TCP_NODELAY", TCP, libc::TCP_NODELAY));
    stage.near(|near| {
        for value in [1, 0, 7, 0] {
            near.set_option("TCP_NODELAY", TCP, libc::TCP_NODELAY, value);
            near.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
            near.send_all(b"exchange");
        }
    });
    stage.far(|far| {
        far.receives(32);
        far.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
    });
}

fn cork_shows_the_programs_value(stage: &mut Stage) {
    stage.near(|near| {
        near.option("TCP_CORK", TCP, libc::TCP_CORK);
        near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 1);
        near.option("TCP_CORK", TCP, libc::TCP_CORK);
        near.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
        let _ = near.send(b"corked", 0);
        near.set_option("TCP_NODELAY", TCP, libc::TCP_NODELAY, 1);
        near.option("TCP_CORK", TCP, libc::TCP_CORK);
        near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 0);
        near.option("TCP_CORK", TCP, libc::TCP_CORK);
        near.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
    });
    stage.far(|far| far.receives(6));
}

fn corked_bytes_arrive_when_uncorked(stage: &mut Stage) {
    stage.near(|near| {
        near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 1);
        let _ = near.send(b"head ", 0);
        let _ = near.send(b"tail", 0);
        near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 0);
    });
    stage.far(|far| far.receives(9));
}

fn corked_bytes_arrive_in_the_end(stage: &mut Stage) {
    stage.together(
        |near| {
            near.other_asleep();
            near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 1);
            let _ = near.send(b"never uncorked", 0);
        },
        |far| far.receives(14),
    );
}

fn options_set_before_acceleration_are_kept(stage: &mut Stage) {
    stage.near(|near| {
        near.set_option("TCP_NODELAY", TCP, libc::TCP_NODELAY, 1);
        near.set_option("SO_KEEPALIVE", SOCKET, libc::SO_KEEPALIVE, 1);
    });
    stage.far(|far| far.set_option("TCP_CORK", TCP, libc::TCP_CORK, 1));
    stage.far(|far| far.set_option("TCP_CORK", TCP, libc::TCP_CORK, 0));
    stage.settle();
    stage.near(|near| {
        near.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
        near.option("SO_KEEPALIVE", SOCKET, libc::SO_KEEPALIVE);
    });
    stage.far(|far| {
        far.option("TCP_NODELAY", TCP, libc::TCP_NODELAY);
        far.option("TCP_CORK", TCP, libc::TCP_CORK);
        far.option("SO_KEEPALIVE", SOCKET, libc::SO_KEEPALIVE);
        let _ = far.send(b"uncorked", 0);
    });
    stage.near(|near| {
        near.receives(8);
        let _ = near.send(b"without delay", 0);
    });
    stage.far(|far| far.receives(13));
}

fn buffer_sizes(stage: &mut Stage) {
    stage.near(|near| {
        for (name, option) in [
            ("SO_SNDBUF", libc::SO_SNDBUF),
            ("SO_RCVBUF", libc::SO_RCVBUF),
        ] {
            for value in [65536, 1, 1 << 18] {
                near.set_option(name, SOCKET, option, value);
                near.option(name, SOCKET, option);
            }
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn what_kind_of_socket(stage: &mut Stage) {
    stage.both(|side| {
        for (name, option) in [
            ("SO_TYPE", libc::SO_TYPE),
            ("SO_PROTOCOL", libc::SO_PROTOCOL),
            ("SO_DOMAIN", libc::SO_DOMAIN),
            ("SO_ACCEPTCONN", libc::SO_ACCEPTCONN),
            ("SO_REUSEADDR", libc::SO_REUSEADDR),
            ("SO_OOBINLINE", libc::SO_OOBINLINE),
            ("SO_BROADCAST", libc::SO_BROADCAST),
        ] {
            side.option(name, SOCKET, option);
        }
    });
    stage.near(|near| {
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn keepalive_and_friends_can_be_set_and_read(stage: &mut Stage) {
    stage.near(|near| {
        for (name, level, option, value) in [
            ("SO_KEEPALIVE", SOCKET, libc::SO_KEEPALIVE, 1),
            ("TCP_KEEPIDLE", TCP, libc::TCP_KEEPIDLE, 60),
            ("TCP_KEEPINTVL", TCP, libc::TCP_KEEPINTVL, 10),
            ("TCP_KEEPCNT", TCP, libc::TCP_KEEPCNT, 3),
            ("TCP_NOTSENT_LOWAT", TCP, libc::TCP_NOTSENT_LOWAT, 16384),
            ("SO_PRIORITY", SOCKET, libc::SO_PRIORITY, 4),
            ("SO_REUSEADDR", SOCKET, libc::SO_REUSEADDR, 1),
        ] {
            near.set_option(name, level, option, value);
            near.option(name, level, option);
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn pending_error_of_a_healthy_connection(stage: &mut Stage) {
    stage.both(|side| side.pending_error());
    stage.near(|near| {
        let _ = near.send(b"!", 0);
        near.pending_error();
    });
    stage.far(|far| {
        far.receives(1);
        far.pending_error();
    });
}

fn lengths_and_levels_are_checked(stage: &mut Stage) {
    stage.near(|near| {
        for (what, level, option) in [
            ("TCP_NODELAY", TCP, libc::TCP_NODELAY),
            ("TCP_CORK", TCP, libc::TCP_CORK),
            ("SO_RCVLOWAT", SOCKET, libc::SO_RCVLOWAT),
        ] {
            for length in [0, 1, 3, 8] {
                let answer =
                    options::set_bytes(near.fd, level, option, &[1, 0, 0, 0, 0, 0, 0, 0][..length]);
                let _ = near.observe(&format!("setsockopt {what} of {length} bytes"), answer);
                near.option(what, level, option);
                let value = options::get_bytes(near.fd, level, option, length);
                near.say(&format!(
                    "getsockopt {what} into {length} bytes = {value:?}"
                ));
            }
        }
        near.option("SO 9999", SOCKET, 9999);
        near.option("TCP 9999", TCP, 9999);
        near.option("level 9999", 9999, 1);
        near.set_option("SO 9999", SOCKET, 9999, 1);
        near.set_option("level 9999", 9999, 1, 1);
        let _ = near.send(b"!", 0);
        near.set_option("TCP_CORK", TCP, libc::TCP_CORK, 0);
    });
    stage.far(|far| far.receives(1));
}

fn connection_state(stage: &mut Stage) {
    stage.both(|side| side.tcp_state());
    stage.near(|near| {
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(1);
        far.tcp_state();
    });
    stage.near(|near| near.tcp_state());
    stage.far(|far| {
        let _ = far.shutdown(libc::SHUT_WR);
        far.tcp_state_becomes("CLOSE");
    });
    stage.near(|near| {
        near.end_arrived();
        near.tcp_state_becomes("CLOSE");
    });
}

fn quick_acknowledgement_can_be_set(stage: &mut Stage) {
    stage.near(|near| {
        near.set_option("TCP_QUICKACK", TCP, libc::TCP_QUICKACK, 1);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| {
        far.receives(1);
        let _ = far.send(b"?", 0);
    });
    stage.near(|near| near.receives(1));
}

fn user_timeout_can_be_set(stage: &mut Stage) {
    stage.near(|near| {
        near.set_option("TCP_USER_TIMEOUT", TCP, libc::TCP_USER_TIMEOUT, 30_000);
        near.option("TCP_USER_TIMEOUT", TCP, libc::TCP_USER_TIMEOUT);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn linger_can_be_set_and_read(stage: &mut Stage) {
    stage.near(|near| {
        for (on, seconds) in [(true, 5), (false, 0)] {
            let answer = options::set_linger(near.fd, on, seconds);
            let _ = near.observe(&format!("SO_LINGER {on} {seconds}"), answer);
            let value = options::get_bytes(near.fd, SOCKET, libc::SO_LINGER, 8);
            near.say(&format!("SO_LINGER = {value:?}"));
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}
