//! Runs cases: a label, a pattern, a way to sleep; judges what the survivor got.

use super::actor::{self, Part, Script, child};
use super::notes::Notes;
use super::pattern::{Pattern, Sleep};
use super::waiting::Watch;
use crate::torture::hang;
use crate::torture::processes::{self, Environment, Process};
use crate::torture::report::Report;
use fastpath::clock::monotonic_ns;
use fastpath::stream::labels::Label;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What every case of a run shares.
#[derive(Clone, Debug)]
pub struct Run {
    /// A shim built with the feature `step-hooks`, or none.
    pub library: Option<PathBuf>,
    /// Where notes and reports go.
    pub scratch: PathBuf,
    /// The notes of the victim and of the survivor, mapped once.
    noted: OnceLock<[Notes; 2]>,
}

impl Run {
    /// What cases need that are run one after the other, with a directory of their own.
    #[must_use]
    pub fn new(library: Option<PathBuf>, scratch: PathBuf) -> Run {
        Run {
            library,
            scratch,
            noted: OnceLock::new(),
        }
    }

    fn notes_path(&self) -> PathBuf {
        self.scratch.join("notes")
    }

    fn notes(&self) -> Result<[Notes; 2], String> {
        if let Some(noted) = self.noted.get() {
            return Ok(*noted);
        }
        let path = self.notes_path();
        let open = |path: &Path| Notes::open(path).map_err(|code| format!("notes: errno {code}"));
        let noted = [open(&path)?, open(&path.with_extension("survivor"))?];
        Ok(*self.noted.get_or_init(|| noted))
    }
}

/// When the victim dies.
#[derive(Clone, Debug)]
pub enum Death {
    /// At its nth passage of a step.
    Step(String, u64),
    /// At some moment, by the driver's hand.
    After(Duration),
    /// Not at all.
    Never,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the ends do.
    pub pattern: Pattern,
    /// How the survivor sleeps.
    pub sleep: Sleep,
    /// The victim is the accepting end.
    pub victim_accepts: bool,
    /// When the victim dies.
    pub death: Death,
    /// Makes the lengths.
    pub seed: u64,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The victim died of SIGKILL, or its child did.
    pub killed: bool,
    /// From the victim's death to the survivor's end of stream, less what the survivor waited for a CPU.
    pub until_end: Duration,
    /// The killed had left bytes unread that the survivor had written before, and the survivor was told of a reset.
    pub is_reset_of_unread: bool,
    /// What was wrong.
    pub verdict: Result<(), String>,
    /// The survivor's shim counted ring bytes.
    pub ring_bytes: u64,
}

/// A survivor that has not seen an end by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// A case in which no byte has moved for so long, and whose victim neither dies nor ends, hangs. How long it takes in all is
/// the machine's matter: the smallest receive buffer can slow the kernel's own path to ten kilobytes a second, of half a
/// mebibyte, and a busy machine slows it further.
const SILENCE: Duration = Duration::from_secs(120);

struct End {
    process: Process,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl End {
    fn start(
        run: &Run,
        case: &Case,
        part: Part,
        notes: &Path,
        port: Option<&str>,
    ) -> Result<End, String> {
        let script = Script {
            part,
            pattern: case.pattern,
            sleep: case.sleep,
            seed: case.seed,
            notes: notes.to_path_buf(),
        };
        let mut command: Command = processes::own_program();
        for (name, value) in script.arguments() {
            command.arg(name).arg(value);
        }
        if let Some(port) = port {
            command.args(["--port", port]);
        }
        let mut environment =
            Environment::eager(run.library.as_deref(), &notes.with_extension("report"));
        if let (Part::Victim, Death::Step(label, nth)) = (part, &case.death) {
            let hook = match case.pattern {
                Pattern::ChildDies => "STEP_HOOK_CHILDREN",
                _ => "STEP_HOOK",
            };
            environment
                .variables
                .push((hook.to_owned(), format!("{label}:{nth}")));
        }
        if let Some(slots) = case.pattern.slots() {
            let slots = ("AXIO_SLOTS".to_owned(), slots.to_string());
            environment.variables.push(slots);
        }
        environment.apply(&mut command);
        command.stdout(Stdio::piped());
        let name = if part == Part::Victim {
            "victim"
        } else {
            "survivor"
        };
        let mut process = Process::start(name, &mut command)
            .map_err(|error| format!("starting the {name}: {error}"))?;
        let output = process.take_output().ok_or("no output pipe")?;
        Ok(End {
            process,
            lines: processes::lines(output),
            said: Vec::new(),
        })
    }

    fn hear(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.said.push(line);
        }
    }

    fn find(&self, word: &str) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix(word))
    }
}

/// Runs one case.
#[must_use]
pub fn run_case(run: &Run, case: &Case) -> Outcome {
    let notes = run.notes_path();
    let _ = std::fs::remove_file(notes.with_extension("report"));
    let mut outcome = Outcome {
        killed: false,
        until_end: Duration::ZERO,
        is_reset_of_unread: false,
        verdict: Ok(()),
        ring_bytes: 0,
    };
    let noted = match run.notes() {
        Ok(noted) => noted,
        Err(text) => {
            outcome.verdict = Err(text);
            return outcome;
        }
    };
    noted.iter().for_each(Notes::clear);
    outcome.verdict = play(run, case, &notes, &noted, &mut outcome);
    // A kill can meet the victim within the call that writes its line.
    let report = match Report::read(&notes.with_extension("report")) {
        Err(torn) if !outcome.killed && outcome.verdict.is_ok() => {
            outcome.verdict = Err(torn);
            Report::default()
        }
        other => other.unwrap_or_default(),
    };
    outcome.ring_bytes = report.sum("ring_bytes_in") + report.sum("ring_bytes_out");
    if let Err(text) = &mut outcome.verdict {
        for (end, noted) in ["victim", "survivor"].iter().zip(&noted) {
            text.push_str(&format!("\n      the {end}: {}", noted.describe()));
        }
        text.push_str(&format!("\n      reported: {}", report.to_text()));
    }
    outcome
}

fn play(
    run: &Run,
    case: &Case,
    notes: &Path,
    [noted, noted_survivor]: &[Notes; 2],
    outcome: &mut Outcome,
) -> Result<(), String> {
    let (first, second) = if case.victim_accepts {
        (Part::Victim, Part::Survivor)
    } else {
        (Part::Survivor, Part::Victim)
    };
    let accepting = End::start(run, case, first, notes, None)?;
    let line = accepting
        .lines
        .recv_timeout(PATIENCE)
        .map_err(|_| "the accepting end did not start".to_owned())?;
    let port = line
        .strip_prefix("PORT ")
        .ok_or_else(|| format!("the accepting end said {line}"))?;
    let connecting = End::start(run, case, second, notes, Some(port))?;
    let (mut victim, mut survivor) = if case.victim_accepts {
        (accepting, connecting)
    } else {
        (connecting, accepting)
    };
    // A moment before the connection stands would only show what `connect` says.
    let mut connected = None;
    let position = || {
        let of_end = |end: &Notes| end.taken().load(SeqCst) + end.received().load(SeqCst);
        of_end(noted) + of_end(noted_survivor)
    };
    let mut last_moved = (position(), Instant::now());
    // Until the victim dies or ends.
    let code = loop {
        if let Some(code) = victim.process.try_end() {
            break code;
        }
        survivor.hear();
        if survivor.find("FAIL").is_some() {
            return Err(format!("{:?} {:?}", survivor.said, victim.said));
        }
        if connected.is_none() && noted.taken().load(SeqCst) > 0 {
            connected = Some(Instant::now());
        }
        if let Death::After(time) = case.death
            && connected.is_some_and(|since: Instant| since.elapsed() >= time)
        {
            victim.process.signal(libc::SIGKILL);
        }
        if position() != last_moved.0 {
            last_moved = (position(), Instant::now());
        } else if last_moved.1.elapsed() > SILENCE {
            let text = format!(
                "hang before any death: victim {} survivor {}",
                hang::describe_threads(victim.process.id() as i32),
                hang::describe_threads(survivor.process.id() as i32)
            );
            hang::end_group(survivor.process.id());
            return Err(text);
        }
        std::thread::sleep(Duration::from_micros(300));
    };
    let (died, died_at_ns) = (Instant::now(), monotonic_ns());
    let mut watch = Watch::begin(survivor.process.id());
    outcome.killed = code == 128 + libc::SIGKILL;
    if outcome.killed {
        noted_survivor.victim_is_dead().store(1, SeqCst);
    }
    victim.hear();
    if !outcome.killed && code != 0 {
        std::thread::sleep(Duration::from_millis(100));
        victim.hear();
        survivor.hear();
        return Err(format!(
            "the victim ended with {code}: {:?} {:?}",
            victim.said, survivor.said
        ));
    }
    // Until the survivor has seen the end, and until its writes fail.
    let ended_at_ns = || noted_survivor.ended_at_ns().load(SeqCst);
    let survivor_code = loop {
        survivor.hear();
        if ended_at_ns() == 0 {
            watch.look();
        }
        if let Some(code) = survivor.process.try_end() {
            break code;
        }
        if died.elapsed() > PATIENCE {
            let text = format!(
                "the survivor hangs {} the end: {} {:?}",
                if ended_at_ns() != 0 {
                    "after"
                } else {
                    "before"
                },
                hang::describe_threads(survivor.process.id() as i32),
                survivor.said
            );
            hang::end_group(survivor.process.id());
            return Err(text);
        }
        std::thread::sleep(Duration::from_micros(300));
    };
    let until_end = match ended_at_ns() {
        0 => died.elapsed(),
        at => Duration::from_nanos(at.saturating_sub(died_at_ns)),
    };
    outcome.until_end = until_end.saturating_sub(watch.longest());
    // Its last words, to the end of the pipe.
    while let Ok(line) = survivor.lines.recv_timeout(PATIENCE) {
        survivor.said.push(line);
    }
    if survivor_code != 0 {
        return Err(format!(
            "the survivor ended with {survivor_code}: {:?}",
            survivor.said
        ));
    }
    let killed = outcome.killed;
    outcome.killed |= noted.child().load(SeqCst) == child::KILLED;
    outcome.is_reset_of_unread = killed
        && has_left_unread(case, noted, noted_survivor)
        && survivor.find("END Reset").is_some();
    judge(case, killed, noted, noted_survivor, &survivor.said)
}

/// The killed had not read everything that had been written before its death: in this pattern the survivor only waits since
/// the victim knows that everything is written.
fn has_left_unread(case: &Case, noted: &Notes, survivor: &Notes) -> bool {
    let written = survivor.taken_at_end().load(SeqCst);
    let left_unread = written.saturating_sub(noted.received().load(SeqCst));
    case.pattern == Pattern::Unread
        && noted.phase().load(SeqCst) == actor::ALL_WRITTEN
        && left_unread > actor::UNREAD_TURN_BYTES
}

/// Holds what the survivor got against what the victim had noted. `killed`: the victim itself.
fn judge(
    case: &Case,
    killed: bool,
    noted: &Notes,
    survivor: &Notes,
    said: &[String],
) -> Result<(), String> {
    let end = said.iter().find_map(|line| line.strip_prefix("END "));
    let Some((kind, received)) = end.and_then(|text| text.split_once(' ')) else {
        return Err(format!("the survivor told no end: {said:?}"));
    };
    let received: u64 = received.parse().unwrap_or(0);
    let (begun, taken, on_ring) = (
        noted.begun().load(SeqCst),
        noted.taken().load(SeqCst),
        noted.taken_on_ring().load(SeqCst),
    );
    let wrong = |text: &str| Err(format!("{text}: survivor received {received}, then {kind}"));
    if received > begun {
        return wrong("more bytes than were ever sent");
    }
    // Nothing of a stream perishes with a process whose relative goes on.
    let child_only_rewinds = match &case.death {
        Death::Step(label, _) => label.starts_with("Rewind"),
        Death::Never => true,
        Death::After(_) => false,
    };
    if case.pattern == Pattern::ChildDies
        && !killed
        && child_only_rewinds
        && (kind != "Eof" || received != taken)
    {
        return wrong("bytes of the victim are missing, or an orderly end");
    }
    // What the killed had not sent again is lost; a leave behind which nobody can put the bytes in order resets.
    let producer_lost = case.pattern.survivor_leaves() && (killed || kind == "Reset");
    if received < on_ring && !producer_lost {
        return wrong("bytes published in the ring are missing");
    }
    if kind == "Eof" && received < taken && !producer_lost {
        return wrong("an orderly end, but bytes are missing");
    }
    let victim_received = noted.received().load(SeqCst);
    // Where the kernel carried what the killed had sent last, unread bells may turn its end into a reset.
    let moves_carriers = [
        "Upgrade", "Retreat", "Rewind", "Leave", "Fin", "Give", "Slot",
    ];
    // Others may have died for it, or moved it meanwhile.
    let has_companions = case.pattern.companions() > 0;
    let by_ring = on_ring == taken
        && !has_companions
        && matches!(&case.death, Death::Step(label, _)
            if !moves_carriers.iter().any(|steps| label.starts_with(steps)));
    if killed && by_ring && kind == "Reset" && survivor.begun().load(SeqCst) <= victim_received {
        return wrong("a reset, although the killed had left nothing unread");
    }
    if killed && kind == "Eof" && has_left_unread(case, noted, survivor) {
        return wrong("an orderly end, although the killed had left bytes unread");
    }
    let published =
        matches!(&case.death, Death::Step(label, _) if label == Label::SendPublish.name());
    if killed && published && received <= taken && !producer_lost && !has_companions {
        return wrong("nothing of what was published last has arrived");
    }
    if !killed && kind != "Eof" && !case.pattern.may_reset() && case.pattern != Pattern::Sink {
        return wrong("a reset after an orderly end");
    }
    Ok(())
}
