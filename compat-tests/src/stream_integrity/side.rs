//! One of the two processes: connects, warms up, forks where the plan says so, moves its bytes, leaves or ends.

use super::board::Board;
use super::controller::{Controller, LAST_TOGGLE_PERCENT};
use super::plan::{ForkAt, Interrupts, Plan, Share, SidePlan, WARM_UP_BYTES, Wait};
use super::reader::{Blocking, Reader, Step};
use super::waiter::Waiter;
use super::writer::Writer;
use crate::torture::calls::{self, Readiness, errno_text};
use crate::torture::content::Content;
use crate::torture::hang;
use crate::torture::processes;
use crate::torture::random::Random;
use crate::torture::status;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Which end of the connection a process is; the index of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Connects.
    Client = 0,
    /// Accepts.
    Server = 1,
}

/// Exit code of a process that found an error and told it.
pub const EXIT_FAILED: i32 = 3;

/// Switches of the forced kind wanted of each seed, before its last third.
pub const WANTED_SWITCHES: u64 = 20;

/// Where an event loop's writing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// Bytes are left.
    Going,
    /// All bytes are written, the end is not.
    Owing,
    /// FIN, or the leave, has been said.
    Ended,
}

/// Everything a side's threads share.
pub struct Side {
    /// What both ends do.
    pub plan: Plan,
    /// Which end this is.
    pub end: End,
    /// The connection.
    pub descriptor: i32,
    /// What the side's processes share.
    pub board: Board,
    /// The writers' lock.
    turn: Mutex<()>,
    writers_left: AtomicUsize,
    /// Threads that interrupting signals may hit.
    pub threads: Mutex<Vec<i32>>,
    wake: i32,
}

/// Tells the driver what went wrong, and ends this process.
pub fn fail(side: Option<&Side>, text: &str) -> ! {
    tell(side, text);
    if let Some(side) = side {
        side.board.failed().store(1, SeqCst);
    }
    calls::exit_now(EXIT_FAILED)
}

/// Tells the driver what went wrong.
pub fn tell(side: Option<&Side>, text: &str) {
    let mut lines = format!("FAIL process {} {text}\n", calls::process_id());
    if let Some(side) = side {
        lines.push_str(&format!(
            "FAIL process {} {:?} written {} received {}: {}\n",
            calls::process_id(),
            side.end,
            side.board.written().load(SeqCst),
            side.board.received().load(SeqCst),
            status::describe(side.descriptor)
        ));
    }
    let _ = calls::write(1, lines.as_bytes());
}

fn must<T>(side: Option<&Side>, what: &str, outcome: Result<T, i32>) -> T {
    match outcome {
        Ok(value) => value,
        Err(code) => fail(side, &format!("{what}: {}", errno_text(code))),
    }
}

/// Runs one end of a plan to its end. Tells the driver the port (server) and the result on standard output.
pub fn run(plan: Plan, end: End, port: u16) -> ! {
    let listen: SocketAddr = format!("{}:0", plan.listen)
        .parse()
        .unwrap_or_else(bad_address);
    let own = &plan.sides[end as usize];
    let type_flags = if own.nonblocking {
        libc::SOCK_NONBLOCK
    } else {
        0
    };
    let descriptor = match end {
        End::Server => {
            let (listener, port) = must(None, "listen", calls::listen_on(&listen, 0, 1));
            set_buffers(own, listener);
            let _ = calls::write(1, format!("PORT {port}\n").as_bytes());
            let descriptor = must(None, "accept", calls::accept(listener, type_flags));
            let _ = calls::close(listener);
            descriptor
        }
        End::Client => {
            let mut address: SocketAddr = format!("{}:0", plan.connect)
                .parse()
                .unwrap_or_else(bad_address);
            address.set_port(port);
            let descriptor = must(None, "socket", calls::stream_socket(&address, type_flags));
            set_buffers(own, descriptor);
            match calls::connect(descriptor, &address) {
                Err(libc::EINPROGRESS) if own.nonblocking => {
                    let asked = Readiness {
                        writable: true,
                        ..Readiness::default()
                    };
                    must(
                        None,
                        "poll for connect",
                        calls::poll(descriptor, asked, None, -1, false),
                    );
                }
                other => must(None, "connect", other),
            }
            descriptor
        }
    };
    if own.no_delay {
        let option = calls::set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        must(None, "TCP_NODELAY", option);
    }
    if own.timeout_ms != 0 {
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            let outcome = calls::set_timeout(descriptor, option, own.timeout_ms);
            must(None, "time-out", outcome);
        }
    }
    let side = adopt(plan, end, descriptor);
    side.start();
    side.finish()
}

/// The part of a side that a program without the shim goes on with after the leave.
pub fn run_after_leaving(plan: Plan, end: End, descriptor: i32, before: [u64; 3]) -> ! {
    let [written, received, switches] = before;
    let mut plan = plan;
    let own = &mut plan.sides[end as usize];
    own.leave = None;
    own.controls = false;
    own.fork = ForkAt::Never;
    plan.warm_up_rounds = 0;
    plan.burst_bytes = 0;
    let side = adopt(plan, end, descriptor);
    side.board.written().store(written, SeqCst);
    side.board.received().store(received, SeqCst);
    side.board.switches().store(switches, SeqCst);
    side.start();
    side.finish()
}

fn bad_address<T>(error: std::net::AddrParseError) -> T {
    fail(None, &format!("address: {error}"))
}

fn set_buffers(own: &SidePlan, descriptor: i32) {
    for (option, bytes) in [
        (libc::SO_SNDBUF, own.send_buffer),
        (libc::SO_RCVBUF, own.receive_buffer),
    ] {
        if bytes != 0 {
            let outcome = calls::set_option(descriptor, libc::SOL_SOCKET, option, bytes);
            must(None, "buffer size", outcome);
        }
    }
}

fn adopt(plan: Plan, end: End, descriptor: i32) -> &'static Side {
    let incoming = plan.sides[1 - end as usize].bytes;
    let own = &plan.sides[end as usize];
    if own.interrupts != Interrupts::Off {
        let restart = own.interrupts == Interrupts::Restarting;
        must(None, "sigaction", calls::handle_interrupts(restart));
    }
    let writers = own.writers;
    let board = must(None, "shared memory", Board::new(incoming));
    // Lives as long as the process: its threads and forked children all refer to it.
    Box::leak(Box::new(Side {
        plan,
        end,
        descriptor,
        board,
        turn: Mutex::new(()),
        writers_left: AtomicUsize::new(writers),
        threads: Mutex::new(Vec::new()),
        wake: must(None, "eventfd", calls::event_descriptor()),
    }))
}

impl Side {
    /// This end's plan.
    #[must_use]
    pub fn own(&self) -> &SidePlan {
        &self.plan.sides[self.end as usize]
    }

    /// Bytes this end will receive in all.
    #[must_use]
    pub fn incoming(&self) -> u64 {
        self.plan.sides[1 - self.end as usize].bytes
    }

    /// Content of what this end sends.
    fn outgoing_content(&self) -> Content {
        Content::new(self.plan.seed, self.end as u64)
    }

    fn incoming_content(&self) -> Content {
        Content::new(self.plan.seed, 1 - self.end as u64)
    }

    fn random(&self, stream: u64) -> Random {
        Random::new(self.plan.seed, 16 + self.end as u64 * 100 + stream)
    }

    fn fail(&self, text: &str) -> ! {
        fail(Some(self), text)
    }

    /// Moves all bytes; returns in the process that speaks for the side at the end.
    fn start(&'static self) {
        let own = self.own();
        let mut share = None;
        if let ForkAt::Start(given) = own.fork {
            share = self.divide(given);
        }
        if share.is_none() {
            self.warm_up();
        }
        if share.is_none() && self.plan.burst_bytes > 0 {
            self.burst();
        }
        if let ForkAt::WarmedUp(given) = own.fork {
            share = self.divide(given);
        }
        let answers = status::status(self.descriptor).is_ok();
        if answers && self.plan.can_switch_often() {
            self.board.paced().store(1, SeqCst);
        }
        // One controller for a side: in the child only when it has taken over everything.
        let controls = match share {
            None => true,
            Some(Share::Everything) => false,
            Some(_) => self.speaks(),
        };
        let controller = controls.then(|| Controller::start(self));
        match share {
            None if own.event_loop => self.event_loop(),
            None => self.threads_of_both(),
            Some(Share::Reading) => self.run_readers(),
            Some(Share::Writing) => self.run_writers(),
            Some(Share::Everything) => {}
        }
        if self.speaks() {
            self.wait_for_child();
        }
        if let Some(controller) = controller {
            controller.stop();
        }
        if !self.speaks() {
            calls::exit_now(0);
        }
        if own.leave.is_some() {
            self.leave();
        }
    }

    /// True in the process that answers to the driver: all but the forked child.
    fn speaks(&self) -> bool {
        let child = self.board.child().load(SeqCst);
        child == 0 || child != calls::process_id() as u64
    }

    /// Forks. Returns what remains to be done in this process; nothing special when it is everything.
    fn divide(&self, share: Share) -> Option<Share> {
        let child = must(Some(self), "fork", calls::fork());
        if child == 0 {
            self.board.child().store(calls::process_id() as u64, SeqCst);
            let _ = calls::die_with_parent();
            return match share {
                Share::Everything => None,
                other => Some(other),
            };
        }
        self.board.child().store(child as u64, SeqCst);
        Some(match share {
            Share::Everything => {
                // The child holds the connection alone from here on, as under a server that forks.
                let _ = calls::close(self.descriptor);
                Share::Everything
            }
            Share::Reading => Share::Writing,
            Share::Writing => Share::Reading,
        })
    }

    fn wait_for_child(&self) {
        let child = self.board.child().load(SeqCst);
        if child != 0 {
            match calls::wait_for(child as i32) {
                Ok(0) => {}
                Ok(EXIT_FAILED) => calls::exit_now(EXIT_FAILED),
                other => self.fail(&format!("the forked child ended with {other:?}")),
            }
        }
    }

    // ---- before the threads

    /// Requests and answers of a fixed size, as evidence for an upgrade.
    fn warm_up(&self) {
        let mut random = self.random(0);
        let mut reader = self.reader(true);
        for _ in 0..self.plan.warm_up_rounds {
            let order = match self.end {
                End::Client => [true, false],
                End::Server => [false, true],
            };
            for sends in order {
                if sends {
                    let goal = self.board.written().load(SeqCst) + WARM_UP_BYTES;
                    self.write_up_to(goal, &mut random);
                } else {
                    let goal = self.board.received().load(SeqCst) + WARM_UP_BYTES;
                    self.read_up_to(&mut reader, goal);
                }
            }
        }
    }

    /// Writes much before reading anything; the far side does the same.
    fn burst(&self) {
        let mut random = self.random(1);
        let goal = self.board.written().load(SeqCst) + self.plan.burst_bytes;
        self.write_up_to(goal, &mut random);
    }

    fn write_up_to(&self, goal: u64, random: &mut Random) {
        let mut writer = Writer::new(
            self.descriptor,
            &self.board,
            self.own(),
            self.outgoing_content(),
            goal,
        )
        .basic(self.plan.is_basic);
        loop {
            match writer.step(Blocking::AsDescriptor, usize::MAX, random) {
                Ok(Step::Moved) => {}
                Ok(Step::Again) => self.poll_once(false),
                Ok(Step::End | Step::Stop) => return,
                Err(text) => self.fail(&text),
            }
        }
    }

    fn read_up_to(&self, reader: &mut Reader<'_>, goal: u64) {
        loop {
            let position = self.board.received().load(SeqCst);
            if position == goal {
                return;
            }
            match reader.exactly((goal - position) as usize) {
                Ok(Step::Moved) => {}
                Ok(Step::Again) => self.poll_once(true),
                Ok(Step::End | Step::Stop) => {
                    self.fail(&format!("end of stream at {position} in the warm-up"))
                }
                Err(text) => self.fail(&text),
            }
        }
    }

    fn poll_once(&self, readable: bool) {
        let asked = Readiness {
            readable,
            writable: !readable,
            trouble: false,
        };
        match calls::poll(self.descriptor, asked, None, -1, false) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(code) => self.fail(&format!("poll: {}", errno_text(code))),
        }
    }

    // ---- threads

    fn threads_of_both(&'static self) {
        match self.own().fork {
            // The thread that forks in mid-stream is this one.
            ForkAt::Position(Share::Reading, _) => {
                let writers = std::thread::spawn(|| self.run_writers());
                self.run_readers();
                self.join(writers);
            }
            ForkAt::Position(Share::Writing, _) => {
                let readers = std::thread::spawn(|| self.run_readers());
                self.run_writers();
                self.join(readers);
            }
            _ => {
                let writers = std::thread::spawn(|| self.run_writers());
                let readers = std::thread::spawn(|| self.run_readers());
                self.join(writers);
                self.join(readers);
            }
        }
    }

    fn join(&self, thread: std::thread::JoinHandle<()>) {
        if thread.join().is_err() {
            self.fail("a thread of the test panicked");
        }
    }

    fn run_readers(&'static self) {
        let own = self.own();
        let shared = (own.readers > 1 && !own.own_sets && own.reader_wait.is_epoll())
            .then(|| self.reading_waiter());
        // The first reader is this thread: in a side that forks in mid-stream it is the one that forks.
        let others: Vec<_> = (1..own.readers)
            .map(|index| std::thread::spawn(move || self.read_all(index as u64, shared)))
            .collect();
        self.read_all(0, shared);
        for other in others {
            self.join(other);
        }
    }

    fn run_writers(&'static self) {
        let others: Vec<_> = (1..self.own().writers)
            .map(|index| std::thread::spawn(move || self.write_all(index as u64)))
            .collect();
        self.write_all(0);
        for other in others {
            self.join(other);
        }
    }

    fn register_thread(&self) {
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(calls::thread_id());
    }

    fn reader(&self, alone: bool) -> Reader<'_> {
        Reader::new(
            self.descriptor,
            &self.board,
            self.own(),
            self.incoming_content(),
            self.incoming(),
            alone,
        )
        .basic(self.plan.is_basic)
    }

    fn reading_waiter(&self) -> Waiter {
        let interest = Readiness {
            readable: true,
            ..Readiness::default()
        };
        let wake = (self.own().readers > 1).then_some(self.wake);
        let waiter = Waiter::new(self.own().reader_wait, self.descriptor, interest, wake);
        must(Some(self), "epoll set", waiter)
    }

    /// What a thread that waits in `wait` may do now: `ready` was just reported for it alone.
    fn blocking(&self, wait: Wait, ready: bool, random: &mut Random) -> Blocking {
        if self.own().nonblocking || wait == Wait::Block {
            Blocking::AsDescriptor
        } else if ready && wait != Wait::EpollEdge && random.one_in(2) {
            Blocking::JustReady
        } else {
            Blocking::Never
        }
    }

    fn read_all(&self, index: u64, shared: Option<Waiter>) {
        self.register_thread();
        let own = self.own();
        let mut random = self.random(10 + index);
        let alone = own.readers == 1;
        let mut reader = self.reader(alone);
        let mut waiter = shared.unwrap_or_else(|| self.reading_waiter());
        let asked = Readiness {
            readable: true,
            ..Readiness::default()
        };
        let mut fork_at = match own.fork {
            ForkAt::Position(Share::Reading, thousandths) => {
                Some(self.incoming() / 1000 * thousandths)
            }
            _ => None,
        };
        loop {
            let mut ready = false;
            if own.reader_wait != Wait::Block {
                match waiter.wait(asked, &mut random) {
                    Ok(answer) => ready = answer.readable,
                    Err(libc::EINTR) => {
                        self.board.interrupted().fetch_add(1, SeqCst);
                        continue;
                    }
                    Err(code) => self.fail(&format!("waiting to read: {}", errno_text(code))),
                }
                self.board.waits().fetch_add(1, SeqCst);
                if self.board.reading_done().load(SeqCst) != 0 {
                    break;
                }
            }
            // An edge is used up by being told: go on until EAGAIN. Otherwise now and then leave data behind.
            loop {
                if fork_at.is_some_and(|position| self.board.received().load(SeqCst) >= position) {
                    fork_at = None;
                    if self.divide(Share::Reading) == Some(Share::Writing) {
                        return;
                    }
                    if own.own_sets {
                        waiter.close();
                        waiter = self.reading_waiter();
                        break;
                    }
                }
                let blocking = self.blocking(own.reader_wait, ready && alone, &mut random);
                ready = false;
                match reader.step(blocking, &mut random) {
                    Ok(Step::Moved) => {
                        self.pause(&mut random);
                        if !waiter.is_edge() && random.one_in(3) {
                            break;
                        }
                    }
                    Ok(Step::Again) => break,
                    Ok(Step::End) => {
                        self.board.reading_done().store(1, SeqCst);
                        // Other readers of the side may wait in a set that has told its news to this thread.
                        let _ = calls::write(self.wake, &1u64.to_ne_bytes());
                        break;
                    }
                    Ok(Step::Stop) => {
                        self.board.reading_done().store(1, SeqCst);
                        break;
                    }
                    Err(text) => self.fail(&text),
                }
            }
            if self.board.reading_done().load(SeqCst) != 0 {
                break;
            }
        }
        if !self.speaks() && own.fork != ForkAt::Never && matches!(own.fork, ForkAt::Position(..)) {
            calls::exit_now(0);
        }
    }

    fn write_all(&self, index: u64) {
        self.register_thread();
        let own = self.own();
        let mut random = self.random(20 + index);
        let stop = own.written_before_leaving();
        let mut writer = Writer::new(
            self.descriptor,
            &self.board,
            own,
            self.outgoing_content(),
            stop,
        )
        .basic(self.plan.is_basic);
        let asked = Readiness {
            writable: true,
            ..Readiness::default()
        };
        let new_waiter = || {
            let waiter = Waiter::new(own.writer_wait, self.descriptor, asked, None);
            must(Some(self), "epoll set", waiter)
        };
        let mut waiter = new_waiter();
        let mut fork_at = match own.fork {
            ForkAt::Position(Share::Writing, thousandths) => Some(own.bytes / 1000 * thousandths),
            _ => None,
        };
        let mut ended = false;
        while !ended {
            if fork_at.is_some_and(|position| self.board.written().load(SeqCst) >= position) {
                fork_at = None;
                if self.divide(Share::Writing) == Some(Share::Reading) {
                    return;
                }
                if own.own_sets {
                    waiter.close();
                    waiter = new_waiter();
                }
            }
            let longest = self.pace(&mut random);
            let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            // Programs wait first and then write, or write first and wait when told to.
            let mut ready = false;
            let mut must_wait = own.writer_wait != Wait::Block
                && own.writer_wait != Wait::EpollEdge
                && random.one_in(2);
            loop {
                if must_wait {
                    match waiter.wait(asked, &mut random) {
                        Ok(answer) => ready = answer.writable,
                        Err(libc::EINTR) => {
                            self.board.interrupted().fetch_add(1, SeqCst);
                            continue;
                        }
                        Err(code) => self.fail(&format!("waiting to write: {}", errno_text(code))),
                    }
                    self.board.waits().fetch_add(1, SeqCst);
                }
                let blocking = match self.blocking(own.writer_wait, ready, &mut random) {
                    // A ready socket takes some bytes at once, a blocking call insists on all of them: both are fine.
                    Blocking::JustReady => Blocking::AsDescriptor,
                    other => other,
                };
                ready = false;
                must_wait = false;
                match writer.step(blocking, longest, &mut random) {
                    Ok(Step::Moved) => {
                        if !writer.is_within_chunk() {
                            break;
                        }
                    }
                    // With a send time-out a blocking call may say so, too.
                    Ok(Step::Again) => must_wait = own.writer_wait != Wait::Block,
                    Ok(Step::End | Step::Stop) => {
                        ended = true;
                        break;
                    }
                    Err(text) => self.fail(&text),
                }
            }
            drop(turn);
            self.pause(&mut random);
        }
        if self.writers_left.fetch_sub(1, SeqCst) == 1 {
            self.end_writing();
        }
        if !self.speaks() && matches!(own.fork, ForkAt::Position(..)) {
            calls::exit_now(0);
        }
    }

    /// True when this end's FIN waits until everything has been received; an idle direction has no other moment.
    fn ends_after_receipt(&self) -> bool {
        self.plan.end_after_receipt || self.own().is_idle
    }

    /// After the last byte: FIN, or the reader's turn to stop before the side leaves.
    fn end_writing(&self) {
        if self.own().leave.is_some() {
            // The reader goes on meanwhile (an event loop has read all along), so that what is unread at the leave is not
            // behind an earlier switch.
            if !self.own().event_loop {
                std::thread::sleep(Duration::from_millis(15));
            }
            self.board.leaving().store(1, SeqCst);
            return;
        }
        if self.ends_after_receipt() {
            while self.board.received().load(SeqCst) < self.incoming()
                && self.board.failed().load(SeqCst) == 0
            {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        let outcome = calls::shutdown(self.descriptor, libc::SHUT_WR);
        must(Some(self), "shutdown", outcome);
        self.board.writing_done().store(1, SeqCst);
    }

    /// Both directions in one thread.
    fn event_loop(&self) {
        self.register_thread();
        let own = self.own();
        let mut random = self.random(30);
        let mut reader = self.reader(true);
        let mut writer = Writer::new(
            self.descriptor,
            &self.board,
            own,
            self.outgoing_content(),
            own.written_before_leaving(),
        )
        .basic(self.plan.is_basic);
        let both = Readiness {
            readable: true,
            writable: true,
            trouble: false,
        };
        let waiter = Waiter::new(own.reader_wait, self.descriptor, both, None);
        let mut waiter = must(Some(self), "epoll set", waiter);
        let (mut reads, mut writing) = (true, Writing::Going);
        // What the last answers said; an edge-triggered program has to remember it.
        let (mut readable, mut writable) = (false, true);
        while reads || writing != Writing::Ended {
            let can_write = writing == Writing::Going && writable;
            let can_read = reads && readable;
            if !(can_write || can_read) || random.one_in(2) {
                let asked = Readiness {
                    readable: reads,
                    writable: writing == Writing::Going && (!writable || can_write),
                    trouble: false,
                };
                // Of an edge nothing may come while there is still something to do.
                let may_wait = !waiter.is_edge() || !(can_write || can_read);
                let answer = waiter.change_interest(asked).and_then(|()| {
                    if may_wait {
                        waiter.wait(asked, &mut random)
                    } else {
                        waiter.look(asked, &mut random)
                    }
                });
                self.board.waits().fetch_add(1, SeqCst);
                match answer {
                    Ok(answer) => {
                        readable |= answer.readable;
                        writable |= answer.writable;
                    }
                    Err(libc::EINTR) => {
                        self.board.interrupted().fetch_add(1, SeqCst);
                        continue;
                    }
                    Err(code) => self.fail(&format!("event loop: {}", errno_text(code))),
                }
            }
            if reads && readable {
                // Only what was just told may be relied on by a call that could block.
                let mut blocking = self.blocking(own.reader_wait, !waiter.is_edge(), &mut random);
                // Some loops take one piece in each round, some all there is.
                let mut more = if random.one_in(2) { 16 } else { 0 };
                loop {
                    match reader.step(blocking, &mut random) {
                        Ok(Step::Moved) => readable = waiter.is_edge(),
                        Ok(Step::Again) => {
                            readable = false;
                            break;
                        }
                        Ok(Step::End | Step::Stop) => {
                            reads = false;
                            self.board.reading_done().store(1, SeqCst);
                            break;
                        }
                        Err(text) => self.fail(&text),
                    }
                    if more == 0 {
                        break;
                    }
                    more -= 1;
                    if !own.nonblocking {
                        blocking = Blocking::Never;
                    }
                }
            }
            if writing == Writing::Going && writable {
                let longest = self.pace(&mut random);
                let blocking = if own.nonblocking {
                    Blocking::AsDescriptor
                } else {
                    Blocking::Never
                };
                match writer.step(blocking, longest, &mut random) {
                    Ok(Step::Moved) => {}
                    Ok(Step::Again) => writable = false,
                    Ok(Step::End | Step::Stop) => {
                        writing = Writing::Owing;
                    }
                    Err(text) => self.fail(&text),
                }
            }
            // An event loop cannot sleep until its own reader has everything: it goes on reading.
            let received = self.board.received().load(SeqCst);
            if writing == Writing::Owing
                && (own.leave.is_some()
                    || !self.ends_after_receipt()
                    || received == self.incoming())
            {
                self.end_writing();
                writing = Writing::Ended;
            }
            self.pause(&mut random);
        }
    }

    fn pause(&self, random: &mut Random) {
        let own = self.own();
        if own.pause_every != 0 && random.one_in(own.pause_every) {
            std::thread::sleep(Duration::from_micros(random.below(own.pause_us)));
        }
    }

    /// Holds the stream back to small pieces where as many switches have happened as its position asks for, so that
    /// they fall among its bytes and not behind them. Returns the longest chunk to write: none goes past the place of
    /// the next switch.
    fn pace(&self, random: &mut Random) -> usize {
        if self.board.paced().load(SeqCst) == 0 {
            return usize::MAX;
        }
        let own = self.own();
        let position = self.board.written().load(SeqCst);
        // What was written before anything was read had no part in it.
        let first = self.plan.burst_bytes;
        let paced_bytes = if self.plan.end_after_receipt {
            // A leave comes behind the last forced switch. Some time has to pass between them, and some traffic.
            if position > own.bytes / 100 * LAST_TOGGLE_PERCENT {
                return self.pace_before_leave(position, random);
            }
            own.bytes / 100 * (LAST_TOGGLE_PERCENT - 10)
        } else {
            (own.bytes - first) / 100 * 60
        };
        let every = (paced_bytes / (WANTED_SWITCHES + 8)).max(1);
        let due = (position.saturating_sub(first) / every).min(WANTED_SWITCHES + 4);
        let seen = self.board.switches().load(SeqCst);
        if seen >= WANTED_SWITCHES + 4 {
            return usize::MAX;
        }
        if seen >= due {
            let next = first + (seen + 1) * every;
            return next.saturating_sub(position).max(1) as usize;
        }
        std::thread::sleep(Duration::from_micros(random.between(50, 300)));
        if seen + 4 < due {
            std::thread::sleep(Duration::from_millis(1));
        }
        random.between(1, 600) as usize
    }

    /// Slowly, and never far ahead of the other direction: a reader that has to stop early because the far side is
    /// through with its bytes would make the ring's writer give up on it, and the leave a reset.
    fn pace_before_leave(&self, position: u64, random: &mut Random) -> usize {
        let thousandths = |part: u64, whole: u64| part * 1000 / whole.max(1);
        let written = thousandths(position, self.own().bytes);
        let received = thousandths(self.board.received().load(SeqCst), self.incoming());
        if written > received + 60 {
            std::thread::sleep(Duration::from_millis(1));
            return random.between(1, 300) as usize;
        }
        std::thread::sleep(Duration::from_micros(random.between(200, 500)));
        random.between(1, 1500) as usize
    }

    // ---- ends

    /// Tells the driver something that it shows with a failure only.
    fn note(&self, what: &str) {
        let line = format!(
            "NOTE {:?} {what}: written {} received {}, {}\n",
            self.end,
            self.board.written().load(SeqCst),
            self.board.received().load(SeqCst),
            status::describe(self.descriptor)
        );
        let _ = calls::write(1, line.as_bytes());
    }

    /// Execs this very program without the shim; it goes on with plain kernel calls.
    fn leave(&self) -> ! {
        must(Some(self), "fcntl", calls::keep_over_exec(self.descriptor));
        self.note("leaving");
        // Some more of what the far side writes shall be unread when it is left.
        std::thread::sleep(Duration::from_micros(700));
        let board = &self.board;
        let mut arguments = self.plan.arguments();
        for (name, value) in [
            ("--after-leaving", self.end as u64),
            ("--descriptor", self.descriptor as u64),
            ("--written", board.written().load(SeqCst)),
            ("--received", board.received().load(SeqCst)),
            ("--switches", board.switches().load(SeqCst)),
        ] {
            arguments.push(name.to_owned());
            arguments.push(value.to_string());
        }
        let code = processes::exec_self_without(&arguments, "LD_PRELOAD");
        self.fail(&format!("exec: {}", errno_text(code)))
    }

    /// Checks what was received, closes, tells the result.
    fn finish(&self) -> ! {
        let received = self.board.received().load(SeqCst);
        if received != self.incoming() {
            self.fail(&format!(
                "end of stream after {received} of {} bytes; {}",
                self.incoming(),
                hang::describe_queues(self.descriptor)
            ));
        }
        if self.own().readers > 1 {
            // A side that is divided at the start reads everything in its readers.
            let warmed_up = !matches!(
                self.own().fork,
                ForkAt::Start(Share::Reading | Share::Writing)
            );
            let before = u64::from(warmed_up) * self.plan.warm_up_rounds * WARM_UP_BYTES;
            let checked = self
                .board
                .check_cover(&self.incoming_content(), before, received);
            if let Err(text) = checked {
                self.fail(&text);
            }
        }
        let count = |word: &std::sync::atomic::AtomicU64| word.load(SeqCst);
        let board = &self.board;
        let text = format!(
            "RESULT written {} received {received} switches {} toggles {} calls {} again {} interrupted {} waits {}\n",
            count(board.written()),
            count(board.switches()),
            count(board.toggles()),
            count(board.calls()),
            count(board.again()),
            count(board.interrupted()),
            count(board.waits()),
        );
        if self.own().fork == ForkAt::Never {
            let outcome = calls::close(self.descriptor);
            must(Some(self), "close", outcome);
        }
        let _ = calls::write(1, text.as_bytes());
        std::process::exit(0);
    }
}
