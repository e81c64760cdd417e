//! getsockname(2) and getpeername(2).

use crate::calls::connection;
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("getsockname", both_ends_know_their_names).kinds(ALL_KINDS),
    case!("getsockname", names_are_cut_to_the_room_given),
    case!("getpeername", names_during_a_half_close).kinds(ALL_KINDS),
    case!("getpeername", names_after_a_reset)
        .rows(&[33])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("getpeername", names_after_both_ends_are_shut)
        .proof(Proof::BeganOnRing("nothing is sent")),
];

fn both_ends_know_their_names(stage: &mut Stage) {
    stage.both(|side| side.names());
    stage.near(|near| {
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| {
        far.receives(1);
        far.names();
    });
}

fn names_are_cut_to_the_room_given(stage: &mut Stage) {
    stage.near(|near| {
        for room in [0, 2, 4, 16, 28] {
            for (what, address) in [
                ("own", connection::getsockname(near.fd, room)),
                ("peer", connection::getpeername(near.fd, room)),
            ] {
                let line = match address {
                    Ok(address) => format!(
                        "{what} in {room}: family {}, length {}",
                        address.family(),
                        address.length
                    ),
                    Err(errno) => format!("{what} in {room}: -1 {errno}"),
                };
                near.say(&line);
            }
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn names_during_a_half_close(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        near.names();
    });
    stage.far(|far| {
        far.end_arrived();
        far.names();
        far.receives(1);
        let _ = far.recv(1, 0);
        far.names();
    });
}

fn names_after_a_reset(stage: &mut Stage) {
    stage.far(|far| {
        far.must(crate::calls::options::set_linger(far.fd, true, 0));
        far.close();
    });
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        near.names();
        let _ = near.recv(1, 0);
        near.names();
        near.tcp_state();
    });
}

fn names_after_both_ends_are_shut(stage: &mut Stage) {
    stage.both(|side| {
        let _ = side.shutdown(libc::SHUT_WR);
    });
    stage.both(|side| {
        side.end_arrived();
        // The number of a port is given up with the last acknowledgement.
        side.tcp_state_becomes("CLOSE");
    });
    stage.far(|far| far.own_name());
    stage.both(|side| {
        let _ = side.recv(1, 0);
    });
    stage.near(|near| near.own_name());
}
