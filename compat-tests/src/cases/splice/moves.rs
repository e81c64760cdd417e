//! What one call moves, which is the kernel's business except that nothing is lost and nothing comes twice; a relay through
//! a pipe.

use super::show_pipe;
use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{connection, files, transfer};
use crate::case;
use crate::case::{Case, Proof};
use crate::content;
use crate::side::sets::LONG_MS;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", splice_from_the_socket_into_a_pipe),
    case!("splice", splice_from_a_pipe_into_the_socket),
    case!("splice", splice_at_the_end_of_the_stream),
    case!("splice", a_stream_spliced_through_a_pipe).proof(Proof::AtLeast(4096)),
    case!("splice", an_edge_triggered_relay_by_splice_is_told_of_room).proof(Proof::AtLeast(4096)),
];

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
                        let told = near.must(epoll::wait(set, 1, Wait::Plain(LONG_MS)));
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
