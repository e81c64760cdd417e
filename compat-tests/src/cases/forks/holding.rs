//! Who holds the descriptor: the stream ends with the last one (POSIX.md row 9).

use super::{child_of, talk};
use crate::calls::children::{Forked, Leaving};
use crate::calls::{files, transfer};
use crate::case;
use crate::case::{Case, Proof};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "fork",
        a_child_that_holds_the_descriptor_keeps_the_stream_open
    )
    .rows(&[9])
    .proof(Proof::AtLeast(12)),
    case!("fork", a_child_closes_its_copy_and_nothing_ends).rows(&[9]),
    case!("fork", shutdown_by_a_child_ends_the_stream_for_all)
        .rows(&[9])
        .proof(Proof::AtLeast(10)),
    case!("fork", a_grandchild_is_the_last_holder)
        .rows(&[9])
        .proof(Proof::AtLeast(12)),
    case!("fork", the_parent_ends_and_the_child_goes_on)
        .rows(&[9])
        .proof(Proof::AtLeast(10)),
];

fn a_child_that_holds_the_descriptor_keeps_the_stream_open(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        child = Some(near.fork(|child, turns| {
            let _ = child.send(b"from the child", 0);
            let _ = child.recv(100, libc::MSG_DONTWAIT);
            turns.next(child);
            child.receives(6);
            turns.next(child);
            child.close();
        }));
        near.close();
    });
    stage.far(|far| {
        far.receives(6);
        far.nap_ms(30);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        far.receives(14);
        let _ = far.send(b"answer", 0);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        let mut child = child.take();
        child_of(&mut child).turn(near);
        if let Some(child) = child {
            child.reap(near);
        }
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn a_child_closes_its_copy_and_nothing_ends(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let mut child = near.fork(|child, _| child.close());
        child.turn(near);
        child.reap(near);
        near.receives(6);
    });
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn shutdown_by_a_child_ends_the_stream_for_all(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"first", 0);
        let mut child = near.fork(|child, _| {
            let _ = child.send(b" last", 0);
            let _ = child.shutdown(libc::SHUT_WR);
        });
        child.turn(near);
        let _ = near.send(b"too late", libc::MSG_NOSIGNAL);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.recv(1, 0);
        let _ = far.send(b"the other way", 0);
    });
    stage.near(|near| near.receives(13));
}

fn a_grandchild_is_the_last_holder(stage: &mut Stage) {
    stage.near(|near| {
        // A pipe tells when the grandchild may begin and when it has closed: it is nobody's child by then.
        let (hears, tell) = near.must(files::pipe(0));
        let mut child = near.fork(|child, _| {
            let process = child.must(crate::calls::children::fork(Forked::Fork));
            if process == 0 {
                let _ = transfer::read(hears, &mut [0; 1]);
                let _ = child.send(b"orphaned", 0);
                let _ = child.recv(4, libc::MSG_WAITALL);
                crate::calls::children::leave(Leaving::AtOnce, 0);
            }
        });
        child.turn(near);
        child.reap(near);
        near.close();
        near.must(transfer::write(tell, b"g"));
    });
    stage.far(|far| {
        far.receives(8);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        let _ = far.send(b"done", 0);
        let _ = far.recv(1, 0);
    });
}

fn the_parent_ends_and_the_child_goes_on(stage: &mut Stage) {
    stage.near(|near| {
        // The parent is a child, too, so that its end can be seen: the connection's owner dies, its heir carries on.
        let (hears, tell) = near.must(files::pipe(0));
        let mut parent = near.fork(|parent, _| {
            if parent.must(crate::calls::children::fork(Forked::Fork)) == 0 {
                let _ = transfer::read(hears, &mut [0; 1]);
                let _ = parent.send(b"heir", 0);
                let _ = parent.recv(6, libc::MSG_WAITALL);
                crate::calls::children::leave(Leaving::InOrder, 0);
            }
            let _ = parent.send(b"owner ", 0);
        });
        parent.turn(near);
        parent.reap(near);
        near.close();
        near.must(transfer::write(tell, b"g"));
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.send(b"thanks", 0);
        let _ = far.recv(1, 0);
    });
}
