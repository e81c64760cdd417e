//! Calls on a connection without a channel, for which nothing is under way: the program's own call, and only its count.
//!
//! Most connections of one request never are anything else, and each call on them is paid for at a connection that is gone
//! at once. So nothing is prepared and no lock is taken: the trampoline asks [`enter_send`] or [`enter_receive`], makes the
//! program's call (any of them: the kernel looks at its buffers itself), and says what came of it. What makes a connection
//! worth more (a turn, many bytes, a negotiation, a binding) sends it to the general call, before or behind.
//!
//! The trampolines carry the descriptor table's word through the call, so that who enters an endpoint leaves the same one,
//! whatever the number means by then.

use super::after_stream;
use super::flags::HAS_CONTROL;
use crate::boundary::me;
use crate::calls::exiting;
use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::endpoint::Endpoint;
use fastpath::stream::Stream;
use libc::{MSG_ERRQUEUE, MSG_FASTOPEN, MSG_OOB, MSG_PEEK};

const ECONNRESET: isize = libc::ECONNRESET as isize;

/// Counts a send in, if it is one of those; [`after_plain_send`] must follow.
#[inline(always)]
pub(super) fn enter_send(endpoint: &Endpoint, generation: u32, flags: c_int) -> bool {
    flags & (MSG_OOB | MSG_FASTOPEN | HAS_CONTROL) == 0
        && !upgrade::is_due_before_send(endpoint)
        && endpoint.enter_send_if_unbound(generation)
}

/// Counts a receive in, if it is one of those; [`after_plain_receive`] must follow.
#[inline(always)]
pub(super) fn enter_receive(endpoint: &Endpoint, generation: u32, flags: c_int) -> bool {
    is_consuming(flags)
        && !upgrade::is_due_before_receive(endpoint)
        && endpoint.enter_receive_if_unbound(generation)
}

#[inline(always)]
fn is_consuming(flags: c_int) -> bool {
    flags & (MSG_OOB | MSG_ERRQUEUE) == 0
}

/// Before a send of several buffers: 1 when the program's own call is all there is to make.
pub extern "C" fn enter_plain_send(word: u64, flags: c_int) -> c_int {
    fd_table::meant_by(word)
        .is_some_and(|(generation, endpoint)| enter_send(endpoint, generation, flags))
        .into()
}

/// Before a receive into several buffers; as [`enter_plain_send`].
pub extern "C" fn enter_plain_receive(word: u64, flags: c_int) -> c_int {
    fd_table::meant_by(word)
        .is_some_and(|(generation, endpoint)| enter_receive(endpoint, generation, flags))
        .into()
}

/// Before a receive of several messages; as [`enter_plain_receive`], but while a negotiation is under way, too, which is
/// carried on first: only the kernel can tell the next call of a reset behind the first message.
pub extern "C" fn enter_plain_receive_of_many(word: u64, descriptor: c_int, flags: c_int) -> c_int {
    let Some((generation, endpoint)) = fd_table::meant_by(word) else {
        return 0;
    };
    if upgrade::is_due_before_receive(endpoint) {
        apart(endpoint, generation, descriptor, upgrade::before_receive);
    }
    c_int::from(is_consuming(flags) && endpoint.enter_receive_if_unbound(generation))
}

/// The program's own send has returned `outcome`: bytes, or minus errno.
pub extern "C" fn after_plain_send(word: u64, descriptor: c_int, outcome: isize) {
    let Some((generation, endpoint)) = fd_table::meant_by(word) else {
        return;
    };
    let bytes = outcome.max(0) as usize;
    // Nothing asked for, nothing sent: no call that moves data.
    endpoint.kernel_sent(generation, bytes, u32::from(outcome != 0));
    if bytes == 0 {
        return;
    }
    endpoint.last_transfer.set(2);
    if upgrade::is_due_after_send(endpoint) {
        apart(endpoint, generation, descriptor, upgrade::after_send);
    }
}

/// The program's own receive of `asked` bytes has returned `outcome`: bytes, or minus errno. What to say to the program, in
/// the same way.
pub extern "C" fn after_plain_receive(
    word: u64,
    descriptor: c_int,
    flags: c_int,
    asked: usize,
    outcome: isize,
) -> isize {
    let Some((generation, endpoint)) = fd_table::meant_by(word) else {
        if outcome <= 0 {
            exiting::wait_for_the_end();
        }
        return outcome;
    };
    let is_peek = flags & MSG_PEEK != 0;
    let taken = if is_peek { 0 } else { outcome.max(0) as usize };
    endpoint.kernel_received(generation, taken);
    if (outcome == 0 && asked > 0) || outcome == -ECONNRESET {
        return ended(endpoint, generation, descriptor, outcome);
    }
    if taken == 0 {
        return outcome;
    }
    if upgrade::is_due_after_receive(endpoint) {
        apart(endpoint, generation, descriptor, upgrade::after_receive);
    } else {
        endpoint.last_transfer.set(1);
    }
    outcome
}

/// The thread is being cancelled inside the program's own send.
pub extern "C" fn abandon_plain_send(word: *mut c_void) {
    if let Some((generation, endpoint)) = fd_table::meant_by(word as u64) {
        endpoint.kernel_sent(generation, 0, 1);
    }
}

/// The thread is being cancelled inside the program's own receive.
pub extern "C" fn abandon_plain_receive(word: *mut c_void) {
    if let Some((generation, endpoint)) = fd_table::meant_by(word as u64) {
        endpoint.kernel_received(generation, 0);
    }
}

#[cold]
#[inline(never)]
fn apart(endpoint: &'static Endpoint, generation: u32, descriptor: c_int, step: fn(&Stream)) {
    process::guarded_hook((), || {
        step(&Stream::new(endpoint, generation, descriptor, me()));
    });
}

/// The kernel stream has ended, or was reset: a binding that came meanwhile may have more to say about that.
#[cold]
#[inline(never)]
fn ended(endpoint: &'static Endpoint, generation: u32, descriptor: c_int, outcome: isize) -> isize {
    process::guarded_hook(outcome, || {
        let stream = Stream::new(endpoint, generation, descriptor, me());
        let errno = (outcome < 0).then_some(-outcome as i32);
        let Some(said) = stream.kernel_receive_ended(errno) else {
            return outcome;
        };
        after_stream(&stream);
        -(said as isize)
    })
}
