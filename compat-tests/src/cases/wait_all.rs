//! MSG_WAITALL.

use crate::calls::{signals, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("MSG_WAITALL", wait_all_gathers_several_sends),
    case!("MSG_WAITALL", wait_all_ends_at_the_end_of_the_stream),
    case!("MSG_WAITALL", wait_all_with_dont_wait_takes_what_is_there),
    case!("MSG_WAITALL", wait_all_over_several_parts),
    case!("MSG_WAITALL", wait_all_of_more_than_any_buffer)
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("MSG_WAITALL", a_signal_ends_wait_all_with_what_there_is)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!(
        "MSG_WAITALL",
        a_restarting_signal_also_ends_wait_all_with_what_there_is
    )
    .rows(&[23])
    .kinds(TWO_KINDS),
    case!("MSG_WAITALL", wait_all_with_a_receive_timeout)
        .rows(&[23])
        .kinds(TWO_KINDS),
];

fn wait_all_gathers_several_sends(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recv(9, libc::MSG_WAITALL));
        },
        |far| {
            for part in [b"abc", b"def", b"ghi"] {
                far.other_asleep();
                let _ = far.send(part, 0);
            }
        },
    );
}

fn wait_all_ends_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.recv(100, libc::MSG_WAITALL);
            let _ = near.recv(100, libc::MSG_WAITALL);
        },
        |far| {
            let _ = far.send(b"incomplete", 0);
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn wait_all_with_dont_wait_takes_what_is_there(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"some", 0);
    });
    stage.far(|far| {
        far.arrived(4);
        let _ = far.recv(100, libc::MSG_WAITALL | libc::MSG_DONTWAIT);
        let _ = far.recv(100, libc::MSG_WAITALL | libc::MSG_DONTWAIT);
    });
}

fn wait_all_over_several_parts(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.recvmsg(&[3, 0, 4, 2], 0, 0, libc::MSG_WAITALL);
            let _ = near.recv(0, libc::MSG_WAITALL | libc::MSG_DONTWAIT);
        },
        |far| {
            for part in [b"abc", b"def", b"ghi"] {
                far.other_asleep();
                let _ = far.send(part, 0);
            }
        },
    );
}

fn wait_all_of_more_than_any_buffer(stage: &mut Stage) {
    const BYTES: usize = 12 << 20;
    stage.together(
        |near| {
            let mut bytes = vec![0; BYTES];
            let answer = transfer::recv(near.fd, &mut bytes, libc::MSG_WAITALL);
            let _ = near.observe("recv(12 MiB, WAITALL)", answer);
            near.say(&format!(
                "wrong at {:?}",
                content::first_difference(51, 0, &bytes)
            ));
        },
        |far| far.send_all(&content::bytes_from(51, 0, BYTES)),
    );
}

fn interrupted_wait_all(stage: &mut Stage, restart: bool) {
    stage.far(|far| {
        let _ = far.send(b"four", 0);
    });
    stage.together(
        |near| {
            near.must(signals::count_signals(libc::SIGALRM, restart));
            near.arrived(4);
            near.must(signals::alarm_every_us(100_000, 100_000));
            let _ = near.recv(10, libc::MSG_WAITALL);
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        },
        |_| {},
    );
    stage.far(|far| {
        let _ = far.send(b"the rest", 0);
    });
    stage.near(|near| {
        let _ = near.recv(8, libc::MSG_WAITALL);
    });
}

fn a_signal_ends_wait_all_with_what_there_is(stage: &mut Stage) {
    interrupted_wait_all(stage, false);
}

fn a_restarting_signal_also_ends_wait_all_with_what_there_is(stage: &mut Stage) {
    interrupted_wait_all(stage, true);
}

fn wait_all_with_a_receive_timeout(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"four", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 100);
        let _ = near.waits_at_least_ms(100, |near| near.recv(10, libc::MSG_WAITALL));
        let _ = near.waits_at_least_ms(100, |near| near.recv(10, libc::MSG_WAITALL));
    });
    stage.far(|far| {
        let _ = far.send(b"the rest", 0);
    });
    stage.near(|near| {
        let _ = near.recv(8, libc::MSG_WAITALL);
    });
}
