//! Sets in sets, and sets that are polled or selected (POSIX.md row 18).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{readiness, selects};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::{ET, IN, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll nested", nested_epoll_sets_see_arriving_bytes).rows(&[18]),
    case!("epoll nested", an_edge_triggered_outer_set)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", four_sets_deep)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_set_is_polled)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_set_is_selected)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_nested_set_of_edges)
        .rows(&[18])
        .kinds(TWO_KINDS),
];

fn nested_epoll_sets_see_arriving_bytes(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN, 1);
        outer.control(near, Change::Add, inner.fd, IN, 2);
        outer.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        outer.reports(near);
        outer.reports(near);
        inner.reports(near);
        outer.reports(near);
        near.receives(4);
        inner.reports_nothing(near);
        outer.reports_nothing(near);
    });
    stage.together(
        |near| {
            for _ in 0..5 {
                outer.waits(near, Wait::Plain(-1));
                inner.waits(near, Wait::Plain(0));
                near.receives(4);
            }
        },
        |far| {
            for _ in 0..5 {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            }
        },
    );
    talk(stage);
}

fn an_edge_triggered_outer_set(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN, 1);
        outer.control(near, Change::Add, inner.fd, IN | ET, 2);
    });
    for _ in 0..3 {
        stage.woken_by(b"wake", |near| {
            outer.reports(near);
            inner.reports(near);
            near.receives(4);
            inner.reports_nothing(near);
        });
    }
    talk(stage);
}

fn four_sets_deep(stage: &mut Stage) {
    let mut sets = Vec::new();
    stage.near(|near| {
        let mut below = near.fd;
        // The kernel refuses one set too many; how deep that is stays what it is.
        for level in 0..8u64 {
            let set = Set::new(near);
            let answer = epoll::control(set.fd, Change::Add, below, IN, level);
            let _ = near.observe(&format!("level {level}"), answer);
            if answer.is_err() {
                set.close();
                break;
            }
            below = set.fd;
            sets.push(set);
        }
    });
    stage.together(
        |near| {
            for _ in 0..3 {
                for set in sets.iter().rev() {
                    set.reports(near);
                }
                near.receives(4);
            }
            if let Some(outermost) = sets.last() {
                outermost.reports_nothing(near);
            }
        },
        |far| {
            for _ in 0..3 {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            }
        },
    );
}

fn a_set_is_polled(stage: &mut Stage) {
    let set = watching(stage, IN | RDHUP, 1);
    stage.near(|near| {
        let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 30);
        near.say(&format!("poll of the set = {answer:?} {events:#x}"));
    });
    for _ in 0..3 {
        stage.woken_by(b"wake", |near| {
            let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, LONG_MS);
            near.say(&format!("poll of the set = {answer:?} {events:#x}"));
            let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 0);
            near.say(&format!("again = {answer:?} {events:#x}"));
            set.reports(near);
            near.receives(4);
            set.reports_nothing(near);
            let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 0);
            near.say(&format!("drained = {answer:?} {events:#x}"));
        });
    }
    talk(stage);
}

fn a_set_is_selected(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN, 1);
    });
    for _ in 0..3 {
        stage.woken_by(b"wake", |near| {
            let found = selects::select(&[set.fd], &[], &[], Some(i64::from(LONG_MS)));
            near.say(&format!(
                "select of the set = {}",
                found.is_readable(set.fd)
            ));
            set.reports(near);
            near.receives(4);
            let found = selects::select(&[set.fd], &[], &[], Some(20));
            near.say(&format!("drained = {}", found.is_readable(set.fd)));
        });
    }
    talk(stage);
}

fn a_nested_set_of_edges(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN | OUT | ET, 1);
        inner.reports(near);
        outer.control(near, Change::Add, inner.fd, IN, 2);
        outer.reports_nothing(near);
    });
    for _ in 0..3 {
        stage.woken_by(b"wake", |near| {
            outer.reports(near);
            inner.reports_once(near);
            outer.reports_nothing(near);
            near.receives(4);
        });
    }
    talk(stage);
}
