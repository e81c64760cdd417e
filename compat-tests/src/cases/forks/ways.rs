//! Servers that fork, other ways of forking, children from before the first byte (POSIX.md row 28).

use super::{child_of, reap, talk};
use crate::calls::children::{Forked, Leaving};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::content;
use crate::settle::FROM_THE_64TH_TURN;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("fork", a_forking_server_serves_in_its_child)
        .rows(&[28])
        .start(Start::Empty)
        .proof(Proof::AtLeast(5_000)),
    case!("fork", a_child_made_before_the_first_byte_shares_the_stream)
        .rows(&[28])
        .start(Start::Connected),
    case!("_Fork", a_child_of_underscore_fork_shares_the_stream).rows(&[28]),
    case!(
        "syscall",
        a_child_of_the_clone_system_call_shares_the_stream
    )
    .rows(&[28]),
    case!("clone", a_child_of_clone_shares_the_stream).rows(&[28]),
    case!(
        "__fork",
        a_child_of_the_second_name_of_fork_shares_the_stream
    )
    .rows(&[28])
    .kinds(TWO_KINDS),
    case!(
        "__clone",
        a_child_of_the_second_name_of_clone_shares_the_stream
    )
    .rows(&[28])
    .kinds(TWO_KINDS),
    case!(
        "clone",
        the_parent_of_a_clone_closes_behind_the_end_of_the_stream
    )
    .rows(&[28])
    .proof(Proof::AtLeast(6)),
    case!(
        "syscall",
        a_child_of_the_clone3_system_call_shares_the_stream
    )
    .rows(&[28]),
    case!("forkpty", a_child_with_a_terminal_shares_the_stream).rows(&[28]),
];

fn a_forking_server_serves_in_its_child(stage: &mut Stage) {
    const EXCHANGES: u64 = 300;
    const BYTES: usize = 40;
    let mut child = None;
    stage.connect();
    stage.both(|side| side.start_counting());
    stage.near(|near| {
        child = Some(near.fork(|child, _| {
            let mut served = 0;
            let mut buffer = [0; BYTES];
            while transfer::recv(child.fd, &mut buffer, libc::MSG_WAITALL) == Ok(BYTES) {
                child.send_all(&buffer);
                served += 1;
            }
            child.say(&format!("served {served}"));
            child.close();
        }));
        near.close();
        child_of(&mut child).begin(near);
    });
    stage.far(|far| {
        let mut wrong = 0;
        for exchange in 0..EXCHANGES {
            let bytes = content::bytes_from(203, exchange * BYTES as u64, BYTES);
            far.send_all(&bytes);
            wrong += u32::from(far.receive_all(BYTES) != bytes);
        }
        far.say(&format!("{wrong} answers wrong"));
        far.close();
    });
    stage.near(|near| {
        child_of(&mut child).end(near);
        reap(near, &mut child);
    });
}

fn a_child_made_before_the_first_byte_shares_the_stream(stage: &mut Stage) {
    // While two processes hold the connection it is not moved, and the chances of its 1st and 8th turn pass. Its 64th
    // (TRUST.md, "Discovery and identity") is to be among the exchanges of the warm-up, with enough of these behind it.
    const ROUNDS: u64 = 62;
    const BYTES: usize = 20;
    fn exchange(side: &mut Side, round: u64) {
        let bytes = side.receive_all(BYTES);
        let wrong = content::first_difference(204, round * BYTES as u64, &bytes);
        if wrong.is_some() {
            side.say(&format!("wrong at {wrong:?}"));
        }
        side.send_all(b"k");
    }
    stage.together(
        |near| {
            let mut child = near.fork(|child, turns| {
                for round in (1..ROUNDS).step_by(2) {
                    exchange(child, round);
                    turns.next(child);
                }
            });
            for round in (0..ROUNDS).step_by(2) {
                exchange(near, round);
                child.turn(near);
            }
            child.turn(near);
            child.reap(near);
        },
        |far| {
            for round in 0..ROUNDS {
                far.send_all(&content::bytes_from(204, round * BYTES as u64, BYTES));
                let _ = far.receive_all(1);
            }
        },
    );
    // Two processes held it all the time; with one of them gone it is as good as any other, from its next chance on. Which
    // exchange that is in hangs on whose turn was counted first.
    stage.settle_after(&FROM_THE_64TH_TURN);
    talk(stage);
}

fn shared_with_a_child(stage: &mut Stage, how: Forked) {
    stage.far(|far| {
        let _ = far.send(b"for the child, for the parent", 0);
    });
    stage.near(|near| {
        near.arrived(29);
        let mut child = near.fork_by(how, Leaving::AtOnce, |child, turns| {
            child.receives(15);
            let _ = child.send(b"child", 0);
            turns.next(child);
            child.close();
        });
        child.turn(near);
        near.receives(14);
        let _ = near.send(b"parent", 0);
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(11);
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn a_child_of_underscore_fork_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::UnderscoreFork);
}

fn a_child_of_the_clone_system_call_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::SystemCall);
}

fn a_child_of_clone_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::Clone);
}

fn a_child_of_the_second_name_of_fork_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::SecondFork);
}

fn a_child_of_the_second_name_of_clone_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::SecondClone);
}

fn a_child_of_the_clone3_system_call_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::Clone3);
}

fn a_child_with_a_terminal_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::Forkpty);
}

fn the_parent_of_a_clone_closes_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far_sends_and_ends(b"unread");
    stage.near(|near| {
        let mut child = near.fork_by(Forked::Clone, Leaving::AtOnce, |child, turns| {
            turns.next(child);
            child.receives(6);
            let _ = child.recv(1, 0);
            let _ = child.send(b"answer", 0);
            child.close();
        });
        child.turn(near);
        near.close();
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| far.receives(6));
}
