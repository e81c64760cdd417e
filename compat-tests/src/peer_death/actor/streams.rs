//! One direction at a time: written, read, ended, left.

use super::{Actor, Ended, Part, fail, must};
use crate::peer_death::pattern::Pattern;
use crate::peer_death::pattern::Sleep;
use crate::stream_integrity::plan::Wait;
use crate::stream_integrity::waiter::Waiter;
use crate::torture::calls;
use crate::torture::calls::Readiness;
use crate::torture::calls::errno_text;
use crate::torture::processes;
use crate::torture::status;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

impl Actor {
    /// Writes up to a position; one in so many calls is followed by a pause (0: none).
    pub(super) fn write_until(&self, goal: u64, pause_every: u64) -> Ended {
        self.write(goal, pause_every, true)
    }

    /// Writes up to a position, or as much of that as there is room for.
    pub(super) fn write_what_fits(&self, goal: u64) -> Ended {
        self.write(goal, 0, false)
    }

    fn write(&self, goal: u64, pause_every: u64, waits: bool) -> Ended {
        let flags = libc::MSG_NOSIGNAL | if waits { 0 } else { libc::MSG_DONTWAIT };
        let mut random = self.random(1);
        let notes = &self.notes;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let position = notes.taken().load(SeqCst);
            if position >= goal {
                return Ended::Enough;
            }
            let length = random.length(buffer.len()).min((goal - position) as usize);
            self.outgoing.fill(position, &mut buffer[..length]);
            let mut from = 0;
            while from < length {
                notes.begun().store(position + length as u64, SeqCst);
                match calls::send(self.descriptor, &buffer[from..length], flags) {
                    Ok(taken) => {
                        from += taken;
                        notes.taken().store(position + from as u64, SeqCst);
                        if let Ok(state) = status::status(self.descriptor)
                            && state.switches_out % 2 == 1
                        {
                            notes.taken_on_ring().store(position + from as u64, SeqCst);
                        }
                    }
                    Err(libc::EAGAIN) if waits => self.wait_for_room(),
                    Err(libc::EAGAIN) => return Ended::Enough,
                    Err(libc::EINTR) => {}
                    Err(libc::EPIPE | libc::ECONNRESET) => {
                        self.reset_seen.store(true, SeqCst);
                        return Ended::Reset;
                    }
                    Err(code) => fail(&format!("sending at {position}: {}", errno_text(code))),
                }
            }
            if pause_every != 0 && random.one_in(pause_every) {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
            }
        }
    }

    pub(super) fn wait_for_room(&self) {
        let kind = match self.script.sleep {
            Sleep::Epoll => Wait::EpollLevel,
            Sleep::Receive | Sleep::Poll => Wait::Poll,
        };
        let interest = Readiness {
            writable: true,
            ..Readiness::default()
        };
        let waiter = must(
            "epoll set",
            Waiter::new(kind, self.descriptor, interest, None),
        );
        match waiter.wait(interest, &mut self.random(3)) {
            Ok(_) | Err(libc::EINTR) => {}
            Err(code) => fail(&format!("waiting for room: {}", errno_text(code))),
        }
        waiter.close();
    }

    pub(super) fn read_to_end(&self, pause_every: u64) -> Ended {
        self.read_some(u64::MAX, pause_every)
    }

    /// Reads so many more bytes or to the end; one in so many calls is followed by a pause, some of them long enough
    /// for the far side to give up on the ring.
    pub(super) fn read_some(&self, bytes: u64, pause_every: u64) -> Ended {
        let mut random = self.random(2);
        let notes = &self.notes;
        let goal = notes.received().load(SeqCst).saturating_add(bytes);
        let interest = Readiness {
            readable: true,
            ..Readiness::default()
        };
        // The victim sleeps where its descriptor makes it sleep.
        let wait = match (self.script.part, self.script.sleep) {
            (Part::Victim, _) if self.script.pattern == Pattern::PingPongPolling => Wait::Poll,
            (Part::Victim, _) | (_, Sleep::Receive) => Wait::Block,
            (_, Sleep::Poll) => Wait::Poll,
            (_, Sleep::Epoll) => Wait::EpollLevel,
        };
        let waiter = must(
            "epoll set",
            Waiter::new(wait, self.descriptor, interest, None),
        );
        let flags = if wait == Wait::Block {
            0
        } else {
            libc::MSG_DONTWAIT
        };
        let mut buffer = vec![0; 64 << 10];
        let ended = loop {
            let position = notes.received().load(SeqCst);
            if position >= goal {
                break Ended::Enough;
            }
            match waiter.wait(interest, &mut random) {
                Ok(_) => {}
                Err(libc::EINTR) => continue,
                Err(code) => fail(&format!("waiting: {}", errno_text(code))),
            }
            let length = usize::try_from(goal - position)
                .unwrap_or(usize::MAX)
                .min(random.length(buffer.len()).max(256));
            match calls::recv(self.descriptor, &mut buffer[..length], flags) {
                Ok(0) => break Ended::Eof,
                Ok(received) => {
                    let bytes = &buffer[..received];
                    if let Some(wrong) = self.incoming.mismatch(position, bytes) {
                        fail(&self.incoming.describe_mismatch(position, bytes, wrong));
                    }
                    notes.received().store(position + received as u64, SeqCst);
                }
                Err(libc::EAGAIN | libc::EINTR) => {}
                Err(libc::ECONNRESET) => break Ended::Reset,
                Err(code) => fail(&format!("receiving at {position}: {}", errno_text(code))),
            }
            if pause_every != 0 && random.one_in(pause_every) {
                let longest = if random.one_in(8) { 15_000 } else { 800 };
                std::thread::sleep(Duration::from_micros(random.below(longest)));
            }
        };
        waiter.close();
        ended
    }

    pub(super) fn end_direction(&self, written: Ended) {
        self.phase(3);
        self.direction_ended.store(true, SeqCst);
        if written != Ended::Reset {
            match calls::shutdown(self.descriptor, libc::SHUT_WR) {
                Ok(()) | Err(libc::ENOTCONN) => {}
                Err(code) => fail(&format!("shutdown: {}", errno_text(code))),
            }
        }
    }

    pub(super) fn leave(&self) -> ! {
        must("fcntl", calls::keep_over_exec(self.descriptor));
        let script = &self.script;
        let mut arguments = vec!["--after-leaving".to_owned(), self.descriptor.to_string()];
        for (name, value) in script.arguments() {
            arguments.push(name.to_owned());
            arguments.push(value);
        }
        let code = processes::exec_self_without(&arguments, "LD_PRELOAD");
        fail(&format!("exec: {}", errno_text(code)))
    }
}
