//! Waits for room in the stream, and what ends them.

use std::time::Duration;

use super::feed::Feed;
use crate::calls::answer::shown;
use crate::calls::{connection, files, signals, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", a_splice_into_a_full_stream_honours_its_timeout)
        .rows(&[23])
        .proof(Proof::AtLeast(4096)),
    case!(
        "splice",
        a_splice_into_a_full_stream_honours_a_short_timeout
    )
    .rows(&[23])
    .proof(Proof::AtLeast(4096)),
    case!("splice", a_signal_interrupts_a_splice_into_a_full_stream)
        .rows(&[23])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "splice",
        a_restarting_signal_does_not_interrupt_a_splice_into_a_full_stream
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!(
        "splice",
        a_splice_into_a_full_stream_goes_on_with_its_reader
    )
    .proof(Proof::AtLeast(4096)),
    case!("splice", two_senders_lose_nothing_of_a_spliced_stream).proof(Proof::AtLeast(4096)),
    case!("splice", a_storm_of_signals_harms_no_spliced_stream)
        .rows(&[22])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
];

/// The near end goes on with what is in its pipe, and the far end receives the whole stream.
fn send_the_rest(stage: &mut Stage, feed: &mut Option<Feed>, sent: i64) {
    let written = stage.near_says(|_| feed.as_ref().map_or(0, |feed| feed.written as i64));
    stage.together(
        |near| {
            if let Some(feed) = feed {
                feed.empties(near);
            }
        },
        |far| {
            let (seed, sent, written) = (73, sent as usize, written as usize);
            far.receives_stream(seed, 0, sent);
            far.receives_stream(seed, sent as u64, written - sent);
        },
    );
}

fn a_splice_into_a_full_stream_honours_its_timeout(stage: &mut Stage) {
    let mut kept = None;
    let sent = stage.near_says(|near| {
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 100);
        let feed = kept.insert(Feed::behind(near, 73, 0));
        let started = feed.until_it_ends(near);
        near.says_whether_it_waited_ms(100, started);
        feed.says_whether_the_pipe_has_the_rest(near);
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 0);
        feed.sent as i64
    });
    send_the_rest(stage, &mut kept, sent);
}

/// Shorter than a full ring keeps its sender waiting before the kernel is asked for room.
fn a_splice_into_a_full_stream_honours_a_short_timeout(stage: &mut Stage) {
    let mut kept = None;
    let sent = stage.near_says(|near| {
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 3);
        let feed = kept.insert(Feed::behind(near, 73, 0));
        feed.until_it_ends(near);
        feed.says_whether_the_pipe_has_the_rest(near);
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 0);
        feed.sent as i64
    });
    send_the_rest(stage, &mut kept, sent);
}

fn a_signal_interrupts_a_splice_into_a_full_stream(stage: &mut Stage) {
    let mut kept = None;
    let sent = stage.near_says(|near| {
        let sent = near.fill(73);
        let feed = kept.insert(Feed::behind(near, 73, sent));
        near.must(signals::count_signals(libc::SIGALRM, false));
        near.must(signals::alarm_every_us(100_000, 100_000));
        feed.until_it_ends(near);
        near.must(signals::alarm_every_us(0, 0));
        near.say(&format!("the handler ran: {}", signals::caught() > 0));
        feed.says_whether_the_pipe_has_the_rest(near);
        feed.sent as i64
    });
    send_the_rest(stage, &mut kept, sent);
}

fn a_restarting_signal_does_not_interrupt_a_splice_into_a_full_stream(stage: &mut Stage) {
    const AFTERWARDS: u64 = 1 << 20;
    let mut kept = None;
    let sent = stage.near_says(|near| near.fill(74) as i64);
    stage.together(
        |near| {
            let feed = kept.insert(Feed::behind(near, 74, sent as u64));
            near.must(signals::count_signals(libc::SIGALRM, true));
            near.must(signals::alarm_every_us(50_000, 50_000));
            let mut failed = None;
            while feed.sent < sent as u64 + AFTERWARDS && failed.is_none() {
                feed.top_up(near);
                failed = feed.splice(near, 4096, 0).err();
            }
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("failed: {failed:?}"));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        },
        |far| {
            far.other_asleep();
            far.nap_ms(300);
            far.receives_stream(74, 0, sent as usize + AFTERWARDS as usize);
        },
    );
}

fn a_splice_into_a_full_stream_goes_on_with_its_reader(stage: &mut Stage) {
    const BYTES: u64 = 3 << 20;
    let sent = stage.near_says(|near| near.fill(75) as i64);
    stage.together(
        |near| {
            let mut feed = Feed::behind(near, 75, sent as u64);
            while feed.sent < sent as u64 + BYTES {
                feed.top_up(near);
                let answer = feed.splice(near, 65536, 0);
                near.must(answer);
            }
            near.say("all went in");
        },
        |far| {
            far.other_asleep();
            let all = sent as u64 + BYTES;
            let mut wrong = None;
            let mut position = 0;
            while position < all {
                let length = (all - position).min(100_000);
                let bytes = far.receive_all(length as usize);
                wrong = wrong.or(content::first_difference(75, position, &bytes));
                position += length;
                std::thread::sleep(Duration::from_micros(200));
            }
            far.say(&format!("wrong at {wrong:?}"));
        },
    );
}

/// Another thread takes the room that a splice has waited for.
fn two_senders_lose_nothing_of_a_spliced_stream(stage: &mut Stage) {
    const BYTES: u64 = 1 << 20;
    const OTHER: u8 = 0xFF;
    stage.together(
        |near| {
            let (socket, low) = (near.fd, |byte: &u8| byte & 0x7F);
            let (reading, writing) = near.must(files::pipe(0));
            let answers = std::thread::scope(|scope| {
                let feeder = scope.spawn(move || {
                    let mut written = 0;
                    while written < BYTES {
                        let bytes = content::bytes_from(76, written, 8192);
                        let bytes: Vec<u8> = bytes.iter().map(low).collect();
                        written += transfer::write(writing, &bytes)? as u64;
                    }
                    connection::close(writing)
                });
                let other = scope.spawn(move || {
                    let mut sent = 0;
                    while sent < BYTES {
                        sent += transfer::send(socket, &[OTHER; 3000], 0)? as u64;
                    }
                    Ok(sent as usize)
                });
                let mut sent = 0;
                let last = loop {
                    match files::splice(reading, socket, 65536, 0) {
                        Ok(0) => break Ok(sent),
                        Ok(count) => sent += count,
                        Err(errno) => break Err(errno),
                    }
                };
                [Some(last), feeder.join().ok(), other.join().ok()]
            });
            near.say(&format!("spliced {}", answers[0].map_or("?".into(), shown)));
            let other = answers[2].and_then(Result::ok).unwrap_or(0);
            near.say(&format!("others sent enough: {}", other as u64 >= BYTES));
            let _ = near.shutdown(libc::SHUT_WR);
        },
        |far| {
            let mut buffer = vec![0; 50_000];
            let (mut position, mut wrong) = (0, None);
            loop {
                let count = far.must(transfer::recv(far.fd, &mut buffer, 0));
                if count == 0 {
                    break;
                }
                let spliced: Vec<u8> = buffer[..count]
                    .iter()
                    .copied()
                    .filter(|byte| *byte != OTHER)
                    .collect();
                let expected = content::bytes_from(76, position, spliced.len());
                let differs = spliced
                    .iter()
                    .zip(&expected)
                    .position(|(seen, sent)| *seen != sent & 0x7F);
                wrong = wrong.or(differs.map(|at| position + at as u64));
                position += spliced.len() as u64;
                std::thread::sleep(Duration::from_micros(100));
            }
            far.say(&format!("{position} bytes spliced, wrong at {wrong:?}"));
        },
    );
}

/// Both ends splice while signals rain, and try again when one has interrupted them.
fn a_storm_of_signals_harms_no_spliced_stream(stage: &mut Stage) {
    const BYTES: u64 = 2 << 20;
    stage.together(
        |near| {
            let mut feed = Feed::behind(near, 77, 0);
            near.must(signals::count_signals(libc::SIGALRM, false));
            near.must(signals::alarm_every_us(300, 300));
            let mut others = Vec::new();
            while feed.sent < BYTES && others.is_empty() {
                feed.top_up(near);
                let left = (BYTES - feed.sent).min(65536) as usize;
                match feed.splice(near, left, 0) {
                    Err(errno) if errno.0 != libc::EINTR => others.push(errno),
                    _ => {}
                }
            }
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("spliced {}, otherwise {others:?}", feed.sent));
        },
        |far| {
            let (reading, writing) = far.must(files::pipe(0));
            far.must(files::fcntl(reading, libc::F_SETFL, libc::O_NONBLOCK));
            far.must(signals::count_signals(libc::SIGALRM, false));
            far.must(signals::alarm_every_us(300, 300));
            let mut buffer = vec![0; 65536];
            let (mut position, mut wrong) = (0, None);
            while position < BYTES {
                match files::splice(far.fd, writing, 65536, 0) {
                    Ok(0) => far.fail("the stream ended"),
                    Err(errno) if errno.0 != libc::EINTR => far.fail(&format!("splice: {errno}")),
                    _ => {}
                }
                loop {
                    match transfer::read(reading, &mut buffer) {
                        Ok(count) => {
                            let bytes = &buffer[..count];
                            wrong = wrong.or(content::first_difference(77, position, bytes));
                            position += count as u64;
                        }
                        Err(errno) if errno.0 == libc::EAGAIN => break,
                        Err(errno) if errno.0 == libc::EINTR => {}
                        Err(errno) => far.fail(&format!("read of the pipe: {errno}")),
                    }
                }
            }
            far.must(signals::alarm_every_us(0, 0));
            far.say(&format!("{position} bytes, wrong at {wrong:?}"));
        },
    );
}
