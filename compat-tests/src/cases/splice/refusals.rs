//! What splice(2), tee(2) and vmsplice(2) refuse; a pipe or a stream whose other end is gone; a FIFO that is both ends of
//! itself.

use crate::calls::transfer::{self, Parts};
use crate::calls::{connection, files, options, signals};
use crate::case;
use crate::case::{Case, Proof};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", splice_refuses_offsets_on_sockets),
    case!("splice", splice_from_socket_to_socket_is_refused),
    case!("splice", splice_refuses_what_it_cannot_do),
    case!("tee, vmsplice", tee_and_vmsplice_refuse_sockets),
    case!("splice", a_splice_into_a_pipe_without_a_reader),
    case!("splice", a_splice_into_a_stream_that_was_shut_down),
    case!("splice", a_splice_from_a_fifo_open_in_both_directions).proof(Proof::BeganOnRing(
        "the call takes the connection back to the kernel",
    )),
];

fn splice_refuses_offsets_on_sockets(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let (_, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let mut offset = 0;
        let _ = near.observe(
            "splice at an offset",
            files::splice_at(near.fd, &mut offset, writing, 4),
        );
        let _ = near.recv(100, 0);
    });
}

fn splice_from_socket_to_socket_is_refused(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.observe("socket to itself", files::splice(near.fd, near.fd, 4, 0));
        let _ = near.observe("file to socket", files::splice(file, near.fd, 4, 0));
        let _ = near.observe("socket to file", files::splice(near.fd, file, 4, 0));
        let _ = near.recv(100, 0);
    });
}

fn tee_and_vmsplice_refuse_sockets(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let _ = near.observe("tee from the socket", files::tee(near.fd, writing, 4));
        let _ = near.observe("tee to the socket", files::tee(reading, near.fd, 4));
        let _ = near.observe(
            "vmsplice",
            files::vmsplice(near.fd, &mut Parts::copies(&[b"lost"])),
        );
        let _ = near.send(b"whole", 0);
    });
    stage.far(|far| far.receives(5));
}

fn a_splice_into_a_pipe_without_a_reader(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(0));
        near.must(connection::close(reading));
        near.must(signals::count_signals(libc::SIGPIPE, true));
        // Before anything has come, and when there is something to lose.
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice(100)", answer);
        near.say(&format!("SIGPIPE came {} times", signals::caught()));
        let _ = near.send(b"go", 0);
    });
    stage.far(|far| {
        far.receives(2);
        let _ = far.send(b"precious", 0);
    });
    stage.near(|near| {
        near.arrived(8);
        let (reading, writing) = near.must(files::pipe(0));
        near.must(connection::close(reading));
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice(100)", answer);
        near.say(&format!("SIGPIPE came {} times", signals::caught()));
        near.receives(8);
    });
}

fn a_splice_into_a_stream_that_was_shut_down(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(0));
        near.must(transfer::write(writing, b"late"));
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        near.must(signals::count_signals(libc::SIGPIPE, true));
        let answer = files::splice(reading, near.fd, 100, 0);
        let _ = near.observe("splice(100)", answer);
        near.say(&format!("SIGPIPE came {} times", signals::caught()));
        let left = options::ioctl_int(reading, libc::FIONREAD, 0);
        near.say(&format!("in the pipe: {left:?}"));
    });
    stage.far(|far| far.receives(1));
}

fn a_splice_from_a_fifo_open_in_both_directions(stage: &mut Stage) {
    stage.near(|near| {
        let fifo = near.must(files::nameless_fifo());
        near.must(transfer::write(fifo, b"abcdefghij"));
        let answer = files::splice(fifo, near.fd, 4, 0);
        near.count_sent(answer);
        let _ = near.observe("splice(4)", answer);
        let answer = files::splice(fifo, near.fd, 100, 0);
        near.count_sent(answer);
        let _ = near.observe("splice(100)", answer);
        let answer = files::splice(fifo, near.fd, 100, libc::SPLICE_F_NONBLOCK);
        let _ = near.observe("splice(100, NONBLOCK)", answer);
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.send(b"back", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let fifo = near.must(files::nameless_fifo());
        let answer = files::splice(near.fd, fifo, 100, 0);
        let _ = near.observe("splice into it", answer);
        let _ = near.fills("read of it", 100, |_, buffer| transfer::read(fifo, buffer));
    });
}

fn splice_refuses_what_it_cannot_do(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        near.must(transfer::write(writing, b"piped"));
        let socket = near.fd;
        let trials = [
            ("out of a writing end", files::splice(writing, socket, 4, 0)),
            ("into a reading end", files::splice(socket, reading, 4, 0)),
            ("out of nothing", files::splice(-1, socket, 4, 0)),
            ("into nothing", files::splice(socket, -1, 4, 0)),
            (
                "flags unknown, out",
                files::splice(reading, socket, 4, 1 << 9),
            ),
            (
                "flags unknown, in",
                files::splice(socket, writing, 4, 1 << 9),
            ),
            ("too long, out", files::splice(reading, socket, 1 << 63, 0)),
            ("too long, in", files::splice(socket, writing, 1 << 63, 0)),
            ("nothing, out", files::splice(reading, socket, 0, 0)),
            ("nothing, in", files::splice(socket, writing, 0, 0)),
            (
                "a pipe's offset",
                files::splice_at(reading, &mut 0, socket, 4),
            ),
        ];
        for (what, answer) in trials {
            let _ = near.observe(&format!("splice: {what}"), answer);
        }
        near.readable_bytes();
        let _ = near.recv(100, 0);
        let _ = near.fills("read of the pipe", 100, |_, buffer| {
            transfer::read(reading, buffer)
        });
    });
}
