//! Takes bytes from the connection by every call that can, and checks each of them.

use super::board::Board;
use super::plan::{SidePlan, WARM_UP_BYTES};
use crate::torture::calls::{self, Outcome};
use crate::torture::content::Content;
use crate::torture::random::Random;
use std::sync::atomic::Ordering::SeqCst;

/// What the caller knows about the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It may block (blocking programs), or cannot (the descriptor is non-blocking): any call will do.
    AsDescriptor,
    /// It must not, although the descriptor blocks: only calls with MSG_DONTWAIT.
    Never,
    /// It would, but readiness has just been reported: any one call must return at once.
    JustReady,
}

/// Result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes moved.
    Moved,
    /// EAGAIN: wait.
    Again,
    /// End of stream, or of this direction.
    End,
    /// The side leaves; this reader stops here.
    Stop,
}

/// One reading thread's tools.
pub struct Reader<'a> {
    descriptor: i32,
    board: &'a Board,
    plan: &'a SidePlan,
    /// Only the commonest calls.
    is_basic: bool,
    content: Content,
    incoming: u64,
    /// No other thread reads: positions are known.
    alone: bool,
    /// A leaving side reads at least so much, and at most so much.
    stop_between: Option<(u64, u64)>,
    buffer: Vec<u8>,
    pipe: Option<(i32, i32)>,
    /// The call whose result is looked at, for a finding's text.
    last_call: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of a direction of `incoming` bytes.
    pub fn new(
        descriptor: i32,
        board: &'a Board,
        plan: &'a SidePlan,
        content: Content,
        incoming: u64,
        alone: bool,
    ) -> Self {
        let stop_between = plan
            .leave
            .map(|(_, read)| (incoming / 1000 * read, incoming / 1000 * 950));
        Reader {
            descriptor,
            board,
            plan,
            is_basic: false,
            content,
            incoming,
            alone,
            stop_between,
            buffer: vec![0; plan.longest_call.max(WARM_UP_BYTES as usize)],
            pipe: None,
            last_call: "",
        }
    }

    /// Leaves out the calls that few programs make.
    #[must_use]
    pub fn basic(mut self, is_basic: bool) -> Self {
        self.is_basic = is_basic;
        self
    }

    /// Makes one call and books its result. An error is a finding.
    pub fn step(&mut self, blocking: Blocking, random: &mut Random) -> Result<Step, String> {
        let position = self.board.received().load(SeqCst);
        let mut longest = self.plan.longest_call;
        if let Some((least, most)) = self.stop_between {
            if position >= most || (position >= least && self.board.leaving().load(SeqCst) != 0) {
                return Ok(Step::Stop);
            }
            longest = longest.min((most - position) as usize);
        }
        let length = random.length(longest);
        self.board.calls().fetch_add(1, SeqCst);
        match self.call(position, length, blocking, random)? {
            Ok(0) => {
                // A competitor's end is this one's, too, but only the counts tell whether all came.
                Ok(Step::End)
            }
            Ok(received) => {
                self.book(position, received)
                    .map_err(|text| format!("{} of at most {length}: {text}", self.last_call))?;
                Ok(Step::Moved)
            }
            Err(libc::EAGAIN) => {
                self.board.again().fetch_add(1, SeqCst);
                if blocking == Blocking::JustReady && self.alone && self.plan.timeout_ms == 0 {
                    return Err(format!("EAGAIN from a blocking call at {position}"));
                }
                Ok(Step::Again)
            }
            Err(libc::EINTR) => {
                self.board.interrupted().fetch_add(1, SeqCst);
                Ok(Step::Moved)
            }
            Err(code) => Err(format!(
                "{} at {position} failed: {}",
                self.last_call,
                calls::errno_text(code)
            )),
        }
    }

    /// One plain receive of at most `length` bytes, for exchanges of fixed sizes.
    pub fn exactly(&mut self, length: usize) -> Result<Step, String> {
        let position = self.board.received().load(SeqCst);
        match calls::recv(self.descriptor, &mut self.buffer[..length], 0) {
            Ok(0) => Ok(Step::End),
            Ok(received) => {
                self.check(position, received)?;
                self.board
                    .received()
                    .store(position + received as u64, SeqCst);
                Ok(Step::Moved)
            }
            Err(libc::EAGAIN) => Ok(Step::Again),
            Err(libc::EINTR) => Ok(Step::Moved),
            Err(code) => Err(format!(
                "receiving at {position} failed: {}",
                calls::errno_text(code)
            )),
        }
    }

    fn book(&self, position: u64, received: usize) -> Result<(), String> {
        let bytes = &self.buffer[..received];
        if self.alone {
            if position + received as u64 > self.incoming {
                return Err(format!(
                    "{received} bytes at {position}, but the stream has only {}",
                    self.incoming
                ));
            }
            self.check(position, received)?;
            self.board
                .received()
                .store(position + received as u64, SeqCst);
        } else {
            self.board.cover(&self.content, self.incoming, bytes)?;
            self.board.received().fetch_add(received as u64, SeqCst);
        }
        Ok(())
    }

    fn check(&self, position: u64, length: usize) -> Result<(), String> {
        let bytes = &self.buffer[..length];
        match self.content.mismatch(position, bytes) {
            Some(wrong) => Err(self.content.describe_mismatch(position, bytes, wrong)),
            None => Ok(()),
        }
    }

    /// One receive call of any kind.
    fn call(
        &mut self,
        position: u64,
        length: usize,
        blocking: Blocking,
        random: &mut Random,
    ) -> Result<Outcome<usize>, String> {
        let descriptor = self.descriptor;
        let cuts = [(); calls::PIECES - 1].map(|()| random.below(length as u64 + 1) as usize);
        if blocking == Blocking::Never {
            let flags = libc::MSG_DONTWAIT;
            let buffer = &mut self.buffer[..length];
            let kind = random.below(8);
            self.last_call = match kind {
                0..=2 => "recv DONTWAIT",
                3 | 4 => "recvfrom DONTWAIT",
                5 if self.alone && !self.is_basic => "recvmmsg DONTWAIT",
                _ => "recvmsg DONTWAIT",
            };
            return Ok(match kind {
                0..=2 => calls::recv(descriptor, buffer, flags),
                3 | 4 => calls::recvfrom(descriptor, buffer, flags),
                // Two messages are two receives: a competitor may come in between.
                5 if self.alone && !self.is_basic => {
                    calls::recvmmsg(descriptor, buffer, cuts[0], flags)
                }
                _ => calls::recvmsg(descriptor, buffer, cuts, flags),
            });
        }
        if self.alone && random.one_in(8) {
            return self.peek(position, length, random);
        }
        if self.alone && !self.is_basic && random.one_in(16) {
            return self.splice(length.min(16 << 10));
        }
        // Only where blocking is allowed may a call insist on its whole length, and only while the far side owes it.
        let whole = if blocking == Blocking::AsDescriptor
            && self.alone
            && random.one_in(4)
            && length as u64 <= self.incoming.saturating_sub(position)
        {
            libc::MSG_WAITALL
        } else {
            0
        };
        let kind = random.below(16);
        let insists = whole != 0 && matches!(kind, 4..=9 | 14 | 15);
        self.last_call = match kind {
            0..=3 => "read",
            4..=9 if whole != 0 => "recv or recvfrom WAITALL",
            4..=7 => "recv",
            8 | 9 => "recvfrom",
            10..=12 => "readv",
            13 => "recvmmsg",
            _ if whole != 0 => "recvmsg WAITALL",
            _ => "recvmsg",
        };
        let buffer = &mut self.buffer[..length];
        let outcome = match kind {
            0..=3 => calls::read(descriptor, buffer),
            4..=7 => calls::recv(descriptor, buffer, whole),
            8 | 9 => calls::recvfrom(descriptor, buffer, whole),
            10..=12 => calls::readv(descriptor, buffer, cuts),
            13 if self.alone && !self.is_basic => {
                calls::recvmmsg(descriptor, buffer, cuts[0], libc::MSG_WAITFORONE)
            }
            13 => calls::recv(descriptor, buffer, 0),
            _ => calls::recvmsg(descriptor, buffer, cuts, whole),
        };
        if insists
            && matches!(outcome, Ok(received) if received != 0 && received < length)
            && !self.plan.nonblocking
            && self.plan.timeout_ms == 0
            && self.plan.interrupts == super::plan::Interrupts::Off
        {
            return Err(format!(
                "MSG_WAITALL at {position} gave {outcome:?} of {length} bytes without any reason to stop"
            ));
        }
        Ok(outcome)
    }

    /// Looks without taking, then takes at least as much.
    fn peek(
        &mut self,
        position: u64,
        length: usize,
        random: &mut Random,
    ) -> Result<Outcome<usize>, String> {
        self.last_call = "recv PEEK";
        let seen = match calls::recv(self.descriptor, &mut self.buffer[..length], libc::MSG_PEEK) {
            Ok(0) => return Ok(Ok(0)),
            Ok(seen) => seen,
            Err(code) => return Ok(Err(code)),
        };
        self.check(position, seen)
            .map_err(|text| format!("peeked: {text}"))?;
        if random.one_in(2) {
            let announced = calls::readable_bytes(self.descriptor)
                .map_err(|code| format!("FIONREAD failed: {}", calls::errno_text(code)))?;
            if announced == 0 || position + announced as u64 > self.incoming {
                return Err(format!(
                    "FIONREAD says {announced} at {position} after a peek that saw {seen}; the stream has {}",
                    self.incoming
                ));
            }
        }
        let taken = calls::recv(
            self.descriptor,
            &mut self.buffer[..length],
            libc::MSG_DONTWAIT,
        );
        if taken != Err(libc::EINTR) && !matches!(taken, Ok(bytes) if bytes > 0) {
            return Err(format!(
                "a peek at {position} saw {seen} bytes, the receive after it gave {taken:?}"
            ));
        }
        Ok(taken)
    }

    /// Moves bytes into a pipe inside the kernel, then reads the pipe.
    fn splice(&mut self, length: usize) -> Result<Outcome<usize>, String> {
        self.last_call = "splice";
        let pipe = match self.pipe {
            Some(pipe) => pipe,
            None => {
                let pipe = calls::pipe().map_err(|code| format!("pipe: {code}"))?;
                self.pipe = Some(pipe);
                pipe
            }
        };
        let moved = match calls::splice(self.descriptor, pipe.1, length, 0) {
            Ok(moved) => moved,
            other => return Ok(other),
        };
        let mut read = 0;
        while read < moved {
            match calls::read(pipe.0, &mut self.buffer[read..moved]) {
                Ok(0) => return Err("the pipe ended".to_owned()),
                Ok(bytes) => read += bytes,
                Err(libc::EINTR) => {}
                Err(code) => return Err(format!("reading the pipe: {}", calls::errno_text(code))),
            }
        }
        Ok(Ok(moved))
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some((read_end, write_end)) = self.pipe {
            let _ = calls::close(read_end);
            let _ = calls::close(write_end);
        }
    }
}
