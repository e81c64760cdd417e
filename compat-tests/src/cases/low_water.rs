//! SO_RCVLOWAT with recv and poll.

use crate::calls::answer::shown;
use crate::calls::readiness;
use crate::case;
use crate::case::{Case, Start};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("SO_RCVLOWAT", recv_waits_for_the_low_water_mark).rows(&[6]),
    case!("SO_RCVLOWAT", poll_waits_for_the_low_water_mark).rows(&[6]),
    case!("SO_RCVLOWAT", the_low_water_mark_ends_with_the_stream).rows(&[6]),
    case!("SO_RCVLOWAT", recv_without_waiting_takes_less).rows(&[6]),
    case!("SO_RCVLOWAT", the_low_water_mark_set_before_the_first_byte)
        .rows(&[6])
        .start(Start::Connected),
    case!("SO_RCVLOWAT", the_low_water_mark_can_be_read_back).rows(&[6]),
];

fn recv_waits_for_the_low_water_mark(stage: &mut Stage) {
    stage.together(
        |near| {
            near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, 8);
            let _ = near.waits_at_least_ms(40, |near| near.recv(100, 0));
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"four", 0);
            far.other_asleep();
            far.nap_ms(40);
            let _ = far.send(b"more", 0);
        },
    );
    stage.far(|far| {
        let _ = far.send(b"abc", 0);
    });
    stage.near(|near| {
        near.arrived(3);
        // A buffer below the mark lowers it for this call.
        let _ = near.recv(3, 0);
    });
}

fn poll_waits_for_the_low_water_mark(stage: &mut Stage) {
    stage.near(|near| near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, 8));
    stage.far(|far| {
        let _ = far.send(b"four", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 50);
        near.say(&format!(
            "poll below the mark = {} {events:#x}",
            shown(answer)
        ));
    });
    stage.woken_by(b"more", |near| {
        let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 20_000);
        near.say(&format!("poll at the mark = {} {events:#x}", shown(answer)));
        let _ = near.recv(100, 0);
    });
}

fn the_low_water_mark_ends_with_the_stream(stage: &mut Stage) {
    stage.together(
        |near| {
            near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100);
            let _ = near.recv(200, 0);
            let _ = near.recv(200, 0);
        },
        |far| {
            let _ = far.send(b"too few", 0);
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn recv_without_waiting_takes_less(stage: &mut Stage) {
    stage.near(|near| near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100));
    stage.far(|far| {
        let _ = far.send(b"few", 0);
    });
    stage.near(|near| {
        near.arrived(3);
        let _ = near.recv(200, libc::MSG_DONTWAIT | libc::MSG_PEEK);
        let _ = near.recv(200, libc::MSG_DONTWAIT);
        let _ = near.recv(200, libc::MSG_DONTWAIT);
    });
}

fn the_low_water_mark_set_before_the_first_byte(stage: &mut Stage) {
    stage.near(|near| near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, 4));
    stage.settle();
    stage.together(
        |near| {
            let _ = near.recv(100, 0);
            near.option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT);
        },
        |far| {
            for byte in [b"a", b"b", b"c", b"d"] {
                far.other_asleep();
                let _ = far.send(byte, 0);
            }
        },
    );
}

fn the_low_water_mark_can_be_read_back(stage: &mut Stage) {
    stage.near(|near| {
        near.option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT);
        for value in [0, 1, 50, 1 << 20, -1] {
            near.set_option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT, value);
            near.option("SO_RCVLOWAT", libc::SOL_SOCKET, libc::SO_RCVLOWAT);
        }
        near.option("SO_SNDLOWAT", libc::SOL_SOCKET, libc::SO_SNDLOWAT);
        near.set_option("SO_SNDLOWAT", libc::SOL_SOCKET, libc::SO_SNDLOWAT, 5);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}
