//! Every call that changes who a process is, on a connection with bytes unread (POSIX.md row 36): the ring is left before,
//! and the stream goes on. Each is given what is so already, so that a process without privileges can make most of them.

use crate::calls::credentials::{self, Change};
use crate::calls::options;
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::settle::is_accelerated;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("setreuid, setresuid, setfsuid", the_user_is_set_to_itself)
        .rows(&[36])
        .start(Start::Empty)
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(12)),
    case!(
        "setegid, setregid, setresgid, setfsgid, initgroups",
        the_group_is_set_to_itself
    )
    .rows(&[36])
    .start(Start::Empty)
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(12)),
    case!("capset", capabilities_are_set_to_themselves)
        .rows(&[36])
        .start(Start::Empty)
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(12)),
    case!(
        "chroot, unshare, setns",
        the_place_in_the_system_is_set_to_itself
    )
    .rows(&[36])
    .start(Start::Empty)
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(12)),
];

fn makes(near: &mut Side, change: Change) {
    let _ = near.observe(&format!("{change:?}"), credentials::make(change));
    if let Ok(status) = options::status(near.fd)
        && is_accelerated(&status)
    {
        near.complain(&format!(
            "{change:?} has not taken the connection off the ring"
        ));
    }
}

/// Each on a connection of its own, which is on the ring. The far end has sent, and waits for an answer: what was unread is
/// its to send again, by the kernel, when its own call sees that the ring was left.
fn each_leaves_the_stream_whole(stage: &mut Stage, changes: &[Change]) {
    for change in changes {
        stage.connect();
        stage.settle();
        stage.far(|far| {
            let _ = far.send(b"unread", 0);
        });
        stage.together(
            |near| {
                near.arrived(6);
                let _ = near.send(b"before", 0);
                makes(near, *change);
                near.receives(6);
                let _ = near.send(b" and behind", 0);
            },
            |far| {
                far.receives(17);
                let _ = far.send(b"there", 0);
            },
        );
        stage.near(|near| near.receives(5));
        stage.both(Side::close);
    }
}

fn the_user_is_set_to_itself(stage: &mut Stage) {
    let changes = [Change::Setreuid, Change::Setresuid, Change::Setfsuid];
    each_leaves_the_stream_whole(stage, &changes);
}

fn the_group_is_set_to_itself(stage: &mut Stage) {
    let changes = [
        Change::Setegid,
        Change::Setregid,
        Change::Setresgid,
        Change::Setfsgid,
        Change::Initgroups,
    ];
    each_leaves_the_stream_whole(stage, &changes);
}

fn capabilities_are_set_to_themselves(stage: &mut Stage) {
    each_leaves_the_stream_whole(stage, &[Change::Capset]);
}

fn the_place_in_the_system_is_set_to_itself(stage: &mut Stage) {
    let changes = [Change::Chroot, Change::Unshare, Change::Setns];
    each_leaves_the_stream_whole(stage, &changes);
}
