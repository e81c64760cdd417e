//! The part of a wait that sleeps: which sleep, how long, and what the awakened does. The sleep itself is the trampoline's
//! (POSIX.md R8).

use super::flags::GOES_ON;
use super::receive::{drive_receive, taking_of};
use super::send::drive_send;
use super::spin::spin;
use super::{after_stream, known_waiting, reentered, remember_waiting, stream_of, uncount};
use crate::boundary::{Action, Call, Counted, Kind, State, Timespec};
use crate::calls::sleepers;
use crate::process;
use core::ffi::{c_int, c_long};
use fastpath::clock::monotonic_ns;
use fastpath::endpoint::waiting::Mode;
use fastpath::kernel_call;
use fastpath::statistics::count_sleep;
use fastpath::stream::Stream;
use fastpath::stream::sleep::{Armed, Sleep};
use libc::{
    EAGAIN, EINTR, EPIPE, MSG_DONTWAIT, POLLIN, POLLOUT, SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET,
};

/// Wakes of one call after which it is asked what lies on the line.
const VAIN_WAKES: u32 = 4;

/// Reasons not to sleep, in one call, that are believed. A far side that shows more of them lies, or others take what is
/// there: either way a nap is due.
const SLEEPLESS_MAX: u32 = 64;

pub(super) fn wait_to_receive(call: &mut Call, stream: &Stream) -> Option<Action> {
    let minimum = taking_of(call.state(), stream.endpoint).minimum;
    if spin(call.state(), stream, |stream| stream.may_receive(minimum)) {
        return None;
    }
    let sleep = stream.prepare_sleep_receive(minimum);
    after_stream(stream);
    go_to_sleep(call, sleep, POLLIN)
}

pub(super) fn wait_to_send(call: &mut Call, stream: &Stream) -> Option<Action> {
    if spin(call.state(), stream, Stream::may_send) {
        return None;
    }
    let sleep = stream.prepare_sleep_send();
    after_stream(stream);
    go_to_sleep(call, sleep, POLLIN)
}

fn go_to_sleep(call: &mut Call, sleep: Sleep, events: i16) -> Option<Action> {
    match sleep {
        Sleep::Retry => {
            call.state().sleepless += 1;
            if call.state().sleepless <= SLEEPLESS_MAX {
                return None;
            }
            // Of the kernel only what cannot be overlooked: errors and hang-ups.
            Some(poll_for(call, 0, 1))
        }
        Sleep::Crowded => Some(Action::Yield),
        Sleep::Reentered => Some(reentered(call)),
        Sleep::Line(armed) => {
            falls_asleep(call, armed);
            let deadline = deadline(call);
            if deadline == 0 && call.state().done == 0 && !goes_on(call) {
                return Some(Action::Peek);
            }
            // A call that has done a part is ended by every handler, SA_RESTART or not: ppoll tells of each.
            call.masked = 0;
            Some(poll_until(call, events, deadline))
        }
        Sleep::Bounded {
            armed,
            limit_ms,
            writable,
        } => {
            falls_asleep(call, armed);
            Some(poll_for(
                call,
                events | if writable { POLLOUT } else { 0 },
                u64::from(limit_ms),
            ))
        }
    }
}

/// An earlier part of the program's call has moved bytes.
fn goes_on(call: &mut Call) -> bool {
    call.state().flags & GOES_ON != 0
}

fn falls_asleep(call: &mut Call, armed: Armed) {
    let state = call.state();
    state.counted = Counted::Asleep(armed);
    state.slept = true;
    state.has_slept = true;
    if let Some(endpoint) = fastpath::family::endpoint(state.endpoint) {
        sleepers::count(endpoint, state.generation, true);
        count_sleep(endpoint, state.generation);
    }
}

/// End of the call's time-out (SO_RCVTIMEO, SO_SNDTIMEO), asked of the kernel at the first sleep; 0 = none.
pub(super) fn deadline(call: &mut Call) -> u64 {
    if call.state().deadline_ns == State::NOT_ASKED {
        let (name, mode) = if call.state().kind == Kind::Send {
            (SO_SNDTIMEO, Mode::NoSendLimit)
        } else {
            (SO_RCVTIMEO, Mode::NoReceiveLimit)
        };
        let remembered = known_waiting(call);
        if remembered.is_some_and(|(_, known)| known.is(mode)) {
            call.state().deadline_ns = 0;
            return 0;
        }
        let answer = kernel_call::socket_option::<[i64; 2]>(call.descriptor, SOL_SOCKET, name);
        let [seconds, microseconds] = answer.unwrap_or_default();
        let timeout_ns = (seconds.max(0) as u64).saturating_mul(1_000_000_000)
            + (microseconds.max(0) as u64) * 1000;
        if answer.is_ok() && timeout_ns == 0 {
            remember_waiting(call, remembered, mode);
        }
        call.state().deadline_ns = if timeout_ns == 0 {
            0
        } else {
            monotonic_ns().saturating_add(timeout_ns)
        };
    }
    call.state().deadline_ns
}

pub(super) fn poll_until(call: &mut Call, events: i16, until_ns: u64) -> Action {
    call.events = c_int::from(events);
    call.has_timeout = 0;
    if until_ns == 0 {
        return Action::Poll;
    }
    let left_ns = until_ns.saturating_sub(monotonic_ns());
    call.timeout = Timespec {
        seconds: (left_ns / 1_000_000_000) as i64,
        nanoseconds: (left_ns % 1_000_000_000) as i64,
    };
    call.has_timeout = 1;
    Action::Poll
}

/// A bounded sleep with signals held back: the time-out of the call may end it, too.
pub(super) fn poll_for(call: &mut Call, events: i16, limit_ms: u64) -> Action {
    let deadline = deadline(call);
    let limit = monotonic_ns() + limit_ms * 1_000_000;
    call.masked = 1;
    poll_until(
        call,
        events,
        if deadline == 0 {
            limit
        } else {
            limit.min(deadline)
        },
    )
}

pub(super) fn woke(call: &mut Call, result: c_long, error: c_int) -> Action {
    let Some(stream) = stream_of(call) else {
        // The number was closed by another thread while this one slept; on Linux the sleeper goes on with the old
        // socket, which has ended for this process.
        let done = call.state().done;
        return if call.state().kind == Kind::Send {
            call.failed(EPIPE)
        } else {
            call.done(done as isize)
        };
    };
    let masked = core::mem::replace(&mut call.masked, 0) != 0;
    let slept = matches!(call.state().counted, Counted::Asleep(_));
    uncount(call, &stream, 0);
    if slept {
        stream.after_sleep();
    }
    call.state().yields = call.state().yields.saturating_add(1);
    if call.state().yields > 20 {
        back_off(call.state().yields);
    }
    if slept && call.state().yields > VAIN_WAKES {
        stream.distrust_line();
    }
    if error == EAGAIN {
        // The socket would not wait, or not for longer, whatever is remembered: asked again.
        stream.endpoint.waiting.changed();
        if call.state().deadline_ns == 0 {
            call.state().deadline_ns = State::NOT_ASKED;
        }
    } else if error != 0 && error != EINTR {
        stream.sleeper_saw(error);
    }
    // With signals held back only the C library's own come through (setuid in another thread), which the kernel would
    // restart a call after.
    if error == EINTR && !masked {
        let done = call.state().done;
        // A receive of nothing that is interrupted has received nothing.
        return if done > 0 || call.state().total == 0 {
            call.done(done as isize)
        } else {
            call.failed(EINTR)
        };
    }
    if masked && let Some(restart) = pending_signal(call) {
        let done = call.state().done;
        if done > 0 {
            return call.done(done as isize);
        }
        if !restart || call.state().deadline_ns != 0 || goes_on(call) {
            return call.failed(EINTR);
        }
    }
    let deadline_ns = call.state().deadline_ns;
    if deadline_ns != 0
        && deadline_ns != State::NOT_ASKED
        && monotonic_ns() >= deadline_ns
        && result <= 0
    {
        // One last look, then the time-out.
        call.state().flags |= MSG_DONTWAIT;
    }
    if result == 0 && error == 0 && call.state().slept && !masked && deadline_ns == 0 {
        // The peek returned end of stream.
        let _ = stream.readiness(false);
        after_stream(&stream);
    }
    match call.state().kind {
        Kind::Send => drive_send(call, &stream),
        Kind::Receive => drive_receive(call, &stream),
    }
}

/// Others must be given time: 50 µs, later a millisecond.
fn back_off(times: u32) {
    let nanoseconds = if times < 60 { 50_000 } else { 1_000_000 };
    let _ = rustix::thread::nanosleep(&rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    });
}

/// After a nap with signals held back: is one waiting that will run a handler? `Some(true)`: with SA_RESTART.
fn pending_signal(call: &Call) -> Option<bool> {
    process::pending_handler(call.program_mask)
}
