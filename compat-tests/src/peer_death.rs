//! Death of one end at every labelled step of the switch: the survivor gets what was published, then an end, promptly.
//!
//! The victim runs a test build of the shim (feature `step-hooks`) with `STEP_HOOK=Label:nth`: it is killed when it
//! reaches the step for the nth time. It notes in a mapped file, which outlives it, what it had begun and what its
//! calls had returned. The survivor sleeps in `recv`, `poll` or `epoll_wait`, or is busy writing; every byte it gets
//! must be in its place, none that was published in the ring may be missing, and then there must be the end that TCP
//! would show: a reset where the victim left bytes unread, else the end of the stream. A survivor that goes on writing
//! must be told, too. In one pattern a fork child of the victim dies in its place, and every byte must come once.
//!
//! ```text
//! cargo build --release && cargo build --release -p shim --features step-hooks --target-dir target/step-hooks
//! target/release/peer_death --quick --library target/step-hooks/release/libaxio.so    either end at every step
//! target/release/peer_death --library target/step-hooks/release/libaxio.so            in every pattern that comes there
//! ```
//!
//! * [`pattern`]: what the two ends do, so that every step is reached by somebody.
//! * [`notes`]: the mapped file.
//! * [`actor`]: one end.
//! * [`driver`]: runs cases and judges them.
//! * [`waiting`]: what a busy machine adds to the survivor's time.
//! * [`campaign`]: which kills are tried, and what came of them.

pub mod actor;
pub mod campaign;
pub mod driver;
pub mod notes;
pub mod pattern;
pub mod waiting;
