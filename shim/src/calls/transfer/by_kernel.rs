//! What the kernel carries: the program's own call while the thread is counted, a call of the kernel's own kind (sendfile),
//! the rest of a buffer whose first part went by the ring, and what a kernel call's return means.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::flags::{GOES_ON, HAS_CONTROL, IS_READ};
use super::receive::drive_receive;
use super::send::drive_send;
use super::sleep::{deadline, poll_until};
use super::{after_stream, is_nonblocking, pipes, stream_of, uncount};
use crate::boundary::{Action, Call, Counted, Kind, State, me};
use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_long};
use fastpath::stream::Stream;
use fastpath::stream::pieces::Pieces;
use fastpath::sync::Ordering;
use libc::{EAGAIN, ECONNRESET, EINTR, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, POLLIN, POLLOUT};

/// Before a call of the kernel's own kind that sends (sendfile): 1 while the kernel carries; the thread is
/// counted then, `after_counted` must follow.
///
/// # Safety
/// As [`begin_send`].
pub unsafe extern "C" fn enter_kernel_send(
    call: *mut Call,
    descriptor: c_int,
    bytes: usize,
) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded_hook(0, || enter_kernel(call, descriptor, bytes))
}

fn enter_kernel(call: &mut Call, descriptor: c_int, bytes: usize) -> c_int {
    let Some((index, generation, endpoint)) = fd_table::get(descriptor) else {
        return 0;
    };
    let stream = Stream::new(endpoint, generation, descriptor, me());
    upgrade::before_send(&stream);
    let entered = stream.enter_kernel_send_if_even();
    after_stream(&stream);
    if !entered {
        return 0;
    }
    call.descriptor = descriptor;
    call.masked = 0;
    // Less than all of it means that the kernel was full (or the file at its end, which does no harm).
    let mut state = State::new(Kind::Send, index, generation, 0, Pieces::NONE, bytes.max(1));
    state.counted = Counted::KernelSend;
    call.state.write(state);
    1
}

/// The rest of the present piece goes through the kernel after all.
pub(super) fn rest(call: &mut Call, action: Action) -> Action {
    // The kernel would restart a blocking rest after a handler; a part done ends the call instead (see go_to_sleep).
    let flags = call.state().flags & !(HAS_CONTROL | IS_READ | GOES_ON) | MSG_DONTWAIT;
    let Some((base, bytes)) = call.state().pieces.present() else {
        // Nothing is left, or a pipe has it, which a later call takes up again.
        match stream_of(call) {
            Some(stream) => uncount(call, &stream, 0),
            None => call.state().counted = Counted::No,
        }
        return pipes::ended(call);
    };
    call.rest_base = base;
    call.rest_bytes = bytes;
    call.rest_flags = flags;
    action
}

pub(super) fn counted_returned(call: &mut Call, result: c_long, error: c_int) -> Action {
    let moved = result.max(0) as usize;
    let stream = stream_of(call);
    if let Some(stream) = &stream {
        uncount(call, stream, moved);
    }
    let kind = call.state().kind;
    let peek = call.state().flags & MSG_PEEK != 0;
    let (mut result, mut error) = (result, error);
    if let Some(stream) = &stream
        && kind == Kind::Receive
        && call.state().total > 0
        && (result == 0 || (result < 0 && error == ECONNRESET))
        && let Some(said) = stream.kernel_receive_ended((result < 0).then_some(error))
    {
        after_stream(stream);
        (result, error) = if said == 0 { (0, 0) } else { (-1, said) };
    }
    if let Some(stream) = &stream {
        let is_short = result >= 0 && call.state().done + moved < call.state().total;
        if kind == Kind::Send && (is_short || (result < 0 && error == EAGAIN)) {
            crate::readiness::changes::kernel_send_blocked(stream);
        }
        if kind == Kind::Send && moved > 0 {
            stream.endpoint.last_transfer.set(2);
            upgrade::after_send(stream);
        }
        if kind == Kind::Receive && !peek && moved > 0 && call.state().total > 0 {
            upgrade::after_receive(stream);
        }
    }
    if call.state().done == 0 && !call.state().moved {
        if call.state().flags & GOES_ON != 0 && result < 0 {
            keep_error(stream.as_ref(), kind, error);
        }
        call.result = result;
        call.error = error;
        return Action::Done;
    }
    // A rest: what came before counts.
    if result <= 0 {
        if result < 0 && error == EAGAIN && !is_nonblocking(call) && stream.is_some() {
            let deadline = deadline(call);
            call.masked = 0;
            return poll_until(
                call,
                if kind == Kind::Send { POLLOUT } else { POLLIN },
                deadline,
            );
        }
        let done = call.state().done;
        if done == 0 {
            call.result = result;
            call.error = error;
            return Action::Done;
        }
        if result < 0 {
            keep_error(stream.as_ref(), kind, error);
        }
        return call.done(done as isize);
    }
    call.state().pieces.advance(moved);
    call.state().done += moved;
    let done = call.state().done;
    let (Some(stream), true) = (stream, done < call.state().total) else {
        return call.done(done as isize);
    };
    match kind {
        Kind::Send => drive_send(call, &stream),
        Kind::Receive if call.state().flags & MSG_WAITALL != 0 => drive_receive(call, &stream),
        Kind::Receive => call.done(done as isize),
    }
}

/// A receive that failed behind what was received: the next call is told, as by the kernel (net/socket.c do_recvmmsg).
#[cold]
fn keep_error(stream: Option<&Stream>, kind: Kind, error: c_int) {
    if kind == Kind::Receive
        && error != EAGAIN
        && error != EINTR
        && let Some(stream) = stream
    {
        stream.endpoint.error.store(error as u32, Ordering::Release);
    }
}
