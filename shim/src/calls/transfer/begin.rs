//! The beginning of a general call: whose the descriptor is, whether the buffers can be right, and who carries.
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use super::buffers::checked_total;
use super::flags::{HAS_CONTROL, IS_READ};
use super::receive::drive_receive;
use super::send::drive_send;
use crate::boundary::{Action, Call, Kind, State, me};
use crate::calls::exiting;
use crate::{fd_table, process, upgrade};
use core::ffi::c_int;
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::sync::Ordering;
use kmod_interface::reason::Reason;
use libc::{EFAULT, EINVAL, MSG_ERRQUEUE, MSG_FASTOPEN, MSG_OOB};

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
        exiting::wait_for_the_end();
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
