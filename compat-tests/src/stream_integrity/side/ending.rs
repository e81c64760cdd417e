//! The end of a direction, the leave, and what is checked at the end of all.

use super::{Side, must};
use crate::stream_integrity::plan::{ForkAt, Share, WARM_UP_BYTES};
use crate::torture::calls::{self, errno_text};
use crate::torture::{hang, processes, status};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

impl Side {
    /// True when this end's FIN waits until everything has been received; an idle direction has no other moment.
    pub(super) fn ends_after_receipt(&self) -> bool {
        self.plan.end_after_receipt || self.own().is_idle
    }

    /// After the last byte: FIN, or the reader's turn to stop before the side leaves.
    pub(super) fn end_writing(&self) {
        if self.own().leave.is_some() {
            // The reader goes on meanwhile (an event loop has read all along), so that what is unread at the leave is not
            // behind an earlier switch.
            if !self.own().event_loop {
                std::thread::sleep(Duration::from_millis(15));
            }
            self.board.leaving().store(1, SeqCst);
            return;
        }
        if self.ends_after_receipt() {
            while self.board.received().load(SeqCst) < self.incoming()
                && self.board.failed().load(SeqCst) == 0
            {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        let outcome = calls::shutdown(self.descriptor, libc::SHUT_WR);
        must(Some(self), "shutdown", outcome);
        self.board.writing_done().store(1, SeqCst);
    }

    /// Tells the driver something that it shows with a failure only.
    pub(super) fn note(&self, what: &str) {
        let line = format!(
            "NOTE {:?} {what}: written {} received {}, {}\n",
            self.end,
            self.board.written().load(SeqCst),
            self.board.received().load(SeqCst),
            status::describe(self.descriptor)
        );
        let _ = calls::write(1, line.as_bytes());
    }

    /// Execs this very program without the shim; it goes on with plain kernel calls.
    pub(super) fn leave(&self) -> ! {
        must(Some(self), "fcntl", calls::keep_over_exec(self.descriptor));
        self.note("leaving");
        // Some more of what the far side writes shall be unread when it is left.
        std::thread::sleep(Duration::from_micros(700));
        let board = &self.board;
        let mut arguments = self.plan.arguments();
        for (name, value) in [
            ("--after-leaving", self.end as u64),
            ("--descriptor", self.descriptor as u64),
            ("--written", board.written().load(SeqCst)),
            ("--received", board.received().load(SeqCst)),
            ("--switches", board.switches().load(SeqCst)),
            ("--toggles", board.toggles().load(SeqCst)),
            ("--forced-out", board.forced_out().load(SeqCst)),
            ("--forced-in", board.forced_in().load(SeqCst)),
        ] {
            arguments.push(name.to_owned());
            arguments.push(value.to_string());
        }
        let code = processes::exec_self_without(&arguments, "LD_PRELOAD");
        self.fail(&format!("exec: {}", errno_text(code)))
    }

    /// Checks what was received, closes, tells the result.
    pub(super) fn finish(&self) -> ! {
        let received = self.board.received().load(SeqCst);
        if received != self.incoming() {
            self.fail(&format!(
                "end of stream after {received} of {} bytes; {}",
                self.incoming(),
                hang::describe_queues(self.descriptor)
            ));
        }
        if self.own().readers > 1 {
            // A side that is divided at the start reads everything in its readers.
            let warmed_up = !matches!(
                self.own().fork,
                ForkAt::Start(Share::Reading | Share::Writing)
            );
            let before = u64::from(warmed_up) * self.plan.warm_up_rounds * WARM_UP_BYTES;
            let checked = self
                .board
                .check_cover(&self.incoming_content(), before, received);
            if let Err(text) = checked {
                self.fail(&text);
            }
        }
        let count = |word: &std::sync::atomic::AtomicU64| word.load(SeqCst);
        let board = &self.board;
        let by_ring = status::status(self.descriptor).map_or(0, |state| state.ring_bytes_out);
        let text = format!(
            "RESULT written {} received {received} by_ring {by_ring} switches {} toggles {} \
             forced_out {} forced_in {} split {} calls {} again {} \
             interrupted {} waits {}\n",
            count(board.written()),
            count(board.switches()),
            count(board.toggles()),
            count(board.forced_out()),
            count(board.forced_in()),
            count(board.split()),
            count(board.calls()),
            count(board.again()),
            count(board.interrupted()),
            count(board.waits()),
        );
        if self.own().fork == ForkAt::Never {
            let outcome = calls::close(self.descriptor);
            must(Some(self), "close", outcome);
        }
        let _ = calls::write(1, text.as_bytes());
        std::process::exit(0);
    }
}
