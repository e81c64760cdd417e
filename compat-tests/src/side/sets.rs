//! epoll sets of a side. Methods named after a call write the answer down.

use std::os::fd::RawFd;

use crate::calls::answer::Errno;
use crate::calls::connection;
use crate::calls::epoll::{self, Change, Wait, event_names};
use crate::side::Side;
use crate::stage::Stage;

/// How long a wait that must end by an event may take: longer than a machine stands still.
pub const LONG_MS: i32 = 30_000;
/// How long a wait that must end by its time-out takes.
pub const SHORT_MS: i32 = 40;

/// Events of registrations.
pub mod events {
    #![expect(missing_docs, reason = "epoll's own names")]
    pub const IN: u32 = libc::EPOLLIN as u32;
    pub const OUT: u32 = libc::EPOLLOUT as u32;
    pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
    pub const HUP: u32 = libc::EPOLLHUP as u32;
    pub const ERR: u32 = libc::EPOLLERR as u32;
    pub const PRI: u32 = libc::EPOLLPRI as u32;
    pub const ET: u32 = libc::EPOLLET as u32;
    pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
    pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
}

/// An epoll set.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Its descriptor.
    pub fd: RawFd,
}

impl Set {
    /// A set whose making cannot fail.
    pub fn new(side: &mut Side) -> Set {
        Set {
            fd: side.must(epoll::create(libc::EPOLL_CLOEXEC)) as RawFd,
        }
    }

    /// epoll_ctl(2), written down.
    pub fn control(self, side: &mut Side, change: Change, fd: RawFd, events: u32, data: u64) {
        let answer = epoll::control(self.fd, change, fd, events, data);
        let _ = side.observe(
            &format!("{change:?} {} as {data:#x}", event_names(events)),
            answer,
        );
    }

    /// EPOLL_CTL_ADD of the descriptor under test.
    pub fn add(self, side: &mut Side, events: u32, data: u64) {
        let fd = side.fd;
        self.control(side, Change::Add, fd, events, data);
    }

    /// EPOLL_CTL_MOD of the descriptor under test.
    pub fn modify(self, side: &mut Side, events: u32, data: u64) {
        let fd = side.fd;
        self.control(side, Change::Mod, fd, events, data);
    }

    /// Waits and writes down what was reported, in the order of the data.
    pub fn waits(self, side: &mut Side, how: Wait) -> Vec<(u64, u32)> {
        self.waits_for(side, 16, how)
    }

    /// The same for at most so many events.
    pub fn waits_for(self, side: &mut Side, maximum: i32, how: Wait) -> Vec<(u64, u32)> {
        let found = epoll::wait(self.fd, maximum, how);
        side.say(&format!("{how:?} = {}", shown(&found)));
        found.unwrap_or_default()
    }

    /// An event is there, or comes.
    pub fn reports(self, side: &mut Side) -> Vec<(u64, u32)> {
        self.waits(side, Wait::Plain(LONG_MS))
    }

    /// Nothing is there, and nothing comes.
    pub fn reports_nothing(self, side: &mut Side) {
        self.waits(side, Wait::Plain(SHORT_MS));
    }

    /// What is there is reported once, and not again.
    pub fn reports_once(self, side: &mut Side) {
        self.reports(side);
        self.reports_nothing(side);
    }

    /// Closes the set.
    pub fn close(self) {
        let _ = connection::close(self.fd);
    }
}

/// A set of the near end that watches the connection under test; the far end knows none.
pub fn watching(stage: &mut Stage, events: u32, data: u64) -> Set {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, events, data);
    });
    set
}

/// What a wait answered, in the order of the data.
#[must_use]
pub fn shown(found: &Result<Vec<(u64, u32)>, Errno>) -> String {
    match found {
        Err(errno) => format!("-1 {errno}"),
        Ok(events) => {
            let mut events = events.clone();
            events.sort_unstable();
            let listed: Vec<String> = events
                .iter()
                .map(|(data, events)| format!("{data:#x} {}", event_names(*events)))
                .collect();
            format!("{} [{}]", events.len(), listed.join(", "))
        }
    }
}

/// More connections of the two processes, each settled; their descriptors in this process, the one under test first. It
/// stays the one under test, and its counts begin anew.
pub fn more_connections(stage: &mut Stage, more: usize) -> Vec<RawFd> {
    let first = stage.own_descriptor();
    let mut all = vec![first];
    for _ in 0..more {
        stage.both(|side| side.fd = -1);
        stage.connect();
        stage.settle();
        all.push(stage.own_descriptor());
    }
    stage.both(|side| {
        side.fd = first;
        side.start_counting();
    });
    all
}
