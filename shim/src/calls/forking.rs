//! fork, exec, exit: who holds an endpoint afterwards (DESIGN.md "Processes", POSIX.md R9, R10).

use crate::boundary::{forget_thread, me};
use crate::calls::confinement::leave_for_good;
use crate::calls::lifecycle;
use crate::readiness::sharing;
use crate::{discovery, fd_table, process, status};
use core::ffi::c_int;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::reason::Reason;

/// Place reserved for the child that is being forked, plus one; 0 none, `u32::MAX` no place was free.
static CHILD_PLACE: AtomicU32 = AtomicU32::new(0);
const NO_PLACE: u32 = u32::MAX;

fn for_each_stream(mut each: impl FnMut(Stream)) {
    fd_table::for_each(0, c_int::MAX, |descriptor, _, generation, endpoint| {
        each(Stream::new(endpoint, generation, descriptor, me()));
    });
}

/// Before fork: the child is named a holder of every endpoint while the parent still surely holds them.
pub extern "C" fn fork_prepare() {
    process::guarded_hook((), || {
        CHILD_PLACE.store(0, Ordering::Release);
        if family::process_place().is_none() {
            return;
        }
        sharing::before_fork();
        let place = family::reserve_child_place();
        CHILD_PLACE.store(place.map_or(NO_PLACE, |place| place + 1), Ordering::Release);
        for_each_stream(|stream| {
            let held = place.is_some_and(|place| stream.endpoint.add_numbers(place, 1));
            if !held {
                // More holders than an endpoint can count: plain kernel socket for everybody.
                leave_for_good(&stream, Reason::Shared);
            }
        });
    });
}

/// In the parent: `child` is its id, or negative when fork failed.
pub extern "C" fn fork_parent(child: c_int) {
    process::guarded_hook((), || {
        sharing::after_fork(child > 0);
        let Some(place) = reserved() else { return };
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
pub extern "C" fn fork_child() {
    process::guarded_hook((), || {
        forget_thread();
        if family::process_place().is_none() {
            return;
        }
        sharing::on_fork_child();
        discovery::on_fork_child();
        family::become_child(reserved(), 0);
        status::forget_page();
        if reserved().is_none() {
            process::turn_off(Reason::Shared);
        }
    });
}

fn reserved() -> Option<u32> {
    match CHILD_PLACE.load(Ordering::Acquire) {
        0 | NO_PLACE => None,
        place => Some(place - 1),
    }
}

/// Before exec: descriptors that survive must be plain kernel sockets by then; the others are closed by it. This process
/// holds nothing any more afterwards, though it keeps its id.
pub extern "C" fn before_exec() {
    const F_GETFD: c_int = 1;
    const FD_CLOEXEC: usize = 1;
    process::guarded_hook((), || {
        if !family::is_own_process() {
            return;
        }
        let place = family::process_place();
        status::report();
        sharing::before_exec();
        for_each_stream(|stream| {
            let closes = kernel_call::file_control(stream.descriptor, F_GETFD, 0)
                .is_ok_and(|flags| flags & FD_CLOEXEC != 0);
            let shared = place.is_some_and(|place| stream.endpoint.has_other_holder(place));
            if !(closes && shared) {
                leave_for_good(&stream, Reason::Inherited);
            }
            if let Some(place) = place {
                stream.endpoint.remove_number(place);
            }
        });
        family::leave_place();
    });
}

/// exec has failed: this process holds its numbers after all.
pub extern "C" fn after_failed_exec() {
    process::guarded_hook((), || {
        if family::process_place().is_some()
            || family::endpoints_used() == 0
            || family::ensure(0).is_err()
        {
            return;
        }
        let Some(place) = family::process_place() else {
            return;
        };
        for_each_stream(|stream| {
            stream.endpoint.add_numbers(place, 1);
        });
    });
}

/// Before vfork, posix_spawn and the like: the child execs without a call that could be seen, so descriptors that would
/// survive become plain kernel sockets now.
pub extern "C" fn before_spawn() {
    const F_GETFD: c_int = 1;
    const FD_CLOEXEC: usize = 1;
    process::guarded_hook((), || {
        for_each_stream(|stream| {
            let survives = kernel_call::file_control(stream.descriptor, F_GETFD, 0)
                .is_ok_and(|flags| flags & FD_CLOEXEC == 0);
            if survives && stream.is_bound() {
                leave_for_good(&stream, Reason::Inherited);
            }
        });
    });
}

/// At exit, from the destructor or `_exit`: what close would do for each managed number, and the report.
pub extern "C" fn at_exit() {
    process::guarded_hook((), || {
        if !family::is_own_process() {
            return;
        }
        status::report();
        for_each_stream(|stream| lifecycle::forget(stream.descriptor, true));
        family::leave_place();
    });
}
