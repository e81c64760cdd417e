//! Starts the two sides of one run, gathers what they wrote, and ends a hang.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::calls::processes;
use crate::case::{Case, Kind, Mode};
use crate::stage::Role;
use crate::torture::hang;

/// What every run needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The program that plays sides.
    pub actor: PathBuf,
    /// The library to preload.
    pub library: Option<PathBuf>,
    /// After this long a run is a hang.
    pub watchdog: Duration,
    /// More variables for the sides.
    pub environment: Vec<(String, String)>,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The step of the script.
    pub step: u32,
    /// 0 near, 1 far.
    pub side: u8,
    /// Position among the lines of this side.
    pub index: usize,
    /// What was seen.
    pub text: String,
}

/// Counts a side reported at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that the script's own calls sent on the connection.
    pub sent: u64,
    /// Bytes this side put on the ring.
    pub ring_out: u64,
    /// Bytes this side took from the ring.
    pub ring_in: u64,
    /// Both directions of this side were on the ring when counting began.
    pub began_on_ring: bool,
}

/// What one side's last look at the status said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Counts, the name of the reason, and the whole line for people.
    Counts(Counts, String, String),
    /// No counts, and why: an errno name, or `none` when no connection was under test.
    Nothing(String),
}

/// Everything one run left.
pub struct Run {
    /// How it was carried.
    pub mode: Mode,
    /// The transcript, in the order of the script.
    pub lines: Vec<Line>,
    /// What went wrong apart from the transcript.
    pub failures: Vec<String>,
    /// Notes and standard error, for people.
    pub notes: Vec<String>,
    /// What near and far said at their end.
    pub told: [Option<Told>; 2],
    /// For each connection that the script settled, the exchanges after which both directions were on the ring.
    pub warm_ups: Vec<u32>,
}

impl Run {
    /// The transcript as text, one line each.
    #[must_use]
    pub fn transcript(&self) -> Vec<String> {
        self.lines
            .iter()
            .map(|line| {
                format!(
                    "{:>3} {} {}",
                    line.step,
                    if line.side == 0 { "near" } else { "far " },
                    line.text
                )
            })
            .collect()
    }
}

struct Player {
    role: Role,
    child: Child,
    out: JoinHandle<Vec<String>>,
    errors: JoinHandle<String>,
    ended: Option<ExitStatus>,
}

/// Plays one case once.
#[must_use]
pub fn run(case: &Case, kind: Kind, mode: Mode, settings: &Settings) -> Run {
    let mut run = Run {
        mode,
        lines: Vec::new(),
        failures: Vec::new(),
        notes: Vec::new(),
        told: [None, None],
        warm_ups: Vec::new(),
    };
    let (near_line, far_line) = match UnixStream::pair() {
        Ok(pair) => pair,
        Err(error) => {
            run.failures.push(format!("no control line: {error}"));
            return run;
        }
    };
    let mut players = Vec::new();
    for (role, line) in [(Role::Near, near_line), (Role::Far, far_line)] {
        match start(case, kind, mode, role, line, settings) {
            Ok(player) => players.push(player),
            Err(error) => run
                .failures
                .push(format!("{role:?} cannot be started: {error}")),
        }
    }
    wait(&mut players, settings.watchdog, &mut run);
    for player in players {
        gather(case, player, &mut run);
    }
    run.lines.sort();
    run
}

fn start(
    case: &Case,
    kind: Kind,
    mode: Mode,
    role: Role,
    line: UnixStream,
    settings: &Settings,
) -> std::io::Result<Player> {
    let mut command = Command::new(&settings.actor);
    command
        .args([
            "side",
            case.name,
            kind.name,
            if role == Role::Near { "near" } else { "far" },
        ])
        .stdin(Stdio::from(OwnedFd::from(line)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    set_environment(&mut command, case, mode, settings);
    let mut child = command.spawn()?;
    let out = child
        .stdout
        .take()
        .map(|out| std::thread::spawn(move || lines_of(out)));
    let errors = child
        .stderr
        .take()
        .map(|errors| std::thread::spawn(move || text_of(errors)));
    match (out, errors) {
        (Some(out), Some(errors)) => Ok(Player {
            role,
            child,
            out,
            errors,
            ended: None,
        }),
        _ => Err(std::io::Error::other("no pipes")),
    }
}

fn set_environment(command: &mut Command, case: &Case, mode: Mode, settings: &Settings) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AXIO") || name == "LD_PRELOAD" {
            command.env_remove(name);
        }
    }
    if mode == Mode::Bare {
        return;
    }
    if let Some(library) = &settings.library {
        command.env("LD_PRELOAD", library);
    }
    command.env("AXIO_STRICT", "1");
    command.env(
        "AXIO_UPGRADE",
        if mode == Mode::Eager {
            "eager"
        } else {
            "evidence"
        },
    );
    for (name, value) in case.environment {
        command.env(name, value);
    }
    for (name, value) in &settings.environment {
        command.env(name, value);
    }
}

fn lines_of(out: impl Read) -> Vec<String> {
    BufReader::new(out)
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

fn text_of(mut errors: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = errors.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for both; a run that is not over in time is described and ended.
fn wait(players: &mut [Player], watchdog: Duration, run: &mut Run) {
    let started = Instant::now();
    let mut nap = Duration::from_micros(500);
    loop {
        for player in players.iter_mut().filter(|player| player.ended.is_none()) {
            player.ended = player.child.try_wait().ok().flatten();
        }
        if players.iter().all(|player| player.ended.is_some()) {
            break;
        }
        if started.elapsed() > watchdog {
            run.failures
                .push(format!("hang: not over after {} s", watchdog.as_secs()));
            for player in players.iter().filter(|player| player.ended.is_none()) {
                run.failures.push(format!(
                    "  {:?} {}",
                    player.role,
                    hang::describe_threads(player.child.id() as i32)
                ));
            }
            break;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(8));
    }
    for player in players {
        // The group also holds processes that a script has left behind, whose pipes would never end.
        let _ = processes::kill_group(player.child.id() as i32, libc::SIGKILL);
        if player.ended.is_none() {
            player.ended = player.child.wait().ok();
        }
    }
}

fn gather(case: &Case, player: Player, run: &mut Run) {
    let side = match player.role {
        Role::Near => 0,
        Role::Far => 1,
    };
    let name = ["near", "far"][side];
    for line in player.out.join().unwrap_or_default() {
        match line.split_at_checked(2) {
            Some(("= ", rest)) => match rest
                .split_once(' ')
                .map(|(step, text)| (step.parse(), text))
            {
                Some((Ok(step), text)) => {
                    let index = run.lines.len();
                    run.lines.push(Line {
                        step,
                        side: side as u8,
                        index,
                        text: text.to_owned(),
                    });
                }
                _ => run
                    .failures
                    .push(format!("{name} wrote a line without step: {line}")),
            },
            Some(("# ", rest)) => run.notes.push(format!("{name}: {rest}")),
            Some(("! ", rest)) => run.failures.push(format!("{name}: {rest}")),
            Some(("@ ", rest)) => run.told[side] = Some(told(rest)),
            Some(("% ", rest)) => run.warm_ups.extend(rest.parse::<u32>()),
            _ => run
                .failures
                .push(format!("{name} wrote to standard output: {line:?}")),
        }
    }
    for line in player.errors.join().unwrap_or_default().lines() {
        if is_undeclared(case, line) {
            run.failures
                .push(format!("{name}: the library complains: {line}"));
        } else {
            run.notes.push(format!("{name} stderr: {line}"));
        }
    }
    let killed = case.far_dies && player.role == Role::Far;
    match player.ended {
        Some(status) if status.code() == Some(0) && !killed => {}
        Some(status) if status.signal() == Some(libc::SIGKILL) && killed => {}
        Some(status) => run.failures.push(format!("{name} ended with {status}")),
        None => run.failures.push(format!("{name} could not be waited for")),
    }
}

/// True for a line of the library's own that the case does not expect. Under `AXIO_STRICT=1` these are its errors.
fn is_undeclared(case: &Case, line: &str) -> bool {
    line.starts_with("axio: ") && !case.complaints.iter().any(|words| line.contains(words))
}

fn told(line: &str) -> Told {
    let Some(rest) = line.strip_prefix("counts ") else {
        return Told::Nothing(line.strip_prefix("no-counts ").unwrap_or(line).to_owned());
    };
    let field = |name: &str| {
        rest.split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("")
            .to_owned()
    };
    let number = |name: &str| field(name).parse().unwrap_or(0);
    let counts = Counts {
        sent: number("sent"),
        ring_out: number("ring_out"),
        ring_in: number("ring_in"),
        began_on_ring: number("began_on_ring") == 1,
    };
    Told::Counts(counts, field("reason"), rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;

    fn nothing(_: &mut Stage) {}

    #[test]
    fn a_complaint_of_the_library_is_a_fault_unless_the_case_expects_it() {
        let case = Case::new("x", "send", nothing);
        let line = "axio: descriptor 7 stays on the kernel path: forbidden: A limit.";
        assert!(is_undeclared(&case, line));
        assert!(!is_undeclared(&case, "a program's own words"));
        assert!(!is_undeclared(&case.complaints(&["forbidden"]), line));
        assert!(is_undeclared(&case.complaints(&["name_taken"]), line));
    }

    #[test]
    fn counts_are_read_back() {
        let line = "counts sent=5 began_on_ring=1 ring_out=4 ring_in=3 kernel_out=0 kernel_in=0 switches_out=1 switches_in=1 state=4 reason=none";
        let Told::Counts(counts, reason, _) = told(line) else {
            panic!("no counts")
        };
        assert_eq!(
            counts,
            Counts {
                sent: 5,
                ring_out: 4,
                ring_in: 3,
                began_on_ring: true
            }
        );
        assert_eq!(reason, "none");
        assert_eq!(told("no-counts ENOTTY"), Told::Nothing("ENOTTY".into()));
    }
}
