//! SO_RCVTIMEO and SO_SNDTIMEO.

use crate::calls::{options, transfer};
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("SO_RCVTIMEO", a_receive_timeout_expires).rows(&[23]),
    case!("SO_RCVTIMEO", a_receive_timeout_does_not_hold_data_back),
    case!("SO_RCVTIMEO", a_receive_timeout_set_before_the_first_byte).start(Start::Connected),
    case!("SO_RCVTIMEO", each_receiving_call_honours_the_timeout),
    case!("SO_RCVTIMEO", timeouts_can_be_read_back),
    case!("SO_SNDTIMEO", a_send_timeout_expires).proof(Proof::AtLeast(4096)),
    case!("SO_SNDTIMEO", a_send_timeout_cuts_a_long_send).proof(Proof::AtLeast(4096)),
];

fn a_receive_timeout_expires(stage: &mut Stage) {
    stage.near(|near| {
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 100);
        let _ = near.waits_at_least_ms(100, |near| near.recv(10, 0));
        let _ = near.recv(10, libc::MSG_DONTWAIT);
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 0);
    });
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(150, |near| near.recv(10, 0));
        },
        |far| {
            far.other_asleep();
            far.nap_ms(150);
            let _ = far.send(b"late", 0);
        },
    );
}

fn a_receive_timeout_does_not_hold_data_back(stage: &mut Stage) {
    stage.together(
        |near| {
            near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 20_000);
            let _ = near.recv(10, 0);
            let _ = near.recv(10, 0);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"one", 0);
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn a_receive_timeout_set_before_the_first_byte(stage: &mut Stage) {
    stage.near(|near| near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 300));
    // Once while the kernel carries, and once on the ring.
    stage.near(|near| {
        let _ = near.waits_at_least_ms(300, |near| near.recv(10, 0));
    });
    stage.settle();
    stage.near(|near| {
        let _ = near.waits_at_least_ms(300, |near| near.recv(10, 0));
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let _ = near.recv(10, 0);
        let _ = near.waits_at_least_ms(300, |near| near.recv(10, 0));
    });
}

fn each_receiving_call_honours_the_timeout(stage: &mut Stage) {
    stage.near(|near| {
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 40);
        let _ = near.waits_at_least_ms(40, |near| near.read(10));
        let _ = near.waits_at_least_ms(40, |near| near.recvfrom(10, 0, 28));
        let _ = near.waits_at_least_ms(40, |near| near.recvmsg(&[4, 4], 28, 0, 0));
        let _ = near.waits_at_least_ms(40, |near| near.recv(10, libc::MSG_PEEK));
        let _ = near.waits_at_least_ms(40, |near| near.recv(10, libc::MSG_WAITALL));
        let _ = near.waits_at_least_ms(40, |near| near.recvmmsg(&[&[4]], 0, None));
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn timeouts_can_be_read_back(stage: &mut Stage) {
    stage.near(|near| {
        for (name, option) in [
            ("SO_RCVTIMEO", libc::SO_RCVTIMEO),
            ("SO_SNDTIMEO", libc::SO_SNDTIMEO),
        ] {
            near.set_timeout_ms(name, option, 1500);
            let value = options::get_bytes(near.fd, libc::SOL_SOCKET, option, 16);
            near.say(&format!("{name} = {value:?}"));
            let answer = options::set_bytes(near.fd, libc::SOL_SOCKET, option, &[0; 4]);
            let _ = near.observe(&format!("{name} of 4 bytes"), answer);
            near.set_timeout_ms(name, option, 0);
            let value = options::get_bytes(near.fd, libc::SOL_SOCKET, option, 16);
            near.say(&format!("{name} = {value:?}"));
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn a_send_timeout_expires(stage: &mut Stage) {
    const SEED: u64 = 91;
    let sent = stage.near_says(|near| {
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 100);
        // Sends are cut where the room ends; the one that finds none at all waits in vain. A moment later there may be
        // room again, because the kernel's buffers grow.
        let (sent, started) = near.sends_until_refused("send", |near, sent| {
            let answer = transfer::send(near.fd, &content::bytes_from(SEED, sent, 1 << 20), 0);
            (answer, answer.unwrap_or(0) as u64)
        });
        near.says_whether_it_waited_ms(100, started);
        sent as i64
    });
    stage.far(|far| {
        far.receives_stream(SEED, 0, sent as usize);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
}

fn a_send_timeout_cuts_a_long_send(stage: &mut Stage) {
    const SEED: u64 = 92;
    const BLOCK: usize = 32 << 20;
    let sent = stage.near_says(|near| {
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 100);
        let answer = transfer::send(near.fd, &content::bytes_from(SEED, 0, BLOCK), 0);
        let part = answer.is_ok_and(|count| count > 0 && count < BLOCK);
        near.say(&format!("a part was sent: {part}"));
        answer.unwrap_or(0) as i64
    });
    stage.far(|far| {
        far.receives_stream(SEED, 0, sent as usize);
    });
    stage.near(|near| {
        let _ = near.send(b"goes on", 0);
    });
    stage.far(|far| far.receives(7));
}
