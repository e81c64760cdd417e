//! fork, exec, exit: who holds an endpoint afterwards (DESIGN.md "Processes", POSIX.md R9, R10).

use crate::boundary::{forget_thread, me};
use crate::calls::confinement::{leave_for_good, leave_in_order};
use crate::calls::{lifecycle, sleepers};
use crate::readiness::sharing;
use crate::{discovery, fd_table, process, status, upgrade};
use core::ffi::c_int;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::reason::Reason;

/// What the trampoline carries from before a fork to behind it: the place reserved for the child, plus one; 0 where there
/// is no family. Carried there and not here, since two threads may fork at a time.
const NO_PLACE: u32 = u32::MAX;

fn for_each_stream(mut each: impl FnMut(Stream)) {
    fd_table::for_each(0, c_int::MAX, |descriptor, _, generation, endpoint| {
        each(Stream::new(endpoint, generation, descriptor, me()));
    });
}

/// Before fork: the child is named a holder of every endpoint while the parent still surely holds them.
pub extern "C" fn fork_prepare() -> u32 {
    process::unless_confined(0, || {
        if family::process_place().is_none() {
            return 0;
        }
        let place = family::reserve_child_place();
        let own_place = family::process_place();
        for_each_stream(|stream| {
            if own_place
                .is_some_and(|own| sleepers::is_kept(stream.endpoint, own, stream.descriptor))
            {
                return;
            }
            let held = place.is_some_and(|place| stream.endpoint.add_numbers(place, 1));
            if !held {
                // More holders than an endpoint can count: plain kernel socket for everybody.
                leave_for_good(&stream, Reason::Shared);
            }
        });
        // Last: leaving tells the sets, which takes their locks.
        sharing::before_fork();
        place.map_or(NO_PLACE, |place| place + 1)
    })
}

/// In the parent: `child` is its id, or negative when fork failed.
pub extern "C" fn fork_parent(child: c_int, reserved: u32) {
    process::unless_confined((), || {
        sharing::after_fork(child > 0);
        let Some(place) = place_of(reserved) else {
            return;
        };
        if child > 0 {
            family::name_child(place, child as u32);
        } else if child < 0 {
            for_each_stream(|stream| {
                stream.endpoint.remove_number(place);
            });
            family::release_child_place(place);
        }
    });
}

/// In the child, its only thread.
pub extern "C" fn fork_child(reserved: u32) {
    process::unless_confined((), || {
        forget_thread();
        if family::process_place().is_none() {
            return;
        }
        sharing::on_fork_child();
        discovery::on_fork_child();
        crate::eviction::on_fork_child();
        let place = place_of(reserved);
        if let Some(parent) = family::process_place() {
            sleepers::on_fork_child(parent);
        }
        let is_known = family::become_child(place);
        status::forget_page();
        if !is_known {
            // Its relatives could not tell whether it lives, nor it whether they do.
            for_each_stream(|stream| leave_for_good(&stream, Reason::Shared));
            process::turn_off(Reason::Shared);
        }
    });
}

fn place_of(reserved: u32) -> Option<u32> {
    (reserved != NO_PLACE)
        .then(|| reserved.checked_sub(1))
        .flatten()
}

/// Whether exec closes this number.
fn closes_on_exec(descriptor: c_int) -> bool {
    const F_GETFD: c_int = 1;
    const FD_CLOEXEC: usize = 1;
    kernel_call::file_control(descriptor, F_GETFD, 0).is_ok_and(|flags| flags & FD_CLOEXEC != 0)
}

/// Before exec: descriptors that survive must be plain kernel sockets by then; the others are closed by it. This process
/// holds nothing any more afterwards, though it keeps its id.
pub extern "C" fn before_exec() {
    process::unless_confined((), || {
        if !family::is_own_process() {
            leave_to_stranger();
            return;
        }
        let place = family::process_place();
        sharing::before_exec();
        for_each_stream(|stream| {
            let closes = closes_on_exec(stream.descriptor);
            let shared = place.is_some_and(|place| stream.endpoint.has_other_holder(place));
            if !shared {
                // One that ends here keeps what was said of it.
                let known = Reason::from_code(stream.endpoint.reason.load(Ordering::Relaxed));
                let reason = known.filter(|_| closes).unwrap_or(Reason::Inherited);
                leave_for_good(&stream, reason);
                return;
            }
            if !closes {
                // Another holder goes on: what cannot be left without a reset is most likely its, not the program's.
                leave_in_order(&stream, Reason::Inherited);
            }
            if let Some(place) = place {
                stream.endpoint.remove_number(place);
            }
        });
        // Behind the leaves, which belong to it, and while this process still holds what it tells of.
        status::report();
        if let Some(place) = place {
            // Those of the shared ones are gone already.
            for_each_stream(|stream| {
                stream.endpoint.remove_number(place);
            });
        }
        family::leave_place();
    });
}

/// exec in a child that is not in the books: of vfork, or of a fork that no hook saw. Its numbers need not be those of the
/// table, and only the parent's books may be right; but a ring that it would take with it is left here and now.
fn leave_to_stranger() {
    for_each_stream(|stream| {
        if stream.is_bound()
            && upgrade::is_connection(&stream)
            && !closes_on_exec(stream.descriptor)
        {
            leave_for_good(&stream, Reason::Inherited);
        }
    });
}

/// exec has failed: this process holds its numbers after all.
pub extern "C" fn after_failed_exec() {
    process::unless_confined((), || {
        if !family::stay() || family::ensure().is_err() {
            return;
        }
        let Some(place) = family::process_place() else {
            return;
        };
        for_each_stream(|stream| {
            stream.endpoint.add_numbers(place, 1);
        });
        sharing::after_failed_exec();
    });
}

/// Before vfork, posix_spawn and the like: the child execs without a call that could be seen, so descriptors that would
/// survive become plain kernel sockets now.
pub extern "C" fn before_spawn() {
    process::unless_confined((), || {
        for_each_stream(|stream| {
            // What cannot be left without a reset stays: this process reads on, and hardly anything that is started
            // without being told a number reads it.
            if stream.is_bound() && !closes_on_exec(stream.descriptor) {
                leave_in_order(&stream, Reason::Inherited);
            }
        });
    });
}

/// At exit, from the destructor or `_exit`: what close would do for each managed number, and the report.
pub extern "C" fn at_exit() {
    process::unless_confined((), || {
        // A destructor that runs after ours may end the process by _exit.
        if !family::is_own_process() || family::is_leaving() {
            return;
        }
        status::report();
        for_each_stream(|stream| lifecycle::forget(stream.descriptor, true));
        family::leave_place();
    });
}
