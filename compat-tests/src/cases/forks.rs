//! fork: two processes hold one connection, read it, write it, and leave it one after the other (POSIX.md rows 9, 27
//! and 28). The kernel's reference count decides when the stream ends, and a byte is read by one of them.
//!
//! * [`holding`]: who holds the descriptor, and when the stream ends.
//! * [`sharing`]: parent and child read and write one stream.
//! * [`leaving`]: children that come, end and are killed.
//! * [`ways`]: servers that fork, other ways of forking, children from before the first byte.

pub mod holding;
pub mod leaving;
pub mod sharing;
pub mod ways;

use crate::side::Side;
use crate::side::children::Child;
use crate::stage::Stage;

/// The end that has forked talks with the far end as before.
pub fn talk(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"still", 0);
    });
    stage.far(|far| {
        far.receives(5);
        let _ = far.send(b"there", 0);
    });
    stage.near(|near| near.receives(5));
}

/// The child's closures cannot be seen from the far process, which plays no part of them.
pub fn child_of(child: &mut Option<Child>) -> &mut Child {
    match child {
        Some(child) => child,
        None => panic!("the script uses a child it has not forked"),
    }
}

/// The end of a child that an earlier step forked.
pub fn reap(near: &mut Side, child: &mut Option<Child>) {
    if let Some(child) = child.take() {
        child.reap(near);
    }
}
