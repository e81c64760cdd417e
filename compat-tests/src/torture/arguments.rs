//! The command lines of the test programs: `--name value` and `--flag`, nothing else, misspelt ones refused.

use crate::command::own_program;
use crate::library;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

/// One option a program knows.
pub struct Known {
    /// With its dashes.
    pub name: &'static str,
    /// What its value is called; empty for a flag.
    pub value: &'static str,
    /// For the help.
    pub sentence: &'static str,
}

/// An option, in a program's list of them.
#[must_use]
pub const fn known(name: &'static str, value: &'static str, sentence: &'static str) -> Known {
    Known {
        name,
        value,
        sentence,
    }
}

/// What was given.
#[derive(Debug, Default)]
pub struct Arguments {
    given: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads the process's arguments; prints help or a refusal and ends the process where that is the answer.
    #[must_use]
    pub fn from_command_line(program: &str, idea: &str, known: &[Known]) -> Arguments {
        library::answer_if_asked();
        match Arguments::parse(std::env::args().skip(1), known) {
            Ok(Some(arguments)) => arguments,
            Ok(None) => {
                println!("{program}: {idea}\n\n{}", help(known));
                std::process::exit(0);
            }
            Err(text) => {
                eprintln!("{program}: {text}\n\n{}", help(known));
                std::process::exit(2);
            }
        }
    }

    /// Reads a list of arguments; nothing when help was asked for.
    pub fn parse(
        mut list: impl Iterator<Item = String>,
        known: &[Known],
    ) -> Result<Option<Arguments>, String> {
        let mut arguments = Arguments::default();
        while let Some(name) = list.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let Some(option) = known.iter().find(|option| option.name == name) else {
                return Err(format!("unknown option {name}"));
            };
            let value = if option.value.is_empty() {
                String::new()
            } else {
                list.next()
                    .ok_or_else(|| format!("{name} needs a value ({})", option.value))?
            };
            arguments.given.insert(name, value);
        }
        Ok(Some(arguments))
    }

    /// True when the option was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The option's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// The option's number; ends the process when it is none.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(number) => Some(number),
            Err(_) => refuse(&format!("{name} needs a number, not '{text}'")),
        }
    }

    /// The option's half-open range, written `A..B`; a single number is a range of one.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<Range<u64>> {
        let text = self.text(name)?;
        let parsed = match text.split_once("..") {
            None => text.parse().ok().map(|n: u64| n..n + 1),
            Some((from, to)) => match (from.parse(), to.parse()) {
                (Ok(from), Ok(to)) if from < to => Some(from..to),
                _ => None,
            },
        };
        match parsed {
            Some(range) => Some(range),
            None => refuse(&format!("{name} needs a range like 0..100, not '{text}'")),
        }
    }

    /// The path of the shim given with `--library`, absolute; ends the process when there is no such file, or a library
    /// that does nothing.
    #[must_use]
    pub fn library(&self) -> Option<PathBuf> {
        let text = self.text("--library")?;
        match std::fs::canonicalize(text) {
            Ok(path) => match library::must_answer(&own_program(), &path) {
                Ok(()) => Some(path),
                Err(error) => refuse(&error),
            },
            Err(error) => refuse(&format!("--library {text}: {error}")),
        }
    }
}

/// Says what is wrong and ends the process.
pub fn refuse(text: &str) -> ! {
    eprintln!("{text}");
    std::process::exit(2);
}

fn help(known: &[Known]) -> String {
    let lines: Vec<String> = known
        .iter()
        .filter(|option| !option.sentence.is_empty())
        .map(|option| {
            let left = format!("{} {}", option.name, option.value);
            format!("  {left:<22} {}", option.sentence)
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        Known {
            name: "--seeds",
            value: "A..B",
            sentence: "which",
        },
        Known {
            name: "--quick",
            value: "",
            sentence: "shorter",
        },
    ];

    fn parse(list: &[&str]) -> Result<Option<Arguments>, String> {
        Arguments::parse(list.iter().map(|text| (*text).to_owned()), KNOWN)
    }

    #[test]
    fn options_are_read_and_misspelt_ones_refused() {
        let arguments = parse(&["--seeds", "3..7", "--quick"]).unwrap().unwrap();
        assert_eq!(arguments.range("--seeds"), Some(3..7));
        assert!(arguments.has("--quick"));
        assert_eq!(arguments.number("--bytes"), None);
        assert!(parse(&["--sedes", "3"]).is_err());
        assert!(parse(&["--seeds"]).is_err());
        assert!(parse(&["--help"]).unwrap().is_none());
    }
}
