//! Children that come, end in every way there is, and harm nothing (POSIX.md rows 9, 24 and 30).

use super::{child_of, reap, talk};
use crate::calls::children::{Forked, Leaving};
use crate::calls::{handlers, processes};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "fork",
        a_killed_child_that_slept_in_recv_takes_nothing_with_it
    )
    .rows(&[24, 27])
    .proof(Proof::AtLeast(9)),
    case!("fork", a_child_that_exits_in_order_harms_nothing).rows(&[30]),
    case!("fork", a_child_that_exits_at_once_harms_nothing).rows(&[9]),
    case!(
        "_Exit",
        a_child_that_exits_by_the_standards_name_harms_nothing
    )
    .rows(&[9])
    .kinds(TWO_KINDS),
    case!("quick_exit", a_child_that_exits_quickly_harms_nothing)
        .rows(&[9])
        .kinds(TWO_KINDS),
    case!("exit", a_handler_of_exit_sends_the_last_words)
        .rows(&[9])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(8)),
    case!("quick_exit", a_handler_of_quick_exit_sends_the_last_words)
        .rows(&[9])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(8)),
    case!("fork", a_child_that_is_killed_harms_nothing).rows(&[9]),
    case!("fork", children_come_and_go)
        .rows(&[9, 27])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(40)),
];

fn a_killed_child_that_slept_in_recv_takes_nothing_with_it(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        child = Some(near.fork(|child, _| {
            let _ = child.recv(10, 0);
        }));
        let child = child_of(&mut child);
        child.begin(near);
        near.process_asleep(child.process);
        near.must(processes::kill(child.process, libc::SIGKILL));
    });
    stage.near(|near| reap(near, &mut child));
    stage.woken_by(b"not taken", |near| {
        let _ = near.recv(10, 0);
    });
    talk(stage);
}

fn a_child_ends(stage: &mut Stage, leaving: Leaving) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let mut child = near.fork_by(Forked::Fork, leaving, |_, _| {});
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn a_child_that_exits_in_order_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::InOrder);
}

fn a_child_that_exits_at_once_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::SystemCall);
}

fn a_child_that_exits_by_the_standards_name_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::AtOnceByStandard);
}

fn a_child_that_exits_quickly_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::Quickly);
}

/// A child that alone holds the connection says farewell in a handler that runs while it ends.
fn the_last_words_are_a_handlers(stage: &mut Stage, leaving: Leaving) {
    stage.far(|far| {
        let _ = far.send(b"farewell", 0);
    });
    stage.near(|near| {
        near.arrived(8);
        let mut child = near.fork_by(Forked::Fork, leaving, |child, _| {
            let _ = child.send(b"before, ", 0);
            let fd = child.fd;
            let _ = child.observe("a handler", handlers::answers_at_the_end(fd, leaving));
        });
        near.close();
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(16);
        let _ = far.recv(1, 0);
    });
}

fn a_handler_of_exit_sends_the_last_words(stage: &mut Stage) {
    the_last_words_are_a_handlers(stage, Leaving::InOrder);
}

fn a_handler_of_quick_exit_sends_the_last_words(stage: &mut Stage) {
    the_last_words_are_a_handlers(stage, Leaving::Quickly);
}

fn a_child_that_is_killed_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::Killed);
}

fn children_come_and_go(stage: &mut Stage) {
    const CHILDREN: u8 = 20;
    for number in 0..CHILDREN {
        stage.near(|near| {
            let leaving = [Leaving::AtOnce, Leaving::InOrder, Leaving::Killed][number as usize % 3];
            let mut child = near.fork_by(Forked::Fork, leaving, |child, _| {
                child.send_all(&[b'a' + number]);
            });
            child.turn(near);
            child.reap(near);
        });
        stage.far(|far| {
            far.receives(1);
            far.send_all(b"k");
        });
        stage.near(|near| near.receives(1));
    }
}
