//! Records of the control event queue. Advisory: read at the next call on the channel; the truth is in the entry.
//! On device paths the daemon or the kernel module is their writer.
//!
//! ```text
//!   u32 kind | u32 slot | u32 generation | u32 cause | u64 stamp | u64 reserved
//! ```

/// Size of a record.
pub const BYTES: usize = 32;
/// u32: [`Kind`].
pub const KIND: usize = 0;
/// u32: the slot.
pub const SLOT: usize = 4;
/// u32: the slot's generation.
pub const GENERATION: usize = 8;
/// u32: cause, a [`crate::reason::Reason`] code.
pub const CAUSE: usize = 12;
/// u64: time stamp counter when it was written.
pub const STAMP: usize = 16;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The slot's connection should go back to the kernel.
    RevertOne = 1,
    /// Every connection of the channel should go back to the kernel.
    RevertAll = 2,
    /// Something failed on the slot; the cause says what.
    Error = 3,
    /// A quota was reached; no further claims are taken.
    Quota = 4,
}

impl Kind {
    /// The kind of a code read from the far side, or nothing when it is none.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Kind> {
        match code {
            1 => Some(Kind::RevertOne),
            2 => Some(Kind::RevertAll),
            3 => Some(Kind::Error),
            4 => Some(Kind::Quota),
            _ => None,
        }
    }
}
