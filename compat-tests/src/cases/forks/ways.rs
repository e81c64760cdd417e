//! Servers that fork, other ways of forking, children from before the first byte (POSIX.md row 28).

use super::{child_of, talk};
use crate::calls::children::{Forked, Leaving};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::content;
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
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
}

fn a_child_made_before_the_first_byte_shares_the_stream(stage: &mut Stage) {
    const ROUNDS: u64 = 60;
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
    // Two processes held it all the time; with one of them gone it is as good as any other.
    stage.settle();
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
