//! Naps, and waiting for a condition that makes the next observation certain. Nothing here is in the transcript; a
//! condition that does not come true within its bound is a failure of the run.

use std::time::{Duration, Instant};

use crate::calls::{options, processes, readiness};
use crate::side::Side;
use crate::side::questions::TCP_INFO_ROOM;

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a thread must have been seen asleep: more than the 20 ms that cases ask for by [`Side::waits_at_least_ms`].
const ASLEEP: Duration = Duration::from_millis(25);

impl Side {
    /// Sleeps.
    pub fn nap_ms(&self, time_ms: u64) {
        std::thread::sleep(Duration::from_millis(time_ms));
    }

    /// Waits until at least this many bytes can be read.
    pub fn arrived(&mut self, bytes: i32) {
        let mut seen = Ok(0);
        let there = eventually(|| {
            seen = options::ioctl_int(self.fd, libc::FIONREAD, 0);
            seen.is_ok_and(|count| count >= bytes)
        });
        if !there {
            self.fail(&format!(
                "{bytes} bytes did not arrive; FIONREAD says {seen:?}"
            ));
        }
    }

    /// Waits until poll(2) reports one of these events, and the kernel has done all that goes with it: poll takes no lock
    /// and may find a reset half told, an error without the ends (tcp_reset, tcp_done in net/ipv4), where a request for
    /// TCP_INFO waits for the segment's other effects.
    pub fn until_poll(&mut self, events: i16) {
        let started = Instant::now();
        loop {
            let (_, seen) = readiness::poll_one(self.fd, events, 100);
            if seen & events != 0 {
                let _ =
                    options::get_bytes(self.fd, libc::IPPROTO_TCP, libc::TCP_INFO, TCP_INFO_ROOM);
                return;
            }
            if started.elapsed() > PATIENCE {
                self.fail(&format!("poll for {events:#x} sees only {seen:#x}"));
            }
        }
    }

    /// Waits until the listening socket has a connection to accept.
    pub fn until_listener_readable(&mut self) {
        let (_, seen) =
            readiness::poll_one(self.listener, libc::POLLIN, PATIENCE.as_millis() as i32);
        if seen & libc::POLLIN == 0 {
            self.fail("no connection arrives");
        }
    }

    /// Waits until the end of the stream (or a reset) has arrived, whatever is still unread before it.
    pub fn end_arrived(&mut self) {
        self.until_poll(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR);
    }

    /// Waits until every thread of the other process sleeps in the kernel, so that what follows finds it asleep.
    pub fn other_asleep(&mut self) {
        let other = self.other_process;
        let asleep = stays_true(|| {
            let threads = threads_of(other);
            !threads.is_empty() && threads.iter().all(|(_, asleep)| *asleep)
        });
        if !asleep {
            self.fail("the other process does not fall asleep");
        }
    }

    /// Waits until at least so many other threads of this process exist and all of them sleep in the kernel.
    pub fn own_threads_asleep(&mut self, threads: usize) {
        let own = processes::own_thread();
        let all = || {
            let others: Vec<bool> = threads_of(std::process::id() as i32)
                .into_iter()
                .filter(|(thread, _)| *thread != own)
                .map(|(_, asleep)| asleep)
                .collect();
            others.len() >= threads && others.iter().all(|asleep| *asleep)
        };
        if !stays_true(all) {
            self.fail("the other threads do not fall asleep");
        }
    }

    /// Waits, in another thread, until this thread of the process sleeps in the kernel (or has ended).
    pub fn thread_asleep(thread: i32) {
        let _ = stays_true(|| {
            threads_of(std::process::id() as i32)
                .into_iter()
                .find(|(seen, _)| *seen == thread)
                .is_none_or(|(_, asleep)| asleep)
        });
    }

    /// Waits until nothing of a process is left but its number: its descriptors are closed by then, in whatever order.
    pub fn until_gone(&mut self, process: i32) {
        let gone = || {
            states_of(process)
                .iter()
                .all(|(_, state)| matches!(state, 'Z' | 'X'))
        };
        if !eventually(gone) {
            self.fail(&format!("process {process} does not end"));
        }
    }

    /// Writes down whether a call that began then has taken at least so long. Never an upper bound.
    pub fn says_whether_it_waited_ms(&mut self, floor_ms: u64, started: Instant) {
        // Kernel timers are rounded to ticks: a time-out of 100 ms may be over some microseconds early.
        let waited =
            started.elapsed() + Duration::from_millis(5) >= Duration::from_millis(floor_ms);
        self.say(&format!("waited at least {floor_ms} ms: {waited}"));
    }

    /// Runs a call and writes down whether it took at least so long. Never an upper bound.
    pub fn waits_at_least_ms<Value>(
        &mut self,
        floor_ms: u64,
        act: impl FnOnce(&mut Side) -> Value,
    ) -> Value {
        let started = Instant::now();
        let value = act(self);
        self.says_whether_it_waited_ms(floor_ms, started);
        value
    }
}

/// Looks until the condition holds; false when it does not within the bound.
pub fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if started.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Waits until a condition about sleeping threads has held for a while: a thread on its way into a call sleeps, too,
/// but not for long. The while begins behind the first look that finds it, so what slept then has slept for all of it,
/// however late this thread began to look.
fn stays_true(mut holds: impl FnMut() -> bool) -> bool {
    let mut since = None;
    let mut looks_in_a_row = 0;
    eventually(|| {
        let now = Instant::now();
        if holds() {
            let since = *since.get_or_insert_with(Instant::now);
            looks_in_a_row += 1;
            if looks_in_a_row >= 3 && now.saturating_duration_since(since) >= ASLEEP {
                return true;
            }
        } else {
            since = None;
            looks_in_a_row = 0;
        }
        std::thread::sleep(Duration::from_millis(3));
        false
    })
}

/// The threads of a process, and whether each of them sleeps in the kernel.
fn threads_of(process: i32) -> Vec<(i32, bool)> {
    states_of(process)
        .into_iter()
        .map(|(thread, state)| (thread, state == 'S'))
        .collect()
}

/// The threads of a process and their states as proc(5) has them; nothing of a process that is no more.
fn states_of(process: i32) -> Vec<(i32, char)> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| {
            let number = thread.file_name().to_string_lossy().parse().ok()?;
            let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
            // The name before the state may contain anything, also a parenthesis.
            let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
            Some((number, state))
        })
        .collect()
}
