//! The values of an endpoint's words that say what it is and how far it has come.

/// How far an endpoint has come.
pub mod binding {
    /// No channel (yet, or not any more): plain kernel socket.
    pub const NONE: u32 = 0;
    /// Has a slot in a channel.
    pub const BOUND: u32 = 1;
    /// Has left its channel for good: plain kernel socket for ever.
    pub const LEFT: u32 = 2;
    /// The far side lied, or somebody used the socket behind us: every call says ECONNRESET, end of stream or EPIPE.
    pub const CONDEMNED: u32 = 3;
}

/// Values of `Endpoint::keof`, which only ever grows.
pub mod kernel_end {
    /// The stream goes on, as far as anybody has seen.
    pub const OPEN: u32 = 0;
    /// It has ended.
    pub const ENDED: u32 = 1;
    /// It has ended, and nobody had announced that: the far process is dead.
    pub const DEATH: u32 = 2;
}

/// Values of `Endpoint::pestered`, which only ever grows.
pub mod pestered {
    /// No.
    pub const NO: u32 = 0;
    /// The far side wakes this one for nothing; the connection is to be given up.
    pub const NOTICED: u32 = 1;
    /// It was given up.
    pub const GIVEN_UP: u32 = 2;
}

pub use kmod_interface::statistics::role;
