//! aio_read, aio_write and lio_listio on a connection (POSIX.md row 35): threads of the C library move the bytes, past
//! every hook, so the stream must be where they find it.

use crate::calls::answer::shown;
use crate::calls::asynchronous::{self, Names, Transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("aio_read", an_asynchronous_read_takes_what_was_unread)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("aio_read64", aio_read64_takes_what_was_unread)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("aio_read", an_asynchronous_read_waits_for_bytes)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("aio_write", an_asynchronous_write_follows_what_was_sent)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("aio_write64", aio_write64_follows_what_was_sent)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("lio_listio", a_list_of_transfers_reads_and_writes)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("lio_listio64", lio_listio64_reads_and_writes)
        .rows(&[35])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
];

fn says_a_read(side: &mut Side, transfer: Transfer) {
    let (answer, bytes) = transfer.end();
    let filled = answer.unwrap_or(0).min(bytes.len());
    let line = format!(
        "read = {} {}",
        shown(answer),
        content::shown(&bytes[..filled])
    );
    side.say(&line);
}

fn says_a_write(side: &mut Side, transfer: Transfer) {
    let (answer, _) = transfer.end();
    side.count_sent(answer);
    let _ = side.observe("write", answer);
}

/// The far end has sent, and waits for an answer: what was unread is its to send again, by the kernel, when its own call
/// sees that the ring was left.
fn while_the_far_end_waits(stage: &mut Stage, near: impl FnOnce(&mut Side), answer: usize) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.together(
        |side| {
            side.arrived(6);
            near(side);
        },
        |far| {
            far.receives(answer);
            let _ = far.recv(1, libc::MSG_DONTWAIT);
        },
    );
}

fn reads_what_was_unread(stage: &mut Stage, names: Names) {
    let act = |near: &mut Side| {
        let _ = near.recv(2, 0);
        let read = near.must(asynchronous::begin_read(names, near.fd, 3));
        says_a_read(near, read);
        near.receives(1);
        let _ = near.send(b"read", 0);
    };
    while_the_far_end_waits(stage, act, 4);
    talk(stage);
}

fn an_asynchronous_read_takes_what_was_unread(stage: &mut Stage) {
    reads_what_was_unread(stage, Names::Usual);
}

fn aio_read64_takes_what_was_unread(stage: &mut Stage) {
    reads_what_was_unread(stage, Names::OfLargeFiles);
}

fn an_asynchronous_read_waits_for_bytes(stage: &mut Stage) {
    talk(stage);
    let mut read = None;
    stage.near(|near| {
        read = Some(near.must(asynchronous::begin_read(Names::Usual, near.fd, 10)));
        near.own_threads_asleep(1);
    });
    stage.far(|far| {
        let _ = far.send(b"awaited", 0);
    });
    stage.near(|near| {
        if let Some(read) = read.take() {
            says_a_read(near, read);
        }
    });
    talk(stage);
}

fn writes_behind_what_was_sent(stage: &mut Stage, names: Names) {
    let act = |near: &mut Side| {
        let _ = near.send(b"sent, ", 0);
        let write = near.must(asynchronous::begin_write(names, near.fd, b"written, "));
        says_a_write(near, write);
        let _ = near.send(b"sent again", 0);
    };
    while_the_far_end_waits(stage, act, 25);
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn an_asynchronous_write_follows_what_was_sent(stage: &mut Stage) {
    writes_behind_what_was_sent(stage, Names::Usual);
}

fn aio_write64_follows_what_was_sent(stage: &mut Stage) {
    writes_behind_what_was_sent(stage, Names::OfLargeFiles);
}

/// Twice: from the ring, and by the kernel.
fn reads_and_writes_by_a_list(stage: &mut Stage, names: Names) {
    for _ in 0..2 {
        let act = |near: &mut Side| {
            let _ = near.send(b"sent, ", 0);
            let (answer, [read, write]) =
                asynchronous::read_and_write(names, near.fd, 4, b"written");
            let _ = near.observe("the list", answer);
            says_a_read(near, read);
            says_a_write(near, write);
            near.receives(2);
        };
        while_the_far_end_waits(stage, act, 13);
    }
    talk(stage);
}

fn a_list_of_transfers_reads_and_writes(stage: &mut Stage) {
    reads_and_writes_by_a_list(stage, Names::Usual);
}

fn lio_listio64_reads_and_writes(stage: &mut Stage) {
    reads_and_writes_by_a_list(stage, Names::OfLargeFiles);
}
