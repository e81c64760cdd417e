//! A pipe full of bytes to be spliced.

use std::os::fd::RawFd;
use std::time::Instant;

use crate::calls::answer::Answer;
use crate::calls::{files, options, transfer};
use crate::content;
use crate::side::Side;

/// A pipe that is kept filled with a stream of known content, to be spliced into the socket.
pub struct Feed {
    seed: u64,
    reading: RawFd,
    writing: RawFd,
    /// Bytes that ever went into the pipe, with those sent before.
    pub written: u64,
    /// Bytes that ever went into the stream.
    pub sent: u64,
}

impl Feed {
    /// Goes on with a stream of which `sent` bytes have been sent by other means.
    pub fn behind(side: &mut Side, seed: u64, sent: u64) -> Feed {
        let (reading, writing) = side.must(files::pipe(0));
        // Only the writing end, which has a description of its own.
        side.must(files::fcntl(writing, libc::F_SETFL, libc::O_NONBLOCK));
        Feed {
            seed,
            reading,
            writing,
            written: sent,
            sent,
        }
    }

    /// Fills the pipe.
    pub fn top_up(&mut self, side: &mut Side) {
        loop {
            let bytes = content::bytes_from(self.seed, self.written, 4096);
            match transfer::write(self.writing, &bytes) {
                Ok(count) => self.written += count as u64,
                Err(errno) if errno.0 == libc::EAGAIN => return,
                Err(errno) => side.fail(&format!("write to the pipe: {errno}")),
            }
        }
    }

    /// One call, counted.
    pub fn splice(&mut self, side: &mut Side, length: usize, flags: u32) -> Answer {
        let answer = files::splice(self.reading, side.fd, length, flags);
        self.sent += answer.unwrap_or(0) as u64;
        answer
    }

    /// Splices until a call moves nothing, and says why that one ended.
    pub fn until_it_ends(&mut self, side: &mut Side) -> Instant {
        let (_, started) = side.sends_until_refused("splice", |side, _| {
            self.top_up(side);
            let answer = self.splice(side, 4096, 0);
            (answer, answer.unwrap_or(0) as u64)
        });
        started
    }

    /// Nothing was lost by a call that ended early.
    pub fn says_whether_the_pipe_has_the_rest(&self, side: &mut Side) {
        let left = options::ioctl_int(self.reading, libc::FIONREAD, 0).map(|left| left as u64);
        side.say(&format!(
            "the pipe has what was not sent: {}",
            left == Ok(self.written - self.sent)
        ));
    }

    /// Splices all that is in the pipe.
    pub fn empties(&mut self, side: &mut Side) {
        while self.sent < self.written {
            let answer = self.splice(side, 4096, 0);
            side.must(answer);
        }
    }
}
