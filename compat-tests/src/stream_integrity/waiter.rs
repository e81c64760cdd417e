//! How one thread waits for its connection: the same question asked of `poll`, `select` or an epoll set.

use super::plan::Wait;
use crate::torture::calls::{self, EpollCall, Outcome, Readiness};
use crate::torture::random::Random;

const SOCKET: u64 = 1;
const WAKE: u64 = 2;

/// A way of waiting, with its epoll set if it needs one.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    kind: Wait,
    descriptor: i32,
    set: i32,
    wake: Option<i32>,
    /// What the set reports in the edge-triggered and one-shot kinds.
    interest: Readiness,
}

impl Waiter {
    /// A waiter for the descriptor that reports what `interest` names. `wake` ends waits of all threads for good
    /// once it is readable.
    pub fn new(
        kind: Wait,
        descriptor: i32,
        interest: Readiness,
        wake: Option<i32>,
    ) -> Outcome<Waiter> {
        let mut waiter = Waiter {
            kind,
            descriptor,
            set: -1,
            wake,
            interest,
        };
        if kind.is_epoll() {
            waiter.set = calls::epoll_create()?;
            if let Some(wake) = wake {
                calls::epoll_control(
                    waiter.set,
                    libc::EPOLL_CTL_ADD,
                    wake,
                    libc::EPOLLIN as u32,
                    WAKE,
                )?;
            }
            // A one-shot registration is armed by each wait.
            let events = match kind {
                Wait::EpollOneShot => libc::EPOLLONESHOT as u32,
                _ => waiter.events(interest),
            };
            calls::epoll_control(waiter.set, libc::EPOLL_CTL_ADD, descriptor, events, SOCKET)?;
        }
        Ok(waiter)
    }

    fn events(&self, asked: Readiness) -> u32 {
        let mut events = 0;
        if asked.readable {
            events |= libc::EPOLLIN as u32;
        }
        if asked.writable {
            events |= libc::EPOLLOUT as u32;
        }
        match self.kind {
            Wait::EpollEdge => events |= libc::EPOLLET as u32,
            Wait::EpollOneShot => events |= libc::EPOLLONESHOT as u32,
            _ => {}
        }
        events
    }

    /// True when the set reports changes only, so that a program must go on until EAGAIN.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.kind == Wait::EpollEdge
    }

    /// Changes a level-triggered set's interest, as event loops do when they have nothing to write.
    pub fn change_interest(&mut self, interest: Readiness) -> Outcome<()> {
        if self.kind == Wait::EpollLevel && interest != self.interest {
            calls::epoll_control(
                self.set,
                libc::EPOLL_CTL_MOD,
                self.descriptor,
                self.events(interest),
                SOCKET,
            )?;
        }
        self.interest = interest;
        Ok(())
    }

    /// Closes the epoll set, if there is one.
    pub fn close(self) {
        if self.set >= 0 {
            let _ = calls::close(self.set);
        }
    }

    /// Waits without a time limit (the program's watchdog is the limit). An answer without any bit means: look at
    /// the program's own flags.
    pub fn wait(&self, asked: Readiness, random: &mut Random) -> Outcome<Readiness> {
        self.wait_for(asked, -1, random)
    }

    /// What holds now, or for an edge-triggered set, what has happened since it was asked last.
    pub fn look(&self, asked: Readiness, random: &mut Random) -> Outcome<Readiness> {
        self.wait_for(asked, 0, random)
    }

    fn wait_for(
        &self,
        asked: Readiness,
        timeout_ms: i32,
        random: &mut Random,
    ) -> Outcome<Readiness> {
        let variant = random.below(3);
        match self.kind {
            Wait::Block => Ok(asked),
            Wait::Poll => calls::poll(self.descriptor, asked, self.wake, timeout_ms, variant == 0),
            Wait::Select => {
                calls::select(self.descriptor, asked, self.wake, timeout_ms, variant == 0)
            }
            Wait::EpollLevel | Wait::EpollEdge | Wait::EpollOneShot => {
                if self.kind == Wait::EpollOneShot {
                    calls::epoll_control(
                        self.set,
                        libc::EPOLL_CTL_MOD,
                        self.descriptor,
                        self.events(asked),
                        SOCKET,
                    )?;
                }
                let call = [EpollCall::Wait, EpollCall::Pwait, EpollCall::Pwait2][variant as usize];
                let room = if random.one_in(2) { 1 } else { 8 };
                let mut answers = [(0, 0); 8];
                let found = calls::epoll_wait(self.set, &mut answers[..room], timeout_ms, call)?;
                let mut readiness = Readiness::default();
                for (events, cookie) in &answers[..found] {
                    match *cookie {
                        SOCKET => {
                            readiness.readable |= events & libc::EPOLLIN as u32 != 0;
                            readiness.writable |= events & libc::EPOLLOUT as u32 != 0;
                            readiness.trouble |=
                                events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
                        }
                        WAKE => {}
                        // A cookie that the program never registered: the shim's own descriptor showed itself.
                        _ => return Err(libc::EBADMSG),
                    }
                }
                Ok(readiness)
            }
        }
    }
}
