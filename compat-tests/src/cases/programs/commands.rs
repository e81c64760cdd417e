//! system and popen beside an open connection.

use super::{behind_a_full_ring, closes_on_exec};
use crate::calls::answer::shown;
use crate::calls::programs;
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The family.
pub const CASES: &[Case] = &[
    case!("system", system_with_an_open_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("system", system_behind_the_end_of_the_stream)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("system", system_with_bytes_waiting_behind_a_full_ring)
        .rows(&[10, 30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("system", system_does_not_touch_a_close_on_exec_socket).rows(&[30]),
    case!("popen", popen_with_an_open_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!(
        "popen",
        popen_in_one_thread_while_others_send_and_receive_at_full_speed
    )
    .rows(&[24, 30])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("popen", popen_does_not_touch_a_close_on_exec_socket).rows(&[30]),
];

/// Runs commands while bytes wait; the far end then goes on, and so does the near one.
fn while_bytes_wait(stage: &mut Stage, command: impl FnOnce(&mut Side)) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        command(near);
        let _ = near.send(b"ran", 0);
    });
    stage.far(|far| far.receives(3));
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn run_system(near: &mut Side) {
    for command in ["true", "exit 3", "kill -9 $$"] {
        let line = format!("system {command} = {}", shown(programs::system(command)));
        near.say(&line);
    }
}

fn run_popen(near: &mut Side) {
    match programs::popen_reads("echo from the command; exit 4") {
        Ok((bytes, answer)) => {
            let line = format!("{}, pclose = {}", content::shown(&bytes), shown(answer));
            near.say(&line);
        }
        Err(errno) => near.say(&format!("popen: {errno}")),
    }
}

fn system_with_an_open_connection(stage: &mut Stage) {
    while_bytes_wait(stage, run_system);
}

fn system_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far_sends_and_ends(b"unread");
    stage.near(|near| {
        run_system(near);
        near.receives(6);
        let _ = near.recv(1, 0);
        let _ = near.send(b"answer", 0);
    });
    stage.far(|far| far.receives(6));
}

fn system_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    behind_a_full_ring(stage, run_system);
}

fn system_does_not_touch_a_close_on_exec_socket(stage: &mut Stage) {
    while_bytes_wait(stage, |near| {
        closes_on_exec(near);
        run_system(near);
    });
}

fn popen_with_an_open_connection(stage: &mut Stage) {
    while_bytes_wait(stage, run_popen);
}

/// Both ends write and read at once; in the middle of it the near one runs a command that inherits the socket.
fn popen_in_one_thread_while_others_send_and_receive_at_full_speed(stage: &mut Stage) {
    const BYTES: usize = 8 << 20;
    const TO_FAR: u64 = 221;
    const TO_NEAR: u64 = 222;
    let exchange = |side: &mut Side, sends: u64, receives: u64, command: Option<fn() -> String>| {
        let fd = side.fd;
        let bytes = content::bytes_from(sends, 0, BYTES);
        let arrived = AtomicUsize::new(0);
        let (sent, wrong, said) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut done = 0;
                while done < BYTES {
                    // Sends as a server makes them, that a ring can carry.
                    let end = BYTES.min(done + 3000);
                    match transfer::send(fd, &bytes[done..end], libc::MSG_NOSIGNAL) {
                        Ok(count) => done += count,
                        Err(errno) => return format!("send after {done}: {errno}"),
                    }
                }
                format!("{done} bytes sent")
            });
            let reader = scope.spawn(|| {
                let mut buffer = vec![0; 20_000];
                let mut position = 0;
                while position < BYTES {
                    match transfer::recv(fd, &mut buffer, 0) {
                        Ok(count @ 1..) => {
                            let bytes = &buffer[..count];
                            if let Some(at) =
                                content::first_difference(receives, position as u64, bytes)
                            {
                                return format!("a wrong byte at {at}");
                            }
                            position += count;
                            arrived.store(position, Ordering::Relaxed);
                        }
                        other => return format!("recv after {position}: {other:?}"),
                    }
                }
                format!("{position} bytes received, all right")
            });
            let said = command.map(|command| {
                while arrived.load(Ordering::Relaxed) < BYTES / 64 && !reader.is_finished() {
                    std::thread::yield_now();
                }
                command()
            });
            (writer.join().ok(), reader.join().ok(), said)
        });
        side.say(&format!("{sent:?}, {wrong:?}, {said:?}"));
    };
    stage.together(
        |near| {
            exchange(
                near,
                TO_FAR,
                TO_NEAR,
                Some(|| match programs::popen_reads("echo from the command") {
                    Ok((bytes, answer)) => format!("{}, {}", content::shown(&bytes), shown(answer)),
                    Err(errno) => format!("popen: {errno}"),
                }),
            );
        },
        |far| exchange(far, TO_NEAR, TO_FAR, None),
    );
    stage.near(|near| {
        let _ = near.send(b"behind it", 0);
    });
    stage.far(|far| far.receives(9));
}

fn popen_does_not_touch_a_close_on_exec_socket(stage: &mut Stage) {
    while_bytes_wait(stage, |near| {
        closes_on_exec(near);
        run_popen(near);
    });
}
