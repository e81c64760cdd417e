//! recv(2), recvfrom(2) and their flags.

use crate::calls::connection::Address;
use crate::calls::transfer;
use crate::case;
use crate::case::{ALL_KINDS, Case};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("recv", recv_takes_what_is_there).kinds(ALL_KINDS),
    case!("recv", recv_sleeps_until_data_come).kinds(ALL_KINDS),
    case!("recv", recv_without_waiting),
    case!("recv", recv_of_no_bytes_waits_for_data).rows(&[34]),
    case!("recv", recv_of_no_bytes_with_data).rows(&[34]),
    case!("recv", truncating_recv_discards).rows(&[34]),
    case!("recv", truncating_recv_into_nowhere_discards).rows(&[34]),
    case!("recv", truncating_recv_waits_for_data).rows(&[34]),
    case!("recvfrom", recvfrom_names_nobody),
    case!("recv", error_queue_of_a_stream_is_empty),
    case!("recv", recv_at_the_end_of_the_stream),
];

fn recv_takes_what_is_there(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.recv(3, 0);
        let _ = far.recv(3, libc::MSG_DONTWAIT);
        let _ = far.recv(100, 0);
    });
}

fn recv_sleeps_until_data_come(stage: &mut Stage) {
    for round in 0..5u8 {
        stage.together(
            |near| {
                let _ = near.waits_at_least_ms(20, |near| near.recv(100, 0));
            },
            |far| {
                far.other_asleep();
                let _ = far.send(&[b'a' + round], 0);
            },
        );
    }
}

fn recv_without_waiting(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.recv(10, libc::MSG_DONTWAIT);
        let _ = near.recv(10, libc::MSG_DONTWAIT | libc::MSG_PEEK);
        let _ = near.recv(10, libc::MSG_DONTWAIT | libc::MSG_WAITALL);
        let _ = near.recv(0, libc::MSG_DONTWAIT);
        let _ = near.recvmsg(&[10], 0, 0, libc::MSG_DONTWAIT);
        let _ = near.recvfrom(10, libc::MSG_DONTWAIT, 28);
    });
    stage.far(|far| {
        let _ = far.send(b"here", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let _ = near.recv(10, libc::MSG_DONTWAIT);
        let _ = near.recv(10, libc::MSG_DONTWAIT);
    });
}

fn recv_of_no_bytes_waits_for_data(stage: &mut Stage) {
    stage.woken_by(b"wake", |near| {
        let _ = near.waits_at_least_ms(20, |near| near.recv(0, 0));
        let _ = near.recv(10, 0);
    });
}

fn recv_of_no_bytes_with_data(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"data", 0);
    });
    stage.far(|far| {
        far.arrived(4);
        let _ = far.recv(0, 0);
        let _ = far.recv(0, libc::MSG_PEEK);
        let _ = far.recvmsg(&[], 0, 0, 0);
        let answer = transfer::at_address::recv(far.fd, 0, 0, 0);
        let _ = far.observe("recv(NULL, 0)", answer);
        far.readable_bytes();
        let _ = far.recv(4, 0);
    });
}

fn truncating_recv_discards(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let answer = transfer::recv(far.fd, &mut [0; 4], libc::MSG_TRUNC);
        let _ = far.observe("recv(4, TRUNC)", answer);
        let _ = far.recv(2, 0);
        let answer = transfer::recv(far.fd, &mut [0; 100], libc::MSG_TRUNC | libc::MSG_DONTWAIT);
        let _ = far.observe("recv(100, TRUNC)", answer);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
}

fn truncating_recv_into_nowhere_discards(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        for (length, flags) in [(3, 0), (100, libc::MSG_PEEK), (4, 0)] {
            let answer = transfer::at_address::recv(far.fd, 0, length, libc::MSG_TRUNC | flags);
            let _ = far.observe(
                &format!("recv(NULL, {length}, TRUNC, peek {})", flags != 0),
                answer,
            );
        }
        let _ = far.recv(100, 0);
    });
}

fn truncating_recv_waits_for_data(stage: &mut Stage) {
    stage.woken_by(b"thrown away", |near| {
        near.waits_at_least_ms(20, |near| {
            let answer = transfer::at_address::recv(near.fd, 0, 100, libc::MSG_TRUNC);
            let _ = near.observe("recv(NULL, 100, TRUNC)", answer);
        });
    });
}

fn recvfrom_names_nobody(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.recvfrom(3, 0, 28);
        let _ = far.recvfrom(3, libc::MSG_PEEK, 5);
        let _ = far.recvfrom(3, 0, 0);
        let mut buffer = [0; 10];
        let mut address = Address::empty();
        let answer = transfer::recvfrom(far.fd, &mut buffer, 0, Some(&mut address));
        let _ = far.observe("recvfrom(10)", answer);
        far.say(&format!(
            "family {} length {}",
            address.family(),
            address.length
        ));
    });
}

fn error_queue_of_a_stream_is_empty(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"data", 0);
    });
    stage.far(|far| {
        far.arrived(4);
        let _ = far.recv(10, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT);
        let _ = far.recvmsg(&[10], 0, 100, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT);
        let _ = far.recv(10, 0);
    });
}

fn recv_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"the end", 0);
        near.close();
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(100, libc::MSG_PEEK);
        let _ = far.recv(100, 0);
        let _ = far.recv(100, libc::MSG_PEEK);
        let _ = far.recv(100, 0);
        let _ = far.recv(100, libc::MSG_WAITALL);
        let _ = far.recv(0, 0);
        let _ = far.recvmsg(&[10], 28, 0, 0);
        let _ = far.recvmmsg(&[&[4], &[4]], 0, None);
        let _ = far.read(10);
        far.readable_bytes();
        far.tcp_state();
    });
}
