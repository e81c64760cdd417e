//! One of the two processes: connects, warms up, forks where the plan says so, moves its bytes, leaves or ends.
//!
//! * [`connecting`]: how it comes to its connection.
//! * [`opening`]: what it does before its threads start.
//! * [`threads`], [`event_loop`]: how it moves its bytes.
//! * [`pacing`]: how fast, so that switches fall among them.
//! * [`ending`]: FIN, the leave, the last checks.

mod connecting;
mod ending;
mod event_loop;
mod opening;
mod pacing;
mod threads;

pub use connecting::{run, run_after_leaving};

use super::board::Board;
use super::controller::Controller;
use super::plan::{ForkAt, Interrupts, Plan, Share, SidePlan, Wait};
use super::reader::{Blocking, Reader};
use super::waiter::Waiter;
use crate::torture::calls::{self, Readiness, errno_text};
use crate::torture::content::Content;
use crate::torture::random::Random;
use crate::torture::status;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

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

/// Forced switches wanted of each seed: from a request for the kernel until the ring, asked for again, is back.
pub const WANTED_SWITCHES: u64 = 20;
/// So many of them in each direction count as both, where none is idle.
pub const WANTED_EACH_WAY: u64 = 5;

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

    fn join(&self, thread: std::thread::JoinHandle<()>) {
        if thread.join().is_err() {
            self.fail("a thread of the test panicked");
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
}
