//! fork, exec, exit: who holds an endpoint afterwards (DESIGN.md "Processes", POSIX.md R9, R10).

use crate::boundary::forget_thread;
use crate::calls::confinement::{leave_for_good, leave_in_order};
use crate::calls::{exiting, lifecycle, sleepers};
use crate::fd_table::for_each_stream;
use crate::readiness::sharing;
use crate::{discovery, process, status, upgrade};
use core::ffi::c_int;
use fastpath::endpoint::waiting;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::life;
use fastpath::sync::Ordering;
use kmod_interface::reason::Reason;
use libc::{F_GETFD, FD_CLOEXEC};

/// What the trampoline carries from before a fork to behind it: the place reserved for the child, plus one; 0 where there
/// is no family. Carried there and not here, since two threads may fork at a time.
const NO_PLACE: u32 = u32::MAX;

/// Before fork: the child is named a holder of every endpoint while the parent still surely holds them. A child that its
/// relatives cannot find, nor it them, gets a plain kernel socket for each: left here, where who waits for a lock still
/// knows who has it. `has_other_ids`: the call puts it in a new namespace of process ids.
pub extern "C" fn fork_prepare(has_other_ids: c_int) -> u32 {
    waiting::another_process_starts();
    process::unless_confined(0, || {
        if family::process_place().is_none() {
            return 0;
        }
        let place = if has_other_ids != 0 || life::children_have_other_ids() {
            family::expect_unknown_child();
            None
        } else {
            family::reserve_child_place()
        };
        let own_place = family::process_place();
        for_each_stream(|stream| {
            if own_place
                .is_some_and(|own| sleepers::is_kept(stream.endpoint, own, stream.descriptor))
            {
                return;
            }
            let held = place.is_some_and(|place| stream.endpoint.add_numbers(place, 1));
            if !held {
                // No holder, or one more than an endpoint can count: plain kernel socket for everybody.
                leave_for_good(&stream, Reason::Shared);
            }
        });
        // Last: leaving tells the sets, which takes their locks.
        sharing::before_fork(place);
        place.map_or(NO_PLACE, |place| place + 1)
    })
}

/// In the parent: `child` is its id, or negative when fork failed.
pub extern "C" fn fork_parent(child: c_int, reserved: u32) {
    process::unless_confined((), || {
        if reserved == 0 {
            // Nothing was locked. Books that there are now are another thread's, which may be forking itself.
            return;
        }
        let place = place_of(reserved);
        sharing::after_fork(child > 0, place);
        if child > 0 {
            family::name_child(place, child as u32);
            return;
        }
        if let Some(place) = place {
            for_each_stream(|stream| {
                stream.endpoint.remove_number(place);
            });
        }
        family::release_child_place(place);
    });
}

/// In the child, its only thread.
pub extern "C" fn fork_child(reserved: u32) {
    waiting::this_process_has_started();
    process::unless_confined((), || {
        #[cfg(feature = "step-hooks")]
        fastpath::stream::labels::on_fork_child();
        exiting::on_fork_child();
        forget_thread();
        if family::process_place().is_none() {
            // Nor has the child of one that has none.
            family::become_child(None);
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
            // Its relatives could not tell whether it lives, nor it whether they do. They have left what they knew of; this
            // is for what another thread has opened meanwhile.
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
    kernel_call::file_control(descriptor, F_GETFD, 0)
        .is_ok_and(|flags| flags & FD_CLOEXEC as usize != 0)
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
/// table, and only the parent's books may be right; but a ring that it would take with it is left here and now. As before a
/// spawn, what cannot be left without a reset stays: the parent reads on.
fn leave_to_stranger() {
    for_each_stream(|stream| {
        if stream.is_bound()
            && upgrade::is_connection(&stream)
            && !closes_on_exec(stream.descriptor)
        {
            leave_in_order(&stream, Reason::Inherited);
        }
    });
}

/// exec has failed: this process holds its numbers after all.
pub extern "C" fn after_failed_exec() {
    process::unless_confined((), || {
        let name = family::process_place();
        if !family::stay() || family::ensure().is_err() {
            return;
        }
        let Some(place) = family::process_place() else {
            return;
        };
        for_each_stream(|stream| {
            stream.endpoint.add_numbers(place, 1);
        });
        sharing::after_failed_exec(name);
    });
}

/// Before vfork, posix_spawn and the like: the child execs without a call that could be seen, so descriptors that would
/// survive become plain kernel sockets now.
pub extern "C" fn before_spawn() {
    waiting::another_process_starts();
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
        exiting::begin();
        for_each_stream(|stream| lifecycle::forget(stream.descriptor, lifecycle::Number::Ends));
        family::leave_place();
    });
}

#[cfg(test)]
#[expect(
    unsafe_code,
    reason = "forks, and takes a page of family memory away for a moment"
)]
mod tests {
    use super::fork_child;
    use core::ffi::{c_int, c_void};
    use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
    use fastpath::family;

    static PAGE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
    const PAGE_BYTES: usize = 4096;
    static CHILD: AtomicI32 = AtomicI32::new(-1);

    /// In the middle of a parting, as it reads the page: the process forks, as another thread of it might.
    extern "C" fn on_fault(_signal: c_int) {
        let (page, access) = (
            PAGE.load(Ordering::Relaxed),
            libc::PROT_READ | libc::PROT_WRITE,
        );
        // SAFETY: a page of family memory; fork, and in the child nothing that another thread's lock could hold up.
        unsafe {
            libc::mprotect(page, PAGE_BYTES, access);
            let child = libc::fork();
            if child == 0 {
                fork_child(0);
                libc::_exit(i32::from(!family::part()));
            }
            let mut status = -1;
            libc::waitpid(child, &raw mut status, 0);
            CHILD.store(status, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_child_of_a_child_without_a_place_does_not_go_on_with_a_parting_of_its_parents() {
        family::ensure().expect("family memory");
        let block = family::allocate_endpoint().expect("an endpoint").0;
        let mut status = -1;
        // SAFETY: as above.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                // As where the table is full, or in a new namespace of process ids.
                family::become_child(None);
                let first = family::endpoint(0).map(core::ptr::from_ref);
                let page = first.expect("an endpoint").cast_mut().cast();
                PAGE.store(page, Ordering::Relaxed);
                libc::signal(libc::SIGSEGV, on_fault as *const () as libc::sighandler_t);
                libc::mprotect(page, PAGE_BYTES, libc::PROT_NONE);
                let parted = family::part();
                libc::_exit(i32::from(!parted) | CHILD.load(Ordering::Relaxed) >> 8 << 1);
            }
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        }
        family::free_endpoint(block);
        assert_eq!(status, 0, "exit status {:#x}", status >> 8);
    }
}
