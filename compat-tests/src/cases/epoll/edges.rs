//! Edge-triggered: the reference list of POSIX.md row 13, and what bells must not add to it (row 12).

use super::arrives;
use crate::calls::epoll::{self, Change, Wait};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::side::sets::events::{ET, EXCLUSIVE, IN, ONESHOT, OUT, RDHUP};
use crate::side::sets::watching;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll edge", edge_triggered_events_come_once_per_arrival).rows(&[13]),
    case!("epoll edge", bytes_drained_before_the_wait_are_no_event).rows(&[13]),
    case!("epoll edge", a_partial_read_makes_no_event)
        .rows(&[13])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", epoll_mod_reports_what_is_ready_again).rows(&[12, 13]),
    case!("epoll edge", an_edge_reports_all_that_holds)
        .rows(&[12, 13])
        .kinds(TWO_KINDS),
    case!("epoll edge", the_end_is_an_edge)
        .rows(&[5, 13])
        .kinds(TWO_KINDS),
    case!("epoll edge", edge_and_one_shot_together)
        .rows(&[13])
        .kinds(TWO_KINDS),
    case!("epoll edge", edge_and_exclusive_together)
        .rows(&[13])
        .kinds(TWO_KINDS),
];

fn edge_triggered_events_come_once_per_arrival(stage: &mut Stage) {
    let set = watching(stage, IN | ET, 1);
    stage.near(|near| set.reports_nothing(near));
    arrives(stage, b"aa", 2);
    stage.near(|near| set.reports_once(near));
    // Each arrival is an event, though what came before is unread.
    arrives(stage, b"b", 3);
    stage.near(|near| set.reports_once(near));
    arrives(stage, b"c", 4);
    arrives(stage, b"d", 5);
    stage.near(|near| {
        // Two arrivals, one wait: one event.
        set.reports_once(near);
        near.receives(5);
        set.reports_nothing(near);
    });
    arrives(stage, b"e", 1);
    stage.near(|near| {
        set.reports(near);
        near.receives(1);
    });
}

fn bytes_drained_before_the_wait_are_no_event(stage: &mut Stage) {
    let set = watching(stage, IN | ET, 1);
    for _ in 0..4 {
        arrives(stage, b"abc", 3);
        stage.near(|near| {
            near.receives(3);
            set.reports_nothing(near);
        });
    }
    arrives(stage, b"d", 1);
    stage.near(|near| {
        set.reports(near);
        near.receives(1);
    });
}

fn a_partial_read_makes_no_event(stage: &mut Stage) {
    let set = watching(stage, IN | ET, 1);
    arrives(stage, b"abcdef", 6);
    stage.near(|near| {
        set.reports(near);
        near.receives(2);
        set.reports_nothing(near);
        let _ = near.recv(2, libc::MSG_PEEK);
        near.receives(1);
        set.reports_nothing(near);
        near.receives(3);
        let _ = near.recv(1, libc::MSG_DONTWAIT);
        set.reports_nothing(near);
    });
}

fn epoll_mod_reports_what_is_ready_again(stage: &mut Stage) {
    let set = watching(stage, IN | ET, 1);
    arrives(stage, b"data", 4);
    stage.near(|near| {
        set.reports_once(near);
        set.modify(near, IN | ET, 2);
        set.reports_once(near);
        set.modify(near, IN | OUT | ET, 3);
        set.reports_once(near);
        near.receives(4);
        set.modify(near, IN | ET, 4);
        set.reports_nothing(near);
        set.modify(near, OUT | ET, 5);
        set.reports_once(near);
    });
    arrives(stage, b"more", 4);
    stage.near(|near| {
        set.reports_nothing(near);
        set.modify(near, IN | OUT | RDHUP | ET, 6);
        set.reports(near);
        let fd = near.fd;
        set.control(near, Change::Del, fd, 0, 0);
        set.add(near, IN | ET, 7);
        set.reports_once(near);
        near.receives(4);
    });
}

fn an_edge_reports_all_that_holds(stage: &mut Stage) {
    let set = watching(stage, IN | OUT | RDHUP | ET, 1);
    stage.near(|near| set.reports_once(near));
    arrives(stage, b"x", 1);
    stage.near(|near| {
        set.reports_once(near);
        near.receives(1);
        set.reports_nothing(near);
    });
    stage.far_sends_and_ends(b"y");
    stage.near(|near| {
        set.reports(near);
        near.receives(1);
    });
}

fn the_end_is_an_edge(stage: &mut Stage) {
    let set = watching(stage, IN | RDHUP | ET, 1);
    stage.together(
        |near| {
            set.reports(near);
            // Linux wakes a set twice for one end, for the state and for the data (tcp_fin, tcp_data_queue): the second
            // may come behind the first report. Who asks for TCP_INFO waits until all of it is done.
            near.end_arrived();
            let _ = epoll::wait(set.fd, 4, Wait::Plain(0));
            set.reports_nothing(near);
            let _ = near.recv(1, 0);
            set.reports_nothing(near);
        },
        |far| {
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
    stage.near(|near| {
        set.modify(near, IN | OUT | RDHUP | ET, 2);
        set.reports(near);
        let _ = near.send(b"answer", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
    });
}

fn edge_and_one_shot_together(stage: &mut Stage) {
    let set = watching(stage, IN | ET | ONESHOT, 1);
    arrives(stage, b"a", 1);
    stage.near(|near| set.reports_once(near));
    arrives(stage, b"b", 2);
    stage.near(|near| {
        set.reports_nothing(near);
        set.modify(near, IN | ET | ONESHOT, 2);
        set.reports_once(near);
        near.receives(2);
        set.modify(near, IN | ET | ONESHOT, 3);
        set.reports_nothing(near);
    });
    stage.woken_by(b"c", |near| {
        set.reports(near);
        near.receives(1);
    });
}

fn edge_and_exclusive_together(stage: &mut Stage) {
    let set = watching(stage, IN | ET | EXCLUSIVE, 1);
    arrives(stage, b"ab", 2);
    stage.near(|near| set.reports_once(near));
    stage.woken_by(b"c", |near| {
        set.reports(near);
        near.receives(3);
        set.reports_nothing(near);
    });
}
