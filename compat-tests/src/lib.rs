//! The oracle, and the programs that torture the switch on real sockets.
//!
//! * [`torture`]: what the torture programs have in common.
//! * [`stream_integrity`]: no byte lost, doubled, re-ordered or foreign, whatever happens.

pub mod stream_integrity;
pub mod torture;
