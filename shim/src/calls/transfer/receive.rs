//! Data in, step by step: one step of the stream, and what its answer asks for.

use super::buffers::leads_nowhere;
use super::by_kernel::rest;
use super::flags::GOES_ON;
use super::sleep::{poll_for, wait_to_receive};
use super::spin::end_wait;
use super::{after_stream, is_nonblocking, pipes, reentered, would_block};
use crate::boundary::{Action, Call, Counted, State};
use crate::upgrade;
use fastpath::clock::monotonic_ns;
use fastpath::endpoint::Endpoint;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::stream::pieces::Pieces;
use fastpath::stream::receive::{Received, Taking};
use fastpath::sync::Ordering;
use libc::{EAGAIN, EBADF, EFAULT, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, POLLIN};

#[inline(always)]
pub(super) fn drive_receive(call: &mut Call, stream: &Stream) -> Action {
    loop {
        let state = call.state();
        let taking = taking_of(state, stream.endpoint);
        if !taking.discard && state.total > 0 && leads_nowhere(&mut state.pieces) {
            return receive_into_nowhere(call, stream, taking);
        }
        let received = if state.pipe.is_none() {
            stream.receive(&mut state.pieces, taking)
        } else {
            match pipes::receive(call, stream) {
                Ok(received) => received,
                Err(action) => return action,
            }
        };
        let state = call.state();
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
                let goes_on = call.state().flags & GOES_ON != 0;
                if call.state().done > 0 || goes_on {
                    // Shown to the next call, as the kernel does.
                    stream.endpoint.error.store(errno as u32, Ordering::Release);
                }
                if call.state().done > 0 {
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

pub(super) fn taking_of(state: &State, endpoint: &Endpoint) -> Taking {
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

/// A receive into page 0: what came before counts; a fault if there is something to copy; else as if nothing were
/// there. From a ring without waiting: a program that waits with a null buffer gets its fault at once.
#[cold]
fn receive_into_nowhere(call: &mut Call, stream: &Stream, taking: Taking) -> Action {
    let done = call.state().done;
    if done > 0 {
        return call.done(done as isize);
    }
    let received = stream.receive(&mut Pieces::NONE.clone(), taking);
    match received {
        // The kernel carries: it finds the same fault, and sleeps first where it must.
        Received::Kernel if !call.state().moved => {
            call.state().counted = Counted::KernelReceive;
            return Action::Counted;
        }
        // Counted as inside a kernel receive, which there will be none of.
        Received::Kernel | Received::KernelBounded => stream.kernel_received(0),
        _ => {}
    }
    if received == Received::Empty && is_nonblocking(call) {
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
