//! epoll, poll, select: the entry points. What they do is in [`crate::readiness`].
#![expect(
    unsafe_code,
    reason = "entry points called by the trampolines with raw pointers"
)]

use crate::process;
use crate::readiness::control;
use crate::readiness::descriptor_sets::{self, Poll};
use crate::readiness::exposed;
use crate::readiness::kernel_set::{DELETE, Event};
use crate::readiness::wait::{self, Action, Wait};
use core::ffi::{c_int, c_void};
use libc::EINTR;

/// epoll_ctl() on a managed socket, or on a set that has some. True: `error` is the answer, 0 for success.
///
/// # Safety
/// `event` is the program's argument; `error` is writable.
pub unsafe extern "C" fn control_set(
    set: c_int,
    operation: c_int,
    descriptor: c_int,
    event: *const c_void,
    error: *mut c_int,
) -> c_int {
    process::unless_confined(0, || {
        let address = event as usize;
        let wish = if operation != DELETE && address >= 4096 && address >> 47 == 0 {
            // SAFETY: a plausible address; the program vouches for the rest.
            let event = unsafe { event.cast::<Event>().read_unaligned() };
            Some((event.events, event.u64))
        } else {
            None
        };
        match control::control(set, operation, descriptor, wish) {
            None => 0,
            Some(answer) => {
                // SAFETY: the trampoline's own variable.
                unsafe { *error = answer.err().unwrap_or(0) };
                1
            }
        }
    })
}

/// Starts a wait.
///
/// # Safety
/// `wait` is the trampoline's record.
pub unsafe extern "C" fn begin_wait(wait: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let wait = unsafe { &mut *wait.cast::<Wait>() };
    process::guarded_hook(Action::Real, || wait::begin(wait)) as c_int
}

/// A sleep has ended.
///
/// # Safety
/// `wait` is the record of a wait that was begun.
pub unsafe extern "C" fn after_wait(wait: *mut c_void, result: c_int, error: c_int) -> c_int {
    // SAFETY: as promised.
    let wait = unsafe { &mut *wait.cast::<Wait>() };
    process::guarded_hook(Action::Real, || wait::after(wait, result, error)) as c_int
}

/// Goes on with signals held back.
///
/// # Safety
/// As [`after_wait`].
pub unsafe extern "C" fn again_wait(wait: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let wait = unsafe { &mut *wait.cast::<Wait>() };
    process::guarded_hook(Action::Real, || wait::again(wait)) as c_int
}

/// The thread is being cancelled in its sleep.
///
/// # Safety
/// As [`after_wait`].
pub unsafe extern "C" fn abandon_wait(wait: *mut c_void) {
    // SAFETY: as promised.
    let wait = unsafe { &mut *wait.cast::<Wait>() };
    process::guarded_hook((), || wait::abandon(wait));
}

/// A thread that slept in a set of ordinary descriptors finds that it has become one of ours: `after_wait`, or
/// `abandon_wait`, goes on. 0: it has ended meanwhile.
///
/// # Safety
/// `wait` is the trampoline's record.
pub unsafe extern "C" fn adopt_wait(wait: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let wait = unsafe { &mut *wait.cast::<Wait>() };
    process::guarded_hook(0, || c_int::from(wait::adopt(wait)))
}

/// Before the kernel's own look at descriptors, while some sets are seen by others through the kernel.
pub extern "C" fn refresh_sets() {
    process::unless_confined((), || exposed::refresh_all(None));
}

/// Starts a poll.
///
/// # Safety
/// `poll` is the trampoline's record.
pub unsafe extern "C" fn begin_poll(poll: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let poll = unsafe { &mut *poll.cast::<Poll>() };
    guarded_poll(poll, descriptor_sets::begin)
}

/// A sleep has ended.
///
/// # Safety
/// `poll` is the record of a poll that was begun.
pub unsafe extern "C" fn after_poll(poll: *mut c_void, result: c_int, error: c_int) -> c_int {
    // SAFETY: as promised.
    let poll = unsafe { &mut *poll.cast::<Poll>() };
    guarded_poll(poll, |poll| descriptor_sets::after(poll, result, error))
}

/// Goes on with signals held back.
///
/// # Safety
/// As [`after_poll`].
pub unsafe extern "C" fn again_poll(poll: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let poll = unsafe { &mut *poll.cast::<Poll>() };
    guarded_poll(poll, descriptor_sets::again)
}

/// The thread is being cancelled in its sleep.
///
/// # Safety
/// As [`after_poll`].
pub unsafe extern "C" fn abandon_poll(poll: *mut c_void) {
    // SAFETY: as promised.
    let poll = unsafe { &mut *poll.cast::<Poll>() };
    process::guarded_hook((), || descriptor_sets::abandon(poll));
}

/// A panic of ours ends the call as a signal would: nothing is said of any descriptor.
fn guarded_poll(poll: &mut Poll, step: impl FnOnce(&mut Poll) -> Action) -> c_int {
    poll.result = -1;
    poll.error = EINTR;
    process::guarded_hook(Action::Done, || step(poll)) as c_int
}
