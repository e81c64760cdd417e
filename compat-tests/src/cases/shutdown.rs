//! shutdown(2) and half-close (POSIX.md rows 5 and 33).

use crate::calls::answer::shown;
use crate::calls::readiness;
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, Start};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("shutdown", half_closed_stream_still_answers)
        .rows(&[5])
        .kinds(ALL_KINDS),
    case!("shutdown", long_answer_after_a_half_close)
        .rows(&[5])
        .proof(Proof::AtLeast(4096)),
    case!("shutdown", writing_after_shut_wr_is_a_broken_pipe).rows(&[5, 33]),
    case!("shutdown", reading_after_shut_rd)
        .rows(&[5])
        .proof(Proof::AtLeast(5)),
    case!("shutdown", shut_rd_keeps_what_is_queued).rows(&[5]),
    case!("shutdown", writing_to_a_peer_that_has_shut_rd).rows(&[5]),
    case!("shutdown", shut_rdwr_ends_both_directions).rows(&[5, 33]),
    case!(
        "shutdown",
        shutdown_wakes_a_sleeping_reader_of_the_same_process
    )
    .rows(&[5]),
    case!("shutdown", shutdown_wakes_the_peers_sleeping_reader).rows(&[5]),
    case!("shutdown", shutdown_twice_and_wrong_arguments),
    case!("shutdown", both_ends_shut_at_once).rows(&[5]),
    case!("shutdown", a_writer_of_a_full_connection_is_cut_by_shutdown)
        .rows(&[5])
        .proof(Proof::AtLeast(4096)),
    case!("shutdown", shutdown_before_the_first_byte).start(Start::Connected),
];

fn half_closed_stream_still_answers(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"question", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives(8);
        let _ = far.recv(10, 0);
        let _ = far.send(b"the answer ", 0);
        let _ = far.send(b"in two parts", 0);
        far.close();
    });
    stage.near(|near| {
        near.receives(23);
        let _ = near.recv(10, 0);
    });
}

fn long_answer_after_a_half_close(stage: &mut Stage) {
    const BYTES: usize = 3 << 20;
    stage.near(|near| {
        let _ = near.send(b"send it all", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.together(
        |near| {
            near.receives_stream(111, 0, BYTES);
            let _ = near.recv(10, 0);
        },
        |far| {
            far.receives(11);
            far.send_all(&content::bytes_from(111, 0, BYTES));
            far.close();
        },
    );
}

fn writing_after_shut_wr_is_a_broken_pipe(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.send(b"late", libc::MSG_NOSIGNAL);
        let _ = near.sendmsg(&[b"late"], libc::MSG_NOSIGNAL);
        let _ = near.send(b"", libc::MSG_NOSIGNAL);
        near.pending_error();
    });
    stage.far(|far| {
        far.receives(4);
        let _ = far.recv(10, 0);
        let _ = far.send(b"still fine", 0);
    });
    stage.near(|near| near.receives(10));
}

fn reading_after_shut_rd(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.shutdown(libc::SHUT_RD);
        let _ = near.recv(10, 0);
        let _ = near.recv(10, libc::MSG_DONTWAIT);
        let _ = near.read(10);
        let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN | libc::POLLRDHUP, 0);
        near.say(&format!("poll = {} {events:#x}", shown(answer)));
        let _ = near.send(b"still", 0);
    });
    stage.far(|far| {
        far.receives(5);
        let _ = far.send(b"into a shut end", 0);
    });
    stage.near(|near| {
        near.arrived(15);
        // Linux goes on queueing what arrives after SHUT_RD.
        let _ = near.recv(100, 0);
        let _ = near.recv(100, 0);
    });
}

fn shut_rd_keeps_what_is_queued(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"queued", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.shutdown(libc::SHUT_RD);
        let _ = near.recv(3, 0);
        near.readable_bytes();
        let _ = near.recv(10, 0);
        let _ = near.recv(10, 0);
    });
}

fn writing_to_a_peer_that_has_shut_rd(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.shutdown(libc::SHUT_RD);
    });
    stage.far(|far| {
        for _ in 0..5 {
            let _ = far.send(b"nobody reads", libc::MSG_NOSIGNAL);
        }
        far.nap_ms(10);
        let _ = far.send(b"nobody reads", libc::MSG_NOSIGNAL);
        far.pending_error();
    });
}

fn shut_rdwr_ends_both_directions(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        let _ = near.shutdown(libc::SHUT_RDWR);
        let _ = near.recv(10, 0);
        let _ = near.send(b"late", libc::MSG_NOSIGNAL);
        near.tcp_state();
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(4);
        let _ = far.recv(10, 0);
        far.tcp_state();
        far.close();
    });
    stage.near(|near| {
        near.until_poll(libc::POLLHUP);
        let _ = near.recv(10, 0);
        near.tcp_state_becomes("CLOSE");
        let _ = near.shutdown(libc::SHUT_WR);
    });
}

fn shutdown_wakes_a_sleeping_reader_of_the_same_process(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let answer = std::thread::scope(|scope| {
            let reader = scope.spawn(|| crate::calls::transfer::recv(fd, &mut [0; 10], 0));
            near.own_threads_asleep(1);
            let _ = near.shutdown(libc::SHUT_RD);
            reader.join()
        });
        match answer {
            Ok(answer) => near.say(&format!("the sleeping recv = {}", shown(answer))),
            Err(_) => near.fail("the reader panicked"),
        }
        let _ = near.send(b"still", 0);
    });
    stage.far(|far| far.receives(5));
}

fn shutdown_wakes_the_peers_sleeping_reader(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
            let _ = near.send(b"answer", 0);
        },
        |far| {
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
            far.receives(6);
        },
    );
}

fn shutdown_twice_and_wrong_arguments(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.shutdown(7);
        let _ = near.shutdown(-1);
        let _ = near.send(b"fine", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.shutdown(libc::SHUT_RD);
        let _ = near.shutdown(libc::SHUT_RDWR);
    });
    stage.far(|far| {
        far.receives(4);
        let _ = far.recv(1, 0);
    });
}

fn both_ends_shut_at_once(stage: &mut Stage) {
    stage.both(|side| {
        side.send_all(b"farewell");
        let _ = side.shutdown(libc::SHUT_WR);
        side.receives(8);
        let _ = side.recv(1, 0);
    });
    stage.both(Side::close);
}

fn a_writer_of_a_full_connection_is_cut_by_shutdown(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let bytes = content::bytes_from(112, 0, 32 << 20);
        let answer = std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| crate::calls::transfer::send(fd, &bytes, libc::MSG_NOSIGNAL));
            near.nap_ms(100);
            near.own_threads_asleep(1);
            let _ = near.shutdown(libc::SHUT_WR);
            writer.join()
        });
        match answer {
            Ok(answer) => {
                let part = answer.is_ok_and(|count| count > 0 && count < bytes.len());
                near.say(&format!("the sleeping send ended with a part: {part}"));
            }
            Err(_) => near.fail("the writer panicked"),
        }
    });
    stage.far(|far| {
        let mut position = 0;
        let mut wrong = None;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match crate::calls::transfer::recv(far.fd, &mut buffer, 0) {
                Ok(0) => break,
                Ok(count) => {
                    wrong = wrong.or(content::first_difference(112, position, &buffer[..count]));
                    position += count as u64;
                }
                Err(errno) => far.fail(&format!("recv: {errno}")),
            }
        }
        far.say(&format!(
            "wrong at {wrong:?}, something came: {}",
            position > 0
        ));
    });
}

fn shutdown_before_the_first_byte(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        let _ = far.recv(10, 0);
        let _ = far.send(b"one way", 0);
    });
    stage.near(|near| near.receives(7));
    for _ in 0..10 {
        stage.far(|far| far.send_all(b"and on"));
        stage.near(|near| near.receives(6));
    }
    // That one has no way back to a bell; the next connection of the same two processes has.
    stage.both(Side::close);
    stage.connect();
    stage.goes_on_by_ring();
}
