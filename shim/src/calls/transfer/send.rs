//! Data out, step by step: one step of the stream, and what its answer asks for.

use super::by_kernel::rest;
use super::flags::MSG_NOSIGNAL;
use super::sleep::{poll_for, wait_to_send};
use super::spin::end_wait;
use super::{after_stream, is_nonblocking, reentered, uncount, would_block};
use crate::boundary::{Action, Call, Counted};
use core::ffi::c_int;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::stream::send::Sent;
use fastpath::sync::Ordering;

const EBADF: c_int = 9;
const EPIPE: c_int = 32;
const SIGPIPE: c_int = 13;

#[inline(always)]
pub(super) fn drive_send(call: &mut Call, stream: &Stream) -> Action {
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
