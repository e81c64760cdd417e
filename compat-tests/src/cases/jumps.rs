//! Signal handlers that jump out of a sleeping call: the oldest way to put a time-out on one (POSIX.md row 22). What the
//! call was counted as must be gone with it: whoever is taken for asleep keeps the far side from going back to the
//! kernel, and a closed connection open.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::calls::children::{self, Jumped, JumpedBy};
use crate::calls::processes;
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::side::sets::{self, events};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("siglongjmp", more_is_received_after_a_jump_out_of_recv)
        .rows(&[22])
        .proof(Proof::AtLeast(4096)),
    case!(
        "siglongjmp",
        more_is_received_after_a_jump_from_a_signal_stack
    )
    .rows(&[22])
    .proof(Proof::AtLeast(4096)),
    case!("longjmp", more_is_received_after_a_longjmp_out_of_recv)
        .rows(&[22])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "_longjmp",
        more_is_received_after_an_old_longjmp_out_of_recv
    )
    .rows(&[22])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!(
        "__longjmp_chk",
        more_is_received_after_a_fortified_jump_out_of_recv
    )
    .rows(&[22])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!(
        "__longjmp_chk",
        more_is_received_after_a_fortified_jump_from_a_signal_stack
    )
    .rows(&[22])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("siglongjmp", more_is_received_after_a_jump_out_of_poll)
        .rows(&[22])
        .proof(Proof::AtLeast(4096)),
    case!("siglongjmp", more_is_received_after_a_jump_out_of_select)
        .rows(&[22])
        .proof(Proof::AtLeast(4096)),
    case!(
        "siglongjmp",
        more_is_received_after_a_jump_out_of_epoll_wait
    )
    .rows(&[22])
    .proof(Proof::AtLeast(4096)),
    case!(
        "siglongjmp",
        what_was_there_is_received_after_a_jump_out_of_splice
    )
    .rows(&[22]),
    case!("siglongjmp", a_close_after_a_jump_out_of_recv_is_seen)
        .rows(&[22])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("siglongjmp", a_close_after_a_jump_out_of_poll_is_seen)
        .rows(&[22])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!(
        "siglongjmp",
        the_end_after_a_jump_out_of_a_full_send_is_seen
    )
    .rows(&[22])
    .proof(Proof::BeganOnRing(
        "what was sent when the handler came is nobody's to know",
    )),
];

/// Far more than a ring holds at first: the far side goes back to the kernel for a larger one.
const STREAM_BYTES: usize = 1 << 20;

/// A handler jumps out of a call once that sleeps.
pub(super) fn jumps(near: &mut Side, call: Jumped, fd: i32, apart: bool) {
    jumps_by(near, JumpedBy::Siglongjmp, call, fd, apart);
}

fn jumps_by(near: &mut Side, by: JumpedBy, call: Jumped, fd: i32, apart: bool) {
    let own = processes::own_thread();
    let is_over = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        // A jump out of the moment in which the call holds its lock leaves that held, which is a limit (SWITCH.md §6): the
        // signal comes when the call sleeps.
        scope.spawn(|| {
            Side::thread_asleep(own);
            if !is_over.load(Ordering::Acquire) {
                let _ = processes::signal_thread(own, libc::SIGALRM);
            }
        });
        let answer = children::jump_out_of(call, fd, apart, by);
        is_over.store(true, Ordering::Release);
        answer
    });
    let _ = near.observe("jumped", answer);
}

/// The far side rings for whoever sleeps, then changes the carrier, several times.
fn more_is_received(stage: &mut Stage, seed: u64, jump: impl Fn(&mut Side)) {
    for round in 0..2 {
        stage.near(&jump);
        stage.together(
            |near| {
                near.receives(1);
                near.receives_stream(seed, 0, STREAM_BYTES);
                let _ = near.send(b"all of it", 0);
            },
            |far| {
                let _ = far.send(&[round], 0);
                far.send_all(&content::bytes_from(seed, 0, STREAM_BYTES));
                far.receives(9);
            },
        );
    }
    stage.near(&jump);
    talk(stage);
}

fn more_is_received_after_a_jump_out_of_recv(stage: &mut Stage) {
    more_is_received(stage, 601, |near| jumps(near, Jumped::Recv, near.fd, false));
}

fn more_is_received_after_a_jump_from_a_signal_stack(stage: &mut Stage) {
    more_is_received(stage, 602, |near| jumps(near, Jumped::Recv, near.fd, true));
}

fn more_is_received_after_a_longjmp_out_of_recv(stage: &mut Stage) {
    more_is_received(stage, 607, |near| {
        jumps_by(near, JumpedBy::Longjmp, Jumped::Recv, near.fd, false)
    });
}

fn more_is_received_after_an_old_longjmp_out_of_recv(stage: &mut Stage) {
    more_is_received(stage, 608, |near| {
        jumps_by(near, JumpedBy::OldLongjmp, Jumped::Recv, near.fd, false)
    });
}

fn more_is_received_after_a_fortified_jump_out_of_recv(stage: &mut Stage) {
    more_is_received(stage, 609, |near| {
        jumps_by(
            near,
            JumpedBy::FortifiedLongjmp,
            Jumped::Recv,
            near.fd,
            false,
        )
    });
}

fn more_is_received_after_a_fortified_jump_from_a_signal_stack(stage: &mut Stage) {
    more_is_received(stage, 610, |near| {
        jumps_by(
            near,
            JumpedBy::FortifiedLongjmp,
            Jumped::Recv,
            near.fd,
            true,
        )
    });
}

fn more_is_received_after_a_jump_out_of_poll(stage: &mut Stage) {
    more_is_received(stage, 603, |near| jumps(near, Jumped::Poll, near.fd, false));
}

fn more_is_received_after_a_jump_out_of_select(stage: &mut Stage) {
    more_is_received(stage, 604, |near| {
        jumps(near, Jumped::Select, near.fd, false)
    });
}

fn more_is_received_after_a_jump_out_of_epoll_wait(stage: &mut Stage) {
    let set = sets::watching(stage, events::IN, 1);
    more_is_received(stage, 605, |near| {
        jumps(near, Jumped::EpollWait, set.fd, false)
    });
    stage.far(|far| {
        let _ = far.send(b"woken", 0);
    });
    stage.near(|near| {
        near.arrived(5);
        set.reports(near);
        near.receives(5);
    });
}

/// The signal of a pipe without a reader comes from within the call, whatever the moment.
fn what_was_there_is_received_after_a_jump_out_of_splice(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"precious", 0);
    });
    stage.near(|near| {
        near.arrived(8);
        jumps(near, Jumped::Splice, near.fd, false);
        let _ = near.recv(100, 0);
    });
    talk(stage);
}

/// The far side waits for the end of a stream that nobody reads any more.
fn a_close_is_seen(stage: &mut Stage, call: Jumped) {
    stage.near(|near| {
        jumps(near, call, near.fd, false);
        near.close();
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
        far.pending_error();
        far.close();
    });
}

fn a_close_after_a_jump_out_of_recv_is_seen(stage: &mut Stage) {
    a_close_is_seen(stage, Jumped::Recv);
}

fn a_close_after_a_jump_out_of_poll_is_seen(stage: &mut Stage) {
    a_close_is_seen(stage, Jumped::Poll);
}

fn the_end_after_a_jump_out_of_a_full_send_is_seen(stage: &mut Stage) {
    stage.near(|near| {
        jumps(near, Jumped::Send, near.fd, false);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.together(
        |near| {
            near.receives_stream(606, 0, STREAM_BYTES);
            near.close();
        },
        |far| {
            let mut buffer = vec![0; 65536];
            let end = loop {
                match crate::calls::transfer::recv(far.fd, &mut buffer, 0) {
                    Ok(count) if count > 0 => {}
                    end => break end,
                }
            };
            far.say(&format!("the end: {end:?}"));
            far.send_all(&content::bytes_from(606, 0, STREAM_BYTES));
            far.close();
        },
    );
}
