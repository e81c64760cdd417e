//! Who is to blame: the one error type of this crate.
//!
//! The shim maps it to errno in one exhaustive place; nothing here knows POSIX numbers but [`Blame::Os`].

/// Why an operation on shared memory or a carrier did not happen, named by whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The far side wrote something impossible; the text names the word and the rule. Ends that connection alone
    /// (TRUST.md, "Memory, credentials, storms").
    PeerMisbehaved(&'static str),
    /// The far side has left or died.
    PeerGone,
    /// This machine, build or carrier cannot do it.
    Unsupported,
    /// A bounded table, pool or quota of this side is full.
    Exhausted,
    /// The kernel refused; its errno.
    Os(i32),
}
