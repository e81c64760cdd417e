//! Waits for the pipe, for bytes from it or for room in it; the socket's own ways of not waiting do not end them.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::calls::{connection, files, processes, signals, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::side::waiting::eventually;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", a_splice_from_an_empty_pipe_waits_for_the_pipe),
    case!("splice", an_empty_pipe_comes_before_a_full_stream).proof(Proof::AtLeast(4096)),
    case!("splice", a_splice_into_a_full_pipe_waits_for_the_pipe)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!("splice", a_splice_into_a_pipe_that_others_write_to).proof(Proof::AtLeast(4096)),
];

fn a_splice_from_an_empty_pipe_waits_for_the_pipe(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(0));
        let socket = near.fd;
        let splice = |flags| files::splice(reading, socket, 100, flags);
        let _ = near.observe("splice(NONBLOCK)", splice(libc::SPLICE_F_NONBLOCK));
        near.must(files::fcntl(reading, libc::F_SETFL, libc::O_NONBLOCK));
        let _ = near.observe("splice of a non-blocking pipe", splice(0));
        near.must(files::fcntl(reading, libc::F_SETFL, 0));
        // The socket's own ways of not waiting are about the socket.
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 20);
        near.set_nonblocking(true);
        for restart in [false, true] {
            near.must(signals::count_signals(libc::SIGALRM, restart));
            let started = Instant::now();
            near.must(signals::alarm_every_us(50_000, 50_000));
            let own = processes::own_thread();
            let answer = std::thread::scope(|scope| {
                // Without SA_RESTART nothing comes, and a signal ends the wait; with it the bytes do, behind signals.
                if restart {
                    scope.spawn(move || {
                        let _ = signals::block(libc::SIGALRM, true);
                        Side::thread_asleep(own);
                        let before = signals::caught();
                        let _ = eventually(|| signals::caught() >= before + 2);
                        transfer::write(writing, b"ten bytes.")
                    });
                }
                splice(0)
            });
            near.says_whether_it_waited_ms(50, started);
            near.must(signals::alarm_every_us(0, 0));
            near.count_sent(answer);
            let _ = near.observe(&format!("splice, handler restarts: {restart}"), answer);
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        }
        near.must(transfer::write(writing, b"ten, again"));
        near.must(connection::close(writing));
        for what in ["the last bytes of a pipe", "an ended pipe"] {
            let answer = splice(0);
            near.count_sent(answer);
            let _ = near.observe(&format!("splice of {what}"), answer);
        }
        near.set_nonblocking(false);
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 0);
    });
    stage.far(|far| far.receives(20));
}

fn an_empty_pipe_comes_before_a_full_stream(stage: &mut Stage) {
    let sent = stage.near_says(|near| {
        let sent = near.fill(78);
        let (reading, writing) = near.must(files::pipe(0));
        let socket = near.fd;
        let _ = near.observe(
            "splice(NONBLOCK) of an empty pipe",
            files::splice(reading, socket, 100, libc::SPLICE_F_NONBLOCK),
        );
        near.must(connection::close(writing));
        let _ = near.observe(
            "splice of an ended pipe",
            files::splice(reading, socket, 100, 0),
        );
        sent as i64
    });
    stage.far(|far| far.receives_stream(78, 0, sent as usize));
}

fn fill_pipe(side: &mut Side, writing: RawFd) -> usize {
    let mut written = 0;
    side.must(files::fcntl(writing, libc::F_SETFL, libc::O_NONBLOCK));
    while let Ok(count) = transfer::write(writing, &[b'.'; 4096]) {
        written += count;
    }
    side.must(files::fcntl(writing, libc::F_SETFL, 0));
    written
}

fn a_splice_into_a_full_pipe_waits_for_the_pipe(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let (reading, writing) = near.must(files::pipe(0));
        let socket = near.fd;
        let filled = fill_pipe(near, writing);
        let splice = |flags| files::splice(socket, writing, 100, flags);
        let _ = near.observe("splice(NONBLOCK)", splice(libc::SPLICE_F_NONBLOCK));
        near.must(files::fcntl(writing, libc::F_SETFL, libc::O_NONBLOCK));
        let _ = near.observe("splice into a non-blocking pipe", splice(0));
        near.must(files::fcntl(writing, libc::F_SETFL, 0));
        near.readable_bytes();
        // The socket's own ways of not waiting are about the socket.
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 20);
        near.set_nonblocking(true);
        near.must(signals::count_signals(libc::SIGALRM, false));
        near.must(signals::alarm_every_us(50_000, 50_000));
        let _ = near.observe("splice, handler without SA_RESTART", splice(0));
        near.readable_bytes();
        near.must(signals::count_signals(libc::SIGALRM, true));
        let answer = near.waits_at_least_ms(200, |_| {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let _ = signals::block(libc::SIGALRM, true);
                    std::thread::sleep(Duration::from_millis(300));
                    transfer::read(reading, &mut vec![0; filled])
                });
                splice(0)
            })
        });
        near.must(signals::alarm_every_us(0, 0));
        let _ = near.observe("splice, handler with SA_RESTART", answer);
        near.say(&format!("the handler ran: {}", signals::caught() > 0));
        let _ = near.fills("read of the pipe", 100, |_, buffer| {
            transfer::read(reading, buffer)
        });
        near.readable_bytes();
    });
}

/// A second writer fills the pipe whenever it can.
fn a_splice_into_a_pipe_that_others_write_to(stage: &mut Stage) {
    const BYTES: u64 = 1 << 20;
    const OTHER: u8 = 0xFF;
    stage.together(
        |near| {
            let bytes = content::bytes_from(79, 0, BYTES as usize);
            let low: Vec<u8> = bytes.iter().map(|byte| byte & 0x7F).collect();
            near.send_all(&low);
        },
        |far| {
            let (reading, writing) = far.must(files::pipe(0));
            let other_writing = far.must(files::dup(writing)) as RawFd;
            let socket = far.fd;
            let spliced: Result<Vec<u8>, _> = std::thread::scope(|scope| {
                scope.spawn(move || {
                    let mut left = 2 << 20;
                    while left > 0 {
                        match transfer::write(other_writing, &[OTHER; 1000]) {
                            Ok(count) => left -= count as i64,
                            Err(_) => break,
                        }
                    }
                    connection::close(other_writing)
                });
                let reader = scope.spawn(move || {
                    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 20_000]);
                    loop {
                        match transfer::read(reading, &mut buffer) {
                            Ok(0) => return Ok(bytes),
                            Ok(count) => {
                                let own = buffer[..count].iter().filter(|byte| **byte != OTHER);
                                bytes.extend(own);
                            }
                            Err(errno) => return Err(errno),
                        }
                    }
                });
                let mut moved = 0;
                while moved < BYTES {
                    match files::splice(socket, writing, 65536, 0) {
                        Ok(count @ 1..) => moved += count as u64,
                        _ => break,
                    }
                }
                let _ = connection::close(writing);
                reader.join().unwrap_or(Ok(Vec::new()))
            });
            let spliced = far.must(spliced);
            let expected = content::bytes_from(79, 0, spliced.len());
            let wrong = spliced
                .iter()
                .zip(&expected)
                .position(|(seen, sent)| *seen != sent & 0x7F);
            far.say(&format!(
                "{} bytes spliced, wrong at {wrong:?}",
                spliced.len()
            ));
        },
    );
}
