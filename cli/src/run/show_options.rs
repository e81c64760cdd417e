//! The table of options with what holds, and the same table as a document.

use std::ffi::OsStr;

use settings::options::{Kind, OPTIONS, OptionRow};

use super::environment::Environment;
use crate::entry::STATUS_REFUSED;
use crate::table::table;

/// Prints the document `OPTIONS.md`.
pub fn markdown() -> i32 {
    let mut text = String::new();
    let written = settings::document::write_markdown(&mut text);
    print!("{text}");
    i32::from(written.is_err())
}

/// Prints every option with its value; 125 if one of them is wrong.
pub fn show(environment: &Environment) -> i32 {
    let mut table = table(&["option", "value", "from", "default", "allowed", "meaning"]);
    for row in OPTIONS {
        let (value, from) = holds(row, environment);
        let allowed = match row.kind {
            Kind::Rules => "rules, see below".to_string(),
            kind => kind.to_string(),
        };
        let sentence = row.sentence.replace('`', "");
        table.add_row([
            row.name.to_string(),
            value,
            from.to_string(),
            row.default.to_string(),
            allowed,
            sentence,
        ]);
    }
    println!("{table}");
    println!("rules: {}", settings::rule_text::GRAMMAR);
    println!(
        "built-in rules, behind those that are given: {}",
        settings::rules::BUILT_IN_TEXT
    );
    let understood = environment.settings();
    for error in &understood.errors {
        eprintln!("axio run: {}", error.message);
    }
    if understood.errors.is_empty() {
        0
    } else {
        STATUS_REFUSED
    }
}

/// The value that holds, and where it comes from.
fn holds(row: &OptionRow, environment: &Environment) -> (String, &'static str) {
    match environment
        .value(row.name)
        .filter(|value| !value.is_empty())
    {
        Some(value) if environment.is_from_flag(row.name.as_bytes()) => (shown(value), "flag"),
        Some(value) => (shown(value), "environment"),
        None => {
            let value = match row.default {
                settings::options::DefaultValue::Value(value) => value,
                settings::options::DefaultValue::HowLoaded { preloaded, .. } => preloaded,
                settings::options::DefaultValue::Unset(_) => "-",
            };
            (value.to_string(), "default")
        }
    }
}

fn shown(value: &OsStr) -> String {
    value
        .to_string_lossy()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}
