//! A killed peer that had not read everything: one error for whoever calls first, and every way of waiting sees it
//! (POSIX.md row 33). What the killed one had sent comes before.

use crate::calls::{readiness, transfer};
use crate::case;
use crate::case::{Case, Proof};
use crate::cases::resets::{kill_later, last_answers, polls, sleeps_in_poll, sleeps_in_set};
use crate::side::Side;
use crate::side::sets::Set;
use crate::side::sets::events::{ET, IN, OUT, RDHUP};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("SIGKILL", a_death_is_told_to_the_sender)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_is_told_by_so_error)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_behind_the_own_shutdown)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_behind_both_shutdowns)
        .rows(&[33])
        .far_dies()
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("SIGKILL", poll_sees_a_death).rows(&[33]).far_dies(),
    case!("SIGKILL", a_level_triggered_set_sees_a_death)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", an_edge_triggered_set_sees_a_death)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_wakes_a_sleeping_set)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_wakes_a_sleeping_poll)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_wakes_a_reader_that_has_written)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(10)),
    case!("SIGKILL", a_death_wakes_a_wait_for_room)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(4096)),
];

/// The near end sends what the far one never reads; then the far one is killed, and the near end has heard of it.
fn dies_without_reading(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| far.arrived(10));
    stage.kill_far();
    stage.near(|near| near.until_poll(libc::POLLERR | libc::POLLHUP));
}

fn a_death_is_told_to_the_sender(stage: &mut Stage) {
    dies_without_reading(stage);
    stage.near(|near| {
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        last_answers(near);
    });
}

fn a_death_is_told_by_so_error(stage: &mut Stage) {
    dies_without_reading(stage);
    stage.near(|near| {
        near.pending_error();
        near.pending_error();
        last_answers(near);
    });
}

fn a_death_behind_the_own_shutdown(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| far.arrived(10));
    stage.kill_far();
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn a_death_behind_both_shutdowns(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.kill_far();
    stage.near(|near| {
        near.tcp_state_becomes("CLOSE");
        last_answers(near);
    });
}

fn poll_sees_a_death(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"sent", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| far.arrived(10));
    stage.kill_far();
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        for when in [
            "before recv",
            "after the queued bytes",
            "after the error",
            "after the end",
        ] {
            polls(
                near,
                when,
                libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP,
                0,
            );
            let _ = near.recv(100, 0);
        }
    });
}

fn a_level_triggered_set_sees_a_death(stage: &mut Stage) {
    sees_a_death(stage, IN | OUT | RDHUP);
}

fn an_edge_triggered_set_sees_a_death(stage: &mut Stage) {
    sees_a_death(stage, IN | OUT | RDHUP | ET);
}

fn sees_a_death(stage: &mut Stage, events: u32) {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, events, 7);
        set.reports(near);
    });
    dies_without_reading(stage);
    stage.near(|near| {
        set.reports(near);
        let _ = near.recv(10, 0);
        let _ = near.recv(10, 0);
        set.reports_nothing(near);
        last_answers(near);
    });
}

/// The near end sends what is never read, and is asleep in `act` when the far end is killed.
fn asleep_at_the_death(stage: &mut Stage, act: impl FnOnce(&mut Side)) {
    stage.far_waits_for_its_death(|near| {
        let _ = near.send(b"never read", 0);
        kill_later(near, act);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn a_death_wakes_a_sleeping_set(stage: &mut Stage) {
    asleep_at_the_death(stage, |near| {
        let set = Set::new(near);
        set.add(near, IN | RDHUP, 7);
        sleeps_in_set(near, set);
        set.close();
    });
}

fn a_death_wakes_a_sleeping_poll(stage: &mut Stage) {
    asleep_at_the_death(stage, |near| {
        sleeps_in_poll(near, "asleep", libc::POLLIN | libc::POLLRDHUP, -1);
    });
}

fn a_death_wakes_a_reader_that_has_written(stage: &mut Stage) {
    asleep_at_the_death(stage, |near| {
        let _ = near.recv(10, 0);
    });
}

fn a_death_wakes_a_wait_for_room(stage: &mut Stage) {
    stage.far_waits_for_its_death(|near| {
        near.set_nonblocking(true);
        let bytes = vec![7; 64 << 10];
        let mut refusals = 0;
        // Until there is no room for good: one carrier may give way to the other.
        while refusals < 3 {
            if transfer::send(near.fd, &bytes, libc::MSG_NOSIGNAL).is_ok() {
                refusals = 0;
            } else if readiness::poll_one(near.fd, libc::POLLOUT, 100).1 & libc::POLLOUT == 0 {
                refusals += 1;
            }
        }
        kill_later(near, |near| {
            sleeps_in_poll(near, "for room", libc::POLLOUT, -1);
        });
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}
