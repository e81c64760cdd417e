//! Processes that a side forks. A child has its own script, cut into turns: `Child::turn` in the parent lets it play the
//! next one and waits until it is over, so that what both of them write down stands in one order. Children write with
//! the number of the step in which they were given their turn.

use std::os::fd::RawFd;

use crate::calls::children::{self, Forked, Leaving};
use crate::calls::{connection, files, transfer};
use crate::side::Side;
use crate::side::waiting::eventually;

/// A forked child, as its parent sees it.
pub struct Child {
    /// Its process id.
    pub process: i32,
    tell: RawFd,
    hear: RawFd,
}

/// The turns of a child, as the child sees them.
pub struct Turns {
    hear: RawFd,
    tell: RawFd,
    playing: bool,
    value: i64,
}

impl Side {
    /// Forks a child that plays `act` and then leaves by `_exit(0)`; it begins when it is given its first turn.
    pub fn fork(&mut self, act: impl FnOnce(&mut Side, &mut Turns)) -> Child {
        self.fork_by(Forked::Fork, Leaving::AtOnce, act)
    }

    /// The same, by another way of forking and of leaving.
    pub fn fork_by(
        &mut self,
        how: Forked,
        leaving: Leaving,
        act: impl FnOnce(&mut Side, &mut Turns),
    ) -> Child {
        let (child_hears, tell) = self.must(files::pipe(libc::O_CLOEXEC));
        let (hear, child_tells) = self.must(files::pipe(libc::O_CLOEXEC));
        let process = self.must(children::fork(how)) as i32;
        if process != 0 {
            let _ = connection::close(child_hears);
            let _ = connection::close(child_tells);
            return Child {
                process,
                tell,
                hear,
            };
        }
        let _ = connection::close(hear);
        let _ = connection::close(tell);
        let mut turns = Turns {
            hear: child_hears,
            tell: child_tells,
            playing: false,
            value: 0,
        };
        turns.next(self);
        act(self, &mut turns);
        turns.over();
        children::leave(leaving, 0)
    }

    /// Closes the number under test while others mean the same connection: its counts go on.
    pub fn close_number_only(&mut self) {
        let fd = std::mem::replace(&mut self.fd, -1);
        let _ = self.observe("close", connection::close(fd));
    }

    /// Waits until every thread of this process has fallen asleep in the kernel.
    pub fn process_asleep(&mut self, process: i32) {
        let other = std::mem::replace(&mut self.other_process, process);
        self.other_asleep();
        self.other_process = other;
    }
}

impl Child {
    /// Lets the child play its next turn and waits until it is over; what the child returned by it.
    pub fn turn(&mut self, side: &mut Side) -> i64 {
        self.begin(side);
        self.end(side)
    }

    /// Lets the child begin its next turn.
    pub fn begin(&mut self, side: &mut Side) {
        let step = side.step.to_ne_bytes();
        if transfer::write(self.tell, &step) != Ok(step.len()) {
            side.fail("a child is gone before its turn");
        }
    }

    /// Waits until the child's turn is over.
    pub fn end(&mut self, side: &mut Side) -> i64 {
        let mut value = [0; 8];
        if read_all(self.hear, &mut value).is_none() {
            let how = children::reap(self.process);
            side.fail(&format!("a child is gone within its turn: {how:?}"));
        }
        i64::from_ne_bytes(value)
    }

    /// Waits for the child's end and writes down how it was.
    pub fn reap(self, side: &mut Side) {
        let _ = connection::close(self.tell);
        match children::reap(self.process) {
            Ok(how) => side.say(&format!("the child {how}")),
            Err(errno) => side.say(&format!("waitpid = -1 {errno}")),
        }
        let _ = connection::close(self.hear);
    }

    /// Waits until the child has executed another program and that one has fallen asleep.
    pub fn has_executed(&self, side: &mut Side) {
        let own = std::fs::read_link("/proc/self/exe").ok();
        let link = format!("/proc/{}/exe", self.process);
        if !eventually(|| std::fs::read_link(&link).is_ok_and(|other| Some(other) != own)) {
            side.fail("a child executes no other program");
        }
        side.process_asleep(self.process);
    }

    /// Waits until the child has become a zombie: its descriptors are closed by then.
    pub fn has_gone(&self, side: &mut Side) {
        let process = self.process;
        if !eventually(|| children::has_ended(process)) {
            side.fail("a child does not end");
        }
    }
}

impl Turns {
    /// The turn is over; waits for the next one.
    pub fn next(&mut self, side: &mut Side) {
        self.over();
        let mut step = [0; 4];
        if read_all(self.hear, &mut step).is_none() {
            // The parent is gone: nobody waits for us.
            children::leave(Leaving::AtOnce, 9);
        }
        side.step = u32::from_ne_bytes(step);
        self.playing = true;
    }

    /// What the parent learns at the end of this turn.
    pub fn returns(&mut self, value: i64) {
        self.value = value;
    }

    /// Tells the parent that the turn is over, without waiting for another one.
    pub fn over(&mut self) {
        if std::mem::replace(&mut self.playing, false) {
            let _ = transfer::write(self.tell, &std::mem::take(&mut self.value).to_ne_bytes());
        }
    }
}

fn read_all(fd: RawFd, bytes: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match transfer::read(fd, &mut bytes[filled..]) {
            Ok(0) => return None,
            Ok(count) => filled += count,
            Err(errno) if errno.0 == libc::EINTR => {}
            Err(_) => return None,
        }
    }
    Some(())
}
