//! Data in, data out: what a transfer call does, step by step, between the trampoline's actions.
//!
//! `begin_*` looks the descriptor up and drives the stream as far as it goes without sleeping. When the kernel carries,
//! the thread is counted and the trampoline makes the program's own call; when nothing can be done, a blocking call
//! spins as WAITING.md says, arms, and sleeps in the trampoline. `after_*` goes on from there.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::sleepers;
use crate::boundary::{Action, Call, Counted, Kind, State, Timespec, me};
use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_long};
use fastpath::endpoint::Endpoint;
use fastpath::kernel_call;
use fastpath::statistics::count;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::{Armed, Sleep};
use fastpath::stream::{Stream, monotonic_ns};
use fastpath::sync::{Ordering, time_stamp};
use fastpath::wait::{self, Outcome, SpinGuard, Verdict};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;

const MSG_OOB: c_int = 1;
const MSG_PEEK: c_int = 2;
const MSG_TRUNC: c_int = 0x20;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_WAITALL: c_int = 0x100;
const MSG_ERRQUEUE: c_int = 0x2000;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_FASTOPEN: c_int = 0x2000_0000;
/// Set by the trampoline: read(2) or readv(2), for which nothing is nothing.
const IS_READ: c_int = 0x0080_0000;
/// Set by the trampoline: the message has ancillary data.
const HAS_CONTROL: c_int = c_int::MIN;
const EINTR: c_int = 4;
const EBADF: c_int = 9;
const EAGAIN: c_int = 11;
const EFAULT: c_int = 14;
const EINVAL: c_int = 22;
const EPIPE: c_int = 32;
const ECONNRESET: c_int = 104;
const SIGPIPE: c_int = 13;
const IOV_MAX: usize = 1024;
/// Wakes of one call after which it is asked what lies on the line.
const VAIN_WAKES: u32 = 4;
/// Reasons not to sleep, in one call, that are believed. A far side that shows more of them lies, or others take what is
/// there: either way a nap is due.
const SLEEPLESS_MAX: u32 = 64;

/// Starts a send.
///
/// # Safety
/// `call` is writable; `first` and `count` are the program's vector.
pub unsafe extern "C" fn begin_send(
    call: *mut Call,
    descriptor: c_int,
    first: *const Piece,
    count: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        begin(call, Kind::Send, descriptor, first, count, flags)
    }) as c_int
}

/// Starts a receive.
///
/// # Safety
/// As [`begin_send`].
pub unsafe extern "C" fn begin_receive(
    call: *mut Call,
    descriptor: c_int,
    first: *const Piece,
    count: usize,
    flags: c_int,
) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        begin(call, Kind::Receive, descriptor, first, count, flags)
    }) as c_int
}

/// A send of one buffer while nothing but the ring is concerned; negative: [`begin_send`] must be called.
///
/// # Safety
/// `base` is the program's buffer.
pub unsafe extern "C" fn send_quickly(
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    // First what sends most connections of one request away.
    match fd_table::get(descriptor) {
        Some((_, generation, endpoint)) if endpoint.tx_ep.get() & 1 == 1 => {
            send_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        _ => -1,
    }
}

#[inline(never)]
fn send_by_ring(
    endpoint: &'static Endpoint,
    generation: u32,
    descriptor: c_int,
    base: *const u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    process::guarded_hook(-1, || {
        if flags & !(MSG_DONTWAIT | MSG_NOSIGNAL) != 0 || !is_user_span(base, bytes) {
            return -1;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is readable (else it faults, a documented limit).
        let sent = unsafe { stream.send_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = sent else { return -1 };
        endpoint.last_transfer.set(2);
        bytes as isize
    })
}

/// A receive into one buffer; as [`send_quickly`].
///
/// # Safety
/// As [`send_quickly`].
pub unsafe extern "C" fn receive_quickly(
    descriptor: c_int,
    base: *mut u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    match fd_table::get(descriptor) {
        Some((_, generation, endpoint)) if endpoint.rx_ep.get() & 1 == 1 => {
            receive_by_ring(endpoint, generation, descriptor, base, bytes, flags)
        }
        _ => -1,
    }
}

#[inline(never)]
fn receive_by_ring(
    endpoint: &'static Endpoint,
    generation: u32,
    descriptor: c_int,
    base: *mut u8,
    bytes: usize,
    flags: c_int,
) -> isize {
    process::guarded_hook(-1, || {
        if flags & !(MSG_DONTWAIT | IS_READ) != 0 || !is_user_span(base, bytes) {
            return -1;
        }
        let stream = Stream::new(endpoint, generation, descriptor, me());
        // SAFETY: the program's buffer is writable (else it faults, a documented limit).
        let received = unsafe { stream.receive_quickly(base, bytes) };
        after_stream(&stream);
        let Some(bytes) = received else { return -1 };
        endpoint.last_transfer.set(1);
        bytes as isize
    })
}

/// Goes on after a kernel call that was counted.
///
/// # Safety
/// `call` is the record of a call that was begun.
pub unsafe extern "C" fn after_counted(call: *mut Call, result: c_long, error: c_int) -> c_int {
    // SAFETY: as promised.
    let call = unsafe { &mut *call };
    process::guarded(call, |call| {
        let action = counted_returned(call, result, error);
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
        let action = woke(call, result, error);
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

/// From so many bytes on the kernel sends a file faster than a ring, which it must be copied into.
const BULK_BYTES: usize = 32 * 1024;

/// Before a call of the kernel's own kind that sends (sendfile, splice): 1 while the kernel carries; the thread is
/// counted then, `after_counted` must follow. `bytes`: how much of a file is to be sent.
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
    process::guarded_hook(0, || {
        if bytes >= BULK_BYTES
            && let Some(stream) = fd_table::stream(descriptor)
        {
            stream.give_way_to_bulk();
        }
        enter_kernel(call, Kind::Send, descriptor)
    })
}

/// Before a call of the kernel's own kind that receives (splice).
///
/// # Safety
/// As [`begin_send`].
pub unsafe extern "C" fn enter_kernel_receive(call: *mut Call, descriptor: c_int) -> c_int {
    // SAFETY: the trampoline passes its own record.
    let call = unsafe { &mut *call };
    process::guarded_hook(0, || enter_kernel(call, Kind::Receive, descriptor))
}

fn enter_kernel(call: &mut Call, kind: Kind, descriptor: c_int) -> c_int {
    let Some((index, generation, endpoint)) = fd_table::get(descriptor) else {
        return 0;
    };
    let stream = Stream::new(endpoint, generation, descriptor, me());
    let entered = match kind {
        Kind::Send => {
            upgrade::before_send(&stream);
            stream.enter_kernel_send_if_even()
        }
        Kind::Receive => {
            upgrade::before_receive(&stream);
            stream.enter_kernel_receive_if_even()
        }
    };
    after_stream(&stream);
    if !entered {
        return 0;
    }
    call.descriptor = descriptor;
    call.masked = 0;
    let mut state = State::new(kind, index, generation, 0, Pieces::NONE, 1);
    state.counted = if kind == Kind::Send {
        Counted::KernelSend
    } else {
        Counted::KernelReceive
    };
    call.state.write(state);
    1
}

/// Bytes that a send would take now without blocking, 0 when that cannot be known.
pub extern "C" fn room(descriptor: c_int) -> usize {
    process::guarded_hook(0, || {
        fd_table::stream(descriptor).map_or(0, |stream| stream.room_bytes())
    })
}

/// The thread is being cancelled inside the trampoline: what it was counted as is taken back.
///
/// # Safety
/// `call` is the record of a call that was begun.
pub unsafe extern "C" fn abandon(call: *mut core::ffi::c_void) {
    // SAFETY: as promised.
    let call = unsafe { &mut *call.cast::<Call>() };
    if let Some(stream) = stream_of(call) {
        uncount(call, &stream, 0);
        if call.state().has_slept {
            sleepers::call_ended(call);
        }
    }
}

#[inline(always)]
fn begin(
    call: &mut Call,
    kind: Kind,
    descriptor: c_int,
    first: *const Piece,
    count: usize,
    flags: c_int,
) -> Action {
    let Some((index, generation, endpoint)) = fd_table::get(descriptor) else {
        return Action::Real;
    };
    let single = core::ptr::eq(first, &raw const call.single);
    let total = match checked_total(kind, single, first, count) {
        Ok(total) => total,
        // The kernel finds the same fault, and says it for its own reasons first (EBADF, EPIPE).
        Err(EINVAL) => return call.failed(EINVAL),
        Err(_) => {
            return if endpoint.binding.load(Ordering::Relaxed) == 0 {
                Action::Real
            } else {
                call.failed(EFAULT)
            };
        }
    };
    call.descriptor = descriptor;
    call.masked = 0;
    // SAFETY: the vector was just read through; it is the program's for the time of the call.
    let pieces = unsafe { Pieces::new(first, count) };
    call.state
        .write(State::new(kind, index, generation, flags, pieces, total));
    let stream = Stream::new(endpoint, generation, descriptor, me());
    match kind {
        Kind::Send => {
            if flags & MSG_FASTOPEN != 0 {
                // The kernel refuses it on a connection, without sending anything.
                return Action::Real;
            }
            if flags & (MSG_OOB | HAS_CONTROL) != 0 {
                upgrade::give_up(&stream, Reason::KernelFeature);
            } else if endpoint.last_transfer.get() != 2
                || endpoint.negotiation.load(Ordering::Relaxed) != 0
            {
                upgrade::before_send(&stream);
            }
            if total == 0 {
                // Nothing to carry; the kernel still says EPIPE where it must.
                return Action::Real;
            }
            drive_send(call, &stream)
        }
        Kind::Receive => {
            if flags & MSG_ERRQUEUE != 0 {
                return Action::Real;
            }
            if flags & MSG_OOB != 0 {
                // The sender went back to the kernel for it; what is in the ring lies before it.
                return Action::Real;
            }
            if total == 0 && flags & IS_READ != 0 {
                return call.done(0);
            }
            if endpoint.negotiation.load(Ordering::Relaxed) != 0 {
                upgrade::before_receive(&stream);
            }
            drive_receive(call, &stream)
        }
    }
}

/// Length of a vector, with the checks the kernel makes before anything else (POSIX.md row 32).
#[inline(always)]
fn checked_total(
    kind: Kind,
    single: bool,
    first: *const Piece,
    count: usize,
) -> Result<usize, c_int> {
    if count > IOV_MAX {
        return Err(EINVAL);
    }
    if count != 0 && !is_user_address(first.cast()) {
        return Err(EFAULT);
    }
    let mut total: usize = 0;
    for index in 0..count {
        // SAFETY: a plausible user address; the program vouches for the rest.
        let piece = unsafe { first.add(index).read() };
        if piece.bytes > isize::MAX as usize && !single {
            return Err(EINVAL);
        }
        let end = (piece.base as usize).checked_add(piece.bytes);
        if end.is_none_or(|end| end >> 47 != 0) {
            return Err(EFAULT);
        }
        // A receive into page 0 faults only when there is something to copy.
        if kind == Kind::Send && piece.bytes != 0 && !is_user_address(piece.base) {
            return Err(EFAULT);
        }
        total = total.saturating_add(piece.bytes);
    }
    if total > isize::MAX as usize {
        Err(EINVAL)
    } else {
        Ok(total)
    }
}

/// False for page 0 and addresses no user mapping can have.
#[inline(always)]
fn is_user_address(address: *const u8) -> bool {
    let address = address as usize;
    address >= 4096 && address >> 47 == 0
}

/// False for a buffer no part of which can lie where user mappings are.
#[inline(always)]
fn is_user_span(base: *const u8, bytes: usize) -> bool {
    let end = (base as usize).checked_add(bytes);
    base as usize >= 4096 && end.is_some_and(|end| end >> 47 == 0)
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
            sleepers::count(stream.endpoint, false);
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
    const F_GETFL: c_int = 3;
    const O_NONBLOCK: usize = 0o4000;
    call.state().flags & MSG_DONTWAIT != 0
        || kernel_call::file_control(call.descriptor, F_GETFL, 0)
            .is_ok_and(|flags| flags & O_NONBLOCK != 0)
}

#[inline(always)]
fn drive_send(call: &mut Call, stream: &Stream) -> Action {
    loop {
        let state = call.state();
        let sent = stream.send(&mut state.pieces);
        after_stream(stream);
        match sent {
            Sent::Bytes(bytes) => {
                state.done += bytes;
                end_wait(state, stream);
                if state.done >= state.total {
                    stream.endpoint.last_transfer.set(2);
                    let done = state.done;
                    return call.done(done as isize);
                }
            }
            Sent::Kernel => {
                state.counted = Counted::KernelSend;
                stream.take_stray_bells();
                if state.done == 0 && !state.moved {
                    return Action::Counted;
                }
                if state.done > 0 && stream.is_far_dead() {
                    // As a writer that the end finds waiting: what it did counts, the next call is told.
                    uncount(call, stream, 0);
                    let done = call.state().done;
                    return call.done(done as isize);
                }
                return rest(call, Action::RestSend);
            }
            Sent::Full => {
                if is_nonblocking(call) {
                    stream.endpoint.out_blocked.store(1, Ordering::Release);
                    crate::readiness::changes::send_blocked(stream);
                    return would_block(call);
                }
                match wait_to_send(call, stream) {
                    Some(action) => return action,
                    None => continue,
                }
            }
            Sent::Rewinding => {
                if is_nonblocking(call) {
                    return would_block(call);
                }
                const POLLOUT: c_int = 4;
                return poll_for(call, POLLOUT, 10);
            }
            Sent::Failed(errno) => {
                let done = call.state().done;
                if done > 0 {
                    stream.endpoint.error.store(errno as u32, Ordering::Release);
                    return call.done(done as isize);
                }
                return call.failed(errno);
            }
            Sent::Broken => {
                if call.state().done > 0 {
                    let done = call.state().done;
                    return call.done(done as isize);
                }
                if call.state().flags & MSG_NOSIGNAL == 0 {
                    kernel_call::signal_this_thread(SIGPIPE);
                }
                return call.failed(EPIPE);
            }
            Sent::Reentered => return reentered(call),
            Sent::Stale => return call.failed(EBADF),
        }
    }
}

#[inline(always)]
fn drive_receive(call: &mut Call, stream: &Stream) -> Action {
    loop {
        let state = call.state();
        let taking = taking_of(state, stream.endpoint);
        if !taking.discard && state.total > 0 && leads_nowhere(&mut state.pieces) {
            return receive_into_nowhere(call, stream, taking);
        }
        let received = stream.receive(&mut state.pieces, taking);
        after_stream(stream);
        match received {
            Received::Bytes(bytes) => {
                state.done += bytes;
                end_wait(state, stream);
                let wait_all = state.flags & (MSG_WAITALL | MSG_PEEK) == MSG_WAITALL;
                if state.done >= state.total || !wait_all {
                    return received_some(call, stream);
                }
            }
            Received::Kernel => {
                state.counted = Counted::KernelReceive;
                if state.done == 0 && !state.moved {
                    return Action::Counted;
                }
                return rest(call, Action::RestReceive);
            }
            Received::KernelBounded => {
                if is_nonblocking(call) {
                    let state = call.state();
                    state.counted = Counted::KernelReceive;
                    if state.done == 0 && !state.moved {
                        return Action::Counted;
                    }
                    return rest(call, Action::RestReceive);
                }
                // A bounded sleep first; the thread stays counted, as it will read the kernel next.
                let readable = kernel_call::poll_one(call.descriptor, 1, 0) != 0;
                let state = call.state();
                if readable {
                    state.counted = Counted::KernelReceive;
                    return if state.done == 0 && !state.moved {
                        Action::Counted
                    } else {
                        rest(call, Action::RestReceive)
                    };
                }
                stream.kernel_received(0);
                const POLLIN: c_int = 1;
                return poll_for(call, POLLIN, 10);
            }
            Received::Empty => {
                if is_nonblocking(call) {
                    if taking.minimum > 1 && !call.state().takes_less {
                        // Low water marks are for those who wait.
                        call.state().takes_less = true;
                        continue;
                    }
                    look_at_kernel(stream);
                    if stream.endpoint.keof.load(Ordering::Acquire) != 0 && call.state().yields == 0
                    {
                        call.state().yields = 1;
                        continue;
                    }
                    return would_block(call);
                }
                match wait_to_receive(call, stream) {
                    Some(action) => return action,
                    None => continue,
                }
            }
            Received::End => return received_end(call, stream),
            Received::Failed(errno) => {
                if call.state().done > 0 {
                    // Shown to the next call, as the kernel does.
                    stream.endpoint.error.store(errno as u32, Ordering::Release);
                    return received_end(call, stream);
                }
                return call.failed(errno);
            }
            Received::Crowded => {
                if is_nonblocking(call) {
                    return would_block(call);
                }
                return Action::Yield;
            }
            Received::Reentered => return reentered(call),
            Received::Stale => return call.failed(EBADF),
        }
    }
}

fn taking_of(state: &State, endpoint: &Endpoint) -> Taking {
    let peek = state.flags & MSG_PEEK != 0;
    let left = state.total - state.done;
    if state.takes_less {
        return Taking {
            peek,
            behind: false,
            wanted: left,
            discard: state.flags & MSG_TRUNC != 0,
            minimum: left.min(1),
        };
    }
    let mut minimum = left.min((endpoint.low_water.get() as usize).max(1));
    if peek && state.flags & MSG_WAITALL != 0 {
        minimum = left;
    }
    // No more than a ring can hold, or the wait would never end.
    let ring_bytes = endpoint.rx_ring_bytes.get() as usize;
    if ring_bytes != 0 && endpoint.rx_ep.get() & 1 == 1 {
        minimum = minimum.min(ring_bytes);
    }
    Taking {
        peek,
        behind: false,
        wanted: left,
        discard: state.flags & MSG_TRUNC != 0,
        minimum,
    }
}

/// True when the next byte would be written to page 0.
#[inline(always)]
fn leads_nowhere(pieces: &mut Pieces) -> bool {
    pieces
        .present()
        .is_some_and(|(target, _)| (target as usize) < 4096)
}

/// A receive into page 0: what came before counts; a fault if there is something to copy; else as if nothing were
/// there, without waiting (a program that waits with a null buffer gets its fault at once).
#[cold]
fn receive_into_nowhere(call: &mut Call, stream: &Stream, taking: Taking) -> Action {
    let done = call.state().done;
    if done > 0 {
        return call.done(done as isize);
    }
    let empty = matches!(
        stream.receive(&mut Pieces::NONE.clone(), taking),
        Received::Empty
    );
    if empty && is_nonblocking(call) {
        call.failed(EAGAIN)
    } else {
        call.failed(EFAULT)
    }
}

fn received_some(call: &mut Call, stream: &Stream) -> Action {
    let done = call.state().done;
    if call.state().flags & MSG_PEEK == 0 {
        upgrade::after_receive(stream);
    }
    call.done(done as isize)
}

fn received_end(call: &mut Call, stream: &Stream) -> Action {
    end_wait(call.state(), stream);
    let done = call.state().done;
    call.done(done as isize)
}

/// The rest of the present piece goes through the kernel after all.
fn rest(call: &mut Call, action: Action) -> Action {
    // The kernel would restart a blocking rest after a handler; a part done ends the call instead (see go_to_sleep).
    let flags = call.state().flags & !(HAS_CONTROL | IS_READ) | MSG_DONTWAIT;
    let Some((base, bytes)) = call.state().pieces.present() else {
        let done = call.state().done;
        call.state().counted = Counted::No;
        return call.done(done as isize);
    };
    call.rest_base = base;
    call.rest_bytes = bytes;
    call.rest_flags = flags;
    action
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

/// An empty ring answered EAGAIN: has the connection ended meanwhile? At most once a millisecond (POSIX.md R4).
fn look_at_kernel(stream: &Stream) {
    let now = monotonic_ns();
    let last = &stream.endpoint.last_kernel_look_ns;
    if now.wrapping_sub(last.get()) > 1_000_000 {
        last.set(now);
        let _ = stream.readiness(false);
        after_stream(stream);
    }
}

// ---- waiting

fn history(state: &State, endpoint: &'static Endpoint) -> &'static wait::WaitHistory {
    match state.kind {
        Kind::Send => &endpoint.wait_send,
        Kind::Receive => &endpoint.wait_receive,
    }
}

/// A wait has ended with something done: the policy learns from it.
#[inline(always)]
fn end_wait(state: &mut State, stream: &Stream) {
    if state.wait_began_ticks != 0 {
        learn(state, stream);
    }
}

fn learn(state: &mut State, stream: &Stream) {
    let (far_cpu, stamp) = stream.far_bell_hint();
    let by_bell = state.slept && stamp.wrapping_sub(state.wait_began_ticks) < u64::MAX / 2;
    let outcome = Outcome {
        spun: state.spun,
        missed: state.missed,
        slept: state.slept,
        stamp: by_bell.then_some(stamp),
        from_own_cpu: by_bell && far_cpu == wait::current_cpu(),
        interrupted: state.interrupted,
    };
    wait::finish(
        &process::POLICY,
        history(state, stream.endpoint),
        outcome,
        state.wait_began_ticks,
        time_stamp(),
    );
    if state.spun {
        count(
            if state.missed {
                Counter::SpinsLost
            } else {
                Counter::SpinsWon
            },
            1,
        );
    }
    state.wait_began_ticks = 0;
    state.sleepless = 0;
    state.spun = false;
    state.missed = false;
    state.interrupted = false;
    state.slept = false;
}

/// Spins if that pays; true when there may be something now.
fn spin(state: &mut State, stream: &Stream, ready: impl Fn(&Stream) -> bool) -> bool {
    if state.wait_began_ticks != 0 {
        return false;
    }
    state.wait_began_ticks = time_stamp().max(1);
    let (far_cpu, stamp) = stream.far_bell_hint();
    let far_cpu = (stamp != 0).then_some(far_cpu);
    let verdict = wait::begin(
        &process::POLICY,
        history(state, stream.endpoint),
        far_cpu,
        wait::current_cpu(),
    );
    let Verdict::Spin { until_ticks } = verdict else {
        return false;
    };
    let Some(mut guard) = SpinGuard::enter(&process::POLICY, until_ticks) else {
        return false;
    };
    state.spun = true;
    while guard.look_again() {
        if ready(stream) {
            return true;
        }
    }
    state.missed = true;
    state.interrupted = guard.interrupted();
    false
}

fn wait_to_receive(call: &mut Call, stream: &Stream) -> Option<Action> {
    let minimum = taking_of(call.state(), stream.endpoint).minimum;
    if spin(call.state(), stream, |stream| stream.may_receive(minimum)) {
        return None;
    }
    let sleep = stream.prepare_sleep_receive(minimum);
    after_stream(stream);
    go_to_sleep(call, sleep, 1)
}

fn wait_to_send(call: &mut Call, stream: &Stream) -> Option<Action> {
    if spin(call.state(), stream, Stream::may_send) {
        return None;
    }
    let sleep = stream.prepare_sleep_send();
    after_stream(stream);
    go_to_sleep(call, sleep, 1)
}

fn falls_asleep(call: &mut Call, armed: Armed) {
    let state = call.state();
    state.counted = Counted::Asleep(armed);
    state.slept = true;
    state.has_slept = true;
    if let Some(endpoint) = fastpath::family::endpoint(state.endpoint) {
        sleepers::count(endpoint, true);
    }
}

fn go_to_sleep(call: &mut Call, sleep: Sleep, events: c_int) -> Option<Action> {
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
            if deadline == 0 && call.state().done == 0 {
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
            const POLLOUT: c_int = 4;
            falls_asleep(call, armed);
            Some(poll_for(
                call,
                events | if writable { POLLOUT } else { 0 },
                u64::from(limit_ms),
            ))
        }
    }
}

/// End of the call's time-out (SO_RCVTIMEO, SO_SNDTIMEO), asked of the kernel at the first sleep; 0 = none.
fn deadline(call: &mut Call) -> u64 {
    const SOL_SOCKET: c_int = 1;
    const SO_RCVTIMEO: c_int = 20;
    const SO_SNDTIMEO: c_int = 21;
    if call.state().deadline_ns == State::NOT_ASKED {
        let name = if call.state().kind == Kind::Send {
            SO_SNDTIMEO
        } else {
            SO_RCVTIMEO
        };
        let [seconds, microseconds] =
            kernel_call::socket_option::<[i64; 2]>(call.descriptor, SOL_SOCKET, name)
                .unwrap_or_default();
        let timeout_ns = (seconds.max(0) as u64).saturating_mul(1_000_000_000)
            + (microseconds.max(0) as u64) * 1000;
        call.state().deadline_ns = if timeout_ns == 0 {
            0
        } else {
            monotonic_ns().saturating_add(timeout_ns)
        };
    }
    call.state().deadline_ns
}

fn poll_until(call: &mut Call, events: c_int, until_ns: u64) -> Action {
    call.events = events;
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
fn poll_for(call: &mut Call, events: c_int, limit_ms: u64) -> Action {
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

fn woke(call: &mut Call, result: c_long, error: c_int) -> Action {
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
    if error != 0 && error != EINTR && error != EAGAIN {
        stream.sleeper_saw(error);
    }
    if error == EINTR {
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
        if !restart || call.state().deadline_ns != 0 {
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
    process::pending_handler(call.rest_base as usize as u64)
}

fn counted_returned(call: &mut Call, result: c_long, error: c_int) -> Action {
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
        if kind == Kind::Send && moved > 0 {
            stream.endpoint.last_transfer.set(2);
            upgrade::after_send(stream);
        }
        if kind == Kind::Receive && !peek && moved > 0 && call.state().total > 0 {
            upgrade::after_receive(stream);
        }
    }
    if call.state().done == 0 && !call.state().moved {
        call.result = result;
        call.error = error;
        return Action::Done;
    }
    // A rest: what came before counts.
    if result <= 0 {
        if result < 0 && error == EAGAIN && !is_nonblocking(call) && stream.is_some() {
            const POLLIN: c_int = 1;
            const POLLOUT: c_int = 4;
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
        if result < 0
            && error != EAGAIN
            && error != EINTR
            && kind == Kind::Receive
            && let Some(stream) = &stream
        {
            stream.endpoint.error.store(error as u32, Ordering::Release);
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

/// What a sleeper in poll, select or an epoll set arms.
pub const BOTH: Armed = Armed::Both;
