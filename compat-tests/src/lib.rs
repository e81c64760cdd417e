//! The oracle, and the programs that torture the switch on real sockets.
//!
//! * [`app_check`]: real programs, the same answers bare and under the shim.
//! * [`torture`]: what the torture programs have in common.
//! * [`many_connections`]: thousands of connections, the busy ones on rings.
//! * [`peer_death`]: SIGKILL at every step of the switch.
//! * [`stream_integrity`]: no byte lost, doubled, re-ordered or foreign, whatever happens.

pub mod app_check;
pub mod many_connections;
pub mod peer_death;
pub mod stream_integrity;
pub mod torture;
