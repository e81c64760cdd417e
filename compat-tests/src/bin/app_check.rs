//! Runs Debian's own servers and clients on the bare kernel and under the shim and compares their answers.

use compat_tests::app_check::stage::{Answers, Outcome, Stage};
use compat_tests::app_check::{CHECKS, Check};
use compat_tests::torture::arguments::{Arguments, Known, known, refuse};
use compat_tests::torture::processes::{Environment, ScratchDirectory};
use compat_tests::torture::report::Report;
use compat_tests::torture::table::Table;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const KNOWN: &[Known] = &[
    known(
        "--library",
        "PATH",
        "libaxio.so to preload; without it only the bare kernel is tried",
    ),
    known("--only", "TEXT", "checks whose name contains this"),
    known("--mode", "MODE", "evidence or eager; both unless given"),
    known("--quick", "", "a fifth of the load"),
    known("--verbose", "", "print answers and reports"),
];

struct Runner {
    scratch: PathBuf,
    library: Option<PathBuf>,
    is_quick: bool,
    is_verbose: bool,
    table: Table,
    passed: u64,
    failed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line(
        "app_check",
        "real programs give the same answers on the bare kernel and under the shim",
        KNOWN,
    );
    let only = arguments.text("--only").unwrap_or("");
    let modes: &[&str] = match arguments.text("--mode") {
        None => &["evidence", "eager"],
        Some("evidence") => &["evidence"],
        Some("eager") => &["eager"],
        Some(_) => refuse("--mode is evidence or eager"),
    };
    let checks: Vec<&Check> = CHECKS
        .iter()
        .filter(|check| check.name.contains(only))
        .collect();
    if checks.is_empty() {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        refuse(&format!(
            "--only {only}: no such check among {}",
            names.join(", ")
        ));
    }
    let missing: Vec<&str> = checks
        .iter()
        .flat_map(|check| check.needs)
        .copied()
        .filter(|program| !is_installed(program))
        .collect();
    if !missing.is_empty() {
        refuse(&format!(
            "not installed: {}; compat-tests/apps/install.sh installs them",
            missing.join(", ")
        ));
    }
    let scratch = match ScratchDirectory::new("app-check") {
        Ok(scratch) => scratch,
        Err(error) => refuse(&format!("no scratch directory: {error}")),
    };
    let mut runner = Runner {
        scratch: scratch.path().to_path_buf(),
        library: arguments.library(),
        is_quick: arguments.has("--quick"),
        is_verbose: arguments.has("--verbose"),
        table: Table::new(&[
            "program",
            "run",
            "result",
            "answers",
            "ring bytes",
            "kernel bytes",
            "by ring",
            "s",
        ]),
        passed: 0,
        failed: 0,
    };
    for check in checks {
        let bare = runner.run(check, None, None);
        if let (Some(_), Some(bare)) = (&runner.library, &bare) {
            for mode in modes {
                let _ = runner.run(check, Some(mode), Some(bare));
            }
        }
    }
    println!("\n{}", runner.table.to_text());
    println!("{} passed, {} failed", runner.passed, runner.failed);
    if runner.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    program.starts_with('/') && Path::new(program).exists()
        || path
            .split(':')
            .chain(["/usr/sbin", "/sbin"])
            .any(|directory| Path::new(directory).join(program).exists())
}

impl Runner {
    /// Runs a check on the bare kernel, or in a mode under the shim and against the bare answers.
    fn run(
        &mut self,
        check: &Check,
        mode: Option<&str>,
        bare: Option<&Answers>,
    ) -> Option<Answers> {
        let label = mode.unwrap_or("bare");
        println!("{} {label} ...", check.name);
        let begin = Instant::now();
        let directory = self
            .scratch
            .join(format!("{}-{label}", check.name.replace(' ', "-")));
        let report_path = self.scratch.join("report");
        let _ = std::fs::remove_file(&report_path);
        let mut environment = Environment::default();
        if let Some(mode) = mode {
            environment = Environment::eager(self.library.as_deref(), &report_path);
            environment.variables = vec![("AXIO_UPGRADE".to_owned(), mode.to_owned())];
        }
        let result = Stage::new(environment, directory, self.is_quick).and_then(|mut stage| {
            let ran = (check.run)(&mut stage);
            let ended = stage.end();
            ran.and(ended)
        });
        let seconds = format!("{:.1}", begin.elapsed().as_secs_f64());
        let (outcome, mut complaints) = match result {
            Ok(outcome) => (outcome, Vec::new()),
            Err(text) => (Outcome::default(), vec![text]),
        };
        let mut report = Report::read(&report_path).unwrap_or_else(|torn| {
            complaints.push(torn);
            Report::default()
        });
        let Outcome {
            answers,
            notes,
            proofs,
            clients,
        } = outcome;
        report.add(&clients);
        if complaints.is_empty()
            && let Some(bare) = bare
        {
            complaints.extend(differences(bare, &answers));
        }
        let is_eager = mode == Some("eager");
        complaints.extend(proofs.iter().filter_map(|proof| proof.complaint(is_eager)));
        let ring = report.sum("ring_bytes_in") + report.sum("ring_bytes_out");
        let kernel = report.sum("kernel_bytes_in") + report.sum("kernel_bytes_out");
        let percent = (ring * 100).checked_div(ring + kernel).unwrap_or(0);
        if mode.is_some() && complaints.is_empty() && percent < check.least_ring_percent {
            complaints.push(format!(
                "{percent} % of all bytes travelled by ring, at least {} wanted",
                check.least_ring_percent
            ));
        }
        for note in &notes {
            println!("    {note}");
        }
        for proof in &proofs {
            let (label, percent) = (&proof.label, proof.percent());
            println!("    {label}: {percent} % of its bytes by ring");
        }
        if self.is_verbose {
            for (label, value) in &answers {
                println!("    {label}: {}", value.trim());
            }
            println!(
                "    reported by {} processes: {}",
                report.lines,
                report.to_text()
            );
        }
        let verdict = if complaints.is_empty() {
            self.passed += 1;
            "ok"
        } else {
            self.failed += 1;
            println!(
                "FAIL {} {label}: {}\n     reported: {}",
                check.name,
                complaints.join("\n     "),
                report.to_text()
            );
            "FAILED"
        };
        let by_path = |number: u64| mode.map_or(String::new(), |_| number.to_string());
        self.table.line(&[
            check.name.to_owned(),
            label.to_owned(),
            verdict.to_owned(),
            answers.len().to_string(),
            by_path(ring),
            by_path(kernel),
            mode.map_or(String::new(), |_| format!("{percent} %")),
            seconds,
        ]);
        complaints.is_empty().then_some(answers)
    }
}

fn differences(bare: &Answers, answers: &Answers) -> Vec<String> {
    let mut list = Vec::new();
    if bare.len() != answers.len() {
        list.push(format!(
            "{} answers, {} on the bare kernel",
            answers.len(),
            bare.len()
        ));
    }
    for ((label, expected), (_, value)) in bare.iter().zip(answers) {
        if expected != value {
            list.push(format!(
                "{label}: '{}', on the bare kernel '{}'",
                value.trim(),
                expected.trim()
            ));
        }
    }
    list
}
