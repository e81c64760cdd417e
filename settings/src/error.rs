//! One line for a wrong setting: the option, the offending text, what is allowed.

use core::fmt::{self, Write};

use crate::options::{Kind, OPTIONS};
use crate::rule_text::RuleError;

/// Room that every line fits into, whatever a user wrote.
pub const LINE_BYTES: usize = 512;
/// Most bytes of a user's text that a line repeats.
const QUOTED_BYTES: usize = 64;
/// Largest file of rules that is read.
pub const RULES_FILE_BYTES_MAX: usize = 64 * 1024;

/// What is wrong with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind<'text> {
    /// No option has this name; perhaps this one was meant.
    UnknownOption(Option<&'static str>),
    /// The value is not of this kind or not within its bounds.
    BadValue(Kind),
    /// A rule cannot be understood.
    BadRule(RuleError<'text>),
    /// The file of rules cannot be read, is no regular file or is too large.
    UnreadableFile,
}

/// A wrong setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsError<'text> {
    /// Name of the environment variable.
    pub option: &'text [u8],
    /// Its value.
    pub value: &'text [u8],
    /// What is wrong with it.
    pub kind: ErrorKind<'text>,
}

impl SettingsError<'_> {
    /// Writes the whole line, `axio: …` with its new line at the end, and returns its length. A buffer shorter than
    /// [`LINE_BYTES`] may cut it; a new line still ends it.
    #[must_use]
    pub fn write_line(&self, buffer: &mut [u8]) -> usize {
        let room = buffer.len().saturating_sub(1);
        let mut line = Line {
            buffer: buffer.get_mut(..room).unwrap_or(&mut []),
            length: 0,
        };
        // A full buffer is the only failure, and then the beginning is what there is to say.
        let _ = write!(line, "axio: {self}");
        let length = line.length;
        match buffer.get_mut(length) {
            Some(end) => {
                *end = b'\n';
                length + 1
            }
            None => 0,
        }
    }

    /// What would have been right, for people.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        match self.kind {
            ErrorKind::UnknownOption(_) => Allowed::Names,
            ErrorKind::BadValue(kind) => Allowed::Value(kind),
            ErrorKind::BadRule(error) => Allowed::Text(error.part.allowed()),
            ErrorKind::UnreadableFile => Allowed::Text("a readable regular file of at most 64 KiB"),
        }
    }
}

const _: () = assert!(
    RULES_FILE_BYTES_MAX == 64 << 10,
    "the sentence above names the size"
);

/// The message without prefix and new line.
impl fmt::Display for SettingsError<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Plain(self.option);
        match self.kind {
            ErrorKind::UnknownOption(nearest) => {
                write!(formatter, "{name}: there is no such option")?;
                if let Some(nearest) = nearest {
                    write!(formatter, ", did you mean {nearest}?")?;
                }
            }
            ErrorKind::BadValue(_) => {
                write!(formatter, "{name}: {} is not allowed", Quoted(self.value))?
            }
            ErrorKind::BadRule(error) => {
                write!(formatter, "{name}: ")?;
                return error.fmt(formatter);
            }
            ErrorKind::UnreadableFile => {
                write!(formatter, "{name}: {} cannot be read", Quoted(self.value))?
            }
        }
        write!(formatter, "; allowed: {}", self.allowed())
    }
}

/// What is allowed in some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The names of the options.
    Names,
    /// A value of this kind.
    Value(Kind),
    /// This.
    Text(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Names => {
                for (index, row) in OPTIONS.iter().enumerate() {
                    formatter.write_str(if index > 0 { " " } else { "" })?;
                    formatter.write_str(row.name)?;
                }
                Ok(())
            }
            Allowed::Value(kind) => kind.fmt(formatter),
            Allowed::Text(text) => formatter.write_str(text),
        }
    }
}

/// A user's text in quotes: one line whatever it holds, cut when long.
pub(crate) struct Quoted<'text>(pub &'text [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", Plain(self.0))
    }
}

struct Plain<'text>(&'text [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..QUOTED_BYTES).unwrap_or(self.0);
        for byte in shown {
            match byte {
                b' '..=b'~' => formatter.write_char(char::from(*byte))?,
                // A terminal must not be told anything by an environment variable.
                _ => formatter.write_char('?')?,
            }
        }
        if shown.len() < self.0.len() {
            formatter.write_str("...")?;
        }
        Ok(())
    }
}

/// Text into a fixed buffer; what does not fit is cut.
struct Line<'buffer> {
    buffer: &'buffer mut [u8],
    length: usize,
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let rest = self.buffer.get_mut(self.length..).unwrap_or(&mut []);
        let taken = rest.len().min(text.len());
        if let (Some(into), Some(from)) = (rest.get_mut(..taken), text.as_bytes().get(..taken)) {
            into.copy_from_slice(from);
        }
        self.length += taken;
        if taken == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::options::OptionRow;
    use std::string::{String, ToString};

    fn line(error: SettingsError<'_>, room: usize) -> String {
        let mut buffer = [0u8; 1024];
        let length = error.write_line(&mut buffer[..room]);
        String::from_utf8(buffer[..length].to_vec()).expect("ASCII")
    }

    #[test]
    fn a_line_names_option_value_and_what_is_allowed() {
        let row = OptionRow::named(b"AXIO_UPGRADE").expect("there");
        let error = SettingsError {
            option: b"AXIO_UPGRADE",
            value: b"eagre",
            kind: ErrorKind::BadValue(row.kind),
        };
        assert_eq!(
            line(error, 512),
            "axio: AXIO_UPGRADE: \"eagre\" is not allowed; allowed: evidence|eager\n"
        );
    }

    #[test]
    fn a_line_is_one_line_and_fits_whatever_the_user_wrote() {
        let long = [b'\n'; 5000];
        for kind in [
            ErrorKind::UnknownOption(Some("AXIO_RULES_FILE")),
            ErrorKind::BadValue(Kind::Rules),
            ErrorKind::UnreadableFile,
            ErrorKind::BadRule(RuleError {
                rule: usize::MAX,
                line: usize::MAX,
                word: &long,
                part: crate::rule_text::Part::Endpoint,
            }),
        ] {
            let error = SettingsError {
                option: &long,
                value: &long,
                kind,
            };
            let text = line(error, LINE_BYTES);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(
                text.ends_with('\n') && text.len() < LINE_BYTES,
                "{} {text}",
                text.len()
            );
            assert!(text.contains(&error.allowed().to_string()), "{text}");
        }
    }

    #[test]
    fn a_short_buffer_cuts_the_line_and_still_ends_it() {
        let error = SettingsError {
            option: b"AXIO_NO",
            value: b"",
            kind: ErrorKind::UnknownOption(None),
        };
        assert_eq!(line(error, 12), "axio: AXIO_\n");
        assert_eq!(line(error, 1), "\n");
        assert_eq!(line(error, 0), "");
    }
}
