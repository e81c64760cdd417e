//! Signal handlers that send and receive on the connection their thread is busy with, jump out of its calls, or come in
//! storms (POSIX.md rows 22 and 23; SWITCH.md §6, re-entry).

use crate::calls::answer::Errno;
use crate::calls::children::Jumped;
use crate::calls::handlers::{self, Deed, MARK};
use crate::calls::{processes, signals, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::cases::jumps::jumps;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("signals", a_handler_sends_while_recv_sleeps).rows(&[22]),
    case!("signals", a_handler_waits_for_bytes_while_recv_sleeps).rows(&[22, 24]),
    case!("signals", a_handler_finds_nothing_while_recv_sleeps).rows(&[22]),
    case!("signals", a_storm_of_handlers_that_send)
        .rows(&[22])
        .kinds(TWO_KINDS),
    case!("signals", a_storm_of_handlers_that_receive)
        .rows(&[22])
        .kinds(TWO_KINDS),
    case!(
        "signals",
        a_storm_of_handlers_that_send_while_the_thread_receives
    )
    .rows(&[22])
    .kinds(TWO_KINDS),
    case!("signals", a_storm_during_long_streams_both_ways)
        .rows(&[22, 23])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "signals",
        a_restarting_signal_does_not_interrupt_a_full_send
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("siglongjmp", a_handler_jumps_out_of_recv).rows(&[22]),
];

/// Tells the other process's main thread something by a signal once it sleeps.
fn signals_the_other(side: &mut Side, signal: i32) {
    side.other_asleep();
    let other = side.other_process;
    side.must(processes::kill(other, signal));
}

fn a_handler_sends_while_recv_sleeps(stage: &mut Stage) {
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGUSR1,
                Deed::Send,
                near.fd,
                0,
                true,
            ));
            let _ = near.recv(10, 0);
            near.say(&format!("handlers {:?}", handlers::done()));
            near.count_sent(Ok(handlers::done().moved));
        },
        |far| {
            for _ in 0..3 {
                signals_the_other(far, libc::SIGUSR1);
                let bytes = far.receive_all(1);
                far.say(&format!("the mark came: {}", bytes == [MARK]));
            }
            let _ = far.send(b"answer", 0);
        },
    );
    talk(stage);
}

fn a_handler_waits_for_bytes_while_recv_sleeps(stage: &mut Stage) {
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGUSR1,
                Deed::Receive,
                near.fd,
                0,
                true,
            ));
            let _ = near.recv(10, 0);
            near.say(&format!("handlers {:?}", handlers::done()));
        },
        |far| {
            signals_the_other(far, libc::SIGUSR1);
            far.nap_ms(30);
            far.other_asleep();
            let _ = far.send(&7i32.to_ne_bytes(), 0);
            far.other_asleep();
            let _ = far.send(b"for recv", 0);
        },
    );
    talk(stage);
}

fn a_handler_finds_nothing_while_recv_sleeps(stage: &mut Stage) {
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGUSR1,
                Deed::Receive,
                near.fd,
                libc::MSG_DONTWAIT,
                true,
            ));
            let _ = near.recv(10, 0);
            let done = handlers::done();
            near.say(&format!("ran {}, {}", done.ran, Errno(done.last_error)));
        },
        |far| {
            signals_the_other(far, libc::SIGUSR1);
            signals_the_other(far, libc::SIGUSR1);
            // A signal makes its receiver run: once that sleeps again, the handler is over.
            far.other_asleep();
            let _ = far.send(b"data", 0);
        },
    );
    talk(stage);
}

/// Marks that handlers may send before the far end has read those before: with twice as many, and the 2000 bytes that are
/// not acknowledged yet, the smallest ring is not full, however long the far end does not run.
const UNREAD_MARKS: usize = 500;

fn a_storm_of_handlers_that_send(stage: &mut Stage) {
    const BYTES: usize = 200_000;
    const PIECE: usize = 20;
    // Content in which the mark never occurs.
    let piece = |position: usize| -> Vec<u8> {
        content::bytes_from(261, position as u64, PIECE)
            .into_iter()
            .map(|byte| byte & 0x7F)
            .collect()
    };
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGALRM,
                Deed::Send,
                near.fd,
                libc::MSG_DONTWAIT,
                true,
            ));
            handlers::allow(UNREAD_MARKS);
            near.must(signals::alarm_every_us(200, 200));
            for position in (0..BYTES).step_by(PIECE) {
                near.send_all(&piece(position));
                if position % 2000 == 0 {
                    // All that was sent before has been read.
                    let _ = near.receive_all(1);
                    handlers::allow(UNREAD_MARKS);
                }
            }
            near.must(signals::alarm_every_us(0, 0));
            let done = handlers::done();
            near.say(&format!("a handler sent: {}", done.moved > 0));
            near.count_sent(Ok(done.moved));
            near.send_all(&(0x7F00_0000 | done.moved as u32).to_be_bytes());
        },
        |far| {
            let (mut marks, mut filled) = (0u32, 0);
            let mut wrong = None;
            let mut expected = piece(0);
            while filled < BYTES {
                let byte = far.receive_all(1)[0];
                if byte == MARK {
                    marks += 1;
                    continue;
                }
                if byte != expected[filled % PIECE] && wrong.is_none() {
                    wrong = Some(filled);
                }
                filled += 1;
                if filled % PIECE == 0 {
                    if (filled - PIECE).is_multiple_of(2000) {
                        far.send_all(b"k");
                    }
                    expected = piece(filled);
                }
            }
            // Behind the last byte come at most the last marks, and then their number.
            let mut count = far.receive_all(1);
            while count[0] == MARK {
                marks += 1;
                count = far.receive_all(1);
            }
            count.extend(far.receive_all(3));
            let told = u32::from_be_bytes([0, count[1], count[2], count[3]]);
            far.say(&format!(
                "wrong at {wrong:?}, as many marks as were sent: {}",
                marks == told
            ));
        },
    );
    talk(stage);
}

fn a_storm_of_handlers_that_receive(stage: &mut Stage) {
    // An alarm has to come due while words are unread: so many rounds are played at least, and then as many as it takes
    // until one did. Where none ever does, the last round is the most that the words can number.
    const ROUNDS: i32 = 400;
    const MOST_ROUNDS: i32 = 2_000_000;
    const WORDS: i32 = 100;
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGALRM,
                Deed::Receive,
                near.fd,
                libc::MSG_DONTWAIT,
                true,
            ));
            near.must(signals::alarm_every_us(150, 150));
            let (mut sum, mut count, mut round) = (0i64, 0, 0);
            loop {
                round += 1;
                // What the handlers do not take, the loop takes.
                while count + handlers::done().moved < (round * WORDS) as usize {
                    let mut word = [0; 4];
                    match transfer::recv(near.fd, &mut word, libc::MSG_DONTWAIT) {
                        Ok(4) => {
                            sum += i64::from(i32::from_ne_bytes(word));
                            count += 1;
                        }
                        Ok(other) => near.fail(&format!("recv of a word = {other}")),
                        Err(errno) if errno.0 == libc::EAGAIN || errno.0 == libc::EINTR => {
                            std::thread::yield_now();
                        }
                        Err(errno) => near.fail(&format!("recv: {errno}")),
                    }
                }
                let enough = round >= MOST_ROUNDS || round >= ROUNDS && handlers::done().moved > 0;
                near.send_all(if enough { b"e" } else { b"k" });
                if enough {
                    break;
                }
            }
            near.must(signals::alarm_every_us(0, 0));
            let done = handlers::done();
            let all = i64::from(round) * i64::from(WORDS);
            near.say(&format!(
                "a handler received: {}, each word once: {}",
                done.moved > 0,
                sum + done.sum == all * (all - 1) / 2
            ));
        },
        |far| {
            for round in 0..MOST_ROUNDS {
                let bytes: Vec<u8> = (round * WORDS..(round + 1) * WORDS)
                    .flat_map(i32::to_ne_bytes)
                    .collect();
                far.send_all(&bytes);
                if far.receive_all(1) == b"e" {
                    break;
                }
            }
        },
    );
    talk(stage);
}

fn a_storm_of_handlers_that_send_while_the_thread_receives(stage: &mut Stage) {
    const BYTES: usize = 400_000;
    // Bytes that the far end sends before it waits for an answer.
    const ROUND: usize = 2000;
    stage.together(
        |near| {
            near.must(handlers::install(
                libc::SIGALRM,
                Deed::Send,
                near.fd,
                libc::MSG_DONTWAIT,
                true,
            ));
            handlers::allow(UNREAD_MARKS);
            near.must(signals::alarm_every_us(200, 200));
            let mut wrong = None;
            let mut filled = 0;
            while filled < BYTES {
                let piece = near.receive_all(1000);
                wrong = wrong.or(content::first_difference(262, filled as u64, &piece));
                filled += piece.len();
                if filled % ROUND == 0 {
                    near.send_all(b"k");
                } else {
                    // The far end has read the answer before this round, and all marks before that.
                    handlers::allow(UNREAD_MARKS);
                }
            }
            near.must(signals::alarm_every_us(0, 0));
            let done = handlers::done();
            near.say(&format!(
                "wrong at {wrong:?}, a handler sent: {}",
                done.moved > 0
            ));
            near.count_sent(Ok(done.moved));
            near.send_all(&(done.moved as u32).to_be_bytes());
        },
        |far| {
            let mut marks = 0u32;
            for position in (0..BYTES).step_by(500) {
                far.send_all(&content::bytes_from(262, position as u64, 500));
                if position % 20_000 == 0 {
                    far.nap_ms(1);
                }
                if (position + 500) % ROUND == 0 {
                    while far.receive_all(1)[0] == MARK {
                        marks += 1;
                    }
                }
            }
            let mut count = far.receive_all(1);
            while count[0] == MARK {
                marks += 1;
                count = far.receive_all(1);
            }
            count.extend(far.receive_all(3));
            let told = u32::from_be_bytes([count[0], count[1], count[2], count[3]]);
            far.say(&format!("as many marks as were sent: {}", marks == told));
        },
    );
    talk(stage);
}

fn a_storm_during_long_streams_both_ways(stage: &mut Stage) {
    const BYTES: usize = 4 << 20;
    let play = |side: &mut Side, sends: u64, receives: u64| {
        // The handler interrupts everything and restarts nothing; both threads may be hit.
        side.must(signals::count_signals(libc::SIGALRM, false));
        side.must(signals::alarm_every_us(500, 500));
        let fd = side.fd;
        let (sent, received) = std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let bytes = content::bytes_from(sends, 0, BYTES);
                let mut done = 0;
                while done < BYTES {
                    match transfer::send(fd, &bytes[done..], libc::MSG_NOSIGNAL) {
                        Ok(count) => done += count,
                        Err(errno) if errno.0 == libc::EINTR => {}
                        Err(errno) => return Err(errno),
                    }
                }
                Ok(done)
            });
            let mut bytes = vec![0; BYTES];
            let mut done = 0;
            let mut error = None;
            while done < BYTES && error.is_none() {
                match transfer::recv(fd, &mut bytes[done..], 0) {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(errno) if errno.0 == libc::EINTR => {}
                    Err(errno) => error = Some(errno),
                }
            }
            let wrong = content::first_difference(receives, 0, &bytes);
            (sender.join().ok(), (done, error, wrong))
        });
        side.must(signals::alarm_every_us(0, 0));
        side.say(&format!("sent {sent:?}, received {received:?}"));
        side.say(&format!("the handler ran: {}", signals::caught() > 0));
    };
    stage.together(|near| play(near, 263, 264), |far| play(far, 264, 263));
    talk(stage);
}

fn a_restarting_signal_does_not_interrupt_a_full_send(stage: &mut Stage) {
    // Room may still appear for what was under way; never for so much.
    const BLOCK: usize = 1 << 20;
    let sent = stage.near_says(|near| near.fill(265) as i64);
    let mut more = 0;
    stage.together(
        |near| {
            let block = content::bytes_from(265, sent as u64, BLOCK);
            near.must(signals::count_signals(libc::SIGALRM, true));
            near.must(signals::alarm_every_us(50_000, 50_000));
            let answer = transfer::send(near.fd, &block, 0);
            near.must(signals::alarm_every_us(0, 0));
            more = answer.map_or(0, |count| count as i64);
            // Once something has gone out, the next signal cuts it, wherever that is.
            let line = format!(
                "something was sent: {}, the handler ran: {}",
                answer.map_or_else(|errno| errno.to_string(), |count| (count > 0).to_string()),
                signals::caught() > 0
            );
            near.say(&line);
        },
        |far| {
            far.other_asleep();
            far.nap_ms(200);
            far.receives_stream(265, 0, sent as usize);
        },
    );
    let more = stage.near_says(|_| more);
    stage.far(|far| {
        far.receives_stream(265, sent as u64, more as usize);
    });
    talk(stage);
}

fn a_handler_jumps_out_of_recv(stage: &mut Stage) {
    for _ in 0..3 {
        stage.near(|near| {
            jumps(near, Jumped::Recv, near.fd, false);
        });
        talk(stage);
    }
    stage.woken_by(b"wake", |near| {
        let _ = near.recv(10, 0);
    });
}
