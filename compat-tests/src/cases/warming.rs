//! A thread sits inside a consuming receive of the kernel while the connection is offered a ring (POSIX.md row 7). What
//! it is handed must be the stream, never a bell, and the direction under it must wait until it is out (SWITCH.md §3,
//! RECV without a grant).
//!
//! The far end is a small server that is told what to do by single bytes, so that the near end decides when its own
//! reader is fed: it makes one turn, waits until the reader is back inside the kernel's call, and then talks without
//! asking for an answer, looking for one all the same, until both ends have agreed on a ring and its own sending direction
//! has moved. Only then is the reader fed again, within the same call. A library that grants the switch regardless of the
//! thread inside fails here: the reader is handed the bell.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use kmod_interface::ioctl::state;
use kmod_interface::statistics::Counter;

use crate::calls::message::{Slot, recvmmsg};
use crate::calls::options;
use crate::calls::transfer::{self, Parts};
use crate::calls::{files, processes};
use crate::case;
use crate::case::{Case, Start};
use crate::content;
use crate::settle::is_accelerated;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("recv", a_thread_in_recv_while_the_connection_warms_up)
        .rows(&[7])
        .start(Start::Connected),
    case!(
        "MSG_WAITALL",
        a_thread_in_wait_all_while_the_connection_warms_up
    )
    .rows(&[7])
    .start(Start::Connected),
    case!(
        "recvmmsg",
        a_thread_in_recvmmsg_while_the_connection_warms_up
    )
    .rows(&[7])
    .start(Start::Connected),
    case!("splice", a_thread_in_splice_while_the_connection_warms_up)
        .rows(&[7])
        .start(Start::Connected),
];

/// The far end sends this many bytes for each [`ANSWER`].
const PART: usize = 50;
/// Bytes of a call that waits for more than one part.
const TWO_PARTS: usize = 2 * PART;
/// Bytes that the same calls take from the ring afterwards.
const BY_RING: usize = 60 * PART;
const SEED: u64 = 52;

const ANSWER: &[u8] = b"?";
const NO_ANSWER: &[u8] = b".";
const OVER: &[u8] = b"!";

/// Turns that a connection may need until both ends have found each other.
const MOST_TURNS: usize = 80;
/// Longest talk without an answer, a millisecond between two requests: a negotiation may last a second,
/// and the far end may not run for a while.
const UNANSWERED: Duration = Duration::from_secs(5);

/// The thread of the near end that receives, as the one that talks sees it.
#[derive(Default)]
struct Reader {
    thread: AtomicI32,
    /// It is to end behind its present call.
    is_over: AtomicBool,
    has_ended: AtomicBool,
}

impl Reader {
    fn receive(&self, fd: i32, take: impl Take) -> Vec<u8> {
        self.thread
            .store(processes::own_thread(), Ordering::Release);
        let mut bytes = Vec::new();
        while !self.is_over.load(Ordering::Acquire) {
            let part = take(fd);
            if part.is_empty() {
                break;
            }
            bytes.extend(part);
        }
        self.has_ended.store(true, Ordering::Release);
        bytes
    }

    fn number(&self) -> i32 {
        self.thread.load(Ordering::Acquire)
    }
}

/// One receive of at most [`TWO_PARTS`] bytes, by the call under test; nothing when it fails or the stream has ended.
trait Take: Fn(i32) -> Vec<u8> + Send + Sync {}
impl<Any: Fn(i32) -> Vec<u8> + Send + Sync> Take for Any {}

fn warms_up_under(stage: &mut Stage, take: impl Take) {
    stage.both(|side| {
        let answer = options::set(side.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        side.must(answer);
    });
    stage.together(
        |near| {
            let fd = near.fd;
            let reader = Reader::default();
            let received = std::thread::scope(|scope| {
                let running = scope.spawn(|| reader.receive(fd, &take));
                let asked = lead(near, &reader);
                running.join().map(|bytes| (asked, bytes))
            });
            match received {
                Ok((asked, bytes)) => near.say(&format!(
                    "all that was asked for: {}, wrong at {:?}",
                    bytes.len() == asked * PART,
                    content::first_difference(SEED, 0, &bytes)
                )),
                Err(_) => near.fail("the reading thread panicked"),
            }
        },
        serve,
    );
    stage.settle();
    stage.both(was_carried_by_bells);
    stage.together(
        |near| {
            let mut bytes = Vec::new();
            while bytes.len() < BY_RING {
                let part = take(near.fd);
                if part.is_empty() {
                    break;
                }
                bytes.extend(part);
            }
            near.say(&format!(
                "{} bytes by ring, wrong at {:?}",
                bytes.len(),
                content::first_difference(SEED, 0, &bytes)
            ));
            let _ = near.send(b"after", 0);
        },
        |far| {
            for part in 0..BY_RING / PART {
                far.send_all(&content::bytes_from(SEED, (part * PART) as u64, PART));
                if part % 8 == 0 {
                    // Now and then the receiver is asleep when it is rung.
                    far.nap_ms(2);
                }
            }
            far.receives(5);
        },
    );
}

/// The near end's part: how many answers were asked for.
fn lead(near: &mut Side, reader: &Reader) -> usize {
    let mut asked = 0;
    let mut ask = |near: &mut Side| {
        near.send_all(ANSWER);
        asked += 1;
        // Where nothing is held back, the answer is there when the far end sleeps again, and taken when the reader does.
        near.other_asleep();
        Side::thread_asleep(reader.number());
    };
    near.own_threads_asleep(1);
    let mut held = false;
    for _ in 0..MOST_TURNS {
        ask(near);
        match talk_past(near, reader.number()) {
            Held::Yes => {
                held = true;
                break;
            }
            Held::NotYet => {}
            Held::TooLate => break,
        }
    }
    near.say(&format!("held inside the kernel's call: {held}"));
    // The rest of the call that is held, and whole ones behind it, between which the direction may move.
    for _ in 0..7 {
        ask(near);
        for _ in 0..3 {
            say_without_answer(near);
        }
    }
    reader.is_over.store(true, Ordering::Release);
    while !reader.has_ended.load(Ordering::Acquire) {
        ask(near);
    }
    near.send_all(OVER);
    asked
}

/// A request without an answer, and a look for one from here: another thread that receives could give the grant that
/// the one inside the kernel's call forbids.
fn say_without_answer(near: &mut Side) {
    near.send_all(NO_ANSWER);
    near.nap_ms(1);
    match transfer::recv(near.fd, &mut [0; 1], libc::MSG_DONTWAIT) {
        Err(errno) if errno.0 == libc::EAGAIN => {}
        other => near.complain(&format!("nothing was asked for, but recv = {other:?}")),
    }
}

enum Held {
    /// Both ends had agreed on a ring, and the reader was inside the kernel's call.
    Yes,
    /// The connection needs another turn.
    NotYet,
    /// The direction moved while the reader was between two calls.
    TooLate,
}

/// Talks without asking for an answer, so that the reader stays where it is, until the ring is offered.
fn talk_past(near: &mut Side, reader: i32) -> Held {
    let started = Instant::now();
    while started.elapsed() < UNANSWERED {
        say_without_answer(near);
        let inside = processes::is_in_consuming_receive(reader, near.fd);
        let Ok(status) = options::status(near.fd) else {
            // Nothing will be offered on a bare kernel; the reader must be where the case wants it all the same.
            return if inside { Held::Yes } else { Held::NotYet };
        };
        if status.switches_in != 0 {
            near.complain(&format!(
                "the direction under the reader moved before it could be held: inside {inside}, {status:?}"
            ));
            return Held::TooLate;
        }
        let moved = status.state >= state::BOUND && status.switches_out % 2 == 1;
        if moved && !inside {
            near.complain(&format!(
                "a ring is offered, and the reader is not inside the kernel's call: {status:?}"
            ));
            return Held::TooLate;
        }
        if moved {
            near.note(&format!("held: {status:?}"));
            return Held::Yes;
        }
        if status.state < state::NEGOTIATING {
            return Held::NotYet;
        }
    }
    Held::NotYet
}

/// The far end's part.
fn serve(far: &mut Side) {
    let mut position = 0;
    loop {
        match far.receive_all(1).as_slice() {
            ANSWER => {
                far.send_all(&content::bytes_from(SEED, position, PART));
                position += PART as u64;
            }
            OVER => return,
            _ => {}
        }
    }
}

/// Where there is a fast path, the connection has got to it by the way that the case is about: both directions were
/// moved, and bells were sent and taken.
fn was_carried_by_bells(side: &mut Side) {
    let Ok(status) = options::status(side.fd) else {
        return;
    };
    let counts: Vec<(&str, Option<u64>)> = [
        Counter::Upgrades,
        Counter::BellsSent,
        Counter::BellsReceived,
    ]
    .into_iter()
    .map(|counter| (counter.name(), side.counter(counter)))
    .collect();
    if !is_accelerated(&status) || counts.iter().any(|(_, count)| count.is_none_or(|n| n == 0)) {
        side.complain(&format!(
            "no bell or no upgrade is counted: {counts:?}, {status:?}"
        ));
    }
}

fn a_thread_in_recv_while_the_connection_warms_up(stage: &mut Stage) {
    warms_up_under(stage, |fd| received(fd, 0));
}

fn a_thread_in_wait_all_while_the_connection_warms_up(stage: &mut Stage) {
    warms_up_under(stage, |fd| received(fd, libc::MSG_WAITALL));
}

fn received(fd: i32, flags: i32) -> Vec<u8> {
    let mut bytes = vec![0; TWO_PARTS];
    let count = transfer::recv(fd, &mut bytes, flags).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

fn a_thread_in_recvmmsg_while_the_connection_warms_up(stage: &mut Stage) {
    warms_up_under(stage, |fd| {
        let mut slots: Vec<Slot> = [PART, PART]
            .iter()
            .map(|size| Slot::of(Parts::of_sizes(&[*size])))
            .collect();
        let count = recvmmsg(fd, &mut slots, 0, None).unwrap_or(0);
        slots
            .iter()
            .take(count)
            .flat_map(|slot| slot.parts.joined(slot.length as usize))
            .collect()
    });
}

fn a_thread_in_splice_while_the_connection_warms_up(stage: &mut Stage) {
    let pipe = files::pipe(0).ok();
    warms_up_under(stage, |fd| {
        let Some((reading, writing)) = pipe else {
            return Vec::new();
        };
        let moved = files::splice(fd, writing, TWO_PARTS, 0).unwrap_or(0);
        let mut bytes = vec![0; moved];
        let count = match moved {
            0 => 0,
            _ => transfer::read(reading, &mut bytes).unwrap_or(0),
        };
        bytes.truncate(count);
        bytes
    });
}
