//! The process hands descriptors to somebody who does not know us, changes who it is, confines itself, or begins to use
//! io_uring: its sockets become plain kernel sockets before (POSIX.md R10, R13, row 36; TRUST.md, credentials).

use crate::fd_table::for_each_stream;
use crate::readiness::sharing::words;
use crate::{discovery, fd_table, process, status, upgrade};
use core::ffi::c_int;
use fastpath::channel::table;
use fastpath::family;
use fastpath::statistics::count;
use fastpath::stream::Stream;
use fastpath::stream::leave::{Departure, Successor};
use kmod_interface::limits::CHANNELS_PER_PROCESS;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use settings::LogLevel;

/// `hand_over` to stdio.
const TO_STDIO: c_int = 1;
/// `hand_over` to the C library's asynchronous transfers (aio_read(3)).
const TO_ASYNCHRONOUS: c_int = 3;
/// `before_confinement` by a seccomp filter: any call it does not expect may kill the process.
const BY_FILTER: c_int = 2;

/// Leaves the channel for good and gives the slot and the channel back; the socket goes on as a plain one, in whoever's
/// hands. What cannot be left in order is reset.
pub fn leave_for_good(stream: &Stream, reason: Reason) {
    leave(stream, Successor::Stranger, reason);
}

/// The same for a socket that this process goes on with, which nobody else is likely to read: false, and it stays where
/// it is, if leaving in order is impossible at this moment.
pub fn leave_in_order(stream: &Stream, reason: Reason) -> bool {
    leave(stream, Successor::Ourselves, reason)
}

fn leave(stream: &Stream, successor: Successor, reason: Reason) -> bool {
    upgrade::drop_negotiation(stream);
    let Departure { left, given } = stream.leave(successor);
    if let Some(given) = given {
        crate::calls::lifecycle::give_back(stream.endpoint, given);
    }
    if !left && successor == Successor::Ourselves {
        process::readiness_changed(stream);
        return false;
    }
    stream.note_departure(reason);
    status::update_row(stream);
    process::readiness_changed(stream);
    left
}

fn leave_all(reason: Reason) {
    for_each_stream(|stream| leave_for_good(&stream, reason));
}

/// A descriptor is about to be used by stdio, or sent to another process.
pub extern "C" fn hand_over(descriptor: c_int, to: c_int) {
    process::unless_confined((), || {
        crate::readiness::sharing::handed_over(descriptor);
        if let Some(stream) = fd_table::stream(descriptor) {
            let reason = match to {
                TO_STDIO => Reason::StandardStream,
                TO_ASYNCHRONOUS => Reason::KernelFeature,
                _ => Reason::Inherited,
            };
            leave_for_good(&stream, reason);
        }
    });
}

/// The process is about to change its credentials or to confine itself.
pub extern "C" fn before_confinement(kind: c_int) {
    process::unless_confined((), || {
        let known = family::process_place().is_some();
        if known && !family::is_own_process() {
            // A child that shares our memory or has it by an unseen fork: the books are not its own.
            return;
        }
        if kind != BY_FILTER {
            for_each_stream(|stream| {
                // What cannot be left without a reset is read to its end first, and left when its last number goes.
                if !leave_in_order(&stream, Reason::Confined) {
                    upgrade::give_up(&stream, Reason::Confined);
                }
            });
            part_from_relatives();
            return;
        }
        if known {
            status::report();
            leave_all(Reason::Confined);
        }
        discovery::confine();
        part_from_relatives();
        process::confine();
        // Not even a look at who calls is left: that would be a system call in a thread that is born later.
        fd_table::close_for_good();
    });
}

/// Nothing that this process may be made to do later reaches memory that its relatives believe (TRUST.md row 17).
fn part_from_relatives() {
    // A channel of a connection that could not be left stays; the others' memory goes, also of those that only a relative
    // holds.
    let mut needed = [0u64; CHANNELS_PER_PROCESS / 64];
    for_each_stream(|stream| {
        if stream.is_bound()
            && let Some(index) = stream.endpoint.channel.get().checked_sub(1)
            && let Some(word) = needed.get_mut(index as usize / 64)
        {
            *word |= 1 << (index % 64);
        }
    });
    table::end_unless(|index| {
        needed
            .get(index as usize / 64)
            .is_some_and(|word| word & 1 << (index % 64) != 0)
    });
    let parted = [family::part(), words::part(), status::part_from_ancestors()];
    if parted.contains(&false) {
        count(Counter::InternalErrors, 1);
        let text =
            b"axio: no memory to part from fork relatives' before confinement; they share it still";
        crate::log::line(LogLevel::Error, &[text]);
    }
}

/// The process sets up an io_uring: what it does there cannot be seen.
pub extern "C" fn io_uring_appears() {
    process::unless_confined((), || {
        if family::process_place().is_some() {
            leave_all(Reason::IoUring);
        }
        process::turn_off(Reason::IoUring);
    });
}
