//! Several threads asleep on one connection, and a peer that does not run (POSIX.md rows 16 and 24).

use crate::calls::{processes, readiness, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("recv", three_sleeping_threads_share_a_stream).rows(&[24]),
    case!("recv", the_end_wakes_every_sleeping_thread)
        .rows(&[24])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("recv", a_thread_in_recv_and_one_in_poll).rows(&[24]),
    case!(
        "recv",
        a_sleeping_reader_and_a_sleeping_writer_in_one_process
    )
    .rows(&[24])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("send", a_stopped_peer_stops_no_sender).rows(&[16]),
];

fn three_sleeping_threads_share_a_stream(stage: &mut Stage) {
    const MESSAGES: u8 = 200;
    stage.together(
        |near| {
            let fd = near.fd;
            let mut all: Vec<u8> = std::thread::scope(|scope| {
                let readers: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(move || {
                            let mut seen = Vec::new();
                            let mut buffer = [0; 1];
                            while transfer::recv(fd, &mut buffer, 0) == Ok(1) {
                                seen.push(buffer[0]);
                            }
                            seen
                        })
                    })
                    .collect();
                readers
                    .into_iter()
                    .flat_map(|reader| reader.join().unwrap_or_default())
                    .collect()
            });
            all.sort_unstable();
            let expected: Vec<u8> = (0..MESSAGES).collect();
            near.say(&format!(
                "{} bytes, each once: {}",
                all.len(),
                all == expected
            ));
        },
        |far| {
            for message in 0..MESSAGES {
                far.send_all(&[message]);
                if message % 20 == 0 {
                    far.other_asleep();
                } else if message % 3 == 0 {
                    far.nap_ms(1);
                }
            }
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn the_end_wakes_every_sleeping_thread(stage: &mut Stage) {
    stage.together(
        |near| {
            let fd = near.fd;
            let answers = std::thread::scope(|scope| {
                let readers: Vec<_> = (0..4)
                    .map(|_| scope.spawn(move || transfer::recv(fd, &mut [0; 8], 0)))
                    .collect();
                readers
                    .into_iter()
                    .map(|reader| reader.join().ok())
                    .collect::<Vec<_>>()
            });
            near.say(&format!("{answers:?}"));
        },
        |far| {
            far.nap_ms(20);
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn a_thread_in_recv_and_one_in_poll(stage: &mut Stage) {
    stage.together(
        |near| {
            let fd = near.fd;
            let (polled, received) = std::thread::scope(|scope| {
                let poller = scope.spawn(move || readiness::poll_one(fd, libc::POLLRDHUP, 20_000));
                let reader = scope.spawn(move || {
                    let mut buffer = [0; 8];
                    let answer = transfer::recv(fd, &mut buffer, 0);
                    (answer, buffer)
                });
                (poller.join().ok(), reader.join().ok())
            });
            match received {
                Some((Ok(count), buffer)) => {
                    near.say(&format!(
                        "recv = {count} {}",
                        content::shown(&buffer[..count])
                    ));
                }
                other => near.say(&format!("recv = {:?}", other.map(|(answer, _)| answer))),
            }
            near.say(&format!("poll = {polled:?}"));
        },
        |far| {
            far.nap_ms(20);
            far.other_asleep();
            let _ = far.send(b"for recv", 0);
            far.nap_ms(20);
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
}

fn a_sleeping_reader_and_a_sleeping_writer_in_one_process(stage: &mut Stage) {
    const BYTES: usize = 16 << 20;
    stage.together(
        |near| {
            let fd = near.fd;
            let bytes = content::bytes_from(131, 0, BYTES);
            let (sent, received) = std::thread::scope(|scope| {
                let writer = scope.spawn(|| transfer::send(fd, &bytes, libc::MSG_NOSIGNAL));
                let reader = scope.spawn(move || {
                    let mut buffer = [0; 8];
                    let answer = transfer::recv(fd, &mut buffer, 0);
                    (answer, buffer)
                });
                (writer.join().ok(), reader.join().ok())
            });
            near.say(&format!("send = {sent:?}, recv = {received:?}"));
        },
        |far| {
            far.nap_ms(50);
            far.other_asleep();
            let _ = far.send(b"an hello", 0);
            far.nap_ms(20);
            far.receives_stream(131, 0, BYTES);
        },
    );
}

fn a_stopped_peer_stops_no_sender(stage: &mut Stage) {
    stage.together(
        |near| {
            near.other_asleep();
            near.must(processes::kill(near.other_process, libc::SIGSTOP));
            near.nap_ms(10);
            for message in 0..100u64 {
                near.send_all(&content::bytes_from(132, message * 30, 30));
            }
            near.say("sent");
            near.must(processes::kill(near.other_process, libc::SIGCONT));
        },
        |far| {
            far.receives_stream(132, 0, 3000);
        },
    );
}
