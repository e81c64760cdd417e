//! shutdown(2), half-close and orderly ends (POSIX.md rows 5, 8, 33).

use crate::calls::answer::shown;
use crate::calls::{options, readiness};
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
    case!("shutdown", writing_to_a_peer_that_has_shut_rd)
        .rows(&[5])
        .proof(Proof::AtLeast(0)),
    case!("shutdown", shut_rdwr_ends_both_directions).rows(&[5, 33]),
    case!(
        "shutdown",
        shutdown_wakes_a_sleeping_reader_of_the_same_process
    )
    .rows(&[5])
    .proof(Proof::AtLeast(0)),
    case!("shutdown", shutdown_wakes_the_peers_sleeping_reader).rows(&[5]),
    case!("shutdown", shutdown_twice_and_wrong_arguments),
    case!("shutdown", both_ends_shut_at_once).rows(&[5]),
    case!("shutdown", a_writer_of_a_full_connection_is_cut_by_shutdown)
        .rows(&[5])
        .proof(Proof::AtLeast(4096)),
    case!("shutdown", shutdown_before_the_first_byte)
        .start(Start::Connected)
        .proof(Proof::AtLeast(0)),
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
            let bytes = near.receive_all(BYTES);
            near.say(&format!(
                "wrong at {:?}",
                content::first_difference(111, 0, &bytes)
            ));
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
        near.nap_ms(20);
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
}

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
            let bytes = far.receive_all(BYTES);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(113, 0, &bytes)
            ));
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
