//! Making sets and changing registrations: one-shot, exclusive, removed, refused (POSIX.md row 12).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::files;
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::{EXCLUSIVE, IN, ONESHOT, OUT, PRI, RDHUP};
use crate::side::sets::{Set, shown, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_ctl", one_shot_registrations_report_once)
        .rows(&[13])
        .kinds(TWO_KINDS),
    case!(
        "epoll_ctl",
        a_spent_one_shot_registration_hides_even_the_end
    )
    .rows(&[13])
    .kinds(TWO_KINDS),
    case!("epoll_ctl", exclusive_registrations_report_like_others)
        .rows(&[3])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", changes_that_are_refused).kinds(TWO_KINDS),
    case!("epoll_ctl", a_removed_registration_is_silent).kinds(TWO_KINDS),
    case!("epoll_ctl", mod_changes_events_and_data)
        .rows(&[12])
        .kinds(TWO_KINDS),
    case!("epoll_create", every_way_of_making_a_set).kinds(TWO_KINDS),
];

fn one_shot_registrations_report_once(stage: &mut Stage) {
    let set = watching(stage, IN | ONESHOT, 1);
    stage.far(|far| {
        let _ = far.send(b"ab", 0);
    });
    stage.near(|near| {
        near.arrived(2);
        set.reports_once(near);
    });
    stage.far(|far| {
        let _ = far.send(b"c", 0);
    });
    stage.near(|near| {
        near.arrived(3);
        set.reports_nothing(near);
        set.modify(near, IN | ONESHOT, 2);
        set.reports_once(near);
        near.receives(3);
        set.modify(near, IN | OUT | ONESHOT, 3);
        set.reports_once(near);
    });
    stage.woken_by(b"d", |near| {
        set.modify(near, IN | ONESHOT, 4);
        set.reports(near);
        near.receives(1);
    });
    talk(stage);
}

fn a_spent_one_shot_registration_hides_even_the_end(stage: &mut Stage) {
    let set = watching(stage, OUT | ONESHOT, 1);
    stage.near(|near| {
        set.reports(near);
    });
    stage.far(|far| {
        let _ = far.send(b"last", 0);
        far.close();
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.shutdown(libc::SHUT_WR);
        set.reports_nothing(near);
        near.receives(4);
        set.reports_nothing(near);
        set.modify(near, RDHUP | ONESHOT, 2);
        set.reports_once(near);
    });
}

fn exclusive_registrations_report_like_others(stage: &mut Stage) {
    let set = watching(stage, IN | EXCLUSIVE, 1);
    stage.near(|near| set.reports_nothing(near));
    stage.woken_by(b"data", |near| {
        set.reports(near);
        near.receives(4);
        set.reports_nothing(near);
        set.modify(near, IN, 2);
        let fd = near.fd;
        set.control(near, Change::Del, fd, 0, 0);
        set.add(near, IN | OUT | EXCLUSIVE, 3);
        set.reports(near);
    });
    talk(stage);
}

fn changes_that_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let set = Set::new(near);
        let inner = Set::new(near);
        let file = near.must(files::memory_file(b"file"));
        set.control(near, Change::Mod, fd, IN, 1);
        set.control(near, Change::Del, fd, IN, 1);
        set.add(near, IN, 1);
        set.add(near, IN, 2);
        set.control(near, Change::Unknown, fd, IN, 3);
        set.control(near, Change::Add, 77, IN, 4);
        set.control(near, Change::Add, -1, IN, 4);
        set.control(near, Change::Add, file, IN, 5);
        set.control(near, Change::Add, set.fd, IN, 6);
        set.control(near, Change::Add, inner.fd, IN, 7);
        inner.control(near, Change::Add, set.fd, IN, 8);
        inner.control(near, Change::Add, fd, IN | ONESHOT | EXCLUSIVE, 9);
        set.control(near, Change::Mod, fd, IN | EXCLUSIVE, 10);
        Set { fd: file }.control(near, Change::Add, fd, IN, 11);
        Set { fd: 77 }.control(near, Change::Add, fd, IN, 12);
        Set { fd }.control(near, Change::Add, file, IN, 13);
        let answer = epoll::control_without_event(set.fd, Change::Mod, fd);
        let _ = near.observe("Mod without an event", answer);
        let answer = epoll::control_without_event(set.fd, Change::Del, fd);
        let _ = near.observe("Del without an event", answer);
        set.add(near, IN | OUT, 14);
        for maximum in [0, -1] {
            let found = epoll::wait(set.fd, maximum, Wait::Plain(0));
            near.say(&format!("{maximum} events = {}", shown(&found)));
        }
        let found = epoll::wait(fd, 1, Wait::Plain(0));
        near.say(&format!("on a socket = {}", shown(&found)));
        let found = epoll::wait(77, 1, Wait::Plain(0));
        near.say(&format!("on nothing = {}", shown(&found)));
        set.reports(near);
    });
    talk(stage);
}

fn a_removed_registration_is_silent(stage: &mut Stage) {
    let set = watching(stage, IN, 1);
    stage.near(|near| {
        let fd = near.fd;
        set.control(near, Change::Del, fd, 0, 0);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        set.reports_nothing(near);
        set.add(near, IN, 2);
        set.reports(near);
        let fd = near.fd;
        set.control(near, Change::Del, fd, 0, 0);
        set.reports_nothing(near);
        set.add(near, IN, 3);
        near.receives(4);
    });
    talk(stage);
    stage.near(|near| {
        // The last number of a registered connection is closed: nothing is left to report.
        near.close();
        set.reports_nothing(near);
    });
}

fn mod_changes_events_and_data(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let set = Set::new(near);
        set.add(near, IN, 1);
        set.reports(near);
        set.modify(near, IN, 0xFFFF_FFFF_0000_0002);
        set.reports(near);
        set.modify(near, OUT, 3);
        set.reports(near);
        set.modify(near, 0, 4);
        set.reports_nothing(near);
        set.modify(near, IN | OUT | RDHUP | PRI, 5);
        set.reports(near);
        near.receives(4);
        set.reports(near);
    });
    talk(stage);
}

fn every_way_of_making_a_set(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        for answer in [
            epoll::create(0),
            epoll::create(libc::EPOLL_CLOEXEC),
            epoll::create_sized(1),
        ] {
            let set = Set {
                fd: near.must(answer) as i32,
            };
            let flags = files::fcntl(set.fd, libc::F_GETFD, 0);
            let _ = near.observe("F_GETFD of the set", flags);
            set.add(near, IN, 1);
            set.reports(near);
            // A second number of the set means the same one.
            let copy = Set {
                fd: near.must(files::dup(set.fd)) as i32,
            };
            copy.reports(near);
            set.close();
            copy.modify(near, IN | OUT, 2);
            copy.reports(near);
            copy.close();
        }
        let _ = near.observe("epoll_create(0)", epoll::create_sized(0));
        let _ = near.observe("epoll_create1 with odd flags", epoll::create(0x100));
        near.receives(4);
    });
    talk(stage);
}
