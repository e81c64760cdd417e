//! What the library says that it did: the lines of `AXIO_REPORT`, one JSON object per process. They are the proof that
//! a run used the fast path.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Deserialize)]
struct Line {
    program: String,
    #[serde(default)]
    reasons: BTreeMap<String, u64>,
    #[serde(flatten)]
    values: BTreeMap<String, serde_json::Value>,
}

/// Both ends together. Bytes are counted where they were received, so each counts once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Carried {
    /// Processes that reported.
    pub reports: u64,
    /// Bytes received by ring.
    pub ring_bytes: u64,
    /// Bytes received through the kernel by sockets that could have been accelerated.
    pub kernel_bytes: u64,
    /// Every counter of the library, both ends together.
    pub counters: BTreeMap<String, u64>,
    /// Sockets per reason.
    pub reasons: BTreeMap<String, u64>,
    /// Programs that reported.
    pub programs: Vec<String>,
}

impl Carried {
    /// Reads a report file; a file that is not there is an empty one.
    pub fn read(file: &Path) -> Result<Carried> {
        match fs::read_to_string(file) {
            Ok(text) => Carried::of(&text)
                .with_context(|| format!("the report of the library, {}", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Carried::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn of(text: &str) -> Result<Carried> {
        let mut carried = Carried::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("no line of JSON: {line}"))?;
            carried.reports += 1;
            carried.programs.push(line.program);
            for (name, value) in line
                .values
                .iter()
                .filter(|(name, _)| name.as_str() != "pid")
            {
                if let Some(value) = value.as_u64() {
                    *carried.counters.entry(name.clone()).or_default() += value;
                }
            }
            for (name, count) in line.reasons {
                *carried.reasons.entry(name).or_default() += count;
            }
        }
        let counter = |name: &str| carried.counters.get(name).copied().unwrap_or(0);
        (carried.ring_bytes, carried.kernel_bytes) =
            (counter("ring_bytes_in"), counter("kernel_bytes_in"));
        Ok(carried)
    }

    /// Part of the bytes that went by ring.
    pub fn ring_share(&self) -> f64 {
        self.ring_bytes as f64 / self.ring_bytes.saturating_add(self.kernel_bytes).max(1) as f64
    }

    /// Reasons with their counts, for a message.
    pub fn reasons_in_words(&self) -> String {
        let list: Vec<_> = self
            .reasons
            .iter()
            .filter(|(_, count)| **count > 0)
            .collect();
        let words: Vec<_> = list
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if words.is_empty() {
            "none given".into()
        } else {
            words.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_ends_are_added() {
        let text = concat!(
            r#"{"program":"redis-server","pid":1,"ring_bytes_in":100,"ring_bytes_out":7,"kernel_bytes_in":5,"bells_sent":2,"reasons":{"none":2,"not_yet":1}}"#,
            "\n",
            r#"{"program":"redis-benchmark","pid":2,"ring_bytes_in":7,"ring_bytes_out":100,"kernel_bytes_in":8,"bells_sent":1,"reasons":{"none":2}}"#,
            "\n"
        );
        let carried = Carried::of(text).expect("good");
        assert_eq!(
            (carried.reports, carried.ring_bytes, carried.kernel_bytes),
            (2, 107, 13)
        );
        assert_eq!(carried.counters["bells_sent"], 3);
        assert_eq!(carried.reasons_in_words(), "none 4, not_yet 1");
        assert!(!carried.counters.contains_key("pid"));
    }

    #[test]
    fn a_torn_line_is_an_error_and_no_file_is_none() {
        assert!(Carried::of("{\"program\":\"x\"").is_err());
        assert_eq!(
            Carried::read(Path::new("/nonexistent/report")).expect("empty"),
            Carried::default()
        );
    }
}
