//! Sleeping readers are woken for every message, also when nothing flows back (POSIX.md rows 1, 3 and 8). A wake-up
//! that is lost is a hang; one that shows as data is a wrong byte.

use crate::calls::answer::{Answer, shown};
use crate::calls::{readiness, transfer};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;
use std::os::fd::RawFd;

/// The family.
pub const CASES: &[Case] = &[
    case!("recv", one_way_messages_each_wake_the_reader).rows(&[1, 3]),
    case!("recv", one_way_messages_after_exchanges)
        .rows(&[1])
        .kinds(TWO_KINDS),
    case!("poll", poll_wakes_for_each_message).rows(&[3, 8]),
    case!("__poll_chk", fortified_poll_is_poll).rows(&[8]),
    case!("__ppoll_chk", fortified_ppoll_is_ppoll).rows(&[8]),
    case!("poll", polls_that_find_nothing_leave_no_trace).rows(&[8]),
    case!("recv", mixed_ways_of_waiting)
        .rows(&[3])
        .kinds(TWO_KINDS),
];

fn one_way_messages_each_wake_the_reader(stage: &mut Stage) {
    const MESSAGES: u64 = 15;
    each_when_the_last_is_taken(stage, MESSAGES, 141, |far| {
        let _ = far.recv(100, 0);
    });
    stage.far(|far| {
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
}

fn one_way_messages_after_exchanges(stage: &mut Stage) {
    for round in 0..20u64 {
        stage.together(
            |near| {
                near.send_all(&content::bytes_from(142, round * 30, 10));
                let _ = near.receive_all(5);
                near.send_all(&content::bytes_from(142, round * 30 + 10, 10));
                near.nap_ms(1);
                near.send_all(&content::bytes_from(142, round * 30 + 20, 10));
            },
            |far| {
                let head = far.receive_all(10);
                far.send_all(b"reply");
                let tail = far.receive_all(20);
                let bytes = [head, tail].concat();
                far.say(&format!(
                    "wrong at {:?}",
                    content::first_difference(142, round * 30, &bytes)
                ));
            },
        );
    }
}

fn poll_wakes_for_each_message(stage: &mut Stage) {
    wakes_for_each_message(stage, readiness::poll_one);
}

fn fortified_poll_is_poll(stage: &mut Stage) {
    wakes_for_each_message(stage, |fd, events, timeout_ms| {
        readiness::fortified_poll_one(fd, events, timeout_ms, false)
    });
}

fn fortified_ppoll_is_ppoll(stage: &mut Stage) {
    wakes_for_each_message(stage, |fd, events, timeout_ms| {
        readiness::fortified_poll_one(fd, events, timeout_ms, true)
    });
}

fn wakes_for_each_message(
    stage: &mut Stage,
    poll: impl Fn(RawFd, i16, i32) -> (Answer, i16) + Copy,
) {
    const MESSAGES: u64 = 12;
    each_when_the_last_is_taken(stage, MESSAGES, 143, |far| {
        let (answer, events) = poll(far.fd, libc::POLLIN, 20_000);
        far.say(&format!("poll = {} {events:#x}", shown(answer)));
        let _ = far.recv(100, libc::MSG_DONTWAIT);
        let (answer, events) = poll(far.fd, libc::POLLIN, 0);
        far.say(&format!("poll = {} {events:#x}", shown(answer)));
        let _ = far.recv(100, libc::MSG_DONTWAIT);
    });
}

/// Messages of ten bytes, each of which finds its reader asleep in `take`. A message is sent when the one before has been
/// taken: a kernel that waits for its acknowledgement (Nagle's algorithm) would send two of them at once.
fn each_when_the_last_is_taken(
    stage: &mut Stage,
    messages: u64,
    seed: u64,
    take: impl Fn(&mut Side),
) {
    for message in 0..messages {
        stage.together(
            |near| {
                near.other_asleep();
                near.send_all(&content::bytes_from(seed, message * 10, 10));
            },
            &take,
        );
    }
}

fn polls_that_find_nothing_leave_no_trace(stage: &mut Stage) {
    stage.near(|near| {
        for _ in 0..50 {
            let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 1);
            if answer != Ok(0) || events != 0 {
                near.say(&format!("poll = {} {events:#x}", shown(answer)));
            }
        }
        let _ = near.send(b"was idle", 0);
    });
    stage.far(|far| {
        far.receives(8);
        let _ = far.send(b"me, too", 0);
        far.close();
    });
    stage.near(|near| {
        near.receives(7);
        let _ = near.recv(10, 0);
    });
}

fn mixed_ways_of_waiting(stage: &mut Stage) {
    const ROUNDS: u64 = 24;
    stage.together(
        |near| {
            for round in 0..ROUNDS {
                if round % 6 == 0 {
                    near.other_asleep();
                } else {
                    near.nap_ms(round % 4);
                }
                near.send_all(&content::bytes_from(144, round * 20, 20));
                let _ = near.receive_all(1);
            }
        },
        |far| {
            let mut wrong = None;
            for round in 0..ROUNDS {
                let mut bytes = [0; 20];
                let answer = match round % 4 {
                    0 => transfer::recv(far.fd, &mut bytes, libc::MSG_WAITALL),
                    1 => {
                        let _ = readiness::poll_one(far.fd, libc::POLLIN, 20_000);
                        transfer::read(far.fd, &mut bytes)
                    }
                    2 => {
                        let _ = transfer::recv(far.fd, &mut bytes, libc::MSG_PEEK);
                        transfer::recv(far.fd, &mut bytes, libc::MSG_WAITALL)
                    }
                    _ => transfer::read(far.fd, &mut bytes),
                };
                if answer != Ok(20) {
                    far.say(&format!("round {round}: {}", shown(answer)));
                }
                wrong = wrong.or(content::first_difference(144, round * 20, &bytes));
                far.send_all(b"k");
            }
            far.say(&format!("wrong at {wrong:?}"));
        },
    );
}
