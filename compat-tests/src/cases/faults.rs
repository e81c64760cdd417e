//! Pointers that no buffer lives at: page 0 and addresses that are not canonical (POSIX.md row 32). Buffers that are
//! merely not mapped are a documented limit and are not tried.

use crate::calls::answer::Answer;
use crate::calls::transfer::at_address;
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::side::Side;
use crate::stage::Stage;

/// In page 0, which is never mapped.
const PAGE_ZERO: usize = 8;
/// Neither in the lower nor in the upper half of the address space.
const NOT_CANONICAL: usize = 0x8000_0000_0000_0000;
/// In the kernel's half.
const KERNEL_HALF: usize = 0xFFFF_8000_0000_0000;

const WRONG: [(&str, usize); 4] = [
    ("NULL", 0),
    ("page 0", PAGE_ZERO),
    ("not canonical", NOT_CANONICAL),
    ("the kernel's half", KERNEL_HALF),
];

/// The family.
pub const CASES: &[Case] = &[
    case!("EFAULT", receiving_into_nowhere_is_a_fault).rows(&[32]),
    case!("EFAULT", sending_from_nowhere_is_a_fault).rows(&[32]),
    case!("EFAULT", parts_that_point_nowhere_are_a_fault).rows(&[32]),
    case!("EFAULT", part_arrays_that_point_nowhere_are_a_fault).rows(&[32]),
    case!("EFAULT", messages_that_point_nowhere_are_a_fault).rows(&[32]),
    case!("EFAULT", lengths_that_reach_too_far_are_told)
        .rows(&[32])
        .proof(Proof::AtLeast(5)),
    case!("EFAULT", faults_on_a_young_connection)
        .rows(&[32])
        .start(Start::Connected),
    case!("EFAULT", receiving_into_nowhere_without_data),
];

fn stays_usable(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"whole", 0);
    });
    stage.far(|far| far.receives(5));
}

/// The bytes before are queued when `act` is tried at the near end, and are still there afterwards.
fn with_data_queued(stage: &mut Stage, act: impl FnOnce(&mut Side)) {
    stage.far(|far| {
        let _ = far.send(b"queued bytes", 0);
    });
    stage.near(|near| {
        near.arrived(12);
        act(near);
        near.readable_bytes();
        let _ = near.recv(100, 0);
    });
}

fn try_each(side: &mut Side, what: &str, call: impl Fn(i32, usize) -> Answer) {
    for (name, address) in WRONG {
        let answer = call(side.fd, address);
        let _ = side.observe(&format!("{what} {name}"), answer);
    }
}

fn receiving_into_nowhere_is_a_fault(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        try_each(near, "recv into", |fd, address| {
            at_address::recv(fd, address, 4, 0)
        });
        try_each(near, "recv PEEK into", |fd, address| {
            at_address::recv(fd, address, 4, libc::MSG_PEEK)
        });
        try_each(near, "read into", |fd, address| {
            at_address::read(fd, address, 4)
        });
    });
    stays_usable(stage);
}

fn sending_from_nowhere_is_a_fault(stage: &mut Stage) {
    stage.near(|near| {
        try_each(near, "send from", |fd, address| {
            at_address::send(fd, address, 4, 0)
        });
        try_each(near, "write from", |fd, address| {
            at_address::write(fd, address, 4)
        });
        try_each(near, "send DONTWAIT from", |fd, address| {
            at_address::send(fd, address, 4, libc::MSG_DONTWAIT)
        });
    });
    stays_usable(stage);
}

fn parts_that_point_nowhere_are_a_fault(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        try_each(near, "readv into", |fd, address| {
            at_address::readv(fd, &[(address, 4)])
        });
        try_each(near, "readv into nothing of", |fd, address| {
            at_address::readv(fd, &[(address, 0)])
        });
        try_each(near, "writev from", |fd, address| {
            at_address::writev(fd, &[(address, 4)])
        });
        try_each(near, "writev from nothing of", |fd, address| {
            at_address::writev(fd, &[(address, 0)])
        });
    });
    stays_usable(stage);
}

fn part_arrays_that_point_nowhere_are_a_fault(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        try_each(near, "readv by an array at", |fd, address| {
            at_address::readv_array(fd, address, 1)
        });
        try_each(near, "writev by an array at", |fd, address| {
            at_address::writev_array(fd, address, 1)
        });
        let _ = near.observe(
            "readv of -1 parts",
            at_address::readv_array(near.fd, PAGE_ZERO, -1),
        );
        let _ = near.observe(
            "writev of -1 parts",
            at_address::writev_array(near.fd, PAGE_ZERO, -1),
        );
    });
    stays_usable(stage);
}

fn messages_that_point_nowhere_are_a_fault(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        try_each(near, "recvmsg at", |fd, address| {
            at_address::recvmsg(fd, address, 0)
        });
        try_each(near, "sendmsg at", |fd, address| {
            at_address::sendmsg(fd, address, 0)
        });
    });
    stays_usable(stage);
}

fn lengths_that_reach_too_far_are_told(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        let far_too_long = usize::MAX / 2 + 1;
        let _ = near.observe("readv of a length that is negative", {
            at_address::readv(near.fd, &[(PAGE_ZERO, far_too_long)])
        });
        let _ = near.observe("writev of a length that is negative", {
            at_address::writev(near.fd, &[(PAGE_ZERO, far_too_long)])
        });
        let _ = near.observe("send of a length that wraps around", {
            at_address::send(
                near.fd,
                NOT_CANONICAL - 8,
                usize::MAX - 100,
                libc::MSG_DONTWAIT,
            )
        });
        let _ = near.observe("recv of a length that wraps around", {
            at_address::recv(
                near.fd,
                NOT_CANONICAL - 8,
                usize::MAX - 100,
                libc::MSG_DONTWAIT,
            )
        });
    });
    stays_usable(stage);
}

fn faults_on_a_young_connection(stage: &mut Stage) {
    with_data_queued(stage, |near| {
        try_each(near, "recv into", |fd, address| {
            at_address::recv(fd, address, 4, 0)
        });
        try_each(near, "send from", |fd, address| {
            at_address::send(fd, address, 4, 0)
        });
    });
    stage.settle();
    // What was noted of a call that went nowhere is not mistaken for one on the ring.
    with_data_queued(stage, |near| {
        try_each(near, "recv into", |fd, address| {
            at_address::recv(fd, address, 4, 0)
        });
    });
    stays_usable(stage);
}

fn receiving_into_nowhere_without_data(stage: &mut Stage) {
    stage.near(|near| {
        try_each(near, "recv DONTWAIT into", |fd, address| {
            at_address::recv(fd, address, 4, libc::MSG_DONTWAIT)
        });
        try_each(near, "recv of nothing DONTWAIT into", |fd, address| {
            at_address::recv(fd, address, 0, libc::MSG_DONTWAIT)
        });
    });
    stays_usable(stage);
}
