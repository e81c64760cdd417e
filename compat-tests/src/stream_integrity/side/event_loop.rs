//! Both directions in one thread.

use super::Side;
use super::must;
use crate::stream_integrity::reader::{Blocking, Step};
use crate::stream_integrity::waiter::Waiter;
use crate::stream_integrity::writer::Writer;
use crate::torture::calls::{Readiness, errno_text};
use std::sync::atomic::Ordering::SeqCst;

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

impl Side {
    /// Both directions in one thread.
    pub(super) fn event_loop(&self) {
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
}
