//! epoll, edge-triggered: the reference list of POSIX.md row 13, and what bells must not add to it (row 12).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::side::sets::events::{ET, EXCLUSIVE, IN, ONESHOT, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set, more_connections};
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
    case!("epoll edge", space_comes_as_an_edge_only_after_a_refusal)
        .rows(&[12, 13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "epoll edge",
        arriving_bytes_are_no_edge_for_who_asks_for_space
    )
    .rows(&[12])
    .kinds(TWO_KINDS),
    case!("epoll edge", wakes_for_bytes_bring_no_edge_of_space)
        .rows(&[12])
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
    case!("epoll edge", two_sets_watch_one_connection)
        .rows(&[13, 17])
        .kinds(TWO_KINDS),
    case!("epoll edge", edges_of_many_connections)
        .rows(&[13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(8)),
    case!("epoll edge", an_edge_driven_stream_both_ways)
        .rows(&[12, 13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("epoll edge", edges_from_the_first_byte_on)
        .rows(&[13])
        .start(Start::Connected)
        .proof(Proof::AtLeast(400)),
];

/// A step of the far end that sends, after which the bytes have arrived at the near end.
fn arrives(stage: &mut Stage, bytes: &'static [u8], unread: i32) {
    stage.far(|far| {
        let _ = far.send(bytes, 0);
    });
    stage.near(|near| near.arrived(unread));
}

/// A set that watches the connection under test.
fn watching(stage: &mut Stage, events: u32) -> Set {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, events, 1);
    });
    set
}

fn edge_triggered_events_come_once_per_arrival(stage: &mut Stage) {
    let set = watching(stage, IN | ET);
    stage.near(|near| set.reports_nothing(near));
    arrives(stage, b"aa", 2);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    // Each arrival is an event, though what came before is unread.
    arrives(stage, b"b", 3);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    arrives(stage, b"c", 4);
    arrives(stage, b"d", 5);
    stage.near(|near| {
        // Two arrivals, one wait: one event.
        set.reports(near);
        set.reports_nothing(near);
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
    let set = watching(stage, IN | ET);
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
    let set = watching(stage, IN | ET);
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
    let set = watching(stage, IN | ET);
    arrives(stage, b"data", 4);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
        set.modify(near, IN | ET, 2);
        set.reports(near);
        set.reports_nothing(near);
        set.modify(near, IN | OUT | ET, 3);
        set.reports(near);
        set.reports_nothing(near);
        near.receives(4);
        set.modify(near, IN | ET, 4);
        set.reports_nothing(near);
        set.modify(near, OUT | ET, 5);
        set.reports(near);
        set.reports_nothing(near);
    });
    arrives(stage, b"more", 4);
    stage.near(|near| {
        set.reports_nothing(near);
        set.modify(near, IN | OUT | RDHUP | ET, 6);
        set.reports(near);
        let fd = near.fd;
        set.control(near, Change::Del, fd, 0, 0);
        set.add(near, IN | ET, 7);
        set.reports(near);
        set.reports_nothing(near);
        near.receives(4);
    });
}

fn an_edge_reports_all_that_holds(stage: &mut Stage) {
    let set = watching(stage, IN | OUT | RDHUP | ET);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    arrives(stage, b"x", 1);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
        near.receives(1);
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"y", 0);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        set.reports(near);
        near.receives(1);
    });
}

/// Fills the connection until nothing more fits.
fn fill(near: &mut Side, seed: u64) -> u64 {
    let (mut sent, mut refusals) = (0u64, 0);
    while refusals < 40 && sent < 64 << 20 {
        let length = if refusals % 2 == 0 { 65536 } else { 1 };
        let bytes = content::bytes_from(seed, sent, length);
        match transfer::send(near.fd, &bytes, libc::MSG_DONTWAIT) {
            Ok(count) => {
                sent += count as u64;
                refusals = 0;
            }
            Err(errno) if errno.0 == libc::EAGAIN => {
                refusals += 1;
                near.nap_ms(2);
            }
            Err(errno) => near.fail(&format!("send: {errno}")),
        }
    }
    sent
}

fn space_comes_as_an_edge_only_after_a_refusal(stage: &mut Stage) {
    let set = watching(stage, OUT | ET);
    stage.near(|near| {
        set.reports(near);
        let _ = near.send(b"not full", 0);
    });
    stage.far(|far| far.receives(8));
    let sent = stage.near_says(|near| {
        // Nobody was refused, so no room was missed.
        set.reports_nothing(near);
        let sent = fill(near, 311);
        set.reports_nothing(near);
        sent as i64
    });
    stage.together(
        |near| {
            set.reports(near);
        },
        |far| {
            far.other_asleep();
            let bytes = far.receive_all(sent as usize);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(311, 0, &bytes)
            ));
        },
    );
    stage.near(|near| {
        set.reports_nothing(near);
        let _ = near.send(b"again", 0);
        set.reports_nothing(near);
    });
    stage.far(|far| far.receives(5));
}

fn arriving_bytes_are_no_edge_for_who_asks_for_space(stage: &mut Stage) {
    let set = watching(stage, OUT | ET);
    stage.near(|near| {
        set.reports(near);
    });
    stage.together(
        |near| set.reports_nothing(near),
        |far| {
            far.nap_ms(15);
            let _ = far.send(b"x", 0);
        },
    );
    stage.near(|near| {
        near.arrived(1);
        set.reports_nothing(near);
        near.receives(1);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn wakes_for_bytes_bring_no_edge_of_space(stage: &mut Stage) {
    const ROUNDS: usize = 100;
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | OUT | ET, 1);
            set.reports(near);
            // Every wait that returns has bytes to show for it: none is for space alone, and none is empty.
            let (mut strange, mut received) = (0, 0);
            while received < ROUNDS {
                match epoll::wait(set.fd, 4, Wait::Plain(LONG_MS)) {
                    Ok(found) => strange += usize::from(found != [(1, IN | OUT)]),
                    Err(errno) => near.fail(&format!("epoll_wait: {errno}")),
                }
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = transfer::recv(near.fd, &mut buffer, libc::MSG_DONTWAIT)
                {
                    received += count;
                }
                // The next byte comes when this one has been taken: one that came in between would be an edge whose
                // byte is gone when it is reported.
                near.send_all(b"k");
            }
            near.say(&format!("{received} bytes, {strange} strange waits"));
        },
        |far| {
            for round in 0..ROUNDS {
                if round % 20 == 0 {
                    far.other_asleep();
                } else if round % 3 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(b"x");
                let _ = far.receive_all(1);
            }
        },
    );
    talk(stage);
}

fn the_end_is_an_edge(stage: &mut Stage) {
    let set = watching(stage, IN | RDHUP | ET);
    stage.together(
        |near| {
            set.reports(near);
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
    let set = watching(stage, IN | ET | ONESHOT);
    arrives(stage, b"a", 1);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    arrives(stage, b"b", 2);
    stage.near(|near| {
        set.reports_nothing(near);
        set.modify(near, IN | ET | ONESHOT, 2);
        set.reports(near);
        set.reports_nothing(near);
        near.receives(2);
        set.modify(near, IN | ET | ONESHOT, 3);
        set.reports_nothing(near);
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(1);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"c", 0);
        },
    );
}

fn edge_and_exclusive_together(stage: &mut Stage) {
    let set = watching(stage, IN | ET | EXCLUSIVE);
    arrives(stage, b"ab", 2);
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(3);
            set.reports_nothing(near);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"c", 0);
        },
    );
}

fn two_sets_watch_one_connection(stage: &mut Stage) {
    let edges = watching(stage, IN | ET);
    let levels = watching(stage, IN);
    arrives(stage, b"ab", 2);
    stage.near(|near| {
        edges.reports(near);
        levels.reports(near);
        edges.reports_nothing(near);
        levels.reports(near);
        near.receives(2);
        edges.reports_nothing(near);
        levels.reports_nothing(near);
    });
    stage.together(
        |near| {
            let woken = std::thread::scope(|scope| {
                let waits = [edges, levels]
                    .map(|set| scope.spawn(move || epoll::wait(set.fd, 4, Wait::Plain(LONG_MS))));
                waits.map(|thread| thread.join().ok())
            });
            near.say(&format!("{woken:?}"));
            near.receives(1);
        },
        |far| {
            far.nap_ms(20);
            far.other_asleep();
            let _ = far.send(b"c", 0);
        },
    );
    stage.near(|near| {
        let fd = near.fd;
        edges.control(near, Change::Del, fd, 0, 0);
    });
    arrives(stage, b"d", 1);
    stage.near(|near| {
        edges.reports_nothing(near);
        levels.reports(near);
        near.receives(1);
    });
}

fn edges_of_many_connections(stage: &mut Stage) {
    let all = more_connections(stage, 5);
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        for (index, fd) in all.iter().enumerate() {
            new.control(near, Change::Add, *fd, IN | ET, index as u64);
        }
        new.reports_nothing(near);
        set = Some(new);
    });
    for round in 0..6usize {
        stage.far(|far| {
            // Some of them, others in each round.
            for (index, fd) in all.iter().enumerate() {
                if (index + round) % 3 != 0 {
                    far.fd = *fd;
                    let _ = far.send(b"xy", 0);
                }
            }
            far.fd = all[0];
        });
        stage.near(|near| {
            for (index, fd) in all.iter().enumerate() {
                if (index + round) % 3 != 0 {
                    near.fd = *fd;
                    near.arrived(2);
                }
            }
            if let Some(set) = set {
                let mut seen = std::collections::BTreeSet::new();
                while let Ok(found) = epoll::wait(set.fd, 2, Wait::Plain(30))
                    && !found.is_empty()
                {
                    seen.extend(found);
                }
                near.say(&format!("round {round}: {seen:?}"));
            }
            for fd in &all {
                near.fd = *fd;
                let _ = near.recv(10, libc::MSG_DONTWAIT);
            }
            near.fd = all[0];
        });
    }
}

/// Sends and receives one stream each, driven by edges alone, as event loops of today do.
fn by_edges(side: &mut Side, sends: u64, receives: u64, bytes: usize) {
    let set = Set::new(side);
    side.set_nonblocking(true);
    set.add(side, IN | OUT | RDHUP | ET, 9);
    let (mut sent, mut received) = (0, 0);
    let mut wrong = None;
    let mut buffer = vec![0; 8192];
    let mut readable = false;
    let mut writable = false;
    while sent < bytes || received < bytes {
        if !readable && (!writable || sent == bytes) {
            match epoll::wait(set.fd, 4, Wait::Plain(LONG_MS)) {
                Ok(found) if found.is_empty() => {
                    side.fail(&format!(
                        "no edge after {sent} sent and {received} received"
                    ));
                }
                Ok(found) => {
                    for (_, events) in found {
                        readable |= events & IN != 0;
                        writable |= events & OUT != 0;
                    }
                }
                Err(errno) => side.fail(&format!("epoll_wait: {errno}")),
            }
        }
        if readable {
            match transfer::recv(side.fd, &mut buffer, 0) {
                Ok(0) => side.fail("the stream ended"),
                Ok(count) => {
                    wrong = wrong.or(content::first_difference(
                        receives,
                        received as u64,
                        &buffer[..count],
                    ));
                    received += count;
                }
                Err(errno) if errno.0 == libc::EAGAIN => readable = false,
                Err(errno) => side.fail(&format!("recv: {errno}")),
            }
        }
        if writable && sent < bytes {
            let piece = content::bytes_from(sends, sent as u64, (bytes - sent).min(10_000));
            match transfer::send(side.fd, &piece, libc::MSG_NOSIGNAL) {
                Ok(count) => sent += count,
                Err(errno) if errno.0 == libc::EAGAIN => writable = false,
                Err(errno) => side.fail(&format!("send: {errno}")),
            }
        }
    }
    side.say(&format!(
        "sent {sent}, received {received}, wrong at {wrong:?}"
    ));
    side.set_nonblocking(false);
    set.close();
}

fn an_edge_driven_stream_both_ways(stage: &mut Stage) {
    const BYTES: usize = 3 << 20;
    stage.together(
        |near| by_edges(near, 312, 313, BYTES),
        |far| by_edges(far, 313, 312, BYTES),
    );
    talk(stage);
}

fn edges_from_the_first_byte_on(stage: &mut Stage) {
    const ROUNDS: u64 = 150;
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | ET, 1);
            let mut buffer = [0; 100];
            let mut received = 0u64;
            let mut wrong = None;
            while received < ROUNDS * 10 {
                match epoll::wait(set.fd, 4, Wait::Plain(LONG_MS)) {
                    Ok(found) if found == [(1, IN)] => {}
                    other => near.fail(&format!("after {received} bytes: {other:?}")),
                }
                let before = received;
                while let Ok(count @ 1..) = transfer::recv(near.fd, &mut buffer, libc::MSG_DONTWAIT)
                {
                    wrong = wrong.or(content::first_difference(314, received, &buffer[..count]));
                    received += count as u64;
                }
                if received / 10 > before / 10 {
                    near.send_all(&vec![b'k'; (received / 10 - before / 10) as usize]);
                }
            }
            near.say(&format!("{received} bytes, wrong at {wrong:?}"));
        },
        |far| {
            for round in 0..ROUNDS {
                far.send_all(&content::bytes_from(314, round * 10, 10));
                let _ = far.receive_all(1);
            }
        },
    );
    talk(stage);
}
