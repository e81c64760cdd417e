//! One connection, several numbers: dup in all its forms, closing one of them, ranges of numbers closed at once
//! (POSIX.md rows 25 and 31).

use crate::calls::answer::{Answer, shown};
use crate::calls::children::{Forked, Leaving};
use crate::calls::{connection, files, numbers, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::{reap, talk};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("dup", every_way_of_duplicating_shares_the_stream).rows(&[31]),
    case!("dup", closing_one_of_two_numbers_ends_nothing).rows(&[31]),
    case!("dup", duplicating_what_is_not_open).rows(&[31]),
    case!("dup3", dup3_refuses_the_same_number_and_unknown_flags).rows(&[31]),
    case!("dup2", a_connection_moved_over_another_one).rows(&[25, 31]),
    case!("dup2", two_connections_trade_their_numbers)
        .rows(&[25, 31])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(126)),
    case!("close", the_number_a_sleeping_thread_did_not_use_is_closed).rows(&[24, 25]),
    case!("close", a_number_reused_by_a_pipe_while_a_thread_sleeps)
        .rows(&[9, 25])
        .kinds(TWO_KINDS),
    case!("close", numbers_come_and_go_while_another_thread_reads)
        .rows(&[25])
        .kinds(TWO_KINDS)
        // A reader that a busy machine holds up for 10 ms gets some of the 2 MiB by the kernel.
        .proof(Proof::AtLeast(4096)),
    case!("close_range", close_range_ends_the_stream).rows(&[31]),
    case!("close_range", close_range_leaves_what_is_outside).rows(&[31]),
    case!("close_range", close_range_may_only_set_close_on_exec).rows(&[31]),
    case!("close_range", close_range_by_the_syscall_function).rows(&[31]),
    case!("close_range", a_new_connection_after_everything_was_closed)
        .rows(&[31])
        .proof(Proof::AtLeast(20)),
    case!("closefrom", closefrom_in_a_child_is_its_own_affair)
        .rows(&[9, 31])
        .proof(Proof::AtLeast(10)),
    case!("closefrom", closefrom_by_the_last_holder_ends_the_stream)
        .rows(&[9, 31])
        .proof(Proof::AtLeast(4)),
];

/// Where the control line is, see `control.rs`.
const CONTROL_LINE: i32 = 200;

/// The duplicate by each call there is.
fn duplicates(fd: i32) -> [(&'static str, Answer); 7] {
    let dupfd = |command, lowest| files::fcntl(fd, command, lowest);
    [
        ("dup", files::dup(fd)),
        ("dup2", files::dup2(fd, 81)),
        ("dup3", numbers::dup3(fd, 82, 0)),
        ("dup3 CLOEXEC", numbers::dup3(fd, 83, libc::O_CLOEXEC)),
        ("F_DUPFD", dupfd(libc::F_DUPFD, 84)),
        ("F_DUPFD_CLOEXEC", dupfd(libc::F_DUPFD_CLOEXEC, 90)),
        ("syscall(dup)", numbers::syscall_dup(fd)),
    ]
}

fn every_way_of_duplicating_shares_the_stream(stage: &mut Stage) {
    let mut copies = Vec::new();
    stage.near(|near| {
        let before = near.fd;
        for (name, answer) in duplicates(before) {
            match answer {
                Ok(number) => copies.push((name, number as i32)),
                Err(errno) => near.fail(&format!("{name}: {errno}")),
            }
        }
        for (name, number) in &copies {
            near.fd = *number;
            let _ = near.send(name.as_bytes(), 0);
            near.descriptor_flags();
        }
        near.fd = before;
        near.close_number_only();
        near.fd = copies.last().map_or(-1, |(_, number)| *number);
    });
    stage.far(|far| {
        far.receives(50);
        let _ = far.send(b"one two three four five six sevenend", 0);
    });
    stage.near(|near| {
        let keep = near.fd;
        for (_, number) in &copies {
            near.fd = *number;
            let _ = near.recv(5, libc::MSG_WAITALL);
            if *number != keep {
                near.close_number_only();
            }
        }
        near.fd = keep;
        let _ = near.recv(1, libc::MSG_WAITALL);
    });
    stage.far(|far| {
        far.nap_ms(10);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
    stage.near(|near| near.close());
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn closing_one_of_two_numbers_ends_nothing(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let copy = near.must(files::dup(near.fd)) as i32;
        let _ = near.observe("close of the copy", connection::close(copy));
        near.receives(6);
    });
    talk(stage);
    stage.near(|near| {
        let copy = near.must(files::dup(near.fd)) as i32;
        near.close_number_only();
        near.fd = copy;
    });
    talk(stage);
}

fn duplicating_what_is_not_open(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let _ = near.observe("dup of a closed number", files::dup(77));
        let _ = near.observe("dup2 of a closed number", files::dup2(77, fd));
        let _ = near.observe("dup2 to a negative number", files::dup2(fd, -1));
        let _ = near.observe("dup2 to no number", files::dup2(fd, 1 << 30));
        let answer = files::fcntl(fd, libc::F_DUPFD, -1);
        let _ = near.observe("F_DUPFD from a negative number", answer);
    });
    talk(stage);
}

fn dup3_refuses_the_same_number_and_unknown_flags(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let _ = near.observe("dup3 to itself", numbers::dup3(fd, fd, 0));
        let _ = near.observe("dup3 with odd flags", numbers::dup3(fd, 81, 0x40));
        let _ = near.observe("dup3 from a closed number", numbers::dup3(77, fd, 0));
        let _ = near.observe("dup3 over it with odd flags", numbers::dup3(0, fd, 0x40));
        let _ = near.observe(
            "close_range with odd flags",
            numbers::close_range(fd, fd, 0x40),
        );
    });
    talk(stage);
}

/// A second connection of the same two processes; the first one's numbers at near and far.
fn with_a_second(stage: &mut Stage) -> i32 {
    let first = stage.own_descriptor();
    stage.both(|side| side.fd = -1);
    stage.connect();
    stage.settle();
    first
}

fn a_connection_moved_over_another_one(stage: &mut Stage) {
    let first = with_a_second(stage);
    stage.near(|near| {
        let _ = near.send(b"last of the second", 0);
        let _ = near.observe("dup2", files::dup2(first, near.fd));
        // The number means the first connection from here on.
        near.start_counting();
        let _ = near.send(b"first by its new number", 0);
        let second = std::mem::replace(&mut near.fd, first);
        let _ = near.send(b", by its old one", 0);
        near.fd = second;
        near.must(connection::close(first));
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(18);
        let _ = far.recv(1, 0);
        far.close();
        far.fd = first;
        far.start_counting();
        far.receives(39);
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn two_connections_trade_their_numbers(stage: &mut Stage) {
    let first = with_a_second(stage);
    for round in 0..6u8 {
        stage.near(|near| {
            // Three dup2 and a spare number exchange what two numbers mean.
            let spare = near.must(files::dup(first)) as i32;
            near.must(files::dup2(near.fd, first));
            near.must(files::dup2(spare, near.fd));
            near.must(connection::close(spare));
            let _ = near.send(&[b'a' + round; 8], 0);
            let second = std::mem::replace(&mut near.fd, first);
            let _ = near.send(&[b'A' + round; 8], 0);
            near.fd = second;
        });
        stage.far(|far| {
            far.receives(8);
            let second = std::mem::replace(&mut far.fd, first);
            far.receives(8);
            let _ = far.send(b"to the first", 0);
            far.fd = second;
            let _ = far.send(b"to the second", 0);
        });
        stage.near(|near| {
            // After an odd number of exchanges the numbers are crossed.
            let second = near.fd;
            let crossed = round % 2 == 0;
            near.fd = if crossed { second } else { first };
            near.receives(12);
            near.fd = if crossed { first } else { second };
            near.receives(13);
            near.fd = second;
        });
    }
}

/// Another thread that receives on a number; what it got.
fn sleeper<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    fd: i32,
) -> std::thread::ScopedJoinHandle<'scope, (Answer, [u8; 8])> {
    scope.spawn(move || receives_eight(fd))
}

fn receives_eight(fd: i32) -> (Answer, [u8; 8]) {
    let mut buffer = [0; 8];
    let answer = transfer::recv(fd, &mut buffer, 0);
    (answer, buffer)
}

fn say_received(side: &mut Side, got: Option<(Answer, [u8; 8])>) {
    let line = match got {
        Some((Ok(count), buffer)) => format!("recv = {count} {}", content::shown(&buffer[..count])),
        Some((Err(errno), _)) => format!("recv = -1 {errno}"),
        None => "no recv".into(),
    };
    side.say(&line);
}

fn the_number_a_sleeping_thread_did_not_use_is_closed(stage: &mut Stage) {
    stage.together(
        |near| {
            let copy = near.must(files::dup(near.fd)) as i32;
            std::thread::scope(|scope| {
                let thread = sleeper(scope, copy);
                near.own_threads_asleep(1);
                near.close_number_only();
                near.fd = copy;
                let _ = near.send(b"closed", 0);
                say_received(near, thread.join().ok());
            });
        },
        |far| {
            far.receives(6);
            let _ = far.send(b"data", 0);
        },
    );
    talk(stage);
}

fn a_number_reused_by_a_pipe_while_a_thread_sleeps(stage: &mut Stage) {
    let own = stage.own_descriptor();
    let mut thread = None;
    stage.near(|near| {
        let (hears, tells) = near.must(files::pipe(0));
        thread = Some(std::thread::spawn(move || receives_eight(own)));
        near.own_threads_asleep(1);
        near.take_status();
        near.fd = -1;
        near.must(files::dup2(hears, own));
        near.must(transfer::write(tells, b"for the pipe"));
    });
    // The far end is told by its control line only: the sleeper holds the connection.
    stage.far(|far| {
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        let _ = far.send(b"for recv", libc::MSG_NOSIGNAL);
    });
    stage.near(|near| {
        say_received(near, thread.and_then(|thread| thread.join().ok()));
        let mut buffer = [0; 20];
        let answer = transfer::read(own, &mut buffer);
        let line = format!(
            "read = {} {}",
            shown(answer),
            content::shown(&buffer[..answer.unwrap_or(0)])
        );
        near.say(&line);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn numbers_come_and_go_while_another_thread_reads(stage: &mut Stage) {
    const BYTES: usize = 2 << 20;
    stage.together(
        |near| {
            let fd = near.fd;
            let wrong = std::thread::scope(|scope| {
                let reader = scope.spawn(move || {
                    let mut bytes = vec![0; BYTES];
                    let mut filled = 0;
                    while filled < BYTES {
                        match transfer::recv(fd, &mut bytes[filled..], 0) {
                            Ok(count @ 1..) => filled += count,
                            _ => break,
                        }
                    }
                    (filled, content::first_difference(241, 0, &bytes))
                });
                for round in 0..4000 {
                    let copy = files::dup(fd).unwrap_or(0) as i32;
                    let (hears, tells) = files::pipe(0).unwrap_or((-1, -1));
                    // The copy's number means the connection, then a pipe, then nothing.
                    let _ = files::dup2(hears, copy);
                    if round % 50 == 0 {
                        std::thread::yield_now();
                    }
                    for number in [copy, hears, tells] {
                        let _ = connection::close(number);
                    }
                }
                reader.join().ok()
            });
            near.say(&format!("{wrong:?}"));
        },
        |far| far.send_all(&content::bytes_from(241, 0, BYTES)),
    );
    talk(stage);
}

fn close_range_ends_the_stream(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.take_status();
        near.fd = -1;
        let _ = near.observe("close_range", numbers::close_range(own, own, 0));
        let _ = near.observe("send", transfer::send(own, b"x", libc::MSG_NOSIGNAL));
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(4);
        let _ = far.recv(1, 0);
    });
}

fn close_range_leaves_what_is_outside(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let copy = near.must(files::dup2(near.fd, 60)) as i32;
        let _ = near.observe("close_range", numbers::close_range(50, 70, 0));
        let _ = near.observe("F_GETFD", files::fcntl(copy, libc::F_GETFD, 0));
        let _ = near.observe("wrong order", numbers::close_range(near.fd + 1, near.fd, 0));
        let _ = near.observe("odd flags", numbers::close_range(50, 70, 0x80));
        near.receives(6);
    });
    talk(stage);
}

fn close_range_may_only_set_close_on_exec(stage: &mut Stage) {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    stage.near(|near| {
        let fd = near.fd;
        near.descriptor_flags();
        let answer = numbers::close_range(fd, fd, CLOSE_RANGE_CLOEXEC);
        let _ = near.observe("close_range CLOEXEC", answer);
        near.descriptor_flags();
    });
    talk(stage);
}

fn close_range_by_the_syscall_function(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.take_status();
        near.fd = -1;
        let _ = near.observe("close_range", numbers::syscall_close_range(own, own));
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(4);
        let _ = far.recv(1, 0);
    });
}

fn a_new_connection_after_everything_was_closed(stage: &mut Stage) {
    stage.both(|side| {
        side.fd = -1;
        // All but the standard streams and the control line; what is far above is not the program's own, either.
        let below = numbers::close_range(3, CONTROL_LINE - 1, 0);
        let above = numbers::close_range(CONTROL_LINE + 1, i32::MAX, 0);
        side.say(&format!("close_range = {}, {}", shown(below), shown(above)));
    });
    stage.connect();
    stage.settle();
    talk(stage);
    talk(stage);
}

fn closefrom_in_a_child_is_its_own_affair(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let mut child = near.fork_by(Forked::Fork, Leaving::InOrder, |child, turns| {
            turns.over();
            numbers::closefrom(3);
            child.say("closed");
        });
        child.turn(near);
        child.has_gone(near);
        child.reap(near);
        near.receives(6);
    });
    talk(stage);
}

fn closefrom_by_the_last_holder_ends_the_stream(stage: &mut Stage) {
    let mut child = None;
    let mut held = -1;
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        // Standard input holds the child until the end has been seen.
        let (hears, tells) = near.must(files::pipe(libc::O_CLOEXEC));
        let mut forked = near.fork(|_, turns| {
            let _ = files::dup2(hears, 0);
            turns.over();
            numbers::closefrom(3);
            let _ = transfer::read(0, &mut [0; 1]);
        });
        forked.begin(near);
        near.close();
        forked.end(near);
        child = Some(forked);
        held = tells;
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(4);
        let _ = far.recv(1, 0);
    });
    stage.near(|near| {
        near.must(transfer::write(held, b"g"));
        reap(near, &mut child);
    });
}
