//! A side's extra thread: forces switches at random moments, interrupts threads with signals, notices a hang.

use super::plan::Interrupts;
use super::side::{self, End, Side, fail};
use crate::torture::calls;
use crate::torture::hang;
use crate::torture::random::Random;
use crate::torture::status::{self, STATE_ACCELERATED};
use kmod_interface::ioctl::Status;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Without any byte in either direction for so long, the side calls itself hanging. Pauses are a thousand times shorter.
const HANG: Duration = Duration::from_secs(120);

/// After so long without a byte, what this side has sent is looked for in the kernel.
const UNSENT_AFTER: Duration = Duration::from_secs(1);

/// In a seed that leaves, switches are forced in this first part of both directions only.
pub const LAST_TOGGLE_PERCENT: u64 = 55;

/// A side that wants the ring asks again after this time on the kernel.
const INSIST: Duration = Duration::from_millis(20);

/// A direction that has not come on the ring by then, while the other one is there, is not waited for.
const LONGEST_FOR_BOTH: Duration = Duration::from_millis(12);

/// The running thread.
pub struct Controller {
    stopping: &'static AtomicBool,
    thread: std::thread::JoinHandle<()>,
}

impl Controller {
    /// Starts the thread for a side.
    #[must_use]
    pub fn start(side: &'static Side) -> Controller {
        let stopping: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        Controller {
            stopping,
            thread: std::thread::spawn(move || control(side, stopping)),
        }
    }

    /// Ends it.
    pub fn stop(self) {
        self.stopping.store(true, SeqCst);
        let _ = self.thread.join();
    }
}

fn progress(side: &Side) -> u64 {
    side.board.written().load(SeqCst) + side.board.received().load(SeqCst)
}

fn control(side: &'static Side, stopping: &AtomicBool) {
    let mut random = Random::new(side.plan.seed, 50 + side.end as u64);
    let own = side.own();
    // A leaving connection must not be in the middle of a retreat when it leaves: by design that would reset it.
    let leaves = side.plan.sides.iter().any(|side| side.leave.is_some());
    let total = own.bytes + side.incoming();
    let may_toggle = || {
        !leaves
            || (side.board.written().load(SeqCst) < own.bytes / 100 * LAST_TOGGLE_PERCENT
                && side.board.received().load(SeqCst) < side.incoming() / 100 * LAST_TOGGLE_PERCENT)
    };
    // A long stream stays on the ring for some megabytes, counted from when it is found there.
    let longest_on_ring = if side.plan.is_large {
        Duration::from_secs(5)
    } else {
        Duration::from_millis(3)
    };
    let mut asked_for_ring = true;
    let mut next_toggle = progress(side) + random.below(total / 64 + 1);
    let mut wanted_since = Instant::now();
    let mut last = (progress(side), Instant::now());
    let mut last_unsent = 0;
    let mut before: Option<Status> = None;
    let mut was_on_ring = false;
    // From a request for the kernel until both directions are on the ring again, as asked: what switches has been forced.
    let mut is_forcing = false;
    // Three times in four both directions are to be taken from the ring, else whichever is there.
    let mut waits_for_both = false;
    while !stopping.load(SeqCst) {
        std::thread::sleep(Duration::from_micros(random.between(100, 1500)));
        if side.board.failed().load(SeqCst) != 0 {
            calls::exit_now(side::EXIT_FAILED);
        }
        let position = progress(side);
        if position != last.0 {
            last = (position, Instant::now());
        } else if last.1.elapsed() > UNSENT_AFTER {
            // Bytes that this side has sent may move for a long time after: into a receive buffer of 4 KiB Linux sends a
            // piece of two every 200 ms, once its window was shut (net/ipv4/tcp_output.c, __tcp_select_window).
            let unsent = calls::unsent_bytes(side.descriptor).unwrap_or(0);
            if unsent < last_unsent {
                last.1 = Instant::now();
            } else if last.1.elapsed() > HANG {
                report_hang(side);
            }
            last_unsent = unsent;
        }
        if own.interrupts != Interrupts::Off {
            interrupt(side, &mut random);
        }
        let Ok(state) = status::status(side.descriptor) else {
            continue;
        };
        let board = &side.board;
        count_switches(side, &state);
        if before.is_some_and(|before| moved_by_both_carriers(&before, &state)) {
            board.split().fetch_add(1, SeqCst);
        }
        if let Some(before) = before
            && is_forcing
        {
            let news = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
            let sent = news(state.switches_out, before.switches_out);
            board.forced_out().fetch_add(sent, SeqCst);
            let received = news(state.switches_in, before.switches_in);
            board.forced_in().fetch_add(received, SeqCst);
        }
        before = Some(state);
        if !own.controls {
            continue;
        }
        // A long stream's writers wait for their own direction, whoever took it from the ring.
        let is_on_ring = if side.plan.is_large {
            state.switches_out % 2 == 1
        } else {
            state.state == STATE_ACCELERATED
        };
        board.wanting().store(u64::from(!is_on_ring), SeqCst);
        if side.plan.is_large && is_on_ring && !was_on_ring {
            next_toggle = position + random.between(total / 64, total / 12);
            board.holds().store(0, SeqCst);
            wanted_since = Instant::now();
        }
        was_on_ring = is_on_ring;
        is_forcing &=
            !(asked_for_ring && state.switches_out % 2 == 1 && state.switches_in % 2 == 1);
        if !asked_for_ring {
            request(side, true);
            asked_for_ring = true;
            waits_for_both = !side.plan.is_large && !random.one_in(4);
            wanted_since = Instant::now();
            next_toggle = position + random.below(total / 64 + 1);
        } else if is_on_ring
            && may_toggle()
            && (!waits_for_both
                || (state.switches_out % 2 == 1 && state.switches_in % 2 == 1)
                || wanted_since.elapsed() > LONGEST_FOR_BOTH)
            && (position >= next_toggle || wanted_since.elapsed() > longest_on_ring)
        {
            request(side, false);
            asked_for_ring = false;
            is_forcing = true;
            board.toggles().fetch_add(1, SeqCst);
        } else if !is_on_ring && wanted_since.elapsed() > INSIST {
            // The shim may have found a retreat of its own necessary and wait for new evidence: a program that asks
            // does not need any.
            request(side, true);
            wanted_since = Instant::now();
        }
    }
    if let Ok(state) = status::status(side.descriptor) {
        count_switches(side, &state);
    }
}

fn count_switches(side: &Side, state: &Status) {
    let (sent, received) = (u64::from(state.switches_out), u64::from(state.switches_in));
    side.board.switches().store(sent + received, SeqCst);
    side.board
        .fewer_switches()
        .store(sent.min(received), SeqCst);
}

/// True when no direction has switched between two looks, and one of them moved bytes by ring, the other one by kernel.
fn moved_by_both_carriers(before: &Status, after: &Status) -> bool {
    if (before.switches_out, before.switches_in) != (after.switches_out, after.switches_in) {
        return false;
    }
    let (by_ring, by_kernel) = match (after.switches_out % 2, after.switches_in % 2) {
        (1, 0) => (
            after.ring_bytes_out > before.ring_bytes_out,
            after.kernel_bytes_in > before.kernel_bytes_in,
        ),
        (0, 1) => (
            after.ring_bytes_in > before.ring_bytes_in,
            after.kernel_bytes_out > before.kernel_bytes_out,
        ),
        _ => return false,
    };
    by_ring && by_kernel
}

fn request(side: &Side, enable: bool) {
    match status::accelerate(side.descriptor, enable) {
        Ok(_) | Err(libc::EINTR | libc::EAGAIN) => {}
        Err(code) => fail(
            Some(side),
            &format!(
                "AXIO_SIOCACCEL enable {enable}: {}",
                calls::errno_text(code)
            ),
        ),
    }
}

fn interrupt(side: &Side, random: &mut Random) {
    let threads = side.threads.lock().unwrap_or_else(PoisonError::into_inner);
    if !threads.is_empty() && random.one_in(4) {
        let thread = threads[random.below(threads.len() as u64) as usize];
        // The thread may have ended: then nobody is interrupted.
        let _ = calls::signal_thread(thread, libc::SIGUSR1);
    }
}

fn report_hang(side: &Side) -> ! {
    let mut text = format!(
        "HANG: no byte for {} s; {}",
        HANG.as_secs(),
        hang::describe_threads(calls::process_id())
    );
    let child = side.board.child().load(SeqCst);
    if child != 0 {
        text.push_str(&hang::describe_threads(child as i32));
    }
    let board = &side.board;
    text.push_str(&format!(
        " | {} | {} writing done {} reading done {} leaving {}",
        hang::describe_queues(side.descriptor),
        match side.end {
            End::Client => "client",
            End::Server => "server",
        },
        board.writing_done().load(SeqCst),
        board.reading_done().load(SeqCst),
        board.leaving().load(SeqCst)
    ));
    // The far side, which hangs as well, shall say so before this end's death wakes it.
    side::tell(Some(side), &text);
    std::thread::sleep(Duration::from_secs(2));
    calls::exit_now(side::EXIT_FAILED)
}
