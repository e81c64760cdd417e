//! The command line, shared by the test and the programs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::case::{ALL_KINDS, Case, Kind, Mode};
use crate::director::Settings;
use crate::verdict::{self, Verdict};
use crate::{cases, library, prove, report, rows};

const USAGE: &str = "\
options:
  --only PATTERN     cases whose `call/name` contains PATTERN (a|b: one of them; =NAME: exactly that name)
  --mode MODE        bare, eager or evidence; may be given twice; the bare kernel is always run, as the oracle
  --kind KIND        one kind of connection
  --library FILE     the library to test (else COMPAT_LIBRARY, else the one cargo builds)
  --set NAME=VALUE   another variable for both sides under the shim
  --jobs N           runs at a time (2)
  --repeat N         every run N times (1)
  --watchdog SECONDS after which a run is a hang (180)
  --list             names of the cases and nothing else
  --write            writes COMPATIBILITY.md and nothing else; a whole run fails when the file is not what it would be
  --prove            play every case without a ring (an empty library; a rule that keeps all on the kernel): each must fail
  -v, --verbose      print every transcript
  -h, --help         this text and nothing else";

/// What was asked for.
struct Options {
    only: Option<String>,
    modes: Vec<Mode>,
    kind: Option<String>,
    library: Option<PathBuf>,
    environment: Vec<(String, String)>,
    jobs: usize,
    repeat: usize,
    watchdog: Duration,
    list: bool,
    write: bool,
    prove: bool,
    verbose: bool,
    help: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options {
            only: None,
            modes: Vec::new(),
            kind: None,
            library: None,
            environment: Vec::new(),
            jobs: 2,
            repeat: 1,
            watchdog: Duration::from_secs(180),
            list: false,
            write: false,
            prove: false,
            verbose: false,
            help: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("{word} wants a value"))
            };
            let number = |text: String| {
                text.parse::<usize>()
                    .map_err(|error| format!("{word} {text}: {error}"))
            };
            match word.as_str() {
                "--only" => options.only = Some(value()?),
                "--mode" => options.modes.push(mode_named(&value()?)?),
                "--kind" => options.kind = Some(value()?),
                "--library" => options.library = Some(PathBuf::from(value()?)),
                "--set" => {
                    let text = value()?;
                    let (name, value) = text.split_once('=').ok_or("--set wants NAME=VALUE")?;
                    options
                        .environment
                        .push((name.to_owned(), value.to_owned()));
                }
                "--jobs" => options.jobs = number(value()?)?.clamp(1, 64),
                "--repeat" => options.repeat = number(value()?)?.max(1),
                "--watchdog" => options.watchdog = Duration::from_secs(number(value()?)? as u64),
                "--list" => options.list = true,
                "--write" => options.write = true,
                "--prove" => options.prove = true,
                "-v" | "--verbose" => options.verbose = true,
                "-h" | "--help" => options.help = true,
                other => return Err(format!("unknown option {other}\n{USAGE}")),
            }
        }
        if let Some(kind) = &options.kind
            && !ALL_KINDS.iter().any(|known| known.name == kind)
        {
            let names: Vec<&str> = ALL_KINDS.iter().map(|kind| kind.name).collect();
            return Err(format!(
                "no kind is named {kind}; there are {}",
                names.join(", ")
            ));
        }
        Ok(options)
    }

    /// True when nothing was left out, so that what is about all cases can be judged.
    fn is_whole(&self) -> bool {
        self.only.is_none()
            && self.kind.is_none()
            && self.modes.is_empty()
            && self.environment.is_empty()
    }

    fn wants(&self, case: &Case) -> bool {
        let Some(only) = &self.only else { return true };
        let place = format!("{}/{}", case.call, case.name);
        only.split('|')
            .any(|pattern| match pattern.strip_prefix('=') {
                Some(name) => name == case.name,
                None => place.contains(pattern),
            })
    }
}

fn mode_named(name: &str) -> Result<Mode, String> {
    Mode::ALL
        .into_iter()
        .find(|mode| mode.name() == name)
        .ok_or_else(|| format!("no mode is named {name}; there are bare, eager, evidence"))
}

/// The program that is running.
#[must_use]
pub fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("compat-case"))
}

/// Runs what the words ask for; success means that no answer differs.
#[must_use]
pub fn run(words: &[String], actor: &Path) -> ExitCode {
    match try_run(words, actor) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat-tests: {error}");
            ExitCode::from(2)
        }
    }
}

fn try_run(words: &[String], actor: &Path) -> Result<bool, String> {
    let options = Options::parse(words)?;
    if options.help {
        println!(
            "compat-tests: each case on the bare kernel, which is the oracle, and under the library\n\n{USAGE}"
        );
        return Ok(true);
    }
    cases::check_names()?;
    if options.list {
        for case in cases::all() {
            println!("{}/{}", case.call, case.name);
        }
        return Ok(true);
    }
    if options.write {
        let text = report::compatibility_document();
        return std::fs::write(DOCUMENT, text)
            .map(|()| true)
            .map_err(|error| format!("{DOCUMENT}: {error}"));
    }
    let modes = if options.modes.is_empty() {
        Mode::ALL.to_vec()
    } else {
        options.modes.clone()
    };
    let needs_library = modes.iter().any(|mode| *mode != Mode::Bare);
    let settings = Settings {
        actor: actor.to_owned(),
        library: match (&options.library, needs_library) {
            (Some(path), _) => Some(library::named_file(path)?),
            (None, true) => Some(library::find_or_build()?),
            (None, false) => None,
        },
        watchdog: options.watchdog,
        environment: options.environment.clone(),
    };
    if let Some(library) = &settings.library {
        library::must_answer(actor, library)?;
    }
    let jobs = jobs(&options);
    if jobs.is_empty() {
        return Err("no case fits; --list shows them".into());
    }
    if options.prove {
        return prove(&jobs, &settings, &options);
    }
    let mut verdicts = play(&jobs, &modes, &settings, &options);
    verdicts.sort_by_key(|(index, _)| *index);
    let verdicts: Vec<Verdict> = verdicts
        .into_iter()
        .flat_map(|(_, verdicts)| verdicts)
        .collect();
    conclude(&verdicts, &options)
}

fn jobs(options: &Options) -> Vec<(&'static Case, Kind)> {
    let mut jobs = Vec::new();
    for case in cases::all().filter(|case| options.wants(case)) {
        for kind in case
            .kinds
            .iter()
            .filter(|kind| options.kind.as_ref().is_none_or(|name| name == kind.name))
        {
            for _ in 0..options.repeat {
                jobs.push((case, *kind));
            }
        }
    }
    jobs
}

fn play(
    jobs: &[(&'static Case, Kind)],
    modes: &[Mode],
    settings: &Settings,
    options: &Options,
) -> Vec<(usize, Vec<Verdict>)> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((case, kind)) = jobs.get(index) else {
                        return;
                    };
                    let judged = verdict::judge(case, *kind, modes, settings, options.verbose);
                    for verdict in judged.iter().filter(|verdict| !verdict.is_the_same()) {
                        print_faults(verdict);
                    }
                    if let Ok(mut verdicts) = verdicts.lock() {
                        verdicts.push((index, judged));
                    }
                }
            });
        }
    });
    verdicts.into_inner().unwrap_or_default()
}

/// Without a ring every case must fail; which kind of connection it is played on makes no difference for that.
fn prove(
    jobs: &[(&'static Case, Kind)],
    settings: &Settings,
    options: &Options,
) -> Result<bool, String> {
    let mut once: Vec<(&'static Case, Kind)> = Vec::new();
    for (case, kind) in jobs {
        if once.iter().all(|(known, _)| known.name != case.name) {
            once.push((*case, *kind));
        }
    }
    let outcome = prove::run(&once, settings, options.jobs)?;
    for line in &outcome.subjects {
        println!("about the kernel path: {line}");
    }
    for line in &outcome.unnoticed {
        println!("FAILED, proves nothing about the ring: {line}");
    }
    println!(
        "{} passed, {} failed",
        outcome.passed,
        outcome.unnoticed.len()
    );
    Ok(outcome.unnoticed.is_empty())
}

fn print_faults(verdict: &Verdict) {
    let (case, mode) = (verdict.case, verdict.mode);
    let label = if verdict.passes() {
        "known gap"
    } else {
        "FAILED"
    };
    let mut text = format!(
        "{label}: {}/{} {} {}\n",
        case.call,
        case.name,
        verdict.kind.name,
        mode.name()
    );
    if !verdict.different.is_empty() {
        text.push_str("    answers differ from the kernel's\n");
    }
    for fault in verdict::shown(&verdict.different)
        .iter()
        .chain(&verdict.faults)
    {
        text.push_str(&format!("    {fault}\n"));
    }
    print!("{text}");
}

fn conclude(verdicts: &[Verdict], options: &Options) -> Result<bool, String> {
    print!("{}{}", report::table(verdicts), report::warm_ups(verdicts));
    // Once more, where whoever reads the end of a long log finds them.
    for verdict in verdicts.iter().filter(|verdict| !verdict.passes()) {
        print_faults(verdict);
    }
    let summary = report::summarise(verdicts);
    let mut fine = summary.failed == 0;
    for stale in &summary.stale_gaps {
        println!("stale gap: {stale} gives the kernel's answers; take it off known_gaps.rs");
        fine = false;
    }
    if options.is_whole() {
        for missing in rows::missing() {
            println!("missing: {missing}");
            fine = false;
        }
        if !document_is_current() {
            println!("stale: COMPATIBILITY.md is not what compat-tests --write would write");
            fine = false;
        }
    }
    println!("{} passed, {} failed", summary.passed, summary.failed);
    Ok(fine)
}

/// The generated document, which is in the repository.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPATIBILITY.md");

fn document_is_current() -> bool {
    std::fs::read_to_string(DOCUMENT).is_ok_and(|text| text == report::compatibility_document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_repository_is_the_one_that_the_cases_make() {
        assert!(
            document_is_current(),
            "COMPATIBILITY.md is stale: compat-tests --write makes it anew"
        );
    }
}
