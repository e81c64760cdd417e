//! splice(2): the steps of a general send or receive, but for where the bytes come from or go to.
//!
//! The socket is waited for as every transfer call waits for it. The pipe is waited for by the trampoline, which knows how
//! to do so without taking anything: it is told [`PIPE_WAITS`] in place of errno. Only a call that has moved nothing waits
//! for the pipe, and the pipe comes first, as in the kernel (fs/splice.c).
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::after_stream;
use super::receive::drive_receive;
use super::send::drive_send;
use super::spin::end_wait;
use crate::boundary::{Action, Call, Kind, State, me};
use crate::{fd_table, process, upgrade};
use core::ffi::c_int;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::stream::pieces::Pieces;
use fastpath::stream::pipe::{Pipe, Stop};
use fastpath::stream::receive::Received;
use fastpath::stream::send::Sent;
use fastpath::sync::Ordering;
use kmod_interface::reason::Reason;
use libc::{EBADF, POLLERR, POLLHUP, POLLIN, POLLOUT};

/// As `AXIO_PIPE_WAITS` of `c/call.h`.
const PIPE_WAITS: c_int = 4096;

/// Starts a splice from a pipe. `pipe_is_written`: the descriptor is open for writing, too.
///
/// # Safety
/// `call` is writable.
pub unsafe extern "C" fn begin_send_from_pipe(
    call: *mut Call,
    descriptor: c_int,
    pipe: c_int,
    bytes: usize,
    pipe_is_written: c_int,
) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        let Some(stream) = begin(call, Kind::Send, descriptor, pipe, bytes) else {
            return Action::Real;
        };
        let endpoint = stream.endpoint;
        if pipe_is_written != 0 {
            // There is no way out of it that cannot wait but the kernel's own (see `Pipe::descriptor`).
            upgrade::give_up(&stream, Reason::KernelFeature);
        } else if endpoint.last_transfer.get() != 2
            || endpoint.negotiation.load(Ordering::Relaxed) != 0
        {
            upgrade::before_send(&stream);
        }
        drive_send(call, &stream)
    }) as c_int
}

/// Starts a splice into a pipe.
///
/// # Safety
/// As [`begin_send_from_pipe`].
pub unsafe extern "C" fn begin_receive_to_pipe(
    call: *mut Call,
    descriptor: c_int,
    pipe: c_int,
    bytes: usize,
) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        let Some(stream) = begin(call, Kind::Receive, descriptor, pipe, bytes) else {
            return Action::Real;
        };
        if stream.endpoint.negotiation.load(Ordering::Relaxed) != 0 {
            upgrade::before_receive(&stream);
        }
        // Low water marks are for other calls (net/ipv4/tcp.c tcp_splice_read).
        call.state().takes_less = true;
        drive_receive(call, &stream)
    }) as c_int
}

fn begin(
    call: &mut Call,
    kind: Kind,
    descriptor: c_int,
    pipe: c_int,
    bytes: usize,
) -> Option<Stream> {
    let (index, generation, endpoint) = fd_table::get(descriptor)?;
    call.descriptor = descriptor;
    call.masked = 0;
    let mut state = State::new(kind, index, generation, 0, Pieces::NONE, bytes);
    state.pipe = Some(Pipe {
        descriptor: pipe,
        left: bytes,
        stop: None,
    });
    call.state.write(state);
    Some(Stream::new(endpoint, generation, descriptor, me()))
}

/// One step from the pipe into the stream, for the general send to judge; or what the pipe makes of the call.
#[cold]
#[inline(never)]
pub(super) fn send(call: &mut Call, stream: &Stream) -> Result<Sent, Action> {
    let Some(pipe) = &mut call.state().pipe else {
        return Err(call.done(0));
    };
    pipe.stop = None;
    let sent = stream.send_from(pipe);
    let stop = match sent {
        Sent::Bytes(_) => pipe.stop,
        // A call that finds its pipe empty does not wait for room, nor does one that has moved what was there.
        Sent::Full => stop_of_reading(pipe.descriptor),
        _ => None,
    };
    let Some(stop) = stop else { return Ok(sent) };
    after_stream(stream);
    if let Sent::Bytes(bytes @ 1..) = sent {
        let state = call.state();
        state.done += bytes;
        end_wait(state, stream);
        stream.endpoint.last_transfer.set(2);
    }
    Err(stop_with(call, stop))
}

/// One step from the stream into the pipe, as [`send`].
#[cold]
#[inline(never)]
pub(super) fn receive(call: &mut Call, stream: &Stream) -> Result<Received, Action> {
    let Some(pipe) = &mut call.state().pipe else {
        return Err(call.done(0));
    };
    pipe.stop = None;
    let received = stream.receive_to_pipe(pipe);
    let stop = match received {
        // Something has come, and the pipe did not take it.
        Received::Bytes(0) => Some(pipe.stop.unwrap_or(Stop::Waits)),
        // A call that finds its pipe full, or nobody to read from it, does not wait for the socket.
        Received::Empty if !has_room(pipe.descriptor) => Some(Stop::Waits),
        _ => None,
    };
    let Some(stop) = stop else {
        return Ok(received);
    };
    after_stream(stream);
    Err(stop_with(call, stop))
}

/// Why nothing can be read from a pipe now; nothing when something can.
fn stop_of_reading(pipe: c_int) -> Option<Stop> {
    let seen = kernel_call::poll_one(pipe, POLLIN, 0);
    if seen & POLLIN != 0 {
        None
    } else if seen & POLLHUP != 0 {
        Some(Stop::Ended)
    } else {
        Some(Stop::Waits)
    }
}

fn has_room(pipe: c_int) -> bool {
    kernel_call::poll_one(pipe, POLLOUT, 0) & (POLLOUT | POLLERR) == POLLOUT
}

/// The kernel carries from here on, but the call has moved bytes or the program's number no longer names the socket.
/// Of a call with buffers: all of them are done.
#[cold]
pub(super) fn ended(call: &mut Call) -> Action {
    let done = call.state().done;
    if done == 0 && call.state().pipe.is_some() {
        return call.failed(EBADF);
    }
    call.done(done as isize)
}

#[cold]
fn stop_with(call: &mut Call, stop: Stop) -> Action {
    let done = call.state().done;
    match stop {
        _ if done > 0 => {}
        Stop::Ended => {}
        Stop::Waits => return call.failed(PIPE_WAITS),
        Stop::Failed(errno) => return call.failed(errno),
    }
    call.done(done as isize)
}
