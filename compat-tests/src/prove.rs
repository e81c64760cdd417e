//! Whether the cases would notice that the fast path is not there: green on the kernel path is red.
//!
//! Every case is played twice without a ring: under an empty library of the right name, and under the real one with a
//! rule that keeps every connection on the kernel. Only the proof is judged, the answers are the kernel's. A case that
//! passes proves nothing about the ring, and is a failure here, unless the kernel path is what it is about. So is one that
//! fails in another way: a hang or a crash tells of a fault, not of the bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::case::{Case, Kind, Mode, Proof};
use crate::director::{self, Run, Settings};
use crate::{settle, verdict};

/// How the ring is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The library has no code.
    OfTheLibrary,
    /// The library is told to leave every connection alone.
    OfTheRing,
}

impl Absence {
    /// Both.
    pub const ALL: [Absence; 2] = [Absence::OfTheLibrary, Absence::OfTheRing];

    const fn words(self) -> &'static str {
        match self {
            Absence::OfTheLibrary => "under an empty library",
            Absence::OfTheRing => "under a rule that keeps every connection on the kernel",
        }
    }

    /// True for a case that is about just this.
    #[must_use]
    pub fn is_the_subject_of(self, case: &Case) -> bool {
        match case.proof {
            Proof::Unproven(_) => true,
            Proof::StaysOnKernel(reason) => self == Absence::OfTheRing && reason == "rule",
            Proof::OwnBytes | Proof::AtLeast(_) | Proof::BeganOnRing(_) => false,
        }
    }

    fn settings(self, settings: &Settings, empty_library: &Path) -> Settings {
        let mut settings = settings.clone();
        match self {
            Absence::OfTheLibrary => settings.library = Some(empty_library.to_owned()),
            Absence::OfTheRing => settings
                .environment
                .push(("AXIO_RULES".into(), "kernel * * *:*".into())),
        }
        settings
    }
}

/// What came of it.
pub struct Outcome {
    /// Plays that failed for want of a ring, or whose case is about the kernel path.
    pub passed: usize,
    /// A line for each play that nobody noticed, or not by the proof.
    pub unnoticed: Vec<String>,
    /// A line for each play whose case is about the kernel path.
    pub subjects: Vec<String>,
}

/// Plays each case on its kind of connection, as many at a time as asked for.
pub fn run(
    jobs: &[(&'static Case, Kind)],
    settings: &Settings,
    at_a_time: usize,
) -> Result<Outcome, String> {
    let empty = EmptyLibrary::new()?;
    let plays: Vec<(Absence, &'static Case, Kind)> = Absence::ALL
        .into_iter()
        .flat_map(|absence| jobs.iter().map(move |(case, kind)| (absence, *case, *kind)))
        .collect();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Outcome {
        passed: 0,
        unnoticed: Vec::new(),
        subjects: Vec::new(),
    });
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some((absence, case, kind)) =
                    plays.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let settings = absence.settings(settings, &empty.file);
                    let played = director::run(case, *kind, Mode::Eager, &settings);
                    let line = format!("{}/{} {}", case.call, case.name, absence.words());
                    let Ok(mut outcome) = outcome.lock() else {
                        return;
                    };
                    if absence.is_the_subject_of(case) {
                        outcome.passed += 1;
                        outcome.subjects.push(line);
                    } else {
                        match notice(case, &played) {
                            Ok(()) => outcome.passed += 1,
                            Err(instead) => outcome.unnoticed.push(format!("{line}: {instead}")),
                        }
                    }
                }
            });
        }
    });
    outcome
        .into_inner()
        .map_err(|_| "a play panicked".to_owned())
}

/// Whether the play failed for want of a ring: by the counts of both ends, by a library that answers nothing, or since
/// the warm-up did not lead to the ring. Otherwise what came instead.
fn notice(case: &Case, played: &Run) -> Result<(), String> {
    let accidents: Vec<&String> = played
        .failures
        .iter()
        .filter(|failure| is_accident(failure))
        .collect();
    if !accidents.is_empty() {
        return Err(format!("not by its proof: {accidents:?}"));
    }
    let unproven = verdict::unproven(case, played);
    let is_noticed = played
        .failures
        .iter()
        .any(|failure| failure.contains(settle::NOT_REACHED))
        || unproven
            .iter()
            .any(|fault| !fault.contains(verdict::NO_COUNTS));
    if is_noticed {
        Ok(())
    } else if played.failures.is_empty() && unproven.is_empty() {
        Err("passes".to_owned())
    } else {
        Err(format!(
            "not by its proof: {:?} {unproven:?}",
            played.failures
        ))
    }
}

/// A hang, or a process that a signal has ended although that is not its part.
fn is_accident(failure: &str) -> bool {
    failure.starts_with("hang: ") || failure.contains(" ended with signal: ")
}

/// A shared object without code, which the loader takes for the library; its folder goes with the value.
struct EmptyLibrary {
    folder: PathBuf,
    file: PathBuf,
}

impl EmptyLibrary {
    fn new() -> Result<EmptyLibrary, String> {
        let folder = std::env::temp_dir().join(format!("compat-empty-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let empty = EmptyLibrary {
            file: folder.join("libaxio.so"),
            folder,
        };
        let status = Command::new("cc")
            .args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(&empty.file)
            .status()
            .map_err(|error| format!("cc: {error}"))?;
        if status.success() {
            Ok(empty)
        } else {
            Err(format!("cc makes no empty library: {status}"))
        }
    }
}

impl Drop for EmptyLibrary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
