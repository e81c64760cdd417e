//! What a set tells of a stream's end, of a reset and of a death.

use crate::calls::epoll::{self, Wait};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::resets::kill_later;
use crate::side::sets::events::{ERR, HUP, IN, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_wait", events_along_the_ends_of_a_stream)
        .rows(&[5, 33])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        a_registration_without_events_hears_only_the_end
    )
    .rows(&[5, 33])
    .kinds(TWO_KINDS),
    case!("epoll_wait", bytes_and_then_a_close_are_reported_together)
        .rows(&[33])
        .kinds(TWO_KINDS),
    case!("epoll_wait", bytes_and_then_a_reset_are_reported_together)
        .rows(&[33])
        .kinds(TWO_KINDS),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_each_end)
        .rows(&[5, 33])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_a_reset)
        .rows(&[33])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!(
        "epoll_wait",
        a_sleeping_epoll_wait_is_woken_by_the_peers_death
    )
    .rows(&[33])
    .kinds(TWO_KINDS)
    .far_dies()
    .proof(Proof::BeganOnRing("nothing is sent")),
];

fn events_along_the_ends_of_a_stream(stage: &mut Stage) {
    let set = watching(stage, IN | OUT | RDHUP, 1);
    stage.near(|near| {
        set.reports(near);
    });
    stage.far_sends_and_ends(b"last");
    stage.near(|near| {
        set.reports(near);
        near.receives(4);
        set.reports(near);
        let _ = near.recv(1, 0);
        set.reports(near);
        let _ = near.send(b"answer", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        near.tcp_state_becomes("CLOSE");
        set.reports(near);
        set.modify(near, 0, 2);
        set.reports(near);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
    });
}

fn a_registration_without_events_hears_only_the_end(stage: &mut Stage) {
    let set = watching(stage, 0, 1);
    stage.far_sends_and_ends(b"data");
    stage.near(|near| {
        set.reports_nothing(near);
        near.receives(4);
        let _ = near.shutdown(libc::SHUT_WR);
        set.reports(near);
    });
}

fn bytes_and_then_a_close_are_reported_together(stage: &mut Stage) {
    let set = watching(stage, RDHUP, 1);
    stage.far(|far| {
        let _ = far.send(b"data", 0);
        far.close();
    });
    stage.near(|near| {
        near.end_arrived();
        set.reports(near);
        set.modify(near, IN | RDHUP, 2);
        set.reports(near);
        near.receives(2);
        set.reports(near);
        near.receives(2);
        set.reports(near);
        let _ = near.recv(1, 0);
    });
}

fn bytes_and_then_a_reset_are_reported_together(stage: &mut Stage) {
    let set = watching(stage, IN | OUT | RDHUP, 1);
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.send(b"data", 0);
        far.close();
    });
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let found = set.reports(near);
        near.say(&format!(
            "{}",
            found.iter().all(|(_, events)| events & (ERR | HUP) != 0)
        ));
    });
}

fn a_sleeping_epoll_wait_is_woken_by_each_end(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            set.reports(near);
            let _ = near.recv(1, 0);
            set.modify(near, 0, 2);
            let _ = near.shutdown(libc::SHUT_WR);
            set.reports(near);
        },
        |far| {
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
            let _ = far.recv(1, 0);
        },
    );
}

fn a_sleeping_epoll_wait_is_woken_by_a_reset(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            let found = epoll::wait(set.fd, 16, Wait::Plain(LONG_MS));
            // Whoever is woken this early may find a reset half told: the error, and the ends not yet.
            near.say(&format!(
                "woken: {}",
                found.is_ok_and(|events| events.len() == 1 && events[0].0 == 1)
            ));
            near.until_poll(libc::POLLERR | libc::POLLHUP);
            set.reports(near);
            let _ = near.recv(1, 0);
            near.pending_error();
        },
        |far| {
            far.other_asleep();
            let _ = crate::calls::options::set_linger(far.fd, true, 0);
            far.close();
        },
    );
}

fn a_sleeping_epoll_wait_is_woken_by_the_peers_death(stage: &mut Stage) {
    stage.far_waits_for_its_death(|near| {
        let set = Set::new(near);
        set.add(near, IN | RDHUP, 1);
        kill_later(near, |near| {
            set.reports(near);
        });
        let _ = near.recv(1, 0);
    });
}
