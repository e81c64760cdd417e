//! The rings: memory that two processes share without trusting each other, and streams that change carriers on it.
//!
//! Knows rings, not POSIX. Nothing here allocates, locks a foreign lock, panics or exits on a path that runs inside a
//! host process. Rules: no reference points into memory the far side writes; a far index is loaded once and checked by
//! a real branch; the own copy (family memory) is the truth; every acquire and release names its partner.
//!
//! * [`sync`]: the one door to atomics, fences, time stamps.
//! * [`clock`]: the monotonic clock.
//! * [`ict`]: typed access to I/O Connection Table entries.
//! * [`kernel_call`]: the one door to the kernel beside rustix.
//! * [`error`]: who is to blame. [`text`]: paths and lines without memory.
//! * [`life`]: does a process or a thread live?
//! * [`ring`]: the byte ring of one direction, its producer and its consumer.
//! * [`in_kernel`]: who is in a kernel call of one direction.
//! * [`lock`], [`backoff`]: locks that outlive their owner, and patience.
//! * [`bell`]: epochs, who rings, what was rung.
//! * [`ready`]: which of many connections changed.
//! * [`wait`]: look, spin, arm, look, sleep: one policy.
//! * [`memory`]: regions with one writer; bytes another process may change.
//! * [`path`]: what carries the writing of one side to the other: shared pages of one host, and more to come.
//! * [`channel`]: the two regions of a path, their slots, ring space and claims; the channels of this process.
//! * [`fault`]: deliberate bugs for the model tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

pub mod backoff;
pub mod bell;
#[cfg(not(loom))]
pub mod channel;
pub mod clock;
#[cfg(not(loom))]
pub mod endpoint;
pub mod error;
#[cfg(not(loom))]
pub mod family;
pub mod fault;
#[cfg(not(loom))]
pub mod ict;
pub mod in_kernel;
pub mod kernel_call;
#[cfg(not(loom))]
pub mod life;
pub mod lock;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod path;
pub mod ready;
pub mod ring;
#[cfg(not(loom))]
pub mod statistics;
#[cfg(not(loom))]
pub mod stream;
pub mod sync;
pub mod text;
#[cfg(not(loom))]
pub mod wait;
