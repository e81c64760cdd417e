//! What options mean once they are understood. Each word list stands beside the values it names, so that the table
//! can show it and the parser cannot know another.

use core::fmt;

/// Longest file name, without its final zero byte (PATH_MAX of Linux counts that byte).
pub const PATH_BYTES_MAX: usize = 4095;

/// Master switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Accelerate what the rules allow.
    On,
    /// Do nothing at all.
    Off,
    /// Accelerate only the sockets for which the program asks.
    OptIn,
}

impl Mode {
    /// Their names, in the order of [`Self::ALL`].
    pub const WORDS: [&'static str; 3] = ["on", "off", "optin"];
    /// Every value.
    pub const ALL: [Mode; 3] = [Mode::On, Mode::Off, Mode::OptIn];
}

/// When a connection moves to a ring (DESIGN.md D4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// At its second request, or after a volume of bytes in one direction.
    Evidence,
    /// At connect and accept.
    Eager,
}

impl Upgrade {
    /// Their names, in the order of [`Self::ALL`].
    pub const WORDS: [&'static str; 2] = ["evidence", "eager"];
    /// Every value.
    pub const ALL: [Upgrade; 2] = [Upgrade::Evidence, Upgrade::Eager];
}

/// Least important message that is written; the order is that of importance, so `level <= limit` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Something the user has to repair.
    Error,
    /// Something that will surprise.
    Warn,
    /// What happened to connections.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// Their names, in the order of [`Self::ALL`].
    pub const WORDS: [&'static str; 5] = ["off", "error", "warn", "info", "debug"];
    /// Every value.
    pub const ALL: [LogLevel; 5] = [
        LogLevel::Off,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
    ];
}

/// A file name of its own: the environment it came from may be changed or freed by the program at any time.
#[derive(Clone, Copy)]
pub struct PathText {
    // One byte more than a name can have: the last one stays zero.
    bytes: [u8; PATH_BYTES_MAX + 1],
    length: usize,
}

impl PathText {
    /// No file.
    pub const EMPTY: PathText = PathText {
        bytes: [0; PATH_BYTES_MAX + 1],
        length: 0,
    };

    /// A copy of `path`, or nothing when it is too long or holds a zero byte.
    #[must_use]
    pub fn new(path: &[u8]) -> Option<PathText> {
        let mut text = PathText::EMPTY;
        if path.len() > PATH_BYTES_MAX || path.contains(&0) {
            return None;
        }
        text.bytes.get_mut(..path.len())?.copy_from_slice(path);
        text.length = path.len();
        Some(text)
    }

    /// Whether no file was named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The name without a final zero byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// The name as system calls take it.
    #[must_use]
    pub fn as_c_str(&self) -> &core::ffi::CStr {
        core::ffi::CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

impl PartialEq for PathText {
    fn eq(&self, other: &PathText) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PathText {}

impl fmt::Debug for PathText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_c_str(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_bounded_and_keeps_its_final_zero() {
        let longest = [b'a'; PATH_BYTES_MAX];
        let text = PathText::new(&longest).expect("fits");
        assert_eq!(text.as_bytes(), longest);
        assert_eq!(text.as_c_str().to_bytes(), longest);
        assert!(PathText::new(&[b'a'; PATH_BYTES_MAX + 1]).is_none());
        assert!(PathText::new(b"a\0b").is_none());
        assert!(PathText::EMPTY.is_empty());
    }

    #[test]
    fn levels_are_ordered_by_importance() {
        assert!(LogLevel::Error <= LogLevel::Info && LogLevel::Debug > LogLevel::Info);
    }
}
