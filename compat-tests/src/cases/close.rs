//! Orderly ends: what was sent before close arrives, and then the end (POSIX.md rows 5 and 8).

use crate::calls::answer::shown;
use crate::calls::{options, readiness};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("close", bytes_sent_before_close_are_delivered).kinds(ALL_KINDS),
    case!("close", a_long_stream_sent_before_close_is_delivered).proof(Proof::AtLeast(4096)),
    case!("close", close_after_reading_everything_is_a_clean_end).rows(&[8]),
    case!("close", close_after_sleeping_and_reading_is_a_clean_end).rows(&[8]),
    case!(
        "close",
        close_by_another_thread_does_not_end_a_sleeping_recv
    )
    .proof(Proof::AtLeast(2)),
    case!("close", linger_waits_and_delivers),
    case!("poll", events_along_the_end_of_a_stream).rows(&[5]),
];

fn bytes_sent_before_close_are_delivered(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"one ", 0);
        let _ = near.send(b"two ", 0);
        let _ = near.send(b"three", 0);
        near.close();
    });
    stage.far(|far| {
        far.receives(13);
        let _ = far.recv(10, 0);
        let _ = far.recv(10, 0);
    });
}

fn a_long_stream_sent_before_close_is_delivered(stage: &mut Stage) {
    const BYTES: usize = 6 << 20;
    stage.together(
        |near| {
            near.send_all(&content::bytes_from(113, 0, BYTES));
            near.close();
        },
        |far| {
            far.nap_ms(50);
            far.receives_stream(113, 0, BYTES);
            let _ = far.recv(10, 0);
        },
    );
}

fn close_after_reading_everything_is_a_clean_end(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"all of it", 0);
    });
    stage.near(|near| {
        near.receives(9);
        near.close();
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(10, 0);
        far.pending_error();
    });
}

fn close_after_sleeping_and_reading_is_a_clean_end(stage: &mut Stage) {
    // The near end sleeps in poll, so the far end has to wake it by a byte that nobody asked for; it must not turn the
    // end of the stream into a reset.
    stage.together(
        |near| {
            let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 20_000);
            near.say(&format!("poll = {} {events:#x}", shown(answer)));
            let _ = near.recv(100, libc::MSG_DONTWAIT);
            near.close();
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
            far.end_arrived();
            let _ = far.recv(10, 0);
            far.pending_error();
        },
    );
}

fn close_by_another_thread_does_not_end_a_sleeping_recv(stage: &mut Stage) {
    let own = stage.own_descriptor();
    let mut reader = None;
    stage.near(|near| {
        reader = Some(std::thread::spawn(move || {
            let mut buffer = [0; 10];
            let answer = crate::calls::transfer::recv(own, &mut buffer, 0);
            (answer, buffer)
        }));
        near.own_threads_asleep(1);
        near.close();
    });
    stage.far(|far| {
        let (answer, events) = readiness::poll_one(far.fd, libc::POLLIN | libc::POLLRDHUP, 50);
        far.say(&format!(
            "poll while the peer's reader sleeps = {} {events:#x}",
            shown(answer)
        ));
        let _ = far.send(b"hi", 0);
    });
    stage.near(|near| match reader.map(std::thread::JoinHandle::join) {
        Some(Ok((answer, buffer))) => near.say(&format!(
            "the sleeping recv = {} {}",
            shown(answer),
            content::shown(&buffer[..answer.unwrap_or(0)])
        )),
        _ => near.fail("the reader panicked"),
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(10, 0);
    });
}

fn linger_waits_and_delivers(stage: &mut Stage) {
    stage.near(|near| {
        near.must(options::set_linger(near.fd, true, 10));
        let _ = near.send(b"delivered", 0);
        near.close();
    });
    stage.far(|far| {
        far.receives(9);
        let _ = far.recv(10, 0);
    });
}

fn events_along_the_end_of_a_stream(stage: &mut Stage) {
    const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI;
    let look = |side: &mut Side, when: &str| {
        let (answer, events) = readiness::poll_one(side.fd, ALL, 0);
        side.say(&format!("poll {when} = {} {events:#x}", shown(answer)));
    };
    stage.both(|side| look(side, "at rest"));
    stage.near(|near| {
        let _ = near.send(b"abc", 0);
    });
    stage.far(|far| {
        far.arrived(3);
        look(far, "with data");
        let _ = far.recv(3, 0);
        look(far, "drained");
    });
    stage.near(|near| {
        let _ = near.send(b"def", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        look(near, "after shutdown");
    });
    stage.far(|far| {
        far.end_arrived();
        look(far, "with data and the end");
        let _ = far.recv(3, 0);
        look(far, "with the end");
        let _ = far.recv(3, 0);
        look(far, "after the end");
        let _ = far.shutdown(libc::SHUT_WR);
        look(far, "after both");
    });
    stage.near(|near| {
        near.end_arrived();
        look(near, "after both");
    });
}
