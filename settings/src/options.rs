//! The options: one table from which the parser, `OPTIONS.md`, `axio run --show-options` and the flags of `axio run`
//! are made. A new option is a new row, a field of [`crate::Settings`] and one line where it is stored; nothing else.

use core::fmt;

use crate::values::{LogLevel, Mode, PATH_BYTES_MAX, Upgrade};

/// Which option a row describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKey {
    /// Master switch.
    Mode,
    /// Rules as text.
    Rules,
    /// File with rules.
    RulesFile,
    /// When a connection moves to the ring.
    Upgrade,
    /// Spin budget.
    SpinMicroseconds,
    /// Failures become errors.
    Strict,
    /// Report at exit.
    Report,
    /// Messages on standard error.
    Log,
    /// Connections accelerated per pair of processes.
    Slots,
}

/// What kind of text an option takes, and within which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words, exactly.
    Words(&'static [&'static str]),
    /// A decimal number in this range, both ends included.
    Number {
        /// Smallest value.
        least: u32,
        /// Largest value.
        most: u32,
    },
    /// A file name.
    Path,
    /// Rules, see [`crate::rules`].
    Rules,
}

impl Kind {
    /// One word for the kind, as documents show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Words(_) => "word",
            Kind::Number { .. } => "number",
            Kind::Path => "path",
            Kind::Rules => "rules",
        }
    }
}

/// Shows what is allowed: `on|off|optin`, `0 to 1000`, ….
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Words(words) => {
                for (index, word) in words.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str("|")?;
                    }
                    formatter.write_str(word)?;
                }
                Ok(())
            }
            Kind::Number { least, most } => write!(formatter, "{least} to {most}"),
            Kind::Path => write!(formatter, "a path of at most {PATH_BYTES_MAX} bytes"),
            Kind::Rules => formatter.write_str(crate::rule_text::GRAMMAR),
        }
    }
}

/// What holds when an option is not set, or set to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// As if this had been written.
    Value(&'static str),
    /// Depends on how the library came into the process.
    HowLoaded {
        /// By LD_PRELOAD, or by `axio run`.
        preloaded: &'static str,
        /// Because the program is linked with it.
        linked: &'static str,
    },
    /// No value that could be written has this effect.
    Unset(&'static str),
}

/// Shows the default for people.
impl fmt::Display for DefaultValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Value(value) => formatter.write_str(value),
            DefaultValue::HowLoaded { preloaded, linked } => {
                write!(
                    formatter,
                    "{preloaded} when preloaded, {linked} when linked"
                )
            }
            DefaultValue::Unset(effect) => write!(formatter, "not set: {effect}"),
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRow {
    /// Which one.
    pub key: OptionKey,
    /// Name of the environment variable.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub default: DefaultValue,
    /// Whether a program can see a difference other than speed.
    pub changes_semantics: bool,
    /// One sentence for people.
    pub sentence: &'static str,
}

/// Most options there may ever be: a thing with more knobs than this has not been thought through.
pub const OPTIONS_MAX: usize = 15;

/// Every variable with this prefix, and the bare word without the underscore, is meant for Axio.
pub const PREFIX: &[u8] = b"AXIO_";
/// The variable that is the prefix without its underscore.
pub const MASTER: &[u8] = b"AXIO";

/// Most connections per pair of processes that can be asked for; the channel's own bound.
pub const SLOTS_MAX: u32 = 1024;

/// The options.
pub const OPTIONS: &[OptionRow] = &[
    OptionRow {
        key: OptionKey::Mode,
        name: "AXIO",
        kind: Kind::Words(&Mode::WORDS),
        default: DefaultValue::HowLoaded {
            preloaded: "on",
            linked: "optin",
        },
        changes_semantics: false,
        sentence: "Master switch: `on` accelerates what the rules allow, `off` leaves no trace but the loaded \
                   library, `optin` accelerates only sockets for which the program asks with the `AXIO_SIOCACCEL` ioctl. \
                   Preloaded means named by `LD_PRELOAD`; one that `/etc/ld.so.preload` names counts as linked.",
    },
    OptionRow {
        key: OptionKey::Rules,
        name: "AXIO_RULES",
        kind: Kind::Rules,
        default: DefaultValue::Unset("the built-in rules alone"),
        changes_semantics: false,
        sentence: "Which sockets are accelerated, separated by `;` or new lines; the first rule that matches decides, \
                   then those of `AXIO_RULES_FILE`, then the built-in ones.",
    },
    OptionRow {
        key: OptionKey::RulesFile,
        name: "AXIO_RULES_FILE",
        kind: Kind::Path,
        default: DefaultValue::Unset("no file is read"),
        changes_semantics: false,
        sentence: "File with rules, one a line, `#` begins a comment; they come after those of `AXIO_RULES`.",
    },
    OptionRow {
        key: OptionKey::Upgrade,
        name: "AXIO_UPGRADE",
        kind: Kind::Words(&Upgrade::WORDS),
        default: DefaultValue::Value("evidence"),
        changes_semantics: false,
        sentence: "When a connection begins to move to a ring: `evidence` at its second request, so that one-request \
                   connections cost nothing; `eager` at connect and accept, for measurements and tests.",
    },
    OptionRow {
        key: OptionKey::SpinMicroseconds,
        name: "AXIO_SPIN_US",
        kind: Kind::Number {
            least: 0,
            most: 1000,
        },
        default: DefaultValue::Unset("adapts to the wake-up latency of the machine"),
        changes_semantics: false,
        sentence: "Longest time in microseconds that a wait looks at a ring before it sleeps in the kernel; `0` never spins.",
    },
    OptionRow {
        key: OptionKey::Strict,
        name: "AXIO_STRICT",
        kind: Kind::Words(&["0", "1"]),
        default: DefaultValue::Value("0"),
        changes_semantics: true,
        sentence: "For tests: with `1` wrong settings end the program at its start, `axio run` starts nothing that it \
                   cannot accelerate, and a socket that should have been accelerated and was not (a reason of the \
                   class *failed*; of `timed_out` the last) is reset (`ECONNRESET`), with a line on standard error; others go on.",
    },
    OptionRow {
        key: OptionKey::Report,
        name: "AXIO_REPORT",
        kind: Kind::Path,
        default: DefaultValue::Unset("no report"),
        changes_semantics: false,
        sentence: "File to which each process appends one line of JSON at its exit: bytes by ring and by kernel, every \
                   counter, reasons. One that execs, or tries to, appends what it has to tell by then. A relative path is taken from the directory the process is in at its exit.",
    },
    OptionRow {
        key: OptionKey::Log,
        name: "AXIO_LOG",
        kind: Kind::Words(&LogLevel::WORDS),
        default: DefaultValue::Value("error"),
        changes_semantics: false,
        sentence: "Least important message that is written to standard error: `error` what Axio itself cannot do, `warn` \
                   why a socket is not accelerated that should be, `info` why any is not, and when one is.",
    },
    OptionRow {
        key: OptionKey::Slots,
        name: "AXIO_SLOTS",
        kind: Kind::Number {
            least: 16,
            most: SLOTS_MAX,
        },
        default: DefaultValue::Value("1024"),
        changes_semantics: false,
        sentence: "Most connections between the same two processes that are accelerated at a time; quiet ones give \
                   their place to busy ones.",
    },
];

const _: () = assert!(OPTIONS.len() <= OPTIONS_MAX);

impl OptionRow {
    /// The row of an environment variable, or nothing if there is no such option.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<&'static OptionRow> {
        OPTIONS.iter().find(|row| row.name.as_bytes() == name)
    }

    /// The row of a key.
    #[must_use]
    pub fn of(key: OptionKey) -> Option<&'static OptionRow> {
        OPTIONS.iter().find(|row| row.key == key)
    }
}

/// Whether an environment variable is meant for Axio, known or not.
#[must_use]
pub fn is_ours(name: &[u8]) -> bool {
    name == MASTER || name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_unique_and_ours() {
        for row in OPTIONS {
            assert!(is_ours(row.name.as_bytes()));
            assert_eq!(
                OPTIONS
                    .iter()
                    .filter(|other| other.name == row.name)
                    .count(),
                1
            );
            assert_eq!(
                OPTIONS.iter().filter(|other| other.key == row.key).count(),
                1
            );
            assert_eq!(
                OptionRow::of(row.key),
                OptionRow::named(row.name.as_bytes())
            );
        }
    }

    #[test]
    fn other_programs_variables_are_not_ours() {
        for name in [
            "AXIOM_HOME",
            "AXIOS",
            "MY_AXIO_RULES",
            "axio",
            "axio_rules",
            "",
        ] {
            assert!(!is_ours(name.as_bytes()), "{name}");
        }
    }
}
