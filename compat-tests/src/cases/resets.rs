//! Resets and the death of a peer (POSIX.md row 33): what was queued, then one error, then the end.

use crate::calls::answer::shown;
use crate::calls::epoll::{self, Wait};
use crate::calls::{options, processes, readiness};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof};
use crate::side::Side;
use crate::side::sets::{self, LONG_MS, Set};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("close", closing_with_linger_zero_resets)
        .rows(&[33])
        .kinds(ALL_KINDS)
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("close", queued_bytes_and_then_a_reset).rows(&[33]),
    case!("close", closing_with_unread_bytes_resets).rows(&[33]),
    case!("close", closing_with_unread_bytes_after_sending)
        .rows(&[33])
        .proof(Proof::AtLeast(11)),
    case!("close", a_reset_wakes_a_sleeping_reader)
        .rows(&[33])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("close", a_reset_is_told_by_so_error)
        .rows(&[33])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("close", sending_after_the_peer_closed)
        .rows(&[33])
        .proof(Proof::BeganOnRing("what is sent finds the peer gone")),
    case!("close", sending_after_a_reset)
        .rows(&[33])
        .proof(Proof::BeganOnRing("what is sent finds the peer gone")),
    case!("close", poll_sees_a_reset).rows(&[33]),
    // The near side's own byte goes to a socket that nobody holds any more: by the kernel, which answers with a reset.
    case!("SIGKILL", a_killed_peer_leaves_what_it_sent)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(9)),
    case!("SIGKILL", a_killed_peer_with_unread_bytes_resets)
        .rows(&[33])
        .far_dies(),
    case!("SIGKILL", a_killed_peer_with_nothing_queued_ends_the_stream)
        .rows(&[33])
        .far_dies()
        .proof(Proof::BeganOnRing("what is sent finds the peer gone")),
    case!("SIGKILL", a_killed_peer_wakes_a_sleeping_reader)
        .rows(&[33])
        .far_dies()
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("SIGKILL", a_killed_peer_wakes_a_waiting_writer)
        .rows(&[33])
        .far_dies()
        .proof(Proof::AtLeast(4096)),
];

fn reset_by(side: &mut Side) {
    side.must(options::set_linger(side.fd, true, 0));
    side.close();
}

/// What a program sees of a connection that is over, call by call.
pub(super) fn last_answers(side: &mut Side) {
    let _ = side.recv(100, 0);
    let _ = side.recv(100, 0);
    let _ = side.recv(100, 0);
    let _ = side.send(b"x", libc::MSG_NOSIGNAL);
    let _ = side.send(b"x", libc::MSG_NOSIGNAL);
    side.pending_error();
    side.peer_name();
    side.tcp_state();
    side.readable_bytes();
}

/// What poll says of the connection.
pub(super) fn polls(side: &mut Side, when: &str, events: i16, timeout_ms: i32) {
    let (answer, returned) = readiness::poll_one(side.fd, events, timeout_ms);
    side.say(&format!("poll {when} = {} {returned:#x}", shown(answer)));
}

fn closing_with_linger_zero_resets(stage: &mut Stage) {
    stage.far(reset_by);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn queued_bytes_and_then_a_reset(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"queued", 0);
    });
    stage.near(|near| near.arrived(6));
    stage.far(reset_by);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        near.readable_bytes();
        last_answers(near);
    });
}

fn closing_with_unread_bytes_resets(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        far.close();
    });
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn closing_with_unread_bytes_after_sending(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.send(b"!", 0);
    });
    stage.near(|near| near.arrived(1));
    stage.far(Side::close);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn a_reset_wakes_a_sleeping_reader(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recv(100, 0));
            let _ = near.recv(100, 0);
        },
        |far| {
            far.other_asleep();
            reset_by(far);
        },
    );
}

fn a_reset_is_told_by_so_error(stage: &mut Stage) {
    stage.far(reset_by);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        near.pending_error();
        near.pending_error();
        last_answers(near);
    });
}

fn sending_after_the_peer_closed(stage: &mut Stage) {
    stage.far(Side::close);
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
        let _ = near.send(b"into the void", libc::MSG_NOSIGNAL);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let _ = near.send(b"again", libc::MSG_NOSIGNAL);
        let _ = near.recv(10, 0);
        let _ = near.send(b"again", libc::MSG_NOSIGNAL);
        near.pending_error();
    });
}

fn sending_after_a_reset(stage: &mut Stage) {
    stage.far(reset_by);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        let _ = near.recv(10, 0);
        near.pending_error();
    });
}

fn poll_sees_a_reset(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"queued", 0);
    });
    stage.near(|near| near.arrived(6));
    stage.far(reset_by);
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let all = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        for when in [
            "before recv",
            "after the queued bytes",
            "after the error",
            "after the end",
        ] {
            polls(near, when, all, 0);
            let _ = near.recv(100, 0);
        }
    });
}

fn a_killed_peer_leaves_what_it_sent(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"last ", 0);
        let _ = far.send(b"will", 0);
    });
    stage.kill_far();
    stage.near(|near| {
        near.end_arrived();
        near.readable_bytes();
        near.receives(9);
        let _ = near.recv(10, 0);
        let _ = near.recv(10, 0);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
    });
}

fn a_killed_peer_with_unread_bytes_resets(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"sent", 0);
    });
    stage.near(|near| {
        let _ = near.send(b"never read", 0);
        near.arrived(4);
    });
    stage.far(|far| far.arrived(10));
    stage.kill_far();
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}

fn a_killed_peer_with_nothing_queued_ends_the_stream(stage: &mut Stage) {
    stage.kill_far();
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(10, 0);
        let _ = near.recv(10, 0);
        near.tcp_state();
        near.peer_name();
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        near.peer_name();
        near.tcp_state();
    });
}

/// Sleeps in poll until the connection's end wakes it. Whoever is woken this early may find a reset half told: that it is
/// woken, and by nothing that does not last, is said at once; what there is, when all is told.
pub(super) fn sleeps_in_poll(side: &mut Side, when: &str, events: i16, timeout_ms: i32) {
    let (woken, early) = readiness::poll_one(side.fd, events, timeout_ms);
    side.until_poll(libc::POLLERR | libc::POLLHUP);
    let (answer, all) = readiness::poll_one(side.fd, events, 0);
    side.say(&format!(
        "poll {when} = {}, by what lasts: {}; then {} {all:#x}",
        shown(woken),
        early & !all == 0,
        shown(answer)
    ));
}

/// The same by a set that watches nothing else. An edge may be told in two parts: what is said is both of them together.
pub(super) fn sleeps_in_set(side: &mut Side, set: Set) {
    let found = epoll::wait(set.fd, 16, Wait::Plain(LONG_MS));
    side.until_poll(libc::POLLERR | libc::POLLHUP);
    let found = found.map(|first| {
        let woken = !first.is_empty();
        let later = epoll::wait(set.fd, 16, Wait::Plain(0)).unwrap_or_default();
        let mut all: Vec<(u64, u32)> = Vec::new();
        for (data, events) in first.into_iter().chain(later) {
            match all.iter_mut().find(|(seen, _)| *seen == data) {
                Some((_, seen)) => *seen |= events,
                None => all.push((data, events)),
            }
        }
        (woken, all)
    });
    let woken = found.as_ref().is_ok_and(|(woken, _)| *woken);
    let all = sets::shown(&found.map(|(_, all)| all));
    side.say(&format!("woken: {woken}, of all together {all}"));
}

/// The far side is killed by a thread of the near side after a while, so that the near side is found asleep.
pub(super) fn kill_later(near: &mut Side, act: impl FnOnce(&mut Side)) {
    let far_process = near.other_process;
    let own = processes::own_thread();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            Side::thread_asleep(own);
            let _ = processes::kill(far_process, libc::SIGKILL);
        });
        act(near);
    });
}

fn a_killed_peer_wakes_a_sleeping_reader(stage: &mut Stage) {
    stage.far_waits_for_its_death(|near| {
        kill_later(near, |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
        });
        let _ = near.recv(10, 0);
    });
}

fn a_killed_peer_wakes_a_waiting_writer(stage: &mut Stage) {
    stage.far_waits_for_its_death(|near| {
        // However little of the rest gets through, something is unread when the far side dies.
        near.send_all(b"unread");
        let bytes = vec![7; 64 << 20];
        let fd = near.fd;
        let mut answer = Ok(0);
        kill_later(near, |_| {
            answer = crate::calls::transfer::send(fd, &bytes, libc::MSG_NOSIGNAL);
        });
        let part = answer.is_ok_and(|count| count > 0 && count < bytes.len());
        near.say(&format!("the waiting send ended with a part: {part}"));
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        last_answers(near);
    });
}
