//! Gives bytes to the connection by every call that can.

use super::board::Board;
use super::plan::{SidePlan, WARM_UP_BYTES};
use super::reader::{Blocking, Step};
use crate::torture::calls::{self, Outcome};
use crate::torture::content::Content;
use crate::torture::random::Random;
use std::sync::atomic::Ordering::SeqCst;

/// One writing thread's tools. Several writers take turns under a lock of the program.
pub struct Writer<'a> {
    descriptor: i32,
    board: &'a Board,
    plan: &'a SidePlan,
    /// Only the commonest calls.
    is_basic: bool,
    content: Content,
    /// Position at which this side's writers stop.
    stop: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are still to be written: a program does not change what it has begun to send.
    pending: std::ops::Range<usize>,
    /// Memory file and the bytes put there so far: the socket refers to a file's pages until the far side has read
    /// them, so no byte of it is used twice.
    file: Option<(i32, u64)>,
    pipe: Option<(i32, i32)>,
}

impl<'a> Writer<'a> {
    /// A writer that stops at position `stop`.
    pub fn new(
        descriptor: i32,
        board: &'a Board,
        plan: &'a SidePlan,
        content: Content,
        stop: u64,
    ) -> Self {
        Writer {
            descriptor,
            board,
            plan,
            is_basic: false,
            content,
            stop,
            buffer: vec![0; plan.longest_call.max(WARM_UP_BYTES as usize)],
            pending: 0..0,
            file: None,
            pipe: None,
        }
    }

    /// True when the writer has begun a chunk and not finished it.
    #[must_use]
    pub fn is_within_chunk(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Leaves out the calls that few programs make.
    #[must_use]
    pub fn basic(mut self, is_basic: bool) -> Self {
        self.is_basic = is_basic;
        self
    }

    /// Makes one call for the current or a new chunk of at most `longest` bytes.
    pub fn step(
        &mut self,
        blocking: Blocking,
        longest: usize,
        random: &mut Random,
    ) -> Result<Step, String> {
        let position = self.board.written().load(SeqCst);
        if self.pending.is_empty() {
            let left = self.stop.saturating_sub(position);
            if left == 0 {
                return Ok(Step::End);
            }
            let length = random.length(self.plan.longest_call.min(longest).max(1));
            let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.content.fill(position, &mut self.buffer[..length]);
            self.pending = 0..length;
        }
        self.board.calls().fetch_add(1, SeqCst);
        match self.call(blocking, random)? {
            Ok(0) => Err(format!("sending at {position} took nothing")),
            Ok(taken) => {
                self.pending.start += taken;
                self.board.written().store(position + taken as u64, SeqCst);
                Ok(Step::Moved)
            }
            Err(libc::EAGAIN) => {
                self.board.again().fetch_add(1, SeqCst);
                Ok(Step::Again)
            }
            Err(libc::EINTR) => {
                self.board.interrupted().fetch_add(1, SeqCst);
                Ok(Step::Moved)
            }
            Err(code) => Err(format!(
                "sending at {position} failed: {}",
                calls::errno_text(code)
            )),
        }
    }

    fn call(&mut self, blocking: Blocking, random: &mut Random) -> Result<Outcome<usize>, String> {
        let descriptor = self.descriptor;
        let length = self.pending.len() as u64;
        let cuts = [(); calls::PIECES - 1].map(|()| random.below(length + 1) as usize);
        if blocking == Blocking::AsDescriptor && !self.is_basic && random.one_in(16) {
            return if random.one_in(2) {
                self.sendfile()
            } else {
                self.splice()
            };
        }
        let bytes = &self.buffer[self.pending.clone()];
        let flags = libc::MSG_NOSIGNAL
            | if blocking == Blocking::Never {
                libc::MSG_DONTWAIT
            } else {
                0
            };
        let kinds = if blocking == Blocking::Never { 8 } else { 16 };
        Ok(match random.below(kinds) {
            0..=3 => calls::send(descriptor, bytes, flags),
            4..=6 => calls::sendmsg(descriptor, bytes, cuts, flags),
            7 if !self.is_basic => calls::sendmmsg(descriptor, bytes, cuts[0], flags),
            7..=12 => calls::write(descriptor, bytes),
            _ => calls::writev(descriptor, bytes, cuts),
        })
    }

    fn sendfile(&mut self) -> Result<Outcome<usize>, String> {
        let (file, offset) = match self.file {
            Some(file) => file,
            None => (
                calls::memory_file().map_err(|code| format!("memfd: {code}"))?,
                0,
            ),
        };
        let bytes = &self.buffer[self.pending.clone()];
        let stored =
            calls::write_at(file, bytes, offset).map_err(|code| format!("pwrite: {code}"))?;
        self.file = Some((file, offset + stored as u64));
        Ok(calls::sendfile(self.descriptor, file, offset, stored))
    }

    /// Through a pipe; all of it, because what is in the pipe cannot be taken back.
    fn splice(&mut self) -> Result<Outcome<usize>, String> {
        let pipe = match self.pipe {
            Some(pipe) => pipe,
            None => {
                let pipe = calls::pipe().map_err(|code| format!("pipe: {code}"))?;
                self.pipe = Some(pipe);
                pipe
            }
        };
        let bytes = &self.buffer[self.pending.clone()];
        let length = bytes.len().min(16 << 10);
        let stored = calls::write(pipe.1, &bytes[..length])
            .map_err(|code| format!("writing the pipe: {}", calls::errno_text(code)))?;
        let mut moved = 0;
        while moved < stored {
            match calls::splice(pipe.0, self.descriptor, stored - moved, 0) {
                Ok(0) => return Err("splice into the socket took nothing".to_owned()),
                Ok(bytes) => moved += bytes,
                Err(libc::EAGAIN) => {
                    self.board.again().fetch_add(1, SeqCst);
                    let asked = calls::Readiness {
                        writable: true,
                        ..calls::Readiness::default()
                    };
                    let answer = calls::poll(self.descriptor, asked, None, -1, false);
                    if !matches!(answer, Ok(_) | Err(libc::EINTR)) {
                        return Ok(answer.map(|_| 0));
                    }
                }
                Err(libc::EINTR) => {}
                Err(code) => return Ok(Err(code)),
            }
        }
        Ok(Ok(moved))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let pipe = self.pipe.map(|(read_end, write_end)| [read_end, write_end]);
        let file = self.file.map(|(file, _)| file);
        for descriptor in pipe.into_iter().flatten().chain(file) {
            let _ = calls::close(descriptor);
        }
    }
}
