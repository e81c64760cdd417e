//! epoll: what is registered, what is reported, and what is refused (POSIX.md rows 5, 11 to 15 and 17 to 20).
//!
//! * [`levels`]: level-triggered events, until all is read.
//! * [`space`]: room for a writer, while the kernel has always some.
//! * [`ends`]: a stream's end, a reset, a death.
//! * [`waiting`]: time-outs and signals.
//! * [`mixed`]: sets that hold more than connections.
//! * [`registrations`]: making sets, changing registrations, one-shot and exclusive ones.
//! * [`young`]: registered before the first byte.
//! * [`edges`], [`edges_of_space`], [`edge_streams`]: edge-triggered, the reference list of row 13.
//! * [`nested`]: sets in sets, and sets that are polled.
//! * [`numbers`]: numbers that are closed and given again.
//! * [`shared`]: sets that two processes share.
//! * [`crowds`]: many connections, many threads, several peers.

pub mod crowds;
pub mod edge_streams;
pub mod edges;
pub mod edges_of_space;
pub mod ends;
pub mod levels;
pub mod mixed;
pub mod nested;
pub mod numbers;
pub mod registrations;
pub mod shared;
pub mod space;
pub mod waiting;
pub mod young;

use crate::stage::Stage;

/// A step of the far end that sends, after which the bytes have arrived at the near end.
fn arrives(stage: &mut Stage, bytes: &'static [u8], unread: i32) {
    stage.far(|far| {
        let _ = far.send(bytes, 0);
    });
    stage.near(|near| near.arrived(unread));
}
