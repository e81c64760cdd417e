//! MSG_PEEK.

use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, Start};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("MSG_PEEK", peek_leaves_the_bytes).kinds(ALL_KINDS),
    case!("MSG_PEEK", peek_again_sees_more),
    case!("MSG_PEEK", peek_sleeps_until_data_come),
    case!("MSG_PEEK", peek_with_wait_all_waits_for_all),
    case!("MSG_PEEK", peek_with_wait_all_and_the_end),
    case!("MSG_PEEK", peek_over_several_parts),
    case!("MSG_PEEK", peek_of_a_long_run_wraps),
    case!("MSG_PEEK", peek_offset_set_before_the_first_byte)
        .rows(&[24])
        .start(Start::Connected)
        .proof(Proof::StaysOnKernel("kernel_feature")),
];

fn peek_leaves_the_bytes(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.recv(4, libc::MSG_PEEK);
        let _ = far.recv(4, libc::MSG_PEEK);
        let _ = far.recv(100, libc::MSG_PEEK);
        let _ = far.recv(4, 0);
        let _ = far.recv(4, libc::MSG_PEEK | libc::MSG_DONTWAIT);
        let _ = far.recvfrom(2, libc::MSG_PEEK, 28);
        let _ = far.recv(100, 0);
        let _ = far.recv(1, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    });
}

fn peek_again_sees_more(stage: &mut Stage) {
    for (word, total) in [("one ", 4), ("two ", 8), ("three", 13)] {
        stage.near(|near| {
            let _ = near.send(word.as_bytes(), 0);
        });
        stage.far(|far| {
            far.arrived(total);
            let _ = far.recv(100, libc::MSG_PEEK);
        });
    }
    stage.far(|far| {
        let _ = far.recv(100, 0);
    });
}

fn peek_sleeps_until_data_come(stage: &mut Stage) {
    stage.woken_by(b"wake", |near| {
        let _ = near.waits_at_least_ms(20, |near| near.recv(10, libc::MSG_PEEK));
        let _ = near.recv(10, 0);
    });
}

fn peek_with_wait_all_waits_for_all(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ =
                near.waits_at_least_ms(40, |near| near.recv(8, libc::MSG_PEEK | libc::MSG_WAITALL));
            near.readable_bytes();
            let _ = near.recv(8, 0);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"half", 0);
            far.nap_ms(40);
            let _ = far.send(b"full", 0);
        },
    );
}

fn peek_with_wait_all_and_the_end(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"short", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(10, libc::MSG_PEEK | libc::MSG_WAITALL);
        let _ = far.recv(10, libc::MSG_WAITALL);
        let _ = far.recv(10, libc::MSG_PEEK | libc::MSG_WAITALL);
    });
}

fn peek_over_several_parts(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.sendmsg(&[b"ab", b"cd", b"ef"], 0);
    });
    stage.far(|far| {
        far.arrived(6);
        let _ = far.recvmsg(&[1, 2, 100], 0, 0, libc::MSG_PEEK);
        let _ = far.recvmsg(&[1, 2], 0, 0, libc::MSG_PEEK);
        let _ = far.recvmmsg(&[&[2], &[2]], libc::MSG_PEEK, None);
        let _ = far.recvmsg(&[100], 0, 0, 0);
    });
}

fn peek_of_a_long_run_wraps(stage: &mut Stage) {
    const CHUNK: usize = 3000;
    for round in 0..40u64 {
        stage.near(|near| near.send_all(&content::bytes_from(41, round * CHUNK as u64, CHUNK)));
        stage.far(|far| {
            far.arrived(CHUNK as i32);
            let _ = far.recv(CHUNK, libc::MSG_PEEK);
            far.receives_stream(41, round * CHUNK as u64, CHUNK);
        });
    }
}

fn peek_offset_set_before_the_first_byte(stage: &mut Stage) {
    stage.near(|near| {
        near.set_option("SO_PEEK_OFF", libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0);
        near.option("SO_PEEK_OFF", libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    });
    stage.exchange_only();
    stage.far(|far| {
        let _ = far.send(b"abcdefghij", 0);
    });
    stage.near(|near| {
        near.arrived(10);
        let _ = near.recv(4, libc::MSG_PEEK);
        let _ = near.recv(4, libc::MSG_PEEK);
        let _ = near.recv(100, 0);
    });
}
