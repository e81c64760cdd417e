//! The byte ring: one direction of a connection, one producer, one consumer, two processes that do not trust each other.
//!
//! ```text
//!              producer's memory (consumer maps it read-only)      consumer's memory (producer maps it read-only)
//!   tail word  ───────────────────────────────────────────────▶    read, checked
//!   bytes      ▓▓▓▓▓▓▓░░░░░░░▓▓▓▓                                  read, copied out
//!   read, checked  ◀───────────────────────────────────────────    head word
//!
//!   position p (u64, free running) lives at offset p & (ring_bytes - 1);     head <= tail <= head + ring_bytes
//! ```
//!
//! [`Producer`] and [`Consumer`] are values for the length of one call: made from the caller's own state (which lies in
//! family memory), thrown away after, when the caller writes back what changed.
//!
//! Invariants, cited by number in code and tests:
//! * I1 The own index is private truth; the published word is only a copy of it and never read back.
//! * I2 A far index enters through one load and one real branch: it moves forward only, and never past what the own
//!   index allows. A lie is [`crate::error::Blame::PeerMisbehaved`]; no byte is touched on the strength of it.
//! * I3 Bytes are written only in free room and read only when published: `copy_in` before `publish` (release), the far
//!   load (acquire) before `copy_out`; `copy_out` before `publish` of the head, the far load before the next `copy_in`.
//! * I4 Whatever bytes the far side scribbles, this side touches only its ring: addresses come from own positions.
//! * I5 `publish_and_fence` orders the index before every later load, so that a look at the far epoch cannot miss a
//!   sleeper that missed the index (SWITCH.md §3, "Store→load fences").

mod bytes;
mod consumer;
mod producer;

pub use bytes::RingBytes;
pub use consumer::Consumer;
pub use producer::Producer;
