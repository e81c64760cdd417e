//! Threads cancelled inside a call (POSIX.md row 26).

use crate::calls::processes::{self, CancelledIn};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("pthread_cancel", a_thread_is_cancelled_in_recv).rows(&[26]),
    case!("pthread_cancel", a_thread_is_cancelled_in_read)
        .rows(&[26])
        .kinds(TWO_KINDS),
    case!("pthread_cancel", a_thread_is_cancelled_in_recvmsg)
        .rows(&[26])
        .kinds(TWO_KINDS),
    case!("pthread_cancel", a_thread_is_cancelled_in_poll)
        .rows(&[26])
        .kinds(TWO_KINDS),
    case!("pthread_cancel", a_thread_is_cancelled_in_a_waiting_send)
        .rows(&[26])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("pthread_cancel", a_pending_cancellation_beats_waiting_data)
        .rows(&[26])
        .kinds(TWO_KINDS),
    case!(
        "pthread_cancel",
        many_threads_are_cancelled_one_after_the_other
    )
    .rows(&[26])
    .kinds(TWO_KINDS),
];

extern "C" fn asleep(thread: i32) {
    Side::thread_asleep(thread);
}

fn cancelled_in(stage: &mut Stage, call: CancelledIn) {
    stage.near(|near| {
        let told = processes::cancel_asleep(near.fd, call, asleep);
        near.say(&format!("{call:?}: {told}"));
        let _ = near.send(b"goes on", 0);
    });
    stage.far(|far| {
        far.receives(7);
        let _ = far.send(b"as before", 0);
    });
    stage.near(|near| near.receives(9));
    stage.woken_by(b"wake", |near| {
        let _ = near.recv(10, 0);
    });
}

fn a_thread_is_cancelled_in_recv(stage: &mut Stage) {
    cancelled_in(stage, CancelledIn::Recv);
}

fn a_thread_is_cancelled_in_read(stage: &mut Stage) {
    cancelled_in(stage, CancelledIn::Read);
}

fn a_thread_is_cancelled_in_recvmsg(stage: &mut Stage) {
    cancelled_in(stage, CancelledIn::Recvmsg);
}

fn a_thread_is_cancelled_in_poll(stage: &mut Stage) {
    cancelled_in(stage, CancelledIn::Poll);
}

fn a_thread_is_cancelled_in_a_waiting_send(stage: &mut Stage) {
    stage.near(|near| {
        let told = processes::cancel_asleep(near.fd, CancelledIn::Send, asleep);
        near.say(&format!("Send: {told}"));
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        let mut buffer = vec![0; 1 << 20];
        let mut received = 0;
        let mut all_zero = true;
        loop {
            match transfer::recv(far.fd, &mut buffer, 0) {
                Ok(0) => break,
                Ok(count) => {
                    all_zero &= buffer[..count].iter().all(|byte| *byte == 0);
                    received += count;
                }
                Err(errno) => far.fail(&format!("recv after {received} bytes: {errno}")),
            }
        }
        far.say(&format!(
            "something came: {}, all of it zeros: {all_zero}",
            received > 0
        ));
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| near.receives(6));
}

fn a_pending_cancellation_beats_waiting_data(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let told = processes::cancel_pending(near.fd);
        near.say(&told);
        let _ = near.recv(10, 0);
    });
}

fn many_threads_are_cancelled_one_after_the_other(stage: &mut Stage) {
    stage.near(|near| {
        for _ in 0..12 {
            let told = processes::cancel_after_ms(near.fd, CancelledIn::Recv, 10);
            near.say(&told);
        }
    });
    stage.far(|far| {
        let _ = far.send(b"whole", 0);
    });
    stage.near(|near| near.receives(5));
}
