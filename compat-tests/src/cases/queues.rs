//! FIONREAD, SIOCOUTQ and SIOCOUTQNSD: how much is queued.

use crate::case;
use crate::case::{ALL_KINDS, Case, Proof};
use crate::content;
use crate::side::waiting::eventually;
use crate::stage::Stage;

const SIOCOUTQNSD: u64 = 0x894B;

/// The family.
pub const CASES: &[Case] = &[
    case!("FIONREAD", readable_bytes_are_counted).kinds(ALL_KINDS),
    case!("FIONREAD", readable_bytes_at_the_end_of_the_stream),
    // Nobody reads meanwhile: what the first, small ring cannot hold goes on in the kernel (POSIX.md row 10).
    case!("FIONREAD", readable_bytes_of_a_large_queue).proof(Proof::AtLeast(4096)),
    case!("SIOCOUTQ", everything_read_leaves_nothing_unsent),
];

fn readable_bytes_are_counted(stage: &mut Stage) {
    stage.far(|far| {
        far.readable_bytes();
        far.ioctl("SIOCINQ", libc::TIOCINQ);
    });
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        far.readable_bytes();
        let _ = far.recv(3, 0);
        far.readable_bytes();
        let _ = far.recv(3, libc::MSG_PEEK);
        far.ioctl("SIOCINQ", libc::TIOCINQ);
        let _ = far.recv(100, 0);
        far.readable_bytes();
    });
}

fn readable_bytes_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.end_arrived();
        far.readable_bytes();
        let _ = far.recv(4, 0);
        far.readable_bytes();
        let _ = far.recv(100, 0);
        far.readable_bytes();
        let _ = far.recv(100, 0);
        far.readable_bytes();
    });
}

fn readable_bytes_of_a_large_queue(stage: &mut Stage) {
    stage.near(|near| near.send_all(&content::bytes_from(101, 0, 60_000)));
    stage.far(|far| {
        far.arrived(60_000);
        far.readable_bytes();
        far.receives(59_999);
        far.readable_bytes();
        far.receives(1);
        far.readable_bytes();
    });
}

fn everything_read_leaves_nothing_unsent(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| far.receives(10));
    stage.near(|near| {
        // The acknowledgement may take a moment.
        let fd = near.fd;
        let empty =
            eventually(|| crate::calls::options::ioctl_int(fd, libc::TIOCOUTQ, -7) == Ok(0));
        near.say(&format!("SIOCOUTQ gets to 0: {empty}"));
        near.ioctl("SIOCOUTQNSD", SIOCOUTQNSD);
    });
}
