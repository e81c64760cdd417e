//! Level-triggered: an event lasts until all is read, and is the program's own (POSIX.md row 17).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{files, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::sets::events::{IN, RDHUP};
use crate::side::sets::{LONG_MS, Set, more_connections, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_wait", level_triggered_events_last_until_all_is_read).rows(&[13]),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_bytes).rows(&[14]),
    case!("epoll_wait", epoll_reports_only_the_programs_own_data)
        .rows(&[17])
        .kinds(TWO_KINDS),
    case!("epoll_wait", at_most_as_many_events_as_asked_for_take_turns)
        .rows(&[13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(1)),
    case!("epoll_wait", two_registrations_may_have_the_same_data)
        .rows(&[17])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(5)),
];

fn level_triggered_events_last_until_all_is_read(stage: &mut Stage) {
    let set = watching(stage, IN, 7);
    stage.near(|near| {
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"abcdef", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        set.reports(near);
        set.reports(near);
        near.receives(4);
        set.reports(near);
        near.receives(2);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn a_sleeping_epoll_wait_is_woken_by_bytes(stage: &mut Stage) {
    const ROUNDS: u64 = 12;
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            for round in 0..ROUNDS {
                set.reports(near);
                near.receives_stream(301, round * 10, 10);
            }
            set.close();
        },
        |far| {
            for round in 0..ROUNDS {
                far.other_asleep();
                far.send_all(&content::bytes_from(301, round * 10, 10));
            }
        },
    );
    talk(stage);
}

fn epoll_reports_only_the_programs_own_data(stage: &mut Stage) {
    const ROUNDS: usize = 300;
    const OWN: u64 = u64::MAX;
    stage.together(
        |near| {
            let set = Set::new(near);
            let (hears, tells) = near.must(files::pipe(libc::O_NONBLOCK));
            set.add(near, IN, OWN);
            set.control(near, Change::Add, hears, IN, 0);
            let (mut strange, mut empty, mut received) = (0, 0, 0);
            while received < ROUNDS {
                match epoll::wait(set.fd, 8, Wait::Plain(LONG_MS)) {
                    Ok(found) => {
                        empty += usize::from(found.is_empty());
                        strange += found
                            .iter()
                            .filter(|(data, events)| *events != IN || (*data != OWN && *data != 0))
                            .count();
                        if found.iter().any(|(data, _)| *data == OWN) {
                            let mut byte = [0; 4];
                            received +=
                                transfer::recv(near.fd, &mut byte, libc::MSG_DONTWAIT).unwrap_or(0);
                            if received % 7 == 0 {
                                let _ = transfer::write(tells, b"p");
                            }
                        }
                        if found.iter().any(|(data, _)| *data == 0) {
                            let _ = transfer::read(hears, &mut [0; 8]);
                        }
                    }
                    Err(errno) => near.fail(&format!("epoll_wait: {errno}")),
                }
            }
            near.say(&format!(
                "{received} bytes, {strange} strange events, {empty} waits without one"
            ));
        },
        |far| {
            for round in 0..ROUNDS {
                if round % 50 == 0 {
                    far.other_asleep();
                } else if round % 5 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(b"x");
            }
        },
    );
}

fn at_most_as_many_events_as_asked_for_take_turns(stage: &mut Stage) {
    let all = more_connections(stage, 3);
    stage.far(|far| {
        for fd in &all {
            far.fd = *fd;
            let _ = far.send(b"x", 0);
        }
        far.fd = all[0];
    });
    stage.near(|near| {
        let set = Set::new(near);
        for (index, fd) in all.iter().enumerate() {
            near.fd = *fd;
            near.arrived(1);
            set.control(near, Change::Add, *fd, IN, index as u64);
        }
        near.fd = all[0];
        let mut counts = [0; 4];
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let found = epoll::wait(set.fd, 1, Wait::Plain(LONG_MS)).unwrap_or_default();
            sizes.push(found.len());
            for (data, _) in found {
                counts[data as usize % 4] += 1;
            }
        }
        near.say(&format!("sizes {sizes:?}, each in turn {counts:?}"));
        set.waits_for(near, 3, Wait::Plain(LONG_MS)).len();
    });
}

fn two_registrations_may_have_the_same_data(stage: &mut Stage) {
    let all = more_connections(stage, 1);
    stage.far(|far| {
        let _ = far.send(b"first", 0);
    });
    let mut set = None;
    stage.near(|near| {
        near.arrived(5);
        let new = Set::new(near);
        for fd in &all {
            new.control(near, Change::Add, *fd, IN, 42);
        }
        new.reports(near);
        set = Some(new);
    });
    stage.far(|far| {
        far.fd = all[1];
        let _ = far.send(b"second", 0);
        far.fd = all[0];
    });
    stage.near(|near| {
        near.fd = all[1];
        near.arrived(6);
        if let Some(set) = set {
            set.reports(near);
            near.receives(6);
            set.reports(near);
            near.fd = all[0];
            near.receives(5);
            set.reports_nothing(near);
        }
    });
}
