//! Descriptor numbers that change their meaning (POSIX.md rows 25, 30 and 31).

use crate::calls::answer::shown;
use crate::calls::opened::{self, Opened};
use crate::calls::{connection, files, processes, raw, readiness, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("close", a_closed_number_becomes_a_file).rows(&[31]),
    case!(
        "close",
        a_number_closed_by_the_syscall_function_becomes_a_file
    )
    .rows(&[21, 31]),
    case!("dup2", a_file_moved_over_the_connection).rows(&[31]),
    case!("dup2", the_connection_moved_to_another_number).rows(&[31]),
    case!("dup2", the_connection_moved_to_standard_input)
        .rows(&[30])
        .proof(Proof::AtLeast(22)),
    case!("close", a_number_reused_between_poll_and_recv)
        .rows(&[25])
        .proof(Proof::AtLeast(17)),
    case!("close", closing_a_closed_number),
    case!(
        "open, creat, eventfd, signalfd, pipe",
        whatever_takes_a_number_that_was_closed_unseen_is_itself
    )
    .rows(&[31])
    .kinds(TWO_KINDS),
];

/// A file with known content at exactly this number, which must be free.
fn file_at(side: &mut Side, number: i32) {
    let file = side.must(files::memory_file(b"file content"));
    if file != number {
        side.must(files::dup2(file, number));
        side.must(connection::close(file));
    }
}

/// Reads and writes a number that is a file by the calls that also serve sockets.
fn use_as_file(side: &mut Side, number: i32) {
    let mut buffer = [0; 4];
    let answer = transfer::read(number, &mut buffer);
    let _ = side.observe("read of the file", answer);
    side.say(&content::shown(&buffer));
    let _ = side.observe("write to the file", transfer::write(number, b"new"));
    let _ = side.observe("lseek", files::lseek(number, 0, libc::SEEK_CUR));
    let _ = side.observe(
        "send to the file",
        transfer::send(number, b"lost", libc::MSG_NOSIGNAL),
    );
    let _ = side.observe("recv from the file", transfer::recv(number, &mut buffer, 0));
    let _ = side.observe(
        "shutdown of the file",
        connection::shutdown(number, libc::SHUT_WR),
    );
}

fn the_far_end_sees_the_end(stage: &mut Stage) {
    stage.far(|far| {
        far.end_arrived();
        far.receives(4);
        let _ = far.recv(10, 0);
    });
}

fn a_closed_number_becomes_a_file(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.close();
        file_at(near, own);
        use_as_file(near, own);
    });
    the_far_end_sees_the_end(stage);
}

fn a_number_closed_by_the_syscall_function_becomes_a_file(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.take_status();
        let _ = near.observe("syscall(close)", processes::syscall_close(own));
        near.fd = -1;
        file_at(near, own);
        use_as_file(near, own);
    });
    the_far_end_sees_the_end(stage);
}

fn a_file_moved_over_the_connection(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.take_status();
        near.fd = -1;
        file_at(near, own);
        use_as_file(near, own);
    });
    the_far_end_sees_the_end(stage);
}

fn the_connection_moved_to_another_number(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"from here ", 0);
        let answer = files::dup2(near.fd, 77);
        let _ = near.observe("dup2 to 77", answer);
        let _ = near.observe("dup2 to itself", files::dup2(77, 77));
        let _ = near.observe("close", connection::close(near.fd));
        near.fd = 77;
        let _ = near.send(b"and from there", 0);
    });
    stage.far(|far| {
        far.receives(24);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| {
        near.receives(6);
        near.close();
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn the_connection_moved_to_standard_input(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread before the move", 0);
    });
    stage.near(|near| {
        near.arrived(22);
        near.must(files::dup2(near.fd, 0));
        near.must(connection::close(near.fd));
        near.fd = 0;
        let _ = near.read(100);
        let _ = near.write(b"answer");
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.send(b"after the move", 0);
    });
    stage.near(|near| {
        near.arrived(14);
        let _ = near.read(100);
    });
}

fn a_number_reused_between_poll_and_recv(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.far(|far| {
        let _ = far.send(b"of the old stream", 0);
    });
    stage.near(|near| {
        let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 20_000);
        near.say(&format!("poll = {answer:?} {events:#x}"));
        near.close();
    });
    // A second connection of the same two processes, on the near end at the old number.
    stage.far(|far| {
        far.take_status();
        far.fd = -1;
    });
    stage.connect();
    stage.near(|near| {
        if near.fd != own {
            near.must(files::dup2(near.fd, own));
            near.must(connection::close(near.fd));
            near.fd = own;
        }
        let _ = near.recv(100, libc::MSG_DONTWAIT);
    });
    stage.far(|far| {
        let _ = far.send(b"of the new stream", 0);
    });
    stage.near(|near| {
        near.arrived(17);
        let _ = near.recv(100, 0);
    });
}

fn closing_a_closed_number(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        near.close();
        let _ = near.observe("close again", connection::close(own));
        let _ = near.observe("send", transfer::send(own, b"x", libc::MSG_NOSIGNAL));
        let _ = near.observe("recv", transfer::recv(own, &mut [0; 4], 0));
        let _ = near.observe("F_GETFD", files::fcntl(own, libc::F_GETFD, 0));
        let _ = near.observe("dup", files::dup(own));
    });
    the_far_end_sees_the_end(stage);
}

/// Duplicates of the connection are closed where no library sees it, and the new files get their numbers: by each call
/// that gives one.
fn whatever_takes_a_number_that_was_closed_unseen_is_itself(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let count: usize = Opened::ALL.iter().map(|call| call.numbers()).sum();
        let copies: Vec<i32> = (0..count)
            .map(|_| near.must(files::dup(near.fd)) as i32)
            .collect();
        for copy in &copies {
            near.must(raw::close(*copy));
        }
        // All stay open, so that each gets a number of its own.
        let mut expected = copies.iter();
        for call in Opened::ALL {
            for number in near.must(opened::open_by(call)) {
                let line = format!(
                    "{call:?}: a number of the connection {}, write = {}, recv = {}",
                    expected.next() == Some(&number),
                    shown(transfer::write(number, b"8 bytes!")),
                    shown(transfer::recv(number, &mut [0; 20], libc::MSG_DONTWAIT)),
                );
                near.say(&line);
            }
        }
        near.receives(6);
        for copy in &copies {
            let _ = near.observe("close", connection::close(*copy));
        }
        let _ = near.send(b"whole", 0);
    });
    stage.far(|far| {
        far.receives(5);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| near.close());
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}
