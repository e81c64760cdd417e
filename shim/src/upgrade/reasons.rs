//! Why a connection stays on the kernel path, or goes back to it: kept with the socket, counted, and said to whoever
//! listens.

use super::negotiation::drop_negotiation;
use crate::{fd_table, log, process, status};
use core::ffi::c_int;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::Counter;
use settings::LogLevel;

/// Why nothing came of a chance: kept, counted, and said to whoever listens.
pub(super) fn note(stream: &Stream, reason: Reason) {
    let endpoint = stream.endpoint;
    let before = Reason::from_code(endpoint.reason.load(Ordering::Relaxed));
    let failed_before = before.is_some_and(|before| before.class() == ReasonClass::Failed);
    // A chance at which nobody was met says less than an earlier one that failed.
    if reason != Reason::PeerHasNoAxio || !failed_before {
        endpoint.reason.store(reason as u32, Ordering::Relaxed);
    }
    status::update_row(endpoint);
    if reason == Reason::ProofFailed {
        count(Counter::ProofsFailed, 1);
    }
    let level = match reason.class() {
        ReasonClass::Failed if process::settings().strict => LogLevel::Error,
        ReasonClass::Failed => LogLevel::Warn,
        _ => LogLevel::Info,
    };
    let name = reason.name().as_bytes();
    let sentence = reason.sentence().as_bytes();
    log::about(
        level,
        stream.descriptor,
        &[b"stays on the kernel path: ", name, b": ", sentence],
    );
}

/// Back to the kernel for good, with a reason; what is on the ring is read from there first.
pub fn give_up(stream: &Stream, reason: Reason) {
    drop_negotiation(stream);
    stream.release();
    stream
        .endpoint
        .reason
        .store(reason as u32, Ordering::Relaxed);
    status::update_row(stream.endpoint);
    let name = reason.name().as_bytes();
    log::about(
        LogLevel::Info,
        stream.descriptor,
        &[b"goes back to the kernel for good: ", name],
    );
    process::readiness_changed(stream);
}

/// Every managed socket back to the kernel (before the process confines itself or changes its credentials).
pub fn give_up_all(reason: Reason) {
    fd_table::for_each(0, c_int::MAX, |descriptor, _, generation, endpoint| {
        let stream = Stream::new(endpoint, generation, descriptor, crate::boundary::me());
        give_up(&stream, reason);
    });
}
