//! One epoll_wait, from its beginning to its end, between the trampoline's actions.
//!
//! ```text
//!   harvest, report ─▶ something: done          nothing: spin if that pays
//!   arm, look again ─▶ something: from the top  nothing: sleep in the trampoline
//!   awake: bells drained, kernel events sorted, harvest, report ─▶ done, or once more with signals held back
//! ```
//!
//! A set in which no ring carries anything is the kernel's: one system call with the program's own time-out, and its
//! events are looked through, because a far side may switch to a ring while we sleep.
//!
//! * [`look`], [`spin`], [`sleep`]: its parts. [`record`]: what it keeps between them.
#![expect(unsafe_code, reason = "the record of a call is handed over by pointer")]

mod look;
mod record;
mod sleep;
mod spin;

pub use record::{Action, Wait};

use super::arming::Own;
use super::fault::{Fault, sound, window};
use super::harvest::{self, Deferred};
use super::instance::{self, Held};
use super::trampolines::EXPOSED_SETS;
use super::{arming, exposed, sharing};
use crate::process;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::clock::monotonic_ns;
use fastpath::statistics::count;
use fastpath::sync::time_stamp;
use kmod_interface::limits::SPURIOUS_WAKES;
use kmod_interface::statistics::Counter;
use libc::EINTR;
use look::{look, look_before_spin, visit_when_due};
use record::{State, to_ns};
use sleep::{prepare_sleep, sleep_in_kernel, woken};
use spin::{learn, spin, spins_until};

/// What such a far side gets then: sleeps of this length.
const DISTRUST_MS: u32 = 1;

/// Starts a wait.
pub fn begin(wait: &mut Wait) -> Action {
    let Some((index, generation, known)) = instance::of_number(wait.set) else {
        return Action::Real;
    };
    let address = wait.events as usize;
    let plausible = wait.maximum > 0
        && address >= 4096
        && address >> 47 == 0
        && (wait.has_timeout == 0
            || (wait.timeout.seconds >= 0
                && (0..1_000_000_000).contains(&wait.timeout.nanoseconds)));
    if !plausible {
        return Action::Real;
    }
    if known.is_plain() && !process::is_on() {
        // Confined or switched off: no call that the program does not make (POSIX.md row 36).
        return Action::Real;
    }
    if sharing::must_share(known) {
        sharing::share(index, generation);
    }
    if EXPOSED_SETS.load(Ordering::Relaxed) != 0 {
        exposed::refresh_all(Some(index));
    }
    wait.state.write(State::of(index, generation));
    go(wait, true)
}

/// The thread went to sleep before the set was one of ours; who made it so has counted it among the sleepers, or it has only
/// looked. False: the set has ended meanwhile. The trampoline has put the beginning of the time-out where the next sleep
/// belongs.
pub fn adopt(wait: &mut Wait) -> bool {
    let Some((index, generation, known)) = instance::of_number(wait.set) else {
        return false;
    };
    let began_ns = to_ns(wait.sleep);
    let timeout_ns = to_ns(wait.timeout);
    let is_look_only = wait.is_look_only();
    let state = wait.state.write(State::of(index, generation));
    state.asleep = !is_look_only;
    // Whatever it brings is doubted.
    state.departed = known.departed.count().wrapping_sub(u32::MAX / 2);
    state.slept = !is_look_only;
    if wait.has_timeout != 0 && timeout_ns != 0 {
        state.deadline_ns = began_ns.saturating_add(timeout_ns).max(1);
    }
    true
}

/// Goes on with signals held back.
pub fn again(wait: &mut Wait) -> Action {
    go(wait, false)
}

fn go(wait: &mut Wait, mut may_spin: bool) -> Action {
    loop {
        let state = *wait.state();
        let Some(held) = instance::lock(state.instance, state.generation) else {
            // Closed by another thread, or a signal handler above its own call: the kernel's answer as it is.
            return Action::Real;
        };
        sharing::catch_up(&held);
        if held.instance.is_plain() {
            return sleep_in_kernel(wait, &held, None);
        }
        let mut deferred = Deferred::new();
        let mut found = look(wait, &held, &mut deferred);
        let mut until_ticks = None;
        if found == 0 && !wait.is_look_only() && core::mem::take(&mut may_spin) {
            until_ticks = spins_until(wait, held.instance);
            if until_ticks.is_some() {
                found = look_before_spin(wait, &held, &mut deferred);
            }
            if found > 0 {
                // No wait, so nothing to learn of how long they take.
                wait.state().began_ticks = 0;
            }
        }
        if found > 0 || wait.is_look_only() {
            settle(&held, &mut deferred);
            drop(held);
            deferred.settle(state.instance);
            learn(wait);
            return wait.done(found);
        }
        let instance = held.instance;
        drop(held);
        deferred.settle(state.instance);
        if until_ticks.is_some_and(|until_ticks| spin(wait, instance, until_ticks)) {
            continue;
        }
        wait.state().rounds += 1;
        if let Some(action) = prepare_sleep(wait) {
            return action;
        }
    }
}

/// Before the lock is left with a result: who still sleeps must be woken by what comes, and by what is there.
fn settle(held: &Held, deferred: &mut Deferred) {
    let instance = held.instance;
    if instance.exposed.get() != 0 {
        exposed::refresh(held, deferred);
    }
    window();
    if instance.sleepers.get() == 0 || !sound(Fault::DisarmWhileOthersSleep) {
        if instance.exposed.get() == 0 {
            arming::disarm(held);
        }
        return;
    }
    arming::arm(held);
    let listed = arming::arm_own(held) == Own::Something;
    harvest::collect(held);
    if (listed || instance.ready.count() > 0) && sound(Fault::LeaveTheRestAsleep) {
        arming::kick(held);
    }
}

/// The sleep has ended: `result` events of the kernel are in the program's array, or `error` says why not.
pub fn after(wait: &mut Wait, result: c_int, error: c_int) -> Action {
    // No more if a jump of a handler has taken it for left, and came back.
    let was_asleep = core::mem::replace(&mut wait.state().asleep, false);
    wait.state().rounds = 0;
    let state = *wait.state();
    let Some(held) = instance::lock(state.instance, state.generation) else {
        // The set was closed by another thread while we slept in it.
        wait.result = result;
        wait.error = error;
        return Action::Done;
    };
    if was_asleep {
        woken(&held);
    }
    let mut found = result.max(0) as usize;
    let instance = held.instance;
    if sharing::must_share(instance) {
        drop(held);
        sharing::share(state.instance, state.generation);
        let Some(again) = instance::lock(state.instance, state.generation) else {
            return wait.done(found);
        };
        return after_locked(wait, again, found, error);
    }
    if found > 0 {
        instance
            .last_look_ticks
            .store(time_stamp(), Ordering::Relaxed);
    }
    found = found.min(wait.maximum as usize);
    after_locked(wait, held, found, error)
}

fn after_locked(wait: &mut Wait, held: Held, events: usize, error: c_int) -> Action {
    let state = *wait.state();
    let instance = held.instance;
    sharing::catch_up(&held);
    let mut deferred = Deferred::new();
    instance.serial.set(instance.serial.get().wrapping_add(1));
    let target = wait.target();
    // Bells first, then the marks (READINESS.md 5).
    let mut found = harvest::sort(&held, target, 0..events, state.departed, &mut deferred);
    visit_when_due(&held, time_stamp());
    if !instance.is_plain() {
        harvest::collect(&held);
        found = harvest::report(&held, target, found, &mut deferred);
    }
    let finished = found > 0
        || error != 0
        || wait.is_look_only()
        || (events == 0 && !state.bounded)
        || (state.deadline_ns != 0 && monotonic_ns() >= state.deadline_ns);
    if finished {
        settle(&held, &mut deferred);
    }
    drop(held);
    deferred.settle(state.instance);
    if !finished {
        count(Counter::SpuriousWakes, u64::from(events > 0));
        wait.state().vain += u32::from(events > 0);
        if wait.state().vain > SPURIOUS_WAKES {
            // Whoever wakes us for nothing, this often: not more than once a millisecond.
            fastpath::sync::nap_ns(DISTRUST_MS * 1_000_000);
        }
        return Action::Again;
    }
    if found == 0 && error != 0 {
        wait.result = -1;
        wait.error = error;
        return Action::Done;
    }
    if found > 0 && error != EINTR {
        learn(wait);
    }
    wait.done(found)
}

/// The thread is being cancelled in its sleep: it is one sleeper less, and what it was woken for is another's.
pub fn abandon(wait: &mut Wait) {
    let state = *wait.state();
    if !state.asleep {
        return;
    }
    wait.state().asleep = false;
    let Some(held) = instance::lock(state.instance, state.generation) else {
        return;
    };
    woken(&held);
    let mut deferred = Deferred::new();
    settle(&held, &mut deferred);
    if held.instance.sleepers.get() > 0 {
        arming::kick(&held);
    }
    drop(held);
    deferred.settle(state.instance);
}
