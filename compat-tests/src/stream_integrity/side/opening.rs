//! Before the threads: exchanges as evidence for an upgrade, and much written before anything is read.

use super::Side;
use crate::stream_integrity::plan::WARM_UP_BYTES;
use crate::stream_integrity::reader::{Blocking, Reader, Step};
use crate::stream_integrity::side::End;
use crate::stream_integrity::writer::Writer;
use crate::torture::calls::{self, Readiness, errno_text};
use crate::torture::random::Random;
use std::sync::atomic::Ordering::SeqCst;

impl Side {
    /// Requests and answers of a fixed size, as evidence for an upgrade.
    pub(super) fn warm_up(&self) {
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
    pub(super) fn burst(&self) {
        let mut random = self.random(1);
        let goal = self.board.written().load(SeqCst) + self.plan.burst_bytes;
        self.write_up_to(goal, &mut random);
    }

    pub(super) fn write_up_to(&self, goal: u64, random: &mut Random) {
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

    pub(super) fn read_up_to(&self, reader: &mut Reader<'_>, goal: u64) {
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

    pub(super) fn poll_once(&self, readable: bool) {
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
}
