//! From an environment to [`Settings`].
//!
//! A variable counts when its name is `AXIO` or begins with `AXIO_`; of several with one name the first counts, as for
//! `getenv`. A variable that is set to nothing is as one that is not set, because shells and service managers cannot
//! unset what they inherited. After any error acceleration is off, and everything else is as it was understood, so
//! that the caller knows how loud and how strict it shall be about it.

use crate::error::{ErrorKind, SettingsError};
use crate::nearest::nearest;
use crate::options::{Kind, OPTIONS, OptionKey, OptionRow, is_ours};
use crate::rule_text::number;
use crate::rules::Rules;
use crate::values::{LogLevel, Mode, PathText, Upgrade};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `AXIO`.
    pub mode: Mode,
    /// `AXIO_RULES`, and behind them those of the file once [`Self::add_rules_file`] was called.
    pub rules: Rules,
    /// `AXIO_RULES_FILE`; empty when not set. The caller reads it.
    pub rules_file: PathText,
    /// `AXIO_UPGRADE`.
    pub upgrade: Upgrade,
    /// `AXIO_SPIN_US`: longest spin in microseconds; nothing when it adapts.
    pub spin_us: Option<u32>,
    /// `AXIO_STRICT`.
    pub strict: bool,
    /// `AXIO_REPORT`; empty when not set.
    pub report: PathText,
    /// `AXIO_LOG`.
    pub log: LogLevel,
    /// `AXIO_SLOTS`: most connections accelerated per pair of processes.
    pub slots: u32,
}

/// Errors that are kept; more are counted only.
pub const ERRORS_MAX: usize = 8;

/// What was wrong with an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors<'text> {
    kept: [Option<SettingsError<'text>>; ERRORS_MAX],
    count: usize,
}

impl<'text> Errors<'text> {
    const NONE: Errors<'text> = Errors {
        kept: [None; ERRORS_MAX],
        count: 0,
    };

    fn add(&mut self, error: SettingsError<'text>) {
        if let Some(place) = self.kept.get_mut(self.count) {
            *place = Some(error);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether everything was understood.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there were, those included that were not kept.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The first of them, in the order of the environment.
    pub fn iter(&self) -> impl Iterator<Item = &SettingsError<'text>> {
        self.kept.iter().flatten()
    }
}

impl Settings {
    /// What holds when nothing is set.
    #[must_use]
    pub const fn defaults(preloaded: bool) -> Settings {
        Settings {
            mode: if preloaded { Mode::On } else { Mode::OptIn },
            rules: Rules::NONE,
            rules_file: PathText::EMPTY,
            upgrade: Upgrade::Evidence,
            spin_us: None,
            strict: false,
            report: PathText::EMPTY,
            log: LogLevel::Error,
            slots: 1024,
        }
    }

    /// Reads an environment, `preloaded` when the library came by LD_PRELOAD and not by linking. The caller has made
    /// sure that the process is not running with the rights of another (AT_SECURE): there no variable may be read.
    #[must_use]
    pub fn parse<'text>(
        preloaded: bool,
        environment: impl Iterator<Item = (&'text [u8], &'text [u8])>,
    ) -> (Settings, Errors<'text>) {
        let mut settings = Settings::defaults(preloaded);
        let mut errors = Errors::NONE;
        let mut seen = [false; OPTIONS.len()];
        for (name, value) in environment.filter(|(name, _)| is_ours(name)) {
            let place = OPTIONS
                .iter()
                .zip(&mut seen)
                .find(|(row, _)| row.name.as_bytes() == name);
            let kind = match place {
                None => ErrorKind::UnknownOption(nearest(name, OPTIONS.iter().map(|row| row.name))),
                Some((row, seen)) => {
                    let first = !core::mem::replace(seen, true);
                    if !first || value.is_empty() {
                        continue;
                    }
                    match settings.store(row, value) {
                        Ok(()) => continue,
                        Err(kind) => kind,
                    }
                }
            };
            errors.add(SettingsError {
                option: name,
                value,
                kind,
            });
        }
        if !errors.is_empty() {
            settings.mode = Mode::Off;
        }
        (settings, errors)
    }

    /// Adds the rules of the file that [`Self::rules_file`] names; `contents` is nothing when it could not be read.
    pub fn add_rules_file<'text>(
        &mut self,
        path: &'text [u8],
        contents: Option<&'text [u8]>,
    ) -> Result<(), SettingsError<'text>> {
        let kind = match contents.map(|contents| self.rules.add_text(contents)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => ErrorKind::BadRule(error),
            None => ErrorKind::UnreadableFile,
        };
        self.mode = Mode::Off;
        Err(SettingsError {
            option: b"AXIO_RULES_FILE",
            value: path,
            kind,
        })
    }

    fn store<'text>(
        &mut self,
        row: &OptionRow,
        value: &'text [u8],
    ) -> Result<(), ErrorKind<'text>> {
        let bad = ErrorKind::BadValue(row.kind);
        match row.key {
            OptionKey::Mode => self.mode = word(row, value, &Mode::ALL).ok_or(bad)?,
            OptionKey::Rules => self.rules.add_text(value).map_err(ErrorKind::BadRule)?,
            OptionKey::RulesFile => self.rules_file = PathText::new(value).ok_or(bad)?,
            OptionKey::Upgrade => self.upgrade = word(row, value, &Upgrade::ALL).ok_or(bad)?,
            OptionKey::SpinMicroseconds => self.spin_us = Some(within(row, value).ok_or(bad)?),
            OptionKey::Strict => self.strict = word(row, value, &[false, true]).ok_or(bad)?,
            OptionKey::Report => self.report = PathText::new(value).ok_or(bad)?,
            OptionKey::Log => self.log = word(row, value, &LogLevel::ALL).ok_or(bad)?,
            OptionKey::Slots => self.slots = within(row, value).ok_or(bad)?,
        }
        Ok(())
    }
}

/// The value whose word this is.
fn word<Value: Copy>(row: &OptionRow, value: &[u8], values: &[Value]) -> Option<Value> {
    let Kind::Words(words) = row.kind else {
        return None;
    };
    let (_, value) = words
        .iter()
        .zip(values)
        .find(|(word, _)| word.as_bytes() == value)?;
    Some(*value)
}

/// The number, if it is within the bounds of the row.
fn within(row: &OptionRow, value: &[u8]) -> Option<u32> {
    let Kind::Number { least, most } = row.kind else {
        return None;
    };
    number(value).filter(|number| (least..=most).contains(number))
}

/// Takes `NAME=value` apart, as `environ` holds it.
#[must_use]
pub fn split_variable(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = entry.iter().position(|byte| *byte == b'=')?;
    Some((entry.get(..equals)?, entry.get(equals + 1..)?))
}
