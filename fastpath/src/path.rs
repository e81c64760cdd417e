//! What a channel's memory is carried by: the memory this side writes, and the memory in which the far side's writing
//! appears. Everything above (rings, slots, ready bits, the switch) knows these two and the contract below, nothing of
//! how bytes get from the one to the other.
//!
//! * [`shm`]: two processes of one host map the same sealed pages. The only path of the shipped library.
//! * `in_process`: both ends in one process, over anonymous memory. For tests that must run anywhere.
//! * `faulty`: around any other, as late, as cut short and as mendacious as the contract allows, by plan. For tests.
//!
//! Paths between hosts (`xdp`: NIC rings by AF_XDP; `rdma`: verbs) will stand beside these: what they send and complete
//! is how the far side's writing gets into the memory that [`Path::far`] shows.
//!
//! Which path a channel has is decided once, where its two ends meet (discovery, TRUST.md; a pair that gets none stays on
//! the kernel and says why), and from then on is a [`Chosen`]: a concrete kind, the one place of dispatch. Streams keep
//! addresses of words and rings, so that no call that moves bytes asks what path it is on.
//!
//! `tests/path_conformance` holds each implementation to the contract by one suite.

#[cfg(feature = "test-paths")]
pub mod faulty;
#[cfg(feature = "test-paths")]
pub mod in_process;
pub mod shm;

use crate::memory::region::{FarRegion, OwnRegion};

/// One end of a path.
///
/// The contract. "Side" is a process with its fork relatives; `own` of the one end is what `far` of the other shows.
///
/// * P1 One writer. What `own` holds for the far side is stored by this side only, and nothing this side does changes what
///   `far` shows.
/// * P2 Whole words. An aligned word of 32 or 64 bits is loaded as it was stored at some time, never in parts.
/// * P3 In order. The stores of one side, words and ring bytes alike, come into view in the order in which they were
///   made: who loads (acquire) what was stored (release) also sees all that was stored before it. What is in view
///   never goes back.
/// * P4 By themselves. A store comes into view sooner or later without a call of either side: looking again is enough.
///   Until then nothing is said about when; a look may see any earlier state, but none that never was.
/// * P5 Fences. If both sides store, pass a full fence and then load what the other stored, at least one sees the
///   other's store (SWITCH.md §3). So whoever publishes, fences and finds nobody asleep was seen by the next to sleep.
/// * P6 The kernel. Whoever has seen a byte or an end of the connection's kernel stream also sees what its sender stored
///   before it gave that to the kernel.
/// * P7 A copy. What this side loads from `own` is what it stored, as far as the far side is honest. It may be shown to
///   people and repaired from, no decision that touches memory rests on it; the truth is in family memory.
/// * P8 Anything. `far` may hold any value at any moment, and change between two loads of one word. A load of it never
///   faults, never waits, and is never charged to this side: not after the far side has ended, died, unmapped or tried
///   to shrink what is mapped here. It cannot be stored to.
/// * P9 The dead are heard. What had been stored when the far side ended or died comes into view and stays, until this
///   end is retired.
/// * P10 Nothing to begin with. Both memories are zeros before the first store.
/// * P11 Retired. After [`Path::retire`] both memories are zeros here, for this process alone; loads and stores
///   through handles that somebody still has do no harm and reach nobody. The addresses stay taken until
///   [`Path::unmap`].
/// * P12 Relatives. A fork child has both memories at the same addresses, and writes and reads for the same side.
pub trait Path: Copy {
    /// The memory this side writes.
    fn own(&self) -> &OwnRegion;
    /// The memory in which the far side's writing appears; of the same class as `own`.
    fn far(&self) -> &FarRegion;
    /// Ends the path in this process (P11).
    fn retire(&self);
    /// Gives the addresses back. No handle into either memory may be used any more.
    fn unmap(&self);
}

/// The path of one channel.
#[derive(Clone, Copy, Debug)]
pub enum Chosen {
    /// Two processes, one host.
    Shm(shm::Shm),
    /// One process.
    #[cfg(feature = "test-paths")]
    InProcess(in_process::InProcess),
    /// Faults around [`Chosen::Shm`].
    #[cfg(feature = "test-paths")]
    FaultyShm(faulty::Faulty<shm::Shm>),
    /// Faults around [`Chosen::InProcess`].
    #[cfg(feature = "test-paths")]
    FaultyInProcess(faulty::Faulty<in_process::InProcess>),
}

macro_rules! dispatch {
    ($chosen:expr, $path:ident => $do:expr) => {
        match $chosen {
            Chosen::Shm($path) => $do,
            #[cfg(feature = "test-paths")]
            Chosen::InProcess($path) => $do,
            #[cfg(feature = "test-paths")]
            Chosen::FaultyShm($path) => $do,
            #[cfg(feature = "test-paths")]
            Chosen::FaultyInProcess($path) => $do,
        }
    };
}

impl Path for Chosen {
    #[inline(always)]
    fn own(&self) -> &OwnRegion {
        dispatch!(self, path => path.own())
    }
    #[inline(always)]
    fn far(&self) -> &FarRegion {
        dispatch!(self, path => path.far())
    }
    fn retire(&self) {
        dispatch!(self, path => path.retire());
    }
    fn unmap(&self) {
        dispatch!(self, path => path.unmap());
    }
}

macro_rules! chosen_from {
    ($($path:ty = $kind:ident;)*) => {
        $(impl From<$path> for Chosen {
            fn from(path: $path) -> Chosen {
                Chosen::$kind(path)
            }
        })*
    };
}

chosen_from! { shm::Shm = Shm; }
#[cfg(feature = "test-paths")]
chosen_from! {
    in_process::InProcess = InProcess;
    faulty::Faulty<shm::Shm> = FaultyShm;
    faulty::Faulty<in_process::InProcess> = FaultyInProcess;
}
