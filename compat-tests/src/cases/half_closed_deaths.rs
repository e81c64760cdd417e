//! A peer that has shut its writing is killed before it has read everything: TCP answers with a reset, which says nothing
//! new to a reader and everything to a writer (POSIX.md row 33).

use crate::case;
use crate::case::{Case, Proof};
use crate::cases::resets::{kill_later, last_answers, polls, sleeps_in_poll, sleeps_in_set};
use crate::side::Side;
use crate::side::sets::Set;
use crate::side::sets::events::{ET, IN, OUT, RDHUP};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("SIGKILL", a_half_closed_peer_dies_with_bytes_unread)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!(
        "SIGKILL",
        a_half_closed_peer_dies_with_bytes_unread_that_came_later
    )
    .rows(&[33])
    .far_dies()
    .proof(Proof::AtLeast(10)),
    case!("SIGKILL", the_death_of_a_half_closed_peer_wakes_a_poll)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", the_death_of_a_half_closed_peer_wakes_a_set)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_half_closed_peer_that_has_read_all_dies)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("getsockname", the_own_name_behind_a_death)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
];

const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;

/// The near end sends what the far one never reads; the far one shuts its writing, and the near end has heard of it.
fn half_closes(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
    });
}

fn dies(stage: &mut Stage) {
    stage.kill_far();
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        polls(near, "behind the death", ALL, 0);
        near.pending_error();
        polls(near, "behind the error", ALL, 0);
        let _ = near.recv(10, 0);
        last_answers(near);
    });
}

fn a_half_closed_peer_dies_with_bytes_unread(stage: &mut Stage) {
    half_closes(stage);
    stage.near(|near| polls(near, "before the death", ALL, 0));
    dies(stage);
}

fn a_half_closed_peer_dies_with_bytes_unread_that_came_later(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
        let _ = near.send(b"never read", 0);
        polls(near, "before the death", ALL, 0);
    });
    stage.far(|far| far.arrived(10));
    dies(stage);
}

/// The near end is asleep in `act` when the half-closed far end is killed.
fn asleep_at_the_death(stage: &mut Stage, act: impl FnOnce(&mut Side)) {
    stage.far(|far| {
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.far_waits_for_its_death(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
        let _ = near.send(b"never read", 0);
        kill_later(near, act);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn the_death_of_a_half_closed_peer_wakes_a_poll(stage: &mut Stage) {
    asleep_at_the_death(stage, |near| {
        sleeps_in_poll(near, "asleep", 0, -1);
    });
}

fn the_death_of_a_half_closed_peer_wakes_a_set(stage: &mut Stage) {
    asleep_at_the_death(stage, |near| {
        let set = Set::new(near);
        set.add(near, IN | OUT | RDHUP | ET, 7);
        set.reports(near);
        sleeps_in_set(near, set);
        set.close();
    });
}

fn a_half_closed_peer_that_has_read_all_dies(stage: &mut Stage) {
    half_closes(stage);
    stage.near(|near| polls(near, "before it has read", ALL, 0));
    stage.far(|far| {
        let _ = far.recv(10, 0);
    });
    stage.kill_far();
    stage.near(|near| {
        // Long enough for a reset, if there were one.
        std::thread::sleep(std::time::Duration::from_millis(20));
        polls(near, "behind the death", ALL, 0);
        near.pending_error();
        let _ = near.recv(10, 0);
    });
}

fn the_own_name_behind_a_death(stage: &mut Stage) {
    stage.near(|near| {
        near.names();
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| far.arrived(10));
    stage.kill_far();
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        near.names();
        let _ = near.recv(10, 0);
        near.names();
    });
}
