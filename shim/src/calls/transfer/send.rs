//! Data out, step by step: one step of the stream, and what its answer asks for.

use super::by_kernel::rest;
use super::sleep::{poll_for, wait_to_send};
use super::spin::end_wait;
use super::{after_stream, is_nonblocking, pipes, reentered, uncount, would_block};
use crate::boundary::{Action, Call, Counted};
use crate::calls::exiting;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::stream::send::Sent;
use fastpath::sync::Ordering;
use libc::{EBADF, EPIPE, MSG_NOSIGNAL, POLLOUT, SIGPIPE};

#[inline(always)]
pub(super) fn drive_send(call: &mut Call, stream: &Stream) -> Action {
    loop {
        let state = call.state();
        let sent = if state.pipe.is_none() {
            stream.send(&mut state.pieces)
        } else {
            match pipes::send(call, stream) {
                Ok(sent) => sent,
                Err(action) => return action,
            }
        };
        let state = call.state();
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
                if stream.endpoint.wants_space.get() != 0 && crate::eviction::outgrown(stream) {
                    continue;
                }
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
                exiting::wait_for_the_end();
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
