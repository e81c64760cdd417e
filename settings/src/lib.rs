//! What a user can say to Axio, and how it is understood: one table of options, one parser, one grammar of rules.
//!
//! The library reads these at start-up inside a foreign process and the command reads them before it starts one, so
//! both must come to the same answer: neither has an option list, a range or a rule of its own. Nothing here
//! allocates, panics, or makes a system call; files are read by the caller.
//!
//! A setting that is not understood is never guessed at. Every error names the option, the offending text and what is
//! allowed, and [`Settings::parse`] then answers with acceleration off: a misspelt rule must not put a socket on a
//! path that its writer wanted to forbid.
//!
//! * [`options`]: the table: name, kind, default, range, sentence.
//! * [`values`]: what the options mean once they are understood.
//! * [`parse`]: from an environment to [`Settings`].
//! * [`rules`]: which sockets go fast: the table that is asked, first match wins.
//! * [`rule_text`]: the grammar of a rule, and its errors.
//! * [`error`]: one line for a wrong setting.
//! * [`nearest`]: the name somebody probably meant.
//! * [`document`]: the table as the text of `OPTIONS.md`.
#![no_std]
#![forbid(unsafe_code)]
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

pub mod document;
pub mod error;
pub mod nearest;
pub mod options;
pub mod parse;
pub mod rule_text;
pub mod rules;
pub mod values;

pub use error::SettingsError;
pub use parse::Settings;
pub use rules::{Choice, Protocol, Role, Rules};
pub use values::{LogLevel, Mode, PathText, Upgrade};
