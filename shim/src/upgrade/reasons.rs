//! Why a connection stays on the kernel path, or goes back to it: kept with the socket, counted, and said to whoever
//! listens.
//!
//! Under AXIO_STRICT=1 a reason of the class *failed* is an error of the socket, as if the far side had reset it: one
//! ECONNRESET, then ends. A handshake that ran out of time fails only when no other chance will come: its ends may simply
//! have been slow to make their calls, which is their right.

use super::chances;
use super::negotiation::drop_negotiation;
use crate::{log, process, status};
use core::ffi::c_int;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::statistics::count;
use fastpath::stream::{Stream, line};
use fastpath::sync::Ordering;
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::Counter;
use settings::LogLevel;

/// Why nothing came of a chance: kept, counted, and said to whoever listens.
pub(super) fn note(stream: &Stream, reason: Reason) {
    let endpoint = stream.endpoint;
    let before = Reason::from_code(endpoint.reason.load(Ordering::Relaxed));
    let says_more = before.is_some_and(|before| {
        before.class() == ReasonClass::Failed || before == Reason::QuotaReached
    });
    // A chance at which nobody was met says less than an earlier one that failed, or at which somebody was refused.
    if reason != Reason::PeerHasNoAxio || !says_more {
        endpoint.reason.store(reason as u32, Ordering::Relaxed);
    }
    status::update_row(stream);
    if reason == Reason::ProofFailed {
        count(Counter::ProofsFailed, 1);
    }
    let is_last = reason != Reason::TimedOut || !chances::is_one_left(endpoint);
    if process::settings().strict && reason.class() == ReasonClass::Failed && is_last {
        endpoint.wished.store(0, Ordering::Relaxed);
        return fail(stream.descriptor, reason);
    }
    say(
        stream.descriptor,
        b"stays on the kernel path: ",
        reason,
        LogLevel::Warn,
    );
}

/// A connected socket of the program's becomes an error, and one line says why.
fn fail(descriptor: c_int, reason: Reason) {
    say(
        descriptor,
        b"is ended, as AXIO_STRICT=1 asks: ",
        reason,
        LogLevel::Error,
    );
    // False: it had ended before, and says so itself.
    let _ = line::end_by_reset(descriptor);
}

/// A matching socket is not managed: under AXIO_STRICT=1 an error, if that is a failure.
pub fn not_managed(descriptor: c_int, reason: Reason) {
    if process::settings().strict && reason.class() == ReasonClass::Failed {
        fail(descriptor, reason);
    }
}

/// What a step of the stream may have found out: the far side wakes this one for nothing, and the connection is given up;
/// or it was reset for what was found in it, which is said once.
#[inline(never)]
pub fn look_for_trouble(endpoint: &'static Endpoint, generation: u32, descriptor: c_int) {
    let stream = Stream::new(endpoint, generation, descriptor, crate::boundary::me());
    if stream.must_be_given_up() {
        if let Some(channel) = stream.channel() {
            channel.connection_pestered();
        }
        give_up(&stream, Reason::UselessWakes);
    }
    if endpoint.binding.load(Ordering::Acquire) == binding::CONDEMNED
        && endpoint.said.swap(1, Ordering::Relaxed) == 0
        && let Some(reason) = Reason::from_code(endpoint.reason.load(Ordering::Relaxed))
    {
        let level = if process::settings().strict {
            LogLevel::Error
        } else {
            LogLevel::Warn
        };
        say(descriptor, b"was reset: ", reason, level);
    }
}

/// `failed`: how loud a reason of that class is.
fn say(descriptor: c_int, what: &[u8], reason: Reason, failed: LogLevel) {
    let level = match reason.class() {
        ReasonClass::Failed => failed,
        _ => LogLevel::Info,
    };
    let name = reason.name().as_bytes();
    let sentence = reason.sentence().as_bytes();
    log::about(level, descriptor, &[what, name, b": ", sentence]);
}

/// Back to the kernel for good, with a reason; what is on the ring is read from there first.
pub fn give_up(stream: &Stream, reason: Reason) {
    drop_negotiation(stream);
    stream.release();
    stream
        .endpoint
        .reason
        .store(reason as u32, Ordering::Relaxed);
    status::update_row(stream);
    let name = reason.name().as_bytes();
    log::about(
        LogLevel::Info,
        stream.descriptor,
        &[b"goes back to the kernel for good: ", name],
    );
    process::readiness_changed(stream);
}
