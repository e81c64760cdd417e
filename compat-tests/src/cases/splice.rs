//! splice(2), tee(2) and vmsplice(2).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::transfer::{self, Parts};
use crate::calls::{connection, files};
use crate::case;
use crate::case::{Case, Proof};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", splice_from_the_socket_into_a_pipe),
    case!("splice", splice_from_a_pipe_into_the_socket),
    case!("splice", splice_sleeps_until_data_come),
    case!("splice", splice_without_waiting),
    case!("splice", splice_nonblock_is_about_the_pipe_only),
    case!("splice", splice_at_the_end_of_the_stream),
    case!("splice", splice_refuses_offsets_on_sockets),
    case!("splice", splice_from_socket_to_socket_is_refused),
    case!("splice", a_stream_spliced_through_a_pipe).proof(Proof::AtLeast(4096)),
    case!("splice", an_edge_triggered_relay_by_splice_is_told_of_room).proof(Proof::AtLeast(4096)),
    case!("tee, vmsplice", tee_and_vmsplice_refuse_sockets),
];

/// Everything in the pipe, without waiting, into the transcript.
fn show_pipe(side: &mut Side, reading: i32) {
    let mut buffer = vec![0; 65536];
    let answer = transfer::read(reading, &mut buffer);
    match answer {
        Ok(count) => side.say(&format!(
            "in the pipe: {}",
            content::shown(&buffer[..count])
        )),
        Err(errno) => side.say(&format!("in the pipe: -1 {errno}")),
    }
}

fn splice_from_the_socket_into_a_pipe(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let (reading, writing) = far.must(files::pipe(libc::O_NONBLOCK));
        let _ = far.observe("splice(4)", files::splice(far.fd, writing, 4, 0));
        show_pipe(far, reading);
        let _ = far.observe("splice(100)", files::splice(far.fd, writing, 100, 0));
        show_pipe(far, reading);
        far.readable_bytes();
        let _ = far.observe("splice(0)", files::splice(far.fd, writing, 0, 0));
    });
}

fn splice_from_a_pipe_into_the_socket(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(0));
        near.must(transfer::write(writing, b"abcdefghij"));
        for (length, flags) in [(4, 0), (3, libc::SPLICE_F_MORE), (100, 0)] {
            let answer = files::splice(reading, near.fd, length, flags);
            near.count_sent(answer);
            let _ = near.observe(&format!("splice({length}, {flags})"), answer);
        }
        near.must(connection::close(writing));
        let _ = near.observe(
            "splice of an ended pipe",
            files::splice(reading, near.fd, 10, 0),
        );
    });
    stage.far(|far| far.receives(10));
}

fn splice_sleeps_until_data_come(stage: &mut Stage) {
    stage.together(
        |near| {
            let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
            let _ = near.waits_at_least_ms(20, |near| {
                let answer = files::splice(near.fd, writing, 100, 0);
                near.observe("splice(100)", answer)
            });
            show_pipe(near, reading);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
        },
    );
}

fn splice_without_waiting(stage: &mut Stage) {
    stage.near(|near| {
        let (_, writing) = near.must(files::pipe(0));
        near.set_nonblocking(true);
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice(100) of a non-blocking socket", answer);
        let answer = files::splice(near.fd, writing, 100, libc::SPLICE_F_NONBLOCK);
        let _ = near.observe("splice(100, NONBLOCK) of a non-blocking socket", answer);
        near.set_nonblocking(false);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn splice_nonblock_is_about_the_pipe_only(stage: &mut Stage) {
    stage.together(
        |near| {
            let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
            let _ = near.waits_at_least_ms(20, |near| {
                let answer = files::splice(near.fd, writing, 100, libc::SPLICE_F_NONBLOCK);
                near.observe("splice(100, NONBLOCK) of a blocking socket", answer)
            });
            show_pipe(near, reading);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
        },
    );
}

fn splice_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"the end", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.end_arrived();
        let (reading, writing) = far.must(files::pipe(libc::O_NONBLOCK));
        let _ = far.observe("splice(100)", files::splice(far.fd, writing, 100, 0));
        show_pipe(far, reading);
        let _ = far.observe("splice(100)", files::splice(far.fd, writing, 100, 0));
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| near.receives(6));
}

fn splice_refuses_offsets_on_sockets(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let (_, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let mut offset = 0;
        let _ = near.observe(
            "splice at an offset",
            files::splice_at(near.fd, &mut offset, writing, 4),
        );
        let _ = near.recv(100, 0);
    });
}

fn splice_from_socket_to_socket_is_refused(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.observe("socket to itself", files::splice(near.fd, near.fd, 4, 0));
        let _ = near.observe("file to socket", files::splice(file, near.fd, 4, 0));
        let _ = near.observe("socket to file", files::splice(near.fd, file, 4, 0));
        let _ = near.recv(100, 0);
    });
}

fn a_stream_spliced_through_a_pipe(stage: &mut Stage) {
    const BYTES: usize = 3 << 20;
    stage.together(
        |near| near.send_all(&content::bytes_from(71, 0, BYTES)),
        |far| {
            let (reading, writing) = far.must(files::pipe(0));
            let mut bytes = Vec::with_capacity(BYTES);
            let mut buffer = vec![0; 65536];
            while bytes.len() < BYTES {
                let moved = match files::splice(far.fd, writing, 65536, 0) {
                    Ok(0) => far.fail("the stream ended"),
                    Ok(count) => count,
                    Err(errno) => far.fail(&format!("splice: {errno}")),
                };
                let mut left = moved;
                while left > 0 {
                    let count = far.must(transfer::read(reading, &mut buffer));
                    bytes.extend_from_slice(&buffer[..count]);
                    left = left.saturating_sub(count);
                }
            }
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(71, 0, &bytes)
            ));
        },
    );
}

/// What mio and tokio do: splice until EAGAIN, then wait for the edge.
fn an_edge_triggered_relay_by_splice_is_told_of_room(stage: &mut Stage) {
    const BYTES: usize = 1 << 20;
    stage.together(
        |near| {
            near.set_nonblocking(true);
            let set = near.must(epoll::create(0)) as i32;
            let edges = (libc::EPOLLOUT | libc::EPOLLET) as u32;
            near.must(epoll::control(set, Change::Add, near.fd, edges, 1));
            let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
            let (mut written, mut relayed) = (0, 0);
            while relayed < BYTES {
                if written == relayed {
                    let piece = (BYTES - written).min(16384);
                    let bytes = content::bytes_from(72, written as u64, piece);
                    written += near.must(transfer::write(writing, &bytes));
                }
                match files::splice(reading, near.fd, 65536, libc::SPLICE_F_NONBLOCK) {
                    Err(errno) if errno.0 == libc::EAGAIN => {
                        let told = near.must(epoll::wait(set, 1, Wait::Plain(10_000)));
                        if told.is_empty() {
                            near.fail(&format!("no edge behind {relayed} bytes"));
                        }
                    }
                    answer => {
                        near.count_sent(answer);
                        relayed += near.must(answer);
                    }
                }
            }
            near.say("relayed all");
        },
        |far| {
            let mut wrong = None;
            for start in (0..BYTES).step_by(32768) {
                // Now and then there is no room.
                std::thread::sleep(std::time::Duration::from_millis(1));
                let bytes = far.receive_all(32768);
                wrong = wrong.or(content::first_difference(72, start as u64, &bytes));
            }
            far.say(&format!("wrong at {wrong:?}"));
        },
    );
}

fn tee_and_vmsplice_refuse_sockets(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let _ = near.observe("tee from the socket", files::tee(near.fd, writing, 4));
        let _ = near.observe("tee to the socket", files::tee(reading, near.fd, 4));
        let _ = near.observe(
            "vmsplice",
            files::vmsplice(near.fd, &mut Parts::copies(&[b"lost"])),
        );
        let _ = near.send(b"whole", 0);
    });
    stage.far(|far| far.receives(5));
}
