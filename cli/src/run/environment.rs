//! The environment a program will have: what was inherited, beaten by the flags.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use settings::error::RULES_FILE_BYTES_MAX;
use settings::options::{Kind, OptionRow};
use settings::rules::Rules;
use settings::{Mode, Settings, SettingsError};

use super::setting_flags::SettingFlags;

/// Variables, those of flags first; of two with one name the first counts.
pub struct Environment {
    variables: Vec<(OsString, OsString)>,
    flags: usize,
}

/// A setting that is wrong.
pub struct WrongSetting {
    /// The line, without prefix.
    pub message: String,
    /// Whether it came from the command line and not from the environment.
    pub from_flag: bool,
}

/// What the parser makes of the environment.
pub struct Understood {
    /// `AXIO`, off after an error.
    pub mode: Mode,
    /// `AXIO_STRICT`.
    pub strict: bool,
    /// What is wrong.
    pub errors: Vec<WrongSetting>,
    /// The rules, built-in ones behind those that were given.
    pub rules: Rules,
}

impl Environment {
    /// The environment of this process, and the flags of its command line.
    pub fn inherited(flags: &SettingFlags) -> Environment {
        let flags = flags.given.iter().map(|(name, value)| {
            let is_path =
                OptionRow::named(name.as_bytes()).is_some_and(|row| row.kind == Kind::Path);
            (
                OsString::from(name),
                if is_path {
                    absolute(value)
                } else {
                    OsString::from(value)
                },
            )
        });
        Environment::new(flags.collect(), std::env::vars_os().collect())
    }

    /// An environment of `flags` before `inherited`.
    pub fn new(
        flags: Vec<(OsString, OsString)>,
        inherited: Vec<(OsString, OsString)>,
    ) -> Environment {
        let count = flags.len();
        let mut variables = flags;
        variables.extend(inherited);
        Environment {
            variables,
            flags: count,
        }
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// Whether a variable was set by a flag.
    pub fn is_from_flag(&self, name: &[u8]) -> bool {
        self.variables
            .iter()
            .take(self.flags)
            .any(|(own, _)| own.as_bytes() == name)
    }

    /// What the options mean, by the same parser that the library uses.
    pub fn settings(&self) -> Understood {
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let (mut settings, errors) = Settings::parse(true, variables);
        let wrong = |error: &SettingsError<'_>| WrongSetting {
            message: error.to_string(),
            from_flag: self.is_from_flag(error.option),
        };
        let mut wrongs: Vec<_> = errors.iter().map(wrong).collect();
        let omitted = errors.count() - wrongs.len();
        if omitted > 0 {
            wrongs.push(WrongSetting {
                message: format!("and {omitted} more wrong settings"),
                from_flag: false,
            });
        }
        let path = settings.rules_file;
        if !path.is_empty() {
            let contents = read_rules_file(path.as_bytes());
            if let Err(error) = settings.add_rules_file(path.as_bytes(), contents.as_deref()) {
                wrongs.push(wrong(&error));
            }
        }
        Understood {
            mode: settings.mode,
            strict: settings.strict,
            errors: wrongs,
            rules: settings.rules,
        }
    }

    /// The variables as `execve` takes them, each name once, with this LD_PRELOAD.
    pub fn for_program(&self, preload: Option<OsString>) -> Vec<OsString> {
        let preload = preload.map(|value| (OsString::from("LD_PRELOAD"), value));
        let mut seen: Vec<&OsStr> = Vec::new();
        let mut list = Vec::new();
        for (name, value) in preload.iter().chain(&self.variables) {
            if !seen.contains(&name.as_os_str()) {
                seen.push(name);
                list.push(
                    [name.as_os_str(), OsStr::new("="), value]
                        .iter()
                        .copied()
                        .collect(),
                );
            }
        }
        list
    }
}

/// A path that means the same in every directory the program may go to.
fn absolute(path: &str) -> OsString {
    if path.is_empty() {
        return OsString::new();
    }
    std::path::absolute(path)
        .unwrap_or_else(|_| PathBuf::from(path))
        .into_os_string()
}

/// The file of rules; nothing when it is no regular file, too large or unreadable.
fn read_rules_file(path: &[u8]) -> Option<Vec<u8>> {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    if !std::fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut contents = Vec::new();
    let limit = u64::try_from(RULES_FILE_BYTES_MAX).ok()? + 1;
    std::fs::File::open(&path)
        .ok()?
        .take(limit)
        .read_to_end(&mut contents)
        .ok()?;
    (contents.len() <= RULES_FILE_BYTES_MAX).then_some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_flag_beats_its_variable_and_each_name_appears_once() {
        let environment = Environment::new(
            variables(&[("AXIO_LOG", "debug")]),
            variables(&[("A", "1"), ("AXIO_LOG", "nonsense"), ("LD_PRELOAD", "x.so")]),
        );
        assert!(environment.settings().errors.is_empty());
        assert!(environment.is_from_flag(b"AXIO_LOG") && !environment.is_from_flag(b"A"));
        assert_eq!(
            environment.for_program(Some("y.so".into())),
            ["LD_PRELOAD=y.so", "AXIO_LOG=debug", "A=1"]
        );
        assert_eq!(
            environment.for_program(None),
            ["AXIO_LOG=debug", "A=1", "LD_PRELOAD=x.so"]
        );
    }

    #[test]
    fn an_error_knows_whether_a_flag_caused_it() {
        let environment = Environment::new(
            variables(&[("AXIO_LOG", "loud")]),
            variables(&[
                ("AXIO_RULES_FILE", "/nonexistent/rules"),
                ("AXIO_STRICT", "1"),
            ]),
        );
        let understood = environment.settings();
        let found: Vec<_> = understood
            .errors
            .iter()
            .map(|error| (error.from_flag, error.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (
                    true,
                    "AXIO_LOG: \"loud\" is not allowed; allowed: off|error|warn|info|debug"
                ),
                (
                    false,
                    "AXIO_RULES_FILE: \"/nonexistent/rules\" cannot be read; allowed: a readable regular file of at most 64 KiB"
                ),
            ]
        );
        assert!(understood.strict && understood.mode == Mode::Off);
    }
}
