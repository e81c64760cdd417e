//! What can be wrong with a state or a step.

use std::fmt;

/// A broken promise, with what a reader of the table wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A bell reached the program.
    BellDelivered,
    /// Data was thrown away as a bell.
    DataDiscarded(u8),
    /// A byte came out of turn.
    OutOfOrder {
        /// What was delivered.
        delivered: u8,
        /// What was due.
        due: u8,
    },
    /// A survivor got less than was published, or less than an orderly close promises.
    BytesMissing {
        /// Bytes the sender's program wrote.
        written: u8,
        /// Bytes the receiver's program read.
        read: u8,
    },
    /// A reader returned without having been told the end.
    NoEndOfStream,
    /// A bell was sent to a closed socket, which answers RST.
    BellAtClosedSocket,
    /// A socket was closed with an unread bell: RST instead of FIN.
    ClosedOverBell,
    /// Bells pile up in a kernel stream.
    BellsPileUp,
    /// The next connection of a slot found words of the last one, or somebody else's, in it.
    SlotNotClean,
    /// Nobody can move: somebody sleeps for ever.
    DeadEnd,
    /// Somebody can move, but nothing leads to a good end: a lost wake-up, hidden in a loop.
    NoWayOut,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::BellDelivered => write!(out, "a bell was delivered to the program"),
            Violation::DataDiscarded(byte) => write!(out, "data byte {byte} thrown away as a bell"),
            Violation::OutOfOrder { delivered, due } => {
                write!(out, "byte {delivered} delivered where {due} was due")
            }
            Violation::BytesMissing { written, read } => {
                write!(out, "{written} bytes written, {read} read at the end")
            }
            Violation::NoEndOfStream => write!(out, "a reader ended without end of stream"),
            Violation::BellAtClosedSocket => write!(out, "a bell sent to a closed socket"),
            Violation::ClosedOverBell => write!(out, "closed with an unread bell"),
            Violation::BellsPileUp => write!(out, "bells pile up in a kernel stream"),
            Violation::SlotNotClean => {
                write!(
                    out,
                    "the slot's next connection found words that are not its own"
                )
            }
            Violation::DeadEnd => write!(out, "dead end: somebody sleeps for ever"),
            Violation::NoWayOut => write!(out, "no way to a good end from here"),
        }
    }
}
