//! Streams and crowds that live on edges alone, as event loops of today do (POSIX.md row 13).

use super::arrives;
use crate::calls::epoll::{self, Change, Wait};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::side::sets::events::{ET, IN, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set, more_connections, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
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

fn two_sets_watch_one_connection(stage: &mut Stage) {
    let edges = watching(stage, IN | ET, 1);
    let levels = watching(stage, IN, 1);
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
