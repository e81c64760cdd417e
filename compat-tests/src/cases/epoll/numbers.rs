//! Registered numbers that are closed, moved and given again (POSIX.md row 20).

use crate::calls::epoll::Change;
use crate::calls::{connection, files};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::{IN, OUT, RDHUP};
use crate::side::sets::{Set, more_connections, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_ctl", a_reused_number_is_a_new_epoll_registration)
        .rows(&[20])
        .kinds(TWO_KINDS),
    case!(
        "epoll_ctl",
        a_registered_number_is_closed_while_a_copy_lives
    )
    .rows(&[20])
    .kinds(TWO_KINDS),
    case!("epoll_ctl", both_numbers_of_a_connection_are_registered)
        .rows(&[20])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", a_connection_is_moved_over_a_registered_one)
        .rows(&[20, 25])
        .kinds(TWO_KINDS),
];

fn a_reused_number_is_a_new_epoll_registration(stage: &mut Stage) {
    let own = stage.own_descriptor();
    let set = watching(stage, IN | RDHUP, 1);
    stage.near(|near| {
        near.close();
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
        far.close();
    });
    stage.connect();
    stage.settle();
    stage.near(|near| {
        if near.fd != own {
            near.must(files::dup2(near.fd, own));
            near.close_number_only();
            near.fd = own;
        }
        set.control(near, Change::Mod, own, IN, 2);
        set.control(near, Change::Del, own, IN, 2);
        set.add(near, IN, 3);
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"of the new stream", 0);
    });
    stage.near(|near| {
        near.arrived(17);
        set.reports(near);
        near.receives(17);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn a_registered_number_is_closed_while_a_copy_lives(stage: &mut Stage) {
    stage.near(|near| {
        let set = Set::new(near);
        set.add(near, IN, 1);
        let copy = near.must(files::dup(near.fd)) as i32;
        let old = near.fd;
        // Taken out before the number is closed: what would be left without that is nobody's any more.
        set.control(near, Change::Del, old, 0, 0);
        near.close_number_only();
        near.fd = copy;
        set.control(near, Change::Del, old, 0, 0);
        set.add(near, IN, 2);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn both_numbers_of_a_connection_are_registered(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    let mut copy = -1;
    stage.near(|near| {
        set = Set::new(near);
        copy = near.must(files::dup(near.fd)) as i32;
        set.add(near, IN, 1);
        set.control(near, Change::Add, copy, IN | OUT, 2);
        set.reports(near);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        set.reports(near);
        set.control(near, Change::Del, copy, 0, 0);
        set.reports(near);
        near.receives(4);
        set.reports_nothing(near);
        near.must(connection::close(copy));
    });
    stage.woken_by(b"wake", |near| {
        set.reports(near);
        near.receives(4);
    });
}

fn a_connection_is_moved_over_a_registered_one(stage: &mut Stage) {
    let all = more_connections(stage, 1);
    let set = watching(stage, IN, 1);
    stage.near(|near| {
        set.control(near, Change::Add, all[1], IN, 2);
        // The first connection ends; its number means the second one now, which stays registered by its own.
        near.must(files::dup2(all[1], all[0]));
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
        far.close();
        far.fd = all[1];
        far.start_counting();
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.fd = all[1];
        near.start_counting();
        near.arrived(4);
        set.reports(near);
        set.control(near, Change::Add, all[0], IN, 3);
        set.reports(near);
        near.receives(4);
        set.reports_nothing(near);
    });
    talk(stage);
}
