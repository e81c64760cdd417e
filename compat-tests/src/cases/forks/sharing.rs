//! Parent and child read and write one stream, in turn and at once (POSIX.md rows 24 and 27).

use super::{child_of, reap, talk};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::side::children::Turns;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("fork", parent_and_child_read_one_stream_in_turn)
        .rows(&[27])
        // All of what is read as soon as it is written.
        .proof(Proof::AtLeast((PACED_PIECES * PIECE_BYTES) as u64)),
    case!("fork", parent_and_child_read_one_stream_at_once)
        .rows(&[27])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(64_000)),
    case!("fork", parent_and_child_write_one_stream_in_turn)
        .rows(&[27])
        .proof(Proof::AtLeast(20_000)),
    case!("fork", parent_and_child_write_one_stream_at_once)
        .rows(&[27])
        .kinds(TWO_KINDS)
        // All of what is read as soon as it is written.
        .proof(Proof::AtLeast(
            (PACED_ROUNDS * 2 * PACED * MESSAGE_BYTES) as u64,
        )),
    case!("fork", parent_and_child_sleep_on_one_stream)
        .rows(&[24, 27])
        .proof(Proof::AtLeast(120)),
    case!("fork", a_child_forked_while_a_thread_sleeps_in_recv)
        .rows(&[24, 27])
        .proof(Proof::AtLeast(8)),
];

/// The parent has the even pieces of a stream, a child the odd ones.
fn in_turn(near: &mut Side, pieces: usize, piece: impl Fn(&mut Side, usize)) {
    let mut child = near.fork(|child, turns| {
        for number in (1..pieces).step_by(2) {
            piece(child, number);
            turns.next(child);
        }
    });
    for number in (0..pieces).step_by(2) {
        piece(near, number);
        child.turn(near);
    }
    // The last wait of the child for a turn that is only its end.
    child.turn(near);
    child.reap(near);
}

/// Pieces that are sent two at a time, when the two before were read. Of what is sent without a pause, as much as the first
/// ring does not hold is in the kernel at once.
const PACED_PIECES: usize = 60;
const PIECES: usize = 2 * PACED_PIECES;
const PIECE_BYTES: usize = 1_000;

fn parent_and_child_read_one_stream_in_turn(stage: &mut Stage) {
    fn piece(side: &mut Side, number: usize) {
        let bytes = side.receive_all(PIECE_BYTES);
        let wrong = content::first_difference(201, (number * PIECE_BYTES) as u64, &bytes);
        if wrong.is_some() {
            side.say(&format!("wrong at {wrong:?}"));
        }
        if number < PACED_PIECES && number % 2 == 1 {
            side.send_all(b"n");
        }
    }
    stage.together(
        |near| {
            in_turn(near, PIECES, piece);
            let _ = near.recv(1, libc::MSG_DONTWAIT);
        },
        |far| {
            for number in (0..PACED_PIECES).step_by(2) {
                let position = (number * PIECE_BYTES) as u64;
                far.send_all(&content::bytes_from(201, position, 2 * PIECE_BYTES));
                far.receive_all(1);
            }
            let position = PACED_PIECES * PIECE_BYTES;
            let rest = PIECES * PIECE_BYTES - position;
            far.send_all(&content::bytes_from(201, position as u64, rest));
        },
    );
    talk(stage);
}

/// Takes words of eight bytes until none is left; their sum and their number.
fn take_words(side: &mut Side) -> (i64, i64) {
    let (mut sum, mut count) = (0i64, 0i64);
    loop {
        let mut word = [0; 8];
        match transfer::recv(side.fd, &mut word, libc::MSG_DONTWAIT) {
            Ok(8) => {
                sum = sum.wrapping_add(i64::from_ne_bytes(word));
                count += 1;
            }
            Ok(other) => side.fail(&format!("recv of a word = {other}")),
            Err(errno) if errno.0 == libc::EAGAIN => return (sum, count),
            Err(errno) => side.fail(&format!("recv of a word: {errno}")),
        }
    }
}

fn parent_and_child_read_one_stream_at_once(stage: &mut Stage) {
    // As many as the smallest ring holds, so that all have arrived before anybody reads.
    const WORDS: i64 = 500;
    const ROUNDS: usize = 16;
    let mut child = None;
    stage.near(|near| {
        child = Some(near.fork(|child, turns| {
            for _ in 0..ROUNDS {
                let (sum, count) = take_words(child);
                turns.returns(sum << 16 | count);
                turns.next(child);
            }
        }));
    });
    for _ in 0..ROUNDS {
        stage.far(|far| {
            let bytes: Vec<u8> = (0..WORDS).flat_map(i64::to_ne_bytes).collect();
            far.send_all(&bytes);
        });
        stage.near(|near| {
            near.arrived(8 * WORDS as i32);
            child_of(&mut child).begin(near);
            let (mut sum, mut count) = take_words(near);
            let of_child = child_of(&mut child).end(near);
            sum += of_child >> 16;
            count += of_child & 0xFFFF;
            near.say(&format!(
                "{count} words, each once: {}",
                sum == WORDS * (WORDS - 1) / 2
            ));
        });
    }
    stage.near(|near| {
        child_of(&mut child).turn(near);
        reap(near, &mut child);
        let _ = near.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn parent_and_child_write_one_stream_in_turn(stage: &mut Stage) {
    const BYTES: usize = 20_000;
    const PIECE: usize = 500;
    // Pieces that are answered together: as much as the smallest ring holds.
    const ANSWERED: usize = 8;
    fn piece(side: &mut Side, number: usize) {
        side.send_all(&content::bytes_from(202, (number * PIECE) as u64, PIECE));
        if number % ANSWERED == ANSWERED - 1 {
            side.receives(1);
        }
    }
    stage.together(
        |near| in_turn(near, BYTES / PIECE, piece),
        |far| {
            for position in (0..BYTES).step_by(ANSWERED * PIECE) {
                far.receives_stream(202, position as u64, ANSWERED * PIECE);
                far.send_all(b"w");
            }
        },
    );
    talk(stage);
}

/// Messages that each of two writes in a round behind which both wait for the reader: together they fit into the smallest
/// ring. Who waits for nobody has what is too much for a reader that does not run for 10 ms in the kernel.
const PACED: usize = 50;
const PACED_ROUNDS: usize = 10;
/// Messages of each when nobody waits.
const UNPACED: usize = 500;
const MESSAGE_BYTES: usize = 32;

/// A message from one writer: all of its bytes are the same letter, and its messages are numbered.
fn message(letter: u8, number: u16) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [letter; MESSAGE_BYTES];
    bytes[1..3].copy_from_slice(&number.to_ne_bytes());
    bytes
}

fn parent_and_child_write_one_stream_at_once(stage: &mut Stage) {
    fn write(side: &mut Side, letter: u8, next: &mut u16, messages: usize) {
        for _ in 0..messages {
            side.send_all(&message(letter, *next));
            *next += 1;
        }
    }
    let rounds = || std::iter::repeat_n(PACED, PACED_ROUNDS).chain([UNPACED]);
    let mut child = None;
    stage.near(|near| {
        child = Some(near.fork(|child, turns| {
            let mut next = 0;
            for messages in rounds() {
                write(child, b'c', &mut next, messages);
                turns.next(child);
            }
        }));
    });
    let mut of_near = 0;
    let mut of_both = [0u16; 2];
    let mut torn = 0;
    for messages in rounds() {
        stage.together(
            |near| {
                child_of(&mut child).begin(near);
                write(near, b'p', &mut of_near, messages);
                child_of(&mut child).end(near);
            },
            |far| {
                for _ in 0..2 * messages {
                    let bytes = far.receive_all(MESSAGE_BYTES);
                    let number = &mut of_both[usize::from(bytes[0] == b'c')];
                    torn += u32::from(bytes[..] != message(bytes[0], *number));
                    *number += 1;
                }
            },
        );
    }
    stage.far(|far| {
        far.say(&format!(
            "{of_both:?} messages of parent and child, {torn} torn or out of order"
        ));
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
        reap(near, &mut child);
    });
    talk(stage);
}

fn parent_and_child_sleep_on_one_stream(stage: &mut Stage) {
    const MESSAGES: u8 = 120;
    fn take_until_the_end(side: &mut Side) -> (i64, i64) {
        let (mut sum, mut count) = (0, 0);
        let mut byte = [0; 1];
        while transfer::recv(side.fd, &mut byte, 0) == Ok(1) {
            sum += i64::from(byte[0]);
            count += 1;
        }
        (sum, count)
    }
    let mut child = None;
    let process = stage.near_says(|near| {
        child = Some(near.fork(|child, turns| {
            let (sum, count) = take_until_the_end(child);
            turns.returns(sum);
            turns.next(child);
            turns.returns(count);
        }));
        i64::from(child_of(&mut child).process)
    }) as i32;
    stage.together(
        |near| {
            child_of(&mut child).begin(near);
            let (mut sum, mut count) = take_until_the_end(near);
            sum += child_of(&mut child).end(near);
            count += child_of(&mut child).turn(near);
            let expected: i64 = (0..i64::from(MESSAGES)).sum();
            near.say(&format!(
                "{count} bytes, each once: {}",
                sum == expected && count == i64::from(MESSAGES)
            ));
        },
        |far| {
            for number in 0..MESSAGES {
                if number % 20 == 0 {
                    far.other_asleep();
                    far.process_asleep(process);
                } else if number % 3 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(&[number]);
            }
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
    stage.near(|near| reap(near, &mut child));
}

fn a_child_forked_while_a_thread_sleeps_in_recv(stage: &mut Stage) {
    stage.together(
        |near| {
            let fd = near.fd;
            std::thread::scope(|scope| {
                let reader = scope.spawn(move || {
                    let mut byte = [0; 4];
                    transfer::recv(fd, &mut byte, 0).map(|count| byte[..count].to_vec())
                });
                near.own_threads_asleep(1);
                let mut child = near.fork(|child: &mut Side, _: &mut Turns| {
                    let _ = child.send(b"call", 0);
                });
                child.turn(near);
                child.reap(near);
                near.say(&format!("recv = {:?}", reader.join().ok()));
            });
        },
        |far| {
            far.receives(4);
            let _ = far.send(b"back", 0);
        },
    );
    talk(stage);
}
