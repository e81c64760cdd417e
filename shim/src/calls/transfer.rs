//! Data in, data out: what a transfer call does, step by step, between the trampoline's actions.
//!
//! `begin_*` looks the descriptor up and drives the stream as far as it goes without sleeping. When the kernel carries,
//! the thread is counted and the trampoline makes the program's own call; when nothing can be done, a blocking call
//! spins as WAITING.md says, arms, and sleeps in the trampoline. `after_*` goes on from there.
//!
//! * [`quick`]: a plain buffer by the ring, without any of the rest.
//! * [`plain`]: the program's own call, and its count, where no channel is.
//! * [`begin`]: the beginning of a general call.
//! * [`send`], [`receive`]: one step of the stream after the other.
//! * [`pipes`]: splice, whose bytes come from a pipe or go into one.
//! * [`by_kernel`]: what the kernel carries.
//! * [`spin`], [`sleep`]: waiting.
//! * [`buffers`], [`flags`]: what the program hands over.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

mod begin;
mod buffers;
mod by_kernel;
mod flags;
mod pipes;
mod plain;
mod quick;
mod receive;
mod send;
mod sleep;
mod spin;

pub use begin::{begin_receive, begin_send};
pub use by_kernel::enter_kernel_send;
pub use pipes::{begin_receive_to_pipe, begin_send_from_pipe};
pub use plain::{
    abandon_plain_receive, abandon_plain_send, after_plain_receive, after_plain_send,
    enter_plain_receive, enter_plain_receive_of_many, enter_plain_send,
};
pub use quick::{receive_quickly, send_file_quickly, send_quickly};

use super::sleepers;
use crate::boundary::{Action, Call, Counted, me};
use crate::{fd_table, process};
use core::ffi::{c_int, c_long};
use fastpath::endpoint::Endpoint;
use fastpath::endpoint::waiting::{Known, Mode};
use fastpath::kernel_call;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::statistics::Counter;
use libc::{EAGAIN, EINTR, F_GETFL, MSG_DONTWAIT, MSG_PEEK, O_NONBLOCK};

/// Goes on after a kernel call that was counted.
///
/// # Safety
/// `call` is the record of a call that was begun.
pub unsafe extern "C" fn after_counted(call: *mut Call, result: c_long, error: c_int) -> c_int {
    // SAFETY: as promised.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        let action = by_kernel::counted_returned(call, result, error);
        after_step(call, action)
    }) as c_int
}

/// Goes on after a sleep.
///
/// # Safety
/// `call` is the record of a call that was begun.
pub unsafe extern "C" fn after_sleep(call: *mut Call, result: c_long, error: c_int) -> c_int {
    // SAFETY: as promised.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        sleepers::find_socket(call);
        let action = sleep::woke(call, result, error);
        after_step(call, action)
    }) as c_int
}

/// A call that has slept may be the last one that holds its socket.
fn after_step(call: &mut Call, action: Action) -> Action {
    if action == Action::Done && call.state().has_slept {
        sleepers::call_ended(call);
    }
    action
}

/// The thread is being cancelled inside the trampoline: what it was counted as is taken back.
///
/// # Safety
/// `call` is the record of a call that was begun.
pub unsafe extern "C" fn abandon(call: *mut core::ffi::c_void) {
    // SAFETY: as promised.
    let call = unsafe { &mut *call.cast::<Call>() };
    // A panic must not meet the unwinding that cancels the thread: the program would be killed.
    process::guarded_hook((), || {
        if let Some(stream) = stream_of(call) {
            uncount(call, &stream, 0);
            if call.state().has_slept {
                sleepers::call_ended(call);
            }
        }
    });
}

/// The stream of a call that has slept or been in the kernel; nothing when its endpoint has ended meanwhile.
fn stream_of(call: &mut Call) -> Option<Stream> {
    let descriptor = call.descriptor;
    let state = call.state();
    let endpoint = fastpath::family::endpoint(state.endpoint)?;
    (endpoint.generation.load(Ordering::Acquire) == state.generation)
        .then(|| Stream::new(endpoint, state.generation, descriptor, me()))
}

/// Takes back what the thread is counted as; `bytes` is what a kernel call moved.
fn uncount(call: &mut Call, stream: &Stream, bytes: usize) {
    let state = call.state();
    match core::mem::replace(&mut state.counted, Counted::No) {
        Counted::No => {}
        Counted::KernelSend => stream.kernel_sent(bytes),
        Counted::KernelReceive => stream.kernel_received(if state.flags & MSG_PEEK != 0 {
            0
        } else {
            bytes
        }),
        Counted::Asleep(armed) => {
            stream.finish_sleep(armed);
            sleepers::count(stream.endpoint, stream.generation, false);
        }
    }
}

#[inline(always)]
fn after_stream(stream: &Stream) {
    if stream.drained.get() || stream.switched.get() {
        process::readiness_changed(stream);
    }
}

fn is_nonblocking(call: &mut Call) -> bool {
    if call.state().flags & MSG_DONTWAIT != 0 {
        return true;
    }
    let remembered = known_waiting(call);
    match remembered {
        Some((_, known)) if known.is(Mode::Blocking) => return false,
        Some((_, known)) if known.is(Mode::Nonblocking) => return true,
        _ => {}
    }
    let answer = kernel_call::file_control(call.descriptor, F_GETFL, 0);
    let is_nonblocking = answer.is_ok_and(|flags| flags & O_NONBLOCK as usize != 0);
    if answer.is_ok() {
        let mode = if is_nonblocking {
            Mode::Nonblocking
        } else {
            Mode::Blocking
        };
        remember_waiting(call, remembered, mode);
    }
    is_nonblocking
}

/// What is known of the waiting of calls on the connection of this one, and where to remember what is not.
fn known_waiting(call: &mut Call) -> Option<(&'static Endpoint, Known)> {
    if process::memory_was_shared() {
        return None;
    }
    let state = call.state();
    let endpoint = fastpath::family::endpoint(state.endpoint)?;
    let known = endpoint.known_waiting()?;
    // Behind the look: it was of this life.
    (endpoint.generation.load(Ordering::Acquire) == state.generation).then_some((endpoint, known))
}

/// The socket has said so, which was asked behind `known`: unless another thread has closed the number meanwhile, and
/// another socket has answered.
fn remember_waiting(call: &mut Call, known: Option<(&'static Endpoint, Known)>, mode: Mode) {
    let asked = fd_table::get(call.descriptor).map(|(index, generation, _)| (index, generation));
    let state = call.state();
    if let Some((endpoint, known)) = known
        && asked == Some((state.endpoint, state.generation))
    {
        endpoint.waiting.remember(known, mode);
    }
}

fn would_block(call: &mut Call) -> Action {
    let done = call.state().done;
    if done > 0 {
        call.done(done as isize)
    } else {
        call.failed(EAGAIN)
    }
}

/// The lock is this thread's own: a signal handler has interrupted the shim (SWITCH.md §6).
#[cold]
fn reentered(call: &mut Call) -> Action {
    count(Counter::HandlerConflicts, 1);
    let done = call.state().done;
    if done > 0 {
        return call.done(done as isize);
    }
    let errno = if is_nonblocking(call) { EAGAIN } else { EINTR };
    call.failed(errno)
}
