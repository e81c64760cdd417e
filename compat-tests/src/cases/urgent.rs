//! MSG_OOB, SO_OOBINLINE and SIOCATMARK: what a ring cannot carry, so the connection goes back to the kernel.

use crate::calls::answer::shown;
use crate::calls::{options, readiness};
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::side::Side;
use crate::side::sets::events::{IN, PRI};
use crate::side::sets::watching;
use crate::stage::Stage;

const SIOCATMARK: u64 = 0x8905;

/// The family.
pub const CASES: &[Case] = &[
    case!("MSG_OOB", an_urgent_byte_is_delivered_out_of_band)
        .rows(&[4])
        .proof(Proof::BeganOnRing(
            "the call takes the connection back to the kernel",
        )),
    case!("MSG_OOB", an_urgent_byte_in_the_middle_of_queued_data)
        .rows(&[4])
        .proof(Proof::AtLeast(6)),
    case!("MSG_OOB", the_stream_goes_on_after_urgent_data)
        .rows(&[4])
        .proof(Proof::BeganOnRing(
            "the call takes the connection back to the kernel",
        )),
    case!("MSG_OOB", what_lies_behind_an_urgent_byte_comes_at_once)
        .rows(&[4])
        .proof(Proof::BeganOnRing(
            "the call takes the connection back to the kernel",
        )),
    case!("MSG_OOB", urgent_data_without_any_is_told),
    case!("epoll_wait", an_urgent_byte_is_told_until_it_is_taken)
        .rows(&[4])
        .proof(Proof::BeganOnRing(
            "the call takes the connection back to the kernel",
        )),
    case!("sockatmark", the_mark_is_found_by_sockatmark)
        .rows(&[4])
        .proof(Proof::AtLeast(6)),
    case!("SO_OOBINLINE", an_urgent_byte_in_line)
        .rows(&[4])
        .start(Start::Connected)
        .proof(Proof::StaysOnKernel("kernel_feature")),
];

fn an_urgent_byte_is_delivered_out_of_band(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"!", libc::MSG_OOB);
    });
    stage.far(|far| {
        far.until_poll(libc::POLLPRI);
        let (answer, events) = readiness::poll_one(far.fd, libc::POLLIN | libc::POLLPRI, 0);
        far.say(&format!("poll = {} {events:#x}", shown(answer)));
        far.ioctl("SIOCATMARK", SIOCATMARK);
        let _ = far.recv(10, libc::MSG_OOB);
        let _ = far.recv(10, libc::MSG_OOB);
        let _ = far.recv(10, libc::MSG_DONTWAIT);
    });
}

fn an_urgent_byte_in_the_middle_of_queued_data(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        let _ = near.send(b"!", libc::MSG_OOB);
        let _ = near.send(b"after", 0);
    });
    stage.far(|far| {
        far.until_poll(libc::POLLPRI);
        far.arrived(6);
        far.ioctl("SIOCATMARK", SIOCATMARK);
        at_mark(far);
        let _ = far.recv(100, 0);
        far.ioctl("SIOCATMARK", SIOCATMARK);
        at_mark(far);
        let _ = far.recv(1, libc::MSG_OOB);
        far.receives(5);
    });
}

fn the_stream_goes_on_after_urgent_data(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abc!", libc::MSG_OOB);
    });
    stage.far(|far| {
        far.until_poll(libc::POLLPRI);
        let _ = far.recv(1, libc::MSG_OOB);
        far.receives(3);
    });
    for round in 0..20u8 {
        stage.near(|near| near.send_all(&[b'a' + round; 100]));
        stage.far(|far| {
            far.receives(100);
            far.send_all(&[b'A' + round; 50]);
        });
        stage.near(|near| near.receives(50));
    }
}

/// One receive ends at the mark, the next one takes all that lies behind it.
fn what_lies_behind_an_urgent_byte_comes_at_once(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"before!", libc::MSG_OOB);
        let _ = near.send(b"behind", 0);
    });
    stage.far(|far| {
        far.until_poll(libc::POLLPRI);
        let _ = far.recv(100, 0);
        let _ = far.recv(100, libc::MSG_DONTWAIT);
        let _ = far.recv(1, libc::MSG_OOB);
        let _ = far.recv(100, libc::MSG_DONTWAIT);
    });
}

/// Level-triggered, as the bytes before it, and apart from them.
fn an_urgent_byte_is_told_until_it_is_taken(stage: &mut Stage) {
    let set = watching(stage, IN | PRI, 1);
    stage.near(|near| set.reports_nothing(near));
    stage.far(|far| {
        let _ = far.send(b"before!", libc::MSG_OOB);
    });
    stage.near(|near| {
        near.until_poll(libc::POLLPRI);
        for _ in 0..2 {
            set.reports(near);
        }
        let _ = near.recv(100, 0);
        for _ in 0..2 {
            set.reports(near);
        }
        let _ = near.recv(1, libc::MSG_OOB);
        set.reports_nothing(near);
    });
}

/// sockatmark(3), the first to look behind a switch to the kernel.
fn the_mark_is_found_by_sockatmark(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        let _ = near.send(b"!", libc::MSG_OOB);
        let _ = near.send(b"after", 0);
    });
    stage.far(|far| {
        far.until_poll(libc::POLLPRI);
        at_mark(far);
        far.receives(6);
        at_mark(far);
        let _ = far.recv(1, libc::MSG_OOB);
        far.receives(5);
        at_mark(far);
    });
}

fn at_mark(side: &mut Side) {
    let fd = side.fd;
    let _ = side.observe("sockatmark", options::at_mark(fd));
}

fn urgent_data_without_any_is_told(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.recv(1, libc::MSG_OOB);
        near.ioctl("SIOCATMARK", SIOCATMARK);
        let _ = near.send(b"plain", 0);
    });
    stage.far(|far| {
        far.arrived(5);
        let _ = far.recv(1, libc::MSG_OOB);
        far.receives(5);
    });
}

fn an_urgent_byte_in_line(stage: &mut Stage) {
    stage.far(|far| far.set_option("SO_OOBINLINE", libc::SOL_SOCKET, libc::SO_OOBINLINE, 1));
    stage.exchange_only();
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        let _ = near.send(b"!", libc::MSG_OOB);
        let _ = near.send(b"after", 0);
    });
    stage.far(|far| {
        far.arrived(7);
        let _ = far.recv(1, libc::MSG_OOB);
        far.receives(6);
        far.ioctl("SIOCATMARK", SIOCATMARK);
        far.receives(6);
    });
}
