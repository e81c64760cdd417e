//! How much a connection takes and carries (POSIX.md row 10).

use crate::calls::transfer::{self, Parts, Vectored};
use crate::calls::{message, readiness};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, TWO_KINDS};
use crate::content::{self, Dice};
use crate::side::Side;
use crate::stage::{Role, Stage};

/// The family.
pub const CASES: &[Case] = &[
    case!("send", both_ends_send_two_mebibytes_before_either_reads)
        .rows(&[10])
        .kinds(ALL_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "send",
        both_ends_send_two_mebibytes_without_waiting_before_either_reads
    )
    .rows(&[10])
    .kinds(ALL_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("send", two_mebibytes_are_queued_while_nobody_reads)
        .rows(&[10])
        .proof(Proof::AtLeast(4096)),
    case!("stream", both_directions_at_once_in_pieces_of_any_size)
        .kinds(ALL_KINDS)
        // What is read before more is sent. Of the 48 MiB behind that nothing is certain: four threads on two processors, and
        // a direction whose reader does not run for a while goes on in the kernel, where it may stay for the rest of its
        // round.
        .proof(Proof::AtLeast((2 * PACED * PACED_BYTES) as u64)),
    case!("stream", many_exchanges_of_any_size),
    case!("stream", many_small_messages_without_answer)
        .rows(&[3])
        .proof(Proof::AtLeast(4096)),
    case!("stream", a_slow_reader_gets_everything)
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
];

const TWO_MEBIBYTES: usize = 2 << 20;

/// Exchanges of messages that the smallest ring holds.
const PACED: usize = 400;
const PACED_BYTES: usize = 2500;

fn seed_of(role: Role) -> u64 {
    match role {
        Role::Near => 121,
        Role::Far => 122,
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Near => Role::Far,
        Role::Far => Role::Near,
    }
}

fn check(side: &mut Side, bytes: &[u8]) {
    let seed = seed_of(other(side.role));
    side.say(&format!(
        "{} bytes, wrong at {:?}",
        bytes.len(),
        content::first_difference(seed, 0, bytes)
    ));
}

fn both_ends_send_two_mebibytes_before_either_reads(stage: &mut Stage) {
    stage.both(|side| {
        // By one call, which sleeps where the kernel's own would, and takes all of it.
        let _ = side.send(
            &content::bytes_from(seed_of(side.role), 0, TWO_MEBIBYTES),
            0,
        );
        let bytes = side.receive_all(TWO_MEBIBYTES);
        check(side, &bytes);
    });
    stage.near(|near| {
        let _ = near.recv(1, libc::MSG_DONTWAIT);
        let _ = near.send(b"after", 0);
    });
    stage.far(|far| far.receives(5));
}

fn both_ends_send_two_mebibytes_without_waiting_before_either_reads(stage: &mut Stage) {
    stage.both(|side| {
        side.set_nonblocking(true);
        let bytes = content::bytes_from(seed_of(side.role), 0, TWO_MEBIBYTES);
        let mut sent = 0;
        while sent < bytes.len() {
            match transfer::send(side.fd, &bytes[sent..], 0) {
                Ok(count) => sent += count,
                Err(errno) if errno.0 == libc::EAGAIN => side.until_poll(libc::POLLOUT),
                Err(errno) => side.fail(&format!("send: {errno}")),
            }
        }
        side.say("sent");
        let mut bytes = vec![0; TWO_MEBIBYTES];
        let mut filled = 0;
        while filled < bytes.len() {
            match transfer::recv(side.fd, &mut bytes[filled..], 0) {
                Ok(0) => side.fail("the stream ended"),
                Ok(count) => filled += count,
                Err(errno) if errno.0 == libc::EAGAIN => side.until_poll(libc::POLLIN),
                Err(errno) => side.fail(&format!("recv: {errno}")),
            }
        }
        check(side, &bytes);
    });
}

fn two_mebibytes_are_queued_while_nobody_reads(stage: &mut Stage) {
    stage.near(|near| near.send_all(&content::bytes_from(seed_of(Role::Near), 0, TWO_MEBIBYTES)));
    stage.far(|far| {
        let bytes = far.receive_all(TWO_MEBIBYTES);
        check(far, &bytes);
    });
}

/// Sends the stream of this side in pieces of any size by any of the sending calls.
fn send_in_pieces(fd: i32, seed: u64, total: usize) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut sent = 0;
    while sent < total {
        let size = match dice.up_to(10) {
            1..=4 => dice.up_to(100),
            5..=8 => dice.up_to(9000),
            _ => dice.up_to(200_000),
        };
        let bytes = content::bytes_from(seed, sent as u64, size.min(total - sent));
        let cut = bytes.len() / 3;
        let (head, tail) = bytes.split_at(cut);
        let answer = match dice.up_to(5) {
            1 => transfer::send(fd, &bytes, libc::MSG_NOSIGNAL),
            2 => transfer::write(fd, &bytes),
            3 => transfer::writev(fd, Vectored::Plain, &mut Parts::copies(&[head, tail])),
            4 => message::sendmsg(
                fd,
                &mut Parts::copies(&[head, b"", tail]),
                None,
                &mut [],
                libc::MSG_NOSIGNAL,
            ),
            _ => transfer::sendto(fd, &bytes, libc::MSG_NOSIGNAL, None),
        };
        sent += answer.map_err(|errno| format!("after {sent} bytes: {errno}"))?;
    }
    Ok(())
}

/// Receives in pieces of any size by any of the receiving calls; the first wrong position.
fn receive_in_pieces(fd: i32, seed: u64, total: usize) -> Result<Option<u64>, String> {
    let mut dice = Dice::new(seed + 1000);
    let mut received = 0;
    let mut wrong = None;
    while received < total {
        let size = match dice.up_to(10) {
            1..=3 => dice.up_to(50),
            4..=7 => dice.up_to(5000),
            _ => dice.up_to(300_000),
        };
        let size = size.min(total - received);
        let mut bytes = vec![0; size];
        let answer = match dice.up_to(5) {
            1 => transfer::read(fd, &mut bytes),
            2 => transfer::recv(fd, &mut bytes, libc::MSG_WAITALL),
            3 => {
                let mut parts = Parts::of_sizes(&[size / 2, size - size / 2]);
                let answer = transfer::readv(fd, Vectored::Plain, &mut parts);
                bytes = parts.joined(size);
                answer
            }
            4 => {
                let got = message::recvmsg(fd, &[size], 0, 0, 0);
                bytes[..got.bytes.len()].copy_from_slice(&got.bytes);
                got.answer
            }
            _ => transfer::recv(fd, &mut bytes, 0),
        };
        match answer {
            Ok(0) => return Err(format!("the stream ended after {received} bytes")),
            Ok(count) => {
                wrong = wrong.or(content::first_difference(
                    seed,
                    received as u64,
                    &bytes[..count],
                ));
                received += count;
            }
            Err(errno) => return Err(format!("after {received} bytes: {errno}")),
        }
    }
    Ok(wrong)
}

fn both_directions_at_once_in_pieces_of_any_size(stage: &mut Stage) {
    const TOTAL: usize = 4 << 20;
    const ROUNDS: u32 = 6;
    stage.both(|side| {
        let (own, theirs) = (seed_of(side.role), seed_of(other(side.role)));
        let mut wrong = 0;
        for exchange in 0..PACED {
            let position = (exchange * PACED_BYTES) as u64;
            let bytes = content::bytes_from(own, position, PACED_BYTES);
            if side.role == Role::Near {
                side.send_all(&bytes);
            }
            let received = side.receive_all(PACED_BYTES);
            wrong += u32::from(content::first_difference(theirs, position, &received).is_some());
            if side.role == Role::Far {
                side.send_all(&bytes);
            }
        }
        side.say(&format!("{wrong} of {PACED} wrong"));
    });
    for _ in 0..ROUNDS {
        stage.both(|side| {
            let (fd, role) = (side.fd, side.role);
            let (sent, received) = std::thread::scope(|scope| {
                let sender = scope.spawn(move || send_in_pieces(fd, seed_of(role), TOTAL));
                let received = receive_in_pieces(fd, seed_of(other(role)), TOTAL);
                (sender.join(), received)
            });
            side.say(&format!(
                "sending {:?}, receiving {received:?}",
                sent.unwrap_or(Err("panicked".into()))
            ));
        });
    }
    stage.both(|side| {
        let _ = side.recv(1, libc::MSG_DONTWAIT);
    });
}

fn many_exchanges_of_any_size(stage: &mut Stage) {
    const ROUNDS: usize = 1500;
    let sizes: Vec<usize> = {
        let mut dice = Dice::new(123);
        (0..ROUNDS)
            .map(|_| {
                if dice.up_to(10) == 1 {
                    dice.up_to(3000)
                } else {
                    dice.up_to(80)
                }
            })
            .collect()
    };
    let mut wrong = 0;
    stage.together(
        |near| {
            let mut position = 0;
            for size in &sizes {
                near.send_all(&content::bytes_from(121, position, *size));
                let bytes = near.receive_all(*size);
                wrong += u32::from(content::first_difference(121, position, &bytes).is_some());
                position += *size as u64;
            }
            near.say(&format!("{wrong} of {ROUNDS} wrong"));
        },
        |far| {
            for size in &sizes {
                let bytes = far.receive_all(*size);
                far.send_all(&bytes);
            }
        },
    );
}

fn many_small_messages_without_answer(stage: &mut Stage) {
    const MESSAGES: usize = 20_000;
    const BYTES: usize = 24;
    stage.together(
        |near| {
            for message in 0..MESSAGES {
                near.send_all(&content::bytes_from(121, (message * BYTES) as u64, BYTES));
                if message % 1000 == 0 {
                    near.nap_ms(2);
                }
            }
        },
        |far| {
            let bytes = far.receive_all(MESSAGES * BYTES);
            check(far, &bytes);
        },
    );
}

fn a_slow_reader_gets_everything(stage: &mut Stage) {
    const BYTES: usize = 8 << 20;
    stage.together(
        |near| near.send_all(&content::bytes_from(121, 0, BYTES)),
        |far| {
            let mut bytes = Vec::with_capacity(BYTES);
            while bytes.len() < BYTES {
                let (_, _) = readiness::poll_one(far.fd, libc::POLLIN, 1000);
                let part = (BYTES - bytes.len()).min(150_000);
                bytes.extend(far.receive_all(part));
                far.nap_ms(4);
            }
            check(far, &bytes);
        },
    );
}
