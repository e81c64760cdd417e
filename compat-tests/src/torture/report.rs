//! What the shim tells at exit: the JSON lines of `AXIO_REPORT`.

use std::collections::BTreeMap;
use std::path::Path;

/// Sums of every number found in a report file, by key; nested keys are joined with a dot.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lines read: one for each process that ended in an orderly way.
    pub lines: u64,
    numbers: BTreeMap<String, u64>,
}

impl Report {
    /// Reads a report file; a missing one is an empty report (nothing was preloaded). Each line is written by one system
    /// call to the end of the file, so a line that cannot be read is a finding.
    pub fn read(path: &Path) -> Result<Report, String> {
        let wrong = |what: String| format!("the report {}: {what}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut report = Report::default();
        for line in text.lines() {
            let value = serde_json::from_str::<serde_json::Value>(line)
                .map_err(|error| wrong(format!("{error} in {line:?}")))?;
            report.lines += 1;
            collect(&value, String::new(), &mut report.numbers);
        }
        Ok(report)
    }

    /// The reports of a program's processes, one for each process that ended in an orderly way, in the order of their ids.
    pub fn of_each_process(path: &Path, program: &str) -> Result<Vec<Report>, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("the report {}: {error}", path.display()))?;
        let mut reports = Vec::new();
        for line in text.lines() {
            let value = serde_json::from_str::<serde_json::Value>(line)
                .map_err(|error| format!("{error} in {line:?}"))?;
            if value["program"] == program {
                let mut report = Report {
                    lines: 1,
                    ..Report::default()
                };
                collect(&value, String::new(), &mut report.numbers);
                reports.push((value["pid"].as_u64(), report));
            }
        }
        reports.sort_by_key(|(process, _)| *process);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    /// The sum for a counter, wherever in the line it stands.
    #[must_use]
    pub fn sum(&self, name: &str) -> u64 {
        self.numbers
            .iter()
            .filter(|(key, _)| *key == name || key.ends_with(&format!(".{name}")))
            .map(|(_, number)| *number)
            .sum()
    }

    /// Adds another report's numbers.
    pub fn add(&mut self, other: &Report) {
        self.lines += other.lines;
        for (key, number) in &other.numbers {
            *self.numbers.entry(key.clone()).or_default() += number;
        }
    }

    /// All sums but zeros, for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let texts: Vec<String> = self
            .numbers
            .iter()
            .filter(|(key, number)| **number != 0 && !key.ends_with("pid"))
            .map(|(key, number)| format!("{key} {number}"))
            .collect();
        texts.join(", ")
    }
}

fn collect(value: &serde_json::Value, key: String, numbers: &mut BTreeMap<String, u64>) {
    match value {
        serde_json::Value::Number(number) => {
            *numbers.entry(key).or_default() += number.as_u64().unwrap_or(0);
        }
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                let path = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                collect(member, path, numbers);
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                collect(item, key.clone(), numbers);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_a_finding() {
        let path = std::env::temp_dir().join(format!("axio-report-test-{}", std::process::id()));
        assert_eq!(Report::read(&path).map(|report| report.lines), Ok(0));
        let whole = "{\"counters\":{\"upgrades\":2},\"reasons\":{\"none\":1}}\n";
        std::fs::write(&path, format!("{whole}{whole}")).expect("a scratch file");
        let report = Report::read(&path).expect("two lines");
        assert_eq!((report.lines, report.sum("upgrades")), (2, 4));
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).expect("a scratch file");
        assert!(Report::read(&path).is_err());
        let _ = std::fs::remove_file(&path);
    }
}
