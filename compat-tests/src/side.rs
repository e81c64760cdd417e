//! One end of the connection: calls, counts, and writes down what was answered.
//!
//! Methods named after a call make the call on the descriptor under test and write a line like
//! `recv(100, PEEK) = 5 "hello"` into the transcript. Only what is the same in every correct run may be written:
//! times appear as "waited at least", ports by their role, long content by its hash.
//!
//! * [`transfers`]: the methods that move bytes.
//! * [`questions`]: options, names, queues, flags.
//! * [`waiting`]: naps and conditions that make an observation certain; they write nothing.
//! * [`children`]: processes that a side forks, and whose turn it is.
//! * [`sets`]: epoll sets.

pub mod children;
pub mod questions;
pub mod sets;
pub mod transfers;
pub mod waiting;

use std::io::Write;
use std::os::fd::RawFd;

use kmod_interface::ioctl::Status;

use crate::calls::answer::{Answer, Errno, shown};
use crate::calls::{connection, options};
use crate::settle::{is_accelerated, reason_name};
use crate::stage::Role;

/// A descriptor number that nobody has: above what a script opens, below the control line, and far from the high
/// numbers to which a library may move descriptors of its own.
pub const FREE_NUMBER: RawFd = 150;

/// One end of the connection under test.
pub struct Side {
    /// Which end.
    pub role: Role,
    /// The descriptor under test; -1 when there is none.
    pub fd: RawFd,
    /// The listening socket while there is one; else -1.
    pub listener: RawFd,
    /// Port of the accepting end.
    pub listening_port: u16,
    /// Process id of the other side.
    pub other_process: i32,
    pub(crate) step: u32,
    sent_bytes: u64,
    before: Option<Status>,
    after: Option<Result<Status, Errno>>,
    counting: bool,
}

impl Side {
    pub(crate) fn new(role: Role, other_process: i32) -> Side {
        Side {
            role,
            fd: -1,
            listener: -1,
            listening_port: 0,
            other_process,
            step: 0,
            sent_bytes: 0,
            before: None,
            after: None,
            counting: false,
        }
    }

    /// Writes a line into the transcript.
    pub fn say(&mut self, line: &str) {
        self.emit('=', &format!("{} {line}", self.step));
    }

    /// Writes a line that only people see: not compared.
    pub fn note(&mut self, line: &str) {
        self.emit('#', line);
    }

    /// Writes an answer into the transcript and hands it on.
    pub fn observe(&mut self, what: &str, answer: Answer) -> Answer {
        self.say(&format!("{what} = {}", shown(answer)));
        answer
    }

    /// Tells the director after how many exchanges a connection was on the ring.
    pub(crate) fn warmed_up(&mut self, exchanges: i64) {
        self.emit('%', &exchanges.to_string());
    }

    /// The run has failed, whatever the transcripts say; the script goes on.
    pub fn complain(&mut self, what: &str) {
        self.emit('!', what);
    }

    /// The run has failed and cannot go on.
    pub fn fail(&mut self, what: &str) -> ! {
        self.complain(&format!("step {}: {what}", self.step));
        std::process::exit(3)
    }

    /// The value, or the end of the run.
    pub fn must<Value>(&mut self, result: Result<Value, impl std::fmt::Display>) -> Value {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Counts bytes that a call on the descriptor under test has sent; the methods that send do so themselves.
    pub fn count_sent(&mut self, answer: Answer) {
        if let Ok(bytes) = answer {
            self.sent_bytes += bytes as u64;
        }
    }

    /// Closes the descriptor under test and writes the answer down; the last counts are taken before.
    pub fn close(&mut self) {
        let answer = self.close_quietly();
        let _ = self.observe("close", answer);
    }

    /// Closes the descriptor under test; the last counts are taken before.
    pub fn close_quietly(&mut self) -> Answer {
        self.take_status();
        let fd = std::mem::replace(&mut self.fd, -1);
        connection::close(fd)
    }

    pub(crate) fn open_socket(&mut self, family: i32) {
        let answer = connection::socket(family, libc::SOCK_STREAM);
        self.fd = self.must(answer.map_err(|errno| format!("socket: {errno}"))) as RawFd;
    }

    /// Accepts on the listening socket: the new connection is the one under test.
    pub fn accepts(&mut self) {
        let answer = connection::accept(self.listener, None);
        self.fd = self.must(answer.map_err(|errno| format!("accept: {errno}"))) as RawFd;
    }

    /// From here on bytes count: remembers what the status ioctl says now.
    pub fn start_counting(&mut self) {
        self.sent_bytes = 0;
        self.before = options::status(self.fd).ok();
        self.after = None;
        self.counting = true;
    }

    /// The last look at the status of the descriptor under test: before it is closed or becomes another connection.
    /// Later looks do not count.
    pub(crate) fn take_status(&mut self) {
        if self.fd >= 0 && self.counting {
            self.after = Some(options::status(self.fd));
            self.counting = false;
        }
    }

    /// Writes the counts down for the director.
    pub(crate) fn finish(&mut self) {
        self.take_status();
        let line = match (self.before, self.after) {
            (Some(before), Some(Ok(after))) => {
                let mut backwards = false;
                let mut moved = |after: u64, before: u64| {
                    backwards |= after < before;
                    after.saturating_sub(before)
                };
                let line = format!(
                    "counts sent={} began_on_ring={} ring_out={} ring_in={} kernel_out={} kernel_in={} switches_out={} \
                     switches_in={} state={} reason={}",
                    self.sent_bytes,
                    u8::from(is_accelerated(&before)),
                    moved(after.ring_bytes_out, before.ring_bytes_out),
                    moved(after.ring_bytes_in, before.ring_bytes_in),
                    moved(after.kernel_bytes_out, before.kernel_bytes_out),
                    moved(after.kernel_bytes_in, before.kernel_bytes_in),
                    after.switches_out,
                    after.switches_in,
                    after.state,
                    reason_name(&after),
                );
                if backwards {
                    self.complain(&format!(
                        "the counts of the status went backwards: {before:?}, then {after:?}"
                    ));
                }
                line
            }
            (_, Some(Err(errno))) => format!("no-counts {errno}"),
            _ => "no-counts none".to_owned(),
        };
        self.emit('@', &line);
    }

    fn emit(&mut self, mark: char, line: &str) {
        let mut out = std::io::stdout().lock();
        // A director that is gone cannot be told.
        let _ = writeln!(out, "{mark} {}", line.replace('\n', "\\n"));
        let _ = out.flush();
    }
}
