//! One end of a pattern: the victim, or the survivor.
//!
//! * [`parts`]: what each of them does, pattern by pattern.
//! * [`exchanges`]: requests and answers, and both directions at once.
//! * [`streams`]: one direction at a time: written, read, ended, left.
//! * [`company`]: connections that compete with it.
//! * [`child`]: the victim's child that dies in its place.

pub mod child;
mod company;
mod exchanges;
mod parts;
mod streams;

use super::notes::Notes;
use super::pattern::{Pattern, Sleep};
use crate::torture::calls::{self, errno_text};
use crate::torture::content::Content;
use crate::torture::random::Random;
use fastpath::clock::monotonic_ns;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Which end of a pattern a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Dies, if its hook is reached.
    Victim,
    /// Lives on.
    Survivor,
}

/// Everything an end is told.
#[derive(Clone, Debug)]
pub struct Script {
    /// Which end.
    pub part: Part,
    /// What to do.
    pub pattern: Pattern,
    /// How the survivor waits.
    pub sleep: Sleep,
    /// Makes the lengths.
    pub seed: u64,
    /// The victim's notes; the survivor's are beside them.
    pub notes: PathBuf,
}

/// Bytes that the victim reads at a time where it leaves some unread: more cannot be on their way into its buffer when it
/// dies.
pub(super) const UNREAD_TURN_BYTES: u64 = 8;
/// The phase, of either end, in which the survivor has written everything that the victim is to leave unread.
pub(super) const ALL_WRITTEN: u64 = 2;
/// Bytes after which a writer must have noticed that nobody is there any more.
const NOTICE_BYTES: u64 = 256 << 20;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Zero bytes.
    Eof,
    /// ECONNRESET, or EPIPE for a writer.
    Reset,
    /// As many bytes as wanted have come or gone.
    Enough,
}

struct Actor {
    script: Script,
    descriptor: i32,
    companions: Vec<i32>,
    notes: Notes,
    outgoing: Content,
    incoming: Content,
    /// A writer was told that the connection was reset.
    reset_seen: AtomicBool,
    /// This end has shut its direction down.
    direction_ended: AtomicBool,
}

/// Ends this process with a finding.
fn fail(text: &str) -> ! {
    let line = format!("FAIL process {} {text}\n", calls::process_id());
    let _ = calls::write(1, line.as_bytes());
    calls::exit_now(3)
}

fn must<T>(what: &str, outcome: Result<T, i32>) -> T {
    outcome.unwrap_or_else(|code| fail(&format!("{what}: {}", errno_text(code))))
}

/// Connects or accepts and plays the part. The accepting end prints its port.
pub fn run(script: Script, connect_to: Option<u16>) -> ! {
    let small = script.pattern.has_small_buffers();
    let set_small = |descriptor: i32| {
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            if small {
                let outcome = calls::set_option(descriptor, libc::SOL_SOCKET, option, 4096);
                must("buffer size", outcome);
            }
        }
    };
    let pattern = script.pattern;
    let (descriptor, companions) = match connect_to {
        None => {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let (listener, port) = must("listen", calls::listen_on(&address, 0, 64));
            set_small(listener);
            let _ = calls::write(1, format!("PORT {port}\n").as_bytes());
            let descriptor = must("accept", calls::accept(listener, 0));
            let companions = company::accept(pattern, listener);
            let _ = calls::close(listener);
            (descriptor, companions)
        }
        Some(port) => {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let descriptor = must("socket", calls::stream_socket(&address, 0));
            set_small(descriptor);
            must("connect", calls::connect(descriptor, &address));
            (descriptor, company::connect(pattern, &address))
        }
    };
    // Messages here are sent in several pieces: Nagle's algorithm would make each wait for a delayed acknowledgement.
    let no_delay = calls::set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    must("TCP_NODELAY", no_delay);
    let waits_elsewhere = script.part == Part::Survivor && script.sleep != Sleep::Receive;
    if waits_elsewhere {
        // So that its writers wait there, too.
        must("fcntl", calls::set_nonblocking(descriptor, true));
    }
    let mut actor = Actor::new(script, descriptor);
    actor.companions = companions;
    match actor.script.part {
        Part::Victim => actor.play_victim(),
        Part::Survivor => actor.play_survivor(),
    }
}

/// What the program without the shim does after an end's exec.
pub fn run_after_leaving(script: Script, descriptor: i32) -> ! {
    let actor = Actor::new(script, descriptor);
    match actor.script.part {
        Part::Victim => {
            let writer = actor.write_until(actor.notes.taken().load(SeqCst) + (256 << 10), 0);
            actor.end_direction(writer);
            actor.read_to_end(0);
            calls::exit_now(0)
        }
        Part::Survivor => {
            std::thread::sleep(Duration::from_millis(30));
            let ended = actor.read_to_end(0);
            actor.conclude(ended)
        }
    }
}

impl Actor {
    fn new(script: Script, descriptor: i32) -> Actor {
        let notes = match script.part {
            Part::Victim => script.notes.clone(),
            Part::Survivor => script.notes.with_extension("survivor"),
        };
        let direction = u64::from(script.part == Part::Victim);
        Actor {
            descriptor,
            companions: Vec::new(),
            notes: must("notes", Notes::open(&notes)),
            outgoing: Content::new(script.seed, direction),
            incoming: Content::new(script.seed, 1 - direction),
            reset_seen: AtomicBool::new(false),
            direction_ended: AtomicBool::new(false),
            script,
        }
    }

    fn random(&self, stream: u64) -> Random {
        Random::new(
            self.script.seed,
            40 + stream + 10 * u64::from(self.script.part == Part::Victim),
        )
    }

    fn phase(&self, number: u64) {
        self.notes.phase().store(number, SeqCst);
    }

    /// Tells how the connection ended for the survivor, and sees that a writer is told, too, that nobody is there.
    fn conclude(&self, ended: Ended) -> ! {
        // An error is shown once: a writer that was told has taken it from the reader.
        let ended = if self.reset_seen.load(SeqCst) {
            Ended::Reset
        } else {
            ended
        };
        let notes = &self.notes;
        notes.ended_at_ns().store(monotonic_ns(), SeqCst);
        notes
            .taken_at_end()
            .store(notes.taken().load(SeqCst), SeqCst);
        let received = notes.received().load(SeqCst);
        let line = format!("END {ended:?} {received}\n");
        let _ = calls::write(1, line.as_bytes());
        for _ in 0..50 {
            if self.notes.victim_is_dead().load(SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if self.notes.victim_is_dead().load(SeqCst) != 0
            && !self.direction_ended.load(SeqCst)
            && self.write_until(self.goal(NOTICE_BYTES), 0) != Ended::Reset
        {
            fail("wrote 256 MiB after the end");
        }
        calls::exit_now(0)
    }
}

impl Script {
    /// The arguments that make the same script in another process.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "--part",
                match self.part {
                    Part::Victim => "victim".to_owned(),
                    Part::Survivor => "survivor".to_owned(),
                },
            ),
            ("--pattern", format!("{:?}", self.pattern)),
            ("--sleep", format!("{:?}", self.sleep)),
            ("--seed", self.seed.to_string()),
            ("--notes", self.notes.display().to_string()),
        ]
    }
}
