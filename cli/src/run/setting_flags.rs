//! One flag per option of the table: `AXIO_SPIN_US` is `--spin-us`. Names, kinds and sentences are the table's, and
//! values are not looked at here: the one parser does that.

use crate::wrap::{COLUMNS, wrapped};
use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};
use settings::options::{Kind, MASTER, OPTIONS, OptionRow};

/// Width of a sentence in the help; clap indents it by ten.
const HELP_COLUMNS: usize = COLUMNS - 10;

/// The options that were given as flags.
pub struct SettingFlags {
    /// Name of the environment variable, and the value.
    pub given: Vec<(&'static str, String)>,
}

/// The flag of an option, without its hyphens. The master switch has none: who starts a program with `axio run` has
/// thrown it, and AXIO in the environment is still heard.
fn flag_name(row: &OptionRow) -> Option<String> {
    let name = row.name.strip_prefix("AXIO_")?;
    Some(name.to_lowercase().replace('_', "-"))
}

fn flag(row: &'static OptionRow) -> Option<Arg> {
    let allowed = row.kind.to_string();
    let argument = Arg::new(row.name)
        .long(flag_name(row)?)
        // By hand: clap's own wrapping would bring in a crate that turns on the standard library in rustix, and with it
        // a `close` by name in the library of this workspace.
        .help(wrapped(&row.sentence.replace(['`', '*'], ""), HELP_COLUMNS))
        .help_heading("Settings");
    Some(match row.kind {
        Kind::Words(["0", "1"]) => argument
            .value_name("0|1")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("1"),
        Kind::Words(_) => argument.value_name(allowed),
        Kind::Number { .. } => argument.value_name("NUMBER"),
        Kind::Path => argument.value_name("PATH"),
        Kind::Rules => argument.value_name("RULES"),
    })
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().filter_map(flag))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingFlags, Error> {
        let rows = OPTIONS.iter().filter(|row| row.name.as_bytes() != MASTER);
        let given =
            rows.filter_map(|row| Some((row.name, matches.get_one::<String>(row.name)?.clone())));
        Ok(SettingFlags {
            given: given.collect(),
        })
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_but_the_master_switch_has_a_flag() {
        let without: Vec<_> = OPTIONS
            .iter()
            .filter(|row| flag(row).is_none())
            .map(|row| row.name)
            .collect();
        assert_eq!(without, ["AXIO"]);
        assert_eq!(
            OptionRow::named(b"AXIO_SPIN_US")
                .and_then(flag_name)
                .as_deref(),
            Some("spin-us")
        );
    }
}
