//! Each direction in threads of its own.

use super::{Side, must};
use crate::stream_integrity::plan::{ForkAt, Share, Wait};
use crate::stream_integrity::reader::{Blocking, Step};
use crate::stream_integrity::waiter::Waiter;
use crate::stream_integrity::writer::Writer;
use crate::torture::calls::{self, Readiness, errno_text};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

impl Side {
    pub(super) fn threads_of_both(&'static self) {
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

    pub(super) fn run_readers(&'static self) {
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

    pub(super) fn run_writers(&'static self) {
        let others: Vec<_> = (1..self.own().writers)
            .map(|index| std::thread::spawn(move || self.write_all(index as u64)))
            .collect();
        self.write_all(0);
        for other in others {
            self.join(other);
        }
    }

    pub(super) fn read_all(&self, index: u64, shared: Option<Waiter>) {
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

    pub(super) fn write_all(&self, index: u64) {
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
}
