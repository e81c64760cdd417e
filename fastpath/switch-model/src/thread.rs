//! A thread of the model: what it is for, where it stands, and what it remembers.

use crate::place::Place;

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// Writes its direction's bytes, then shuts down.
    Writer,
    /// Reads to the end.
    Reader,
    /// Leaves, once.
    Leaver,
    /// Gives the slot up: calls of other connections, or of this one behind the program's back.
    Giver,
    /// Writes all its bytes first and reads all of the other direction's afterwards: still writing.
    WritesFirst,
    /// The same thread, reading.
    ReadsAfterwards,
    /// No thread.
    Nobody,
}

/// What a thread carries from one step to a later one, beside its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Carried {
    /// Nothing.
    Nothing,
    /// A writer that retreats because it pleases.
    Whim,
    /// A writer that has slept 10 ms on a full ring (§2.5).
    SleptLong,
    /// A reader that came back from a consuming recv.
    Received {
        /// Bytes taken; none: the kernel stream ended.
        count: u8,
        /// Which of them were bells (only where a deliberate bug sorts them out so late).
        bells: [bool; 2],
    },
    /// A reader that counted what the kernel holds.
    Counted {
        /// Bytes there, at most two.
        count: u8,
        /// None, and the kernel stream ended.
        end: bool,
    },
    /// A reader that loaded the words that end or switch the ring.
    Looked(RingEnds),
    /// A giver that has looked at how the own direction stands.
    Sending {
        /// It is settled.
        settled: bool,
    },
    /// Deliberate bug: looked at `ep` before counting.
    LookedBeforeCount {
        /// `ep` had changed.
        switched: bool,
    },
    /// Deliberate bug: looked for data before the words that end or switch the ring.
    LookedForData {
        /// There was some.
        found: bool,
    },
    /// Deliberate bug: compared the epoch before publishing.
    Compared(bool),
    /// Deliberate bug: rang before remembering so.
    RangFirst,
}

/// The words that end or switch the ring, as loaded before `tail` (§2.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RingEnds {
    /// `ep` is not `rx_ep`.
    pub switched: bool,
    /// `fin`.
    pub fin: bool,
    /// `keof`.
    pub keof: bool,
}

/// One thread.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Thread {
    /// The side it belongs to; 2 for nobody.
    pub side: u8,
    /// What it is for.
    pub role: Role,
    /// Its program counter.
    pub place: Place,
    /// What it remembers.
    pub carried: Carried,
}

impl Thread {
    /// An unused place in the table of threads.
    pub const NOBODY: Self = Self {
        side: 2,
        role: Role::Nobody,
        place: Place::Ended,
        carried: Carried::Nothing,
    };
    /// The thread belongs to side `side`.
    pub fn is_of(&self, side: usize) -> bool {
        usize::from(self.side) == side
    }
}
