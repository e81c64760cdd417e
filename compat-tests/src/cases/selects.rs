//! select(2) and pselect(2) of a connection: what is in the sets afterwards, and that they sleep and wake.

use crate::calls::files;
use crate::calls::selects::{self, Found};
use crate::calls::signals;
use crate::case;
use crate::case::{Case, Proof};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("select", select_shows_what_can_be_done).rows(&[3]),
    case!("select", select_wakes_for_each_message).rows(&[3]),
    case!("select", select_waits_for_room).proof(Proof::AtLeast(4096)),
    case!("select", select_at_the_end_of_the_stream).rows(&[5]),
    case!("select", select_looks_below_its_limit_only),
    case!("select", select_with_a_limit_beyond_every_set).rows(&[3]),
    case!("select", select_with_a_limit_beyond_every_set_among_signals).rows(&[3, 22]),
    case!("select", select_of_the_third_set_alone_waits_its_time)
        .rows(&[5])
        .proof(Proof::BeganOnRing("the far end closes")),
    case!("select", select_of_more_than_fits_the_stack),
    case!("pselect", pselect_wakes_for_each_message).rows(&[3]),
    case!("pselect", pselect_ends_with_its_time),
];

const LONG_MS: Option<i64> = Some(30_000);

fn show(side: &mut Side, what: &str, found: Found) {
    let fd = side.fd;
    side.say(&format!("{what} = {}", found.shown(&[fd])));
}

fn select_shows_what_can_be_done(stage: &mut Stage) {
    stage.far(|far| {
        let fd = [far.fd];
        show(far, "select", selects::select(&fd, &fd, &fd, Some(0)));
    });
    stage.near(|near| near.send_all(b"readable"));
    stage.far(|far| {
        let fd = [far.fd];
        show(
            far,
            "select for data",
            selects::select(&fd, &[], &[], LONG_MS),
        );
        show(far, "select of all", selects::select(&fd, &fd, &fd, None));
        show(
            far,
            "select of none",
            selects::select(&[], &[], &[], Some(1)),
        );
        far.receives(8);
        show(
            far,
            "select behind it",
            selects::select(&fd, &[], &fd, Some(0)),
        );
    });
}

/// Each message finds its reader asleep in `wait`.
fn each_message_wakes(stage: &mut Stage, seed: u64, wait: fn(i32) -> Found) {
    const MESSAGES: u64 = 12;
    stage.together(
        |near| {
            for message in 0..MESSAGES {
                near.other_asleep();
                near.send_all(&content::bytes_from(seed, message * 10, 10));
            }
        },
        |far| {
            for _ in 0..MESSAGES {
                let found = wait(far.fd);
                show(far, "woken", found);
                far.receives(10);
            }
        },
    );
}

fn select_wakes_for_each_message(stage: &mut Stage) {
    each_message_wakes(stage, 171, |fd| selects::select(&[fd], &[], &[fd], None));
}

fn pselect_wakes_for_each_message(stage: &mut Stage) {
    each_message_wakes(stage, 172, |fd| selects::pselect_admitting_all(&[fd], None));
}

fn select_waits_for_room(stage: &mut Stage) {
    let sent = stage.near_says(|near| {
        let sent = near.fill(173);
        let fd = [near.fd];
        show(
            near,
            "select of the full",
            selects::select(&[], &fd, &[], Some(0)),
        );
        sent as i64
    });
    stage.together(
        |near| {
            let fd = [near.fd];
            show(
                near,
                "select for room",
                selects::select(&[], &fd, &[], LONG_MS),
            );
        },
        |far| {
            let bytes = far.receive_all(sent as usize);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(173, 0, &bytes)
            ));
        },
    );
}

fn select_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.together(
        |near| {
            near.send_all(b"last");
            near.other_asleep();
            let _ = near.shutdown(libc::SHUT_WR);
        },
        |far| {
            far.receives(4);
            let fd = [far.fd];
            show(far, "select", selects::select(&fd, &[], &[], None));
            let _ = far.recv(10, 0);
            show(far, "select again", selects::select(&fd, &[], &fd, None));
        },
    );
}

fn select_looks_below_its_limit_only(stage: &mut Stage) {
    stage.near(|near| near.send_all(b"there"));
    stage.far(|far| {
        far.arrived(5);
        let fd = far.fd;
        let below = selects::select_with_limit(fd, &[fd], Some(0));
        far.say(&format!(
            "below: {}",
            crate::calls::answer::shown(below.answer)
        ));
        show(
            far,
            "with it",
            selects::select_with_limit(fd + 1, &[fd], Some(0)),
        );
        far.receives(5);
    });
}

fn pselect_ends_with_its_time(stage: &mut Stage) {
    stage.far(|far| {
        let fd = [far.fd];
        show(
            far,
            "pselect",
            selects::pselect_admitting_all(&fd, Some(20)),
        );
        let found = selects::select(&fd, &[], &[], Some(20));
        let left_us = found.left_us;
        show(far, "select", found);
        far.say(&format!("left {left_us:?}"));
    });
    stage.near(|near| near.send_all(b"late"));
    stage.far(|far| far.receives(4));
}

/// As programs do that name getdtablesize(): the kernel looks no further than its table of descriptors, so nothing behind
/// an fd_set is touched.
fn select_with_a_limit_beyond_every_set(stage: &mut Stage) {
    stage.near(|near| near.send_all(b"readable"));
    stage.far(|far| {
        far.arrived(8);
        for limit in [1025, 4096, 65_536, 1 << 20, i32::MAX] {
            let found = selects::select_at_an_edge(limit, far.fd, LONG_MS);
            show(far, &format!("select below {limit}"), found);
        }
        far.receives(8);
        let found = selects::select_at_an_edge(1 << 20, far.fd, Some(0));
        show(far, "select of nothing", found);
    });
}

/// Whatever is found out about the size of the sets, a signal that comes meanwhile is no part of it.
fn select_with_a_limit_beyond_every_set_among_signals(stage: &mut Stage) {
    const ROUNDS: usize = 6000;
    stage.near(|near| near.send_all(b"readable"));
    stage.far(|far| {
        far.arrived(8);
        far.must(signals::count_signals(libc::SIGALRM, true));
        far.must(signals::alarm_every_us(25, 25));
        let fd = far.fd;
        let right = (0..ROUNDS)
            .map(|_| selects::select_at_an_edge(1 << 20, fd, LONG_MS))
            .filter(|found| found.shown(&[fd]) == "1 [0] [] []")
            .count();
        far.must(signals::alarm_every_us(0, 0));
        far.say(&format!("found {right} times of {ROUNDS}"));
        far.say(&format!("the handler ran: {}", signals::caught() > 0));
        far.receives(8);
    });
}

/// poll tells of an end unasked; select has no set to show it in.
fn select_of_the_third_set_alone_waits_its_time(stage: &mut Stage) {
    stage.together(
        |near| {
            near.other_asleep();
            near.close();
        },
        |far| {
            let fd = [far.fd];
            show(far, "select", selects::select(&[], &[], &fd, Some(60)));
            far.end_arrived();
            show(far, "select", selects::select(&[], &[], &fd, Some(20)));
            far.receives(0);
            let _ = far.send(b"to nobody", libc::MSG_NOSIGNAL);
            far.until_poll(libc::POLLERR);
            show(far, "select", selects::select(&[], &[], &fd, Some(20)));
            show(far, "select", selects::select(&fd, &[], &fd, Some(20)));
        },
    );
}

/// Two hundred descriptors, among them the connection.
fn select_of_more_than_fits_the_stack(stage: &mut Stage) {
    stage.far(|far| {
        let (hears, _tells) = far.must(files::pipe(libc::O_CLOEXEC));
        let mut fds: Vec<_> = (0..200)
            .map(|_| far.must(files::fcntl(hears, libc::F_DUPFD_CLOEXEC, 100)) as i32)
            .collect();
        fds.push(far.fd);
        for round in 0..3 {
            let found = selects::select(&fds, &[], &[], Some(0));
            far.say(&format!("round {round}: {}", found.shown(&fds)));
        }
    });
    stage.near(|near| near.send_all(b"readable"));
    stage.far(|far| {
        far.arrived(8);
        let fd = [far.fd];
        show(far, "select", selects::select(&fd, &[], &[], LONG_MS));
        far.receives(8);
    });
}
