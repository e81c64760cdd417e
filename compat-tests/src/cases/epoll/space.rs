//! Room for a writer: the ring is full while the kernel is writable (POSIX.md row 11).

use crate::calls::epoll::{self, Wait};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::{IN, OUT, PRI};
use crate::side::sets::{Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "epoll_wait",
        epoll_waits_for_space_while_the_peer_does_not_read
    )
    .rows(&[11])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("epoll_wait", space_and_bytes_are_told_apart)
        .rows(&[11, 12])
        .kinds(TWO_KINDS),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_space)
        .rows(&[11])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
];

fn epoll_waits_for_space_while_the_peer_does_not_read(stage: &mut Stage) {
    let sent = stage.near_says(|near| {
        let set = Set::new(near);
        set.add(near, OUT, 1);
        set.reports(near);
        let sent = near.fill(302);
        // Neither an event nor a wait that returns again and again without one.
        let mut returns = 0;
        let mut reported = 0;
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(100) {
            if let Ok(found) = epoll::wait(set.fd, 4, Wait::Plain(20)) {
                returns += 1;
                reported += found.len();
            }
        }
        near.note(&format!("{returns} returns"));
        near.say(&format!(
            "few returns: {}, {reported} events",
            returns <= 10
        ));
        set.modify(near, OUT | IN, 2);
        set.reports_nothing(near);
        set.close();
        sent as i64
    });
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, OUT, 3);
            set.reports(near);
            let _ = near.send(b"!", 0);
        },
        |far| {
            far.other_asleep();
            far.receives_stream(302, 0, sent as usize);
            far.receives(1);
        },
    );
    talk(stage);
}

fn space_and_bytes_are_told_apart(stage: &mut Stage) {
    let set = watching(stage, OUT, 1);
    stage.near(|near| {
        set.reports(near);
        set.modify(near, IN | OUT, 2);
        set.reports(near);
        set.modify(near, IN, 3);
        set.reports_nothing(near);
        set.modify(near, PRI, 4);
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"x", 0);
    });
    stage.near(|near| {
        near.arrived(1);
        set.reports_nothing(near);
        set.modify(near, OUT, 5);
        set.reports(near);
        set.modify(near, IN | OUT, 6);
        set.reports(near);
        near.receives(1);
        set.reports(near);
    });
    talk(stage);
}

fn a_sleeping_epoll_wait_is_woken_by_space(stage: &mut Stage) {
    let sent = stage.near_says(|near| near.fill(303) as i64);
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, OUT, 1);
            set.reports(near);
            let _ = near.send(b"!", 0);
        },
        |far| {
            far.other_asleep();
            far.receives_stream(303, 0, sent as usize);
            far.receives(1);
        },
    );
    talk(stage);
}
