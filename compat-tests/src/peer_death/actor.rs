//! One end of a pattern: the victim, or the survivor.

use super::notes::Notes;
use super::pattern::{Pattern, Sleep};
use crate::stream_integrity::plan::Wait;
use crate::stream_integrity::waiter::Waiter;
use crate::torture::calls::{self, Readiness, errno_text};
use crate::torture::content::Content;
use crate::torture::processes;
use crate::torture::random::Random;
use crate::torture::status;
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

/// Exchanges before anything special, so that the connection is on the ring.
const WARM_UP_ROUNDS: u64 = 60;
/// Bytes of the long directions, where nobody dies.
const STREAM_BYTES: u64 = 3 << 20;
/// Bytes each end writes before it reads, in the pattern of that name.
const SPILL_BYTES: u64 = 2 << 20;
/// Bytes that the survivor writes where the victim leaves some unread, and what the victim reads of them, in turns.
const UNREAD_BYTES: u64 = 96 << 10;
const UNREAD_ROUNDS: u64 = 400;
/// Bytes of such a turn: more cannot be on their way into the victim's buffer when it dies.
pub(super) const UNREAD_TURN_BYTES: u64 = 128;
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
    let small = script.pattern == Pattern::PeerLeavesSmall;
    let set_small = |descriptor: i32| {
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            if small {
                let outcome = calls::set_option(descriptor, libc::SOL_SOCKET, option, 4096);
                must("buffer size", outcome);
            }
        }
    };
    let descriptor = match connect_to {
        None => {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let (listener, port) = must("listen", calls::listen_on(&address, 0, 1));
            set_small(listener);
            let _ = calls::write(1, format!("PORT {port}\n").as_bytes());
            let descriptor = must("accept", calls::accept(listener, 0));
            let _ = calls::close(listener);
            descriptor
        }
        Some(port) => {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let descriptor = must("socket", calls::stream_socket(&address, 0));
            set_small(descriptor);
            must("connect", calls::connect(descriptor, &address));
            descriptor
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
    let actor = Actor::new(script, descriptor);
    match actor.script.part {
        Part::Victim => actor.play_victim(),
        Part::Survivor => actor.play_survivor(connect_to.is_some()),
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

    // ---- parts

    fn play_victim(&self) -> ! {
        self.warm_up(false);
        self.phase(1);
        match self.script.pattern {
            Pattern::PingPong | Pattern::PingPongPolling => {
                if self.script.pattern == Pattern::PingPongPolling {
                    must("fcntl", calls::set_nonblocking(self.descriptor, true));
                }
                self.ping_pong(300, 3000);
                self.end_direction(Ended::Enough);
                self.read_to_end(0);
            }
            Pattern::Stream => {
                let written = self.write_until(self.goal(STREAM_BYTES), 64);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Sink => {
                self.read_some(STREAM_BYTES, 64);
                // The survivor writes until it notices: this end simply goes.
                calls::exit_now(0);
            }
            Pattern::Unread => {
                for round in 0..UNREAD_ROUNDS {
                    self.write_until(self.goal(UNREAD_TURN_BYTES), 0);
                    self.read_some(UNREAD_TURN_BYTES, 0);
                    if round % 32 == 0 {
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
                calls::exit_now(0);
            }
            Pattern::Both | Pattern::Toggle | Pattern::ToggledByPeer => {
                self.both_directions(STREAM_BYTES, self.script.pattern == Pattern::Toggle);
            }
            Pattern::Spill => {
                let written = self.write_until(self.goal(SPILL_BYTES), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Shutdown => {
                let written = self.write_until(self.goal(100_000), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::PeerShutdown => {
                std::thread::sleep(Duration::from_millis(5));
                let written = self.write_until(self.goal(STREAM_BYTES), 128);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Close => {
                self.write_until(self.goal(50_000), 0);
                self.phase(2);
                let _ = calls::close(self.descriptor);
            }
            Pattern::CloseUnread => {
                // Until the survivor has written and said `fin`.
                std::thread::sleep(Duration::from_millis(30));
                self.phase(2);
                let _ = calls::close(self.descriptor);
            }
            Pattern::Leave => {
                self.write_until(self.goal(50_000), 0);
                self.phase(2);
                self.leave();
            }
            Pattern::PeerLeaves | Pattern::PeerLeavesSmall => {
                // The first bytes wait in the ring when the survivor leaves; the others come after.
                let small = self.script.pattern == Pattern::PeerLeavesSmall;
                self.write_until(self.goal(if small { 60 << 10 } else { 24 << 10 }), 0);
                std::thread::sleep(Duration::from_millis(if small { 25 } else { 6 }));
                let written = self.write_until(self.goal(512 << 10), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
        }
        calls::exit_now(0)
    }

    fn play_survivor(&self, _connected: bool) -> ! {
        self.warm_up(true);
        self.phase(1);
        let ended = match self.script.pattern {
            Pattern::PingPong | Pattern::PingPongPolling => {
                self.answer_pings();
                self.read_to_end(0)
            }
            Pattern::Stream | Pattern::Close | Pattern::Leave => self.read_to_end(64),
            Pattern::Shutdown => {
                let ended = self.read_to_end(64);
                self.write_until(self.goal(20_000), 0);
                ended
            }
            Pattern::PeerShutdown | Pattern::CloseUnread => {
                self.write_until(self.goal(20_000), 0);
                self.end_direction(Ended::Enough);
                self.read_to_end(64)
            }
            Pattern::Unread => {
                self.write_until(self.goal(UNREAD_BYTES), 0);
                self.read_to_end(0)
            }
            Pattern::Sink => {
                if self.write_until(self.goal(NOTICE_BYTES), 0) == Ended::Enough {
                    fail("wrote 256 MiB to nobody");
                }
                self.read_to_end(0)
            }
            Pattern::Both | Pattern::Toggle | Pattern::ToggledByPeer => {
                self.both_directions(STREAM_BYTES, self.script.pattern == Pattern::ToggledByPeer)
            }
            Pattern::Spill => {
                self.write_until(self.goal(SPILL_BYTES), 0);
                self.end_direction(Ended::Enough);
                self.read_to_end(0)
            }
            Pattern::PeerLeaves | Pattern::PeerLeavesSmall => {
                let small = self.script.pattern == Pattern::PeerLeavesSmall;
                std::thread::sleep(Duration::from_millis(if small { 15 } else { 3 }));
                self.leave();
            }
        };
        self.conclude(ended)
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

    // ---- pieces of scripts

    fn goal(&self, more: u64) -> u64 {
        self.notes.taken().load(SeqCst) + more
    }

    /// The survivor's requests and the victim's answers, so that both have seen the other's second request.
    fn warm_up(&self, asks: bool) {
        self.exchange(asks, WARM_UP_ROUNDS, 64);
        if self.script.pattern != Pattern::PeerLeavesSmall {
            return;
        }
        // A direction that has carried much by the ring gets a longer one at its next upgrade: more than the kernel's
        // buffers will take.
        self.exchange(asks, WARM_UP_ROUNDS, 512);
        for wanted in [false, true] {
            let _ = status::accelerate(self.descriptor, wanted);
            self.exchange(asks, WARM_UP_ROUNDS, 64);
        }
    }

    fn exchange(&self, asks: bool, rounds: u64, bytes: u64) {
        for _ in 0..rounds {
            for writes in [asks, !asks] {
                if writes {
                    if self.write_until(self.goal(bytes), 0) == Ended::Reset {
                        return;
                    }
                } else if self.read_some(bytes, 0) != Ended::Enough {
                    return;
                }
            }
        }
    }

    /// The victim asks; each request says how long it is in its first four bytes' place of a fixed series.
    fn ping_pong(&self, rounds: u64, longest: u64) {
        let mut lengths = Random::new(self.script.seed, 77);
        for round in 0..rounds {
            let length = lengths.between(1, longest);
            if self.write_until(self.goal(length), 0) != Ended::Enough
                || self.read_some(length, 0) != Ended::Enough
            {
                fail(&format!(
                    "the survivor ended the connection in round {round}"
                ));
            }
            if round % 16 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn answer_pings(&self) {
        let mut lengths = Random::new(self.script.seed, 77);
        for _ in 0..300 {
            let length = lengths.between(1, 3000);
            if self.read_some(length, 0) != Ended::Enough
                || self.write_until(self.goal(length), 0) != Ended::Enough
            {
                return;
            }
        }
    }

    fn both_directions(&self, bytes: u64, toggles: bool) -> Ended {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let written = self.write_until(self.goal(bytes), 256);
                self.end_direction(written);
            });
            if toggles {
                scope.spawn(|| {
                    let mut random = self.random(5);
                    let mut enable = false;
                    while !over.load(SeqCst) {
                        std::thread::sleep(Duration::from_micros(random.between(100, 1500)));
                        let _ = status::accelerate(self.descriptor, enable);
                        enable = !enable;
                    }
                });
            }
            let ended = self.read_to_end(256);
            over.store(true, SeqCst);
            ended
        })
    }

    fn end_direction(&self, written: Ended) {
        self.phase(3);
        self.direction_ended.store(true, SeqCst);
        if written != Ended::Reset {
            match calls::shutdown(self.descriptor, libc::SHUT_WR) {
                Ok(()) | Err(libc::ENOTCONN) => {}
                Err(code) => fail(&format!("shutdown: {}", errno_text(code))),
            }
        }
    }

    fn leave(&self) -> ! {
        must("fcntl", calls::keep_over_exec(self.descriptor));
        let script = &self.script;
        let mut arguments = vec!["--after-leaving".to_owned(), self.descriptor.to_string()];
        for (name, value) in script.arguments() {
            arguments.push(name.to_owned());
            arguments.push(value);
        }
        let code = processes::exec_self_without(&arguments, "LD_PRELOAD");
        fail(&format!("exec: {}", errno_text(code)))
    }

    // ---- bytes

    /// Writes up to a position; one in so many calls is followed by a pause (0: none).
    fn write_until(&self, goal: u64, pause_every: u64) -> Ended {
        let mut random = self.random(1);
        let notes = &self.notes;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let position = notes.taken().load(SeqCst);
            if position >= goal {
                return Ended::Enough;
            }
            let length = random.length(buffer.len()).min((goal - position) as usize);
            self.outgoing.fill(position, &mut buffer[..length]);
            let mut from = 0;
            while from < length {
                notes.begun().store(position + length as u64, SeqCst);
                match calls::send(self.descriptor, &buffer[from..length], libc::MSG_NOSIGNAL) {
                    Ok(taken) => {
                        from += taken;
                        notes.taken().store(position + from as u64, SeqCst);
                        if let Ok(state) = status::status(self.descriptor)
                            && state.switches_out % 2 == 1
                        {
                            notes.taken_on_ring().store(position + from as u64, SeqCst);
                        }
                    }
                    Err(libc::EAGAIN) => self.wait_for_room(),
                    Err(libc::EINTR) => {}
                    Err(libc::EPIPE | libc::ECONNRESET) => {
                        self.reset_seen.store(true, SeqCst);
                        return Ended::Reset;
                    }
                    Err(code) => fail(&format!("sending at {position}: {}", errno_text(code))),
                }
            }
            if pause_every != 0 && random.one_in(pause_every) {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
            }
        }
    }

    fn wait_for_room(&self) {
        let kind = match self.script.sleep {
            Sleep::Epoll => Wait::EpollLevel,
            Sleep::Receive | Sleep::Poll => Wait::Poll,
        };
        let interest = Readiness {
            writable: true,
            ..Readiness::default()
        };
        let waiter = must(
            "epoll set",
            Waiter::new(kind, self.descriptor, interest, None),
        );
        match waiter.wait(interest, &mut self.random(3)) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(code) => fail(&format!("waiting for room: {}", errno_text(code))),
        }
        waiter.close();
    }

    fn read_to_end(&self, pause_every: u64) -> Ended {
        self.read_some(u64::MAX, pause_every)
    }

    /// Reads so many more bytes or to the end; one in so many calls is followed by a pause, some of them long enough
    /// for the far side to give up on the ring.
    fn read_some(&self, bytes: u64, pause_every: u64) -> Ended {
        let mut random = self.random(2);
        let notes = &self.notes;
        let goal = notes.received().load(SeqCst).saturating_add(bytes);
        let interest = Readiness {
            readable: true,
            ..Readiness::default()
        };
        // The victim sleeps where its descriptor makes it sleep.
        let wait = match (self.script.part, self.script.sleep) {
            (Part::Victim, _) if self.script.pattern == Pattern::PingPongPolling => Wait::Poll,
            (Part::Victim, _) | (_, Sleep::Receive) => Wait::Block,
            (_, Sleep::Poll) => Wait::Poll,
            (_, Sleep::Epoll) => Wait::EpollLevel,
        };
        let waiter = must(
            "epoll set",
            Waiter::new(wait, self.descriptor, interest, None),
        );
        let flags = if wait == Wait::Block {
            0
        } else {
            libc::MSG_DONTWAIT
        };
        let mut buffer = vec![0; 64 << 10];
        let ended = loop {
            let position = notes.received().load(SeqCst);
            if position >= goal {
                break Ended::Enough;
            }
            match waiter.wait(interest, &mut random) {
                Ok(_) => {}
                Err(libc::EINTR) => continue,
                Err(code) => fail(&format!("waiting: {}", errno_text(code))),
            }
            let length = usize::try_from(goal - position)
                .unwrap_or(usize::MAX)
                .min(random.length(buffer.len()).max(256));
            match calls::recv(self.descriptor, &mut buffer[..length], flags) {
                Ok(0) => break Ended::Eof,
                Ok(received) => {
                    let bytes = &buffer[..received];
                    if let Some(wrong) = self.incoming.mismatch(position, bytes) {
                        fail(&self.incoming.describe_mismatch(position, bytes, wrong));
                    }
                    notes.received().store(position + received as u64, SeqCst);
                }
                Err(libc::EAGAIN | libc::EINTR) => {}
                Err(libc::ECONNRESET) => break Ended::Reset,
                Err(code) => fail(&format!("receiving at {position}: {}", errno_text(code))),
            }
            if pause_every != 0 && random.one_in(pause_every) {
                let longest = if random.one_in(8) { 15_000 } else { 800 };
                std::thread::sleep(Duration::from_micros(random.below(longest)));
            }
        };
        waiter.close();
        ended
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
