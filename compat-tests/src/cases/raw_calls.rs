//! Around the library: `syscall()`, which is re-dispatched, and instructions of the program's own, which nobody can see
//! (POSIX.md rows 21, 31 and 35). Those end the connection by design, with a reason; what is told here is that either the
//! kernel's bytes came or that reset.

use crate::calls::answer::Errno;
use crate::calls::{options, raw, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::settle::reason_name;
use crate::side::Side;
use crate::side::waiting::eventually;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("syscall", every_transfer_by_the_syscall_function).rows(&[31]),
    case!("syscall", questions_by_the_syscall_function).rows(&[31]),
    case!("syscall", the_end_by_the_syscall_function).rows(&[31]),
    case!("system call", a_writer_that_nobody_sees)
        .rows(&[35])
        .complaints(&["used_behind"]),
    case!("system call", a_reader_that_nobody_sees)
        .rows(&[35])
        .complaints(&["used_behind"])
        .kinds(TWO_KINDS),
    case!("system call", a_close_that_nobody_sees)
        .rows(&[31, 35])
        .proof(Proof::AtLeast(6)),
];

fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr() as usize
}

fn every_transfer_by_the_syscall_function(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd as usize;
        let text = b"one two three four five ";
        let part = [address(text), text.len()];
        let parts = [part[0], part[1]];
        let message: [usize; 7] = [0, 0, (&raw const parts) as usize, 1, 0, 0, 0];
        // struct mmsghdr: a message and the length that is written back.
        let mut messages: [usize; 8] = [0, 0, (&raw const parts) as usize, 1, 0, 0, 0, 0];
        let calls = [
            ("write", libc::SYS_write, [fd, part[0], part[1], 0, 0, 0]),
            (
                "writev",
                libc::SYS_writev,
                [fd, (&raw const parts) as usize, 1, 0, 0, 0],
            ),
            ("sendto", libc::SYS_sendto, [fd, part[0], part[1], 0, 0, 0]),
            (
                "sendmsg",
                libc::SYS_sendmsg,
                [fd, (&raw const message) as usize, 0, 0, 0, 0],
            ),
        ];
        for (name, number, words) in calls {
            let answer = raw::by_libc(number, words);
            near.count_sent(answer);
            let _ = near.observe(name, answer);
        }
        let words = [fd, (&raw mut messages) as usize, 1, 0, 0, 0];
        let answer = raw::by_libc(libc::SYS_sendmmsg, words);
        near.count_sent(answer.map(|_| text.len()));
        let _ = near.observe("sendmmsg", answer);
    });
    stage.far(|far| {
        far.receives(120);
        for piece in [&b"alpha "[..], b"beta  ", b"gamma ", b"delta ", b"epsil "] {
            let _ = far.send(piece, 0);
        }
    });
    stage.near(|near| {
        near.arrived(30);
        let fd = near.fd as usize;
        let mut buffer = [0u8; 6];
        let base = (&raw mut buffer) as usize;
        let parts = [base, 6];
        let mut message: [usize; 7] = [0, 0, (&raw const parts) as usize, 1, 0, 0, 0];
        let mut messages: [usize; 8] = [0, 0, (&raw const parts) as usize, 1, 0, 0, 0, 0];
        let calls = [
            ("read", libc::SYS_read, [fd, base, 6, 0, 0, 0]),
            (
                "readv",
                libc::SYS_readv,
                [fd, (&raw const parts) as usize, 1, 0, 0, 0],
            ),
            ("recvfrom", libc::SYS_recvfrom, [fd, base, 6, 0, 0, 0]),
            (
                "recvmsg",
                libc::SYS_recvmsg,
                [fd, (&raw mut message) as usize, 0, 0, 0, 0],
            ),
            (
                "recvmmsg",
                libc::SYS_recvmmsg,
                [fd, (&raw mut messages) as usize, 1, 0, 0, 0],
            ),
        ];
        for (name, number, words) in calls {
            let answer = raw::by_libc(number, words);
            let _ = near.observe(name, answer);
            let shown = content::shown(&std::hint::black_box(buffer));
            near.say(&shown);
        }
    });
    talk(stage);
}

fn questions_by_the_syscall_function(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let fd = near.fd as usize;
        let mut bytes = 0i32;
        let place = (&raw mut bytes) as usize;
        let words = [fd, libc::FIONREAD as usize, place, 0, 0, 0];
        let answer = raw::by_libc(libc::SYS_ioctl, words);
        let _ = near.observe("ioctl FIONREAD", answer);
        near.say(&format!("{}", std::hint::black_box(bytes)));
        let words = [fd, libc::F_GETFL as usize, 0, 0, 0, 0];
        let _ = near.observe("fcntl F_GETFL", raw::by_libc(libc::SYS_fcntl, words));
        let mut entry = [near.fd as u32, libc::POLLIN as u32];
        let words = [(&raw mut entry) as usize, 1, 1000, 0, 0, 0];
        let _ = near.observe("poll", raw::by_libc(libc::SYS_poll, words));
        near.say(&format!("{:#x}", std::hint::black_box(entry[1]) >> 16));
        let copy = near.must(raw::by_libc(libc::SYS_dup, [fd, 0, 0, 0, 0, 0]));
        let mut buffer = [0; 3];
        let answer = transfer::recv(copy as i32, &mut buffer, 0);
        let _ = near.observe("recv by the copy", answer);
        let _ = near.observe(
            "close of the copy",
            raw::by_libc(libc::SYS_close, [copy, 0, 0, 0, 0, 0]),
        );
        near.receives(3);
        let one = 1i32;
        let option = [
            fd,
            libc::IPPROTO_TCP as usize,
            libc::TCP_NODELAY as usize,
            (&raw const one) as usize,
            4,
            0,
        ];
        let _ = near.observe("setsockopt", raw::by_libc(libc::SYS_setsockopt, option));
        near.option("TCP_NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY);
    });
    talk(stage);
}

fn the_end_by_the_syscall_function(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"last", 0);
        let words = [near.fd as usize, libc::SHUT_WR as usize, 0, 0, 0, 0];
        let _ = near.observe("shutdown", raw::by_libc(libc::SYS_shutdown, words));
    });
    stage.far(|far| {
        far.receives(4);
        let _ = far.recv(1, 0);
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| {
        near.receives(6);
        let fd = near.fd as usize;
        near.take_status();
        near.fd = -1;
        let _ = near.observe("close", raw::by_libc(libc::SYS_close, [fd, 0, 0, 0, 0, 0]));
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

/// Receives until so many bytes have come or the connection is reset; true if they were right, or the reset has the
/// reason it must have.
fn bytes_or_reset(side: &mut Side, expected: &[u8]) -> bool {
    let mut bytes = Vec::new();
    let mut error = None;
    let fd = side.fd;
    eventually(|| {
        let mut buffer = [0; 100];
        match transfer::recv(fd, &mut buffer, libc::MSG_DONTWAIT) {
            Ok(0) => error = Some(Errno(0)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(errno) if errno.0 == libc::EAGAIN => {}
            Err(errno) => error = Some(errno),
        }
        error.is_some() || bytes.len() >= expected.len()
    });
    let reason = options::status(fd).map(|status| reason_name(&status));
    side.note(&format!("{bytes:?}, {error:?}, {reason:?}"));
    match error {
        None => bytes == expected,
        Some(errno) => {
            errno.0 == libc::ECONNRESET && reason.is_ok_and(|reason| reason == "used_behind")
        }
    }
}

fn a_writer_that_nobody_sees(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"seen, ", 0);
        let _ = near.observe("write", raw::send(near.fd, b"unseen", 0));
    });
    stage.far(|far| {
        let held = bytes_or_reset(far, b"seen, unseen");
        far.say(&format!("the bytes, or a reset for that reason: {held}"));
    });
}

fn a_reader_that_nobody_sees(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"hello", 0);
        // Back to the kernel: the last bell is on its way, behind what the ring holds.
        let _ = options::accelerate(far.fd, false);
    });
    stage.near(|near| {
        near.arrived(5);
        // What the kernel has, the bell or the bytes.
        let fd = near.fd;
        if !eventually(|| raw::readable(fd).is_ok_and(|bytes| bytes > 0)) {
            near.fail("the kernel is handed nothing");
        }
        let mut buffer = [0; 5];
        let answer = raw::receive(near.fd, &mut buffer, libc::MSG_DONTWAIT);
        near.note(&format!("{answer:?} {buffer:?}"));
        let held = if answer == Ok(5) {
            &buffer == b"hello"
        } else {
            // The bell that was taken is missing: no more can come than what the ring held, and then the reset.
            let bytes_then_reset = |near: &mut Side| {
                let first = bytes_or_reset(near, b"hello");
                first && bytes_or_reset(near, b"?")
            };
            bytes_then_reset(near)
        };
        near.say(&format!("the bytes, or a reset for that reason: {held}"));
    });
}

fn a_close_that_nobody_sees(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        near.take_status();
        let fd = std::mem::replace(&mut near.fd, -1);
        let _ = near.observe("close", raw::close(fd));
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
        far.close();
    });
    // The number is given again: it means the new connection, whatever was known of the old one.
    stage.connect();
    stage.settle();
    talk(stage);
}
