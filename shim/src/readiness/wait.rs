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
#![expect(unsafe_code, reason = "the record of a call is handed over by pointer")]

mod record;
mod spin;

pub use record::{Action, Wait};

use super::arming::Own;
use super::fault::{Fault, sound, window};
use super::harvest::{self, Deferred, Target};
use super::instance::{self, Held};
use super::kernel_set::{self, EINTR};
use super::trampolines::EXPOSED_SETS;
use super::{arming, exposed, sharing};
use crate::process;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::statistics::count;
use fastpath::stream::monotonic_ns;
use fastpath::sync::time_stamp;
use kmod_interface::limits::SPURIOUS_WAKES;
use kmod_interface::statistics::Counter;
use record::{State, to_ns, to_timespec};
use spin::{learn, spin, ticks};

/// The kernel's set is looked at when the last look is this old, also if the ring has events (WAITING.md).
const KERNEL_LOOK_US: u64 = 50;
/// The same before a spin, so that none delays an ordinary descriptor's event for longer.
const KERNEL_LOOK_BEFORE_SPIN_US: u64 = 25;
/// Members that need a look now and then get it this often.
const PATIENCE_US: u64 = 10_000;
/// Rounds without a sleep and without a result: a far side that marks what it has not published gets no more.
const ROUNDS: u32 = 16;
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

/// The thread went to sleep before the set was one of ours; who made it so has counted it among the sleepers. False: the
/// set has ended meanwhile. The trampoline has put the beginning of the time-out where the next sleep belongs.
pub fn adopt(wait: &mut Wait) -> bool {
    let Some((index, generation, _)) = instance::of_number(wait.set) else {
        return false;
    };
    let began_ns = to_ns(wait.sleep);
    let timeout_ns = to_ns(wait.timeout);
    let state = wait.state.write(State::of(index, generation));
    state.asleep = true;
    state.slept = true;
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
        let found = look(wait, &held, &mut deferred, may_spin);
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
        if may_spin && spin(wait, instance) {
            may_spin = false;
            continue;
        }
        may_spin = false;
        wait.state().rounds += 1;
        if let Some(action) = prepare_sleep(wait) {
            return action;
        }
    }
}

/// One look at everything: marks, members, and the kernel's set when its turn has come. The number of events found.
fn look(wait: &Wait, held: &Held, deferred: &mut Deferred, may_spin: bool) -> usize {
    let instance = held.instance;
    instance.serial.set(instance.serial.get().wrapping_add(1));
    let now = time_stamp();
    if instance.impatient.count() > 0
        && now.wrapping_sub(instance.last_patience_ticks.get()) >= ticks(PATIENCE_US)
    {
        instance.last_patience_ticks.set(now);
        arming::list_impatient(held);
    }
    harvest::collect(held);
    let target = wait.target();
    let age = now.wrapping_sub(instance.last_look_ticks.load(Ordering::Relaxed));
    let due = wait.is_look_only() || age >= ticks(KERNEL_LOOK_US);
    let kernel_first = target.maximum == 1 && due && instance.kernel_turn.get() != 0;
    let mut found = 0;
    if kernel_first {
        found = look_at_kernel(wait, held, 0, now, deferred);
        instance.kernel_turn.set(0);
        if found > 0 {
            return found;
        }
    }
    // Half of the places are the kernel's, else a few busy rings would starve everything else. What it does not need the
    // rings get afterwards.
    let reserved = if due { target.maximum / 2 } else { 0 };
    let for_ring = Target {
        maximum: target.maximum - reserved,
        ..target
    };
    found = harvest::report(held, for_ring, found, deferred);
    let look_now = due || (found == 0 && may_spin && age >= ticks(KERNEL_LOOK_BEFORE_SPIN_US));
    if kernel_first || !look_now || found == target.maximum {
        instance.kernel_turn.set(1);
        return found;
    }
    found = look_at_kernel(wait, held, found, now, deferred);
    harvest::report(held, target, found, deferred)
}

fn look_at_kernel(
    wait: &Wait,
    held: &Held,
    from: usize,
    now: u64,
    deferred: &mut Deferred,
) -> usize {
    held.instance.last_look_ticks.store(now, Ordering::Relaxed);
    let target = wait.target();
    // SAFETY: the program's array, behind what was written into it.
    let found = unsafe {
        kernel_set::look(
            wait.set,
            target.events.add(from),
            target.maximum.saturating_sub(from),
        )
    };
    if found == 0 {
        return from;
    }
    harvest::sort(held, target, from, from + found, deferred)
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

/// Arms, looks again, and says how to sleep; nothing when something has come meanwhile.
fn prepare_sleep(wait: &mut Wait) -> Option<Action> {
    let state = *wait.state();
    window();
    let Some(held) = instance::lock(state.instance, state.generation) else {
        return Some(Action::Real);
    };
    let instance = held.instance;
    instance.sleepers.set(instance.sleepers.get() + 1);
    arming::arm(&held);
    let own = arming::arm_own(&held);
    let distrusted = state.rounds > ROUNDS;
    let looks_again = !distrusted && sound(Fault::SleepWithoutSecondLook);
    if looks_again && (own == Own::Something || arming::any(&held) || instance.ready.count() > 0) {
        woken(&held);
        return None;
    }
    exposed::dim(&held);
    let mut limit_ms = match own {
        Own::Quiet(limit_ms) => limit_ms,
        Own::Something => Some(DISTRUST_MS),
    };
    for other in [
        arming::patience_ms(&held),
        distrusted.then_some(DISTRUST_MS),
    ] {
        limit_ms = match (limit_ms, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    instance.sleepers.set(instance.sleepers.get() - 1);
    Some(sleep_in_kernel(wait, &held, limit_ms))
}

/// One sleeper less.
fn woken(held: &Held) {
    let sleepers = &held.instance.sleepers;
    sleepers.set(sleepers.get().saturating_sub(1));
    if sleepers.get() == 0 {
        arming::disarm_all_own(held);
    }
}

/// The trampoline is to sleep for the time left, at most `limit_ms`.
fn sleep_in_kernel(wait: &mut Wait, held: &Held, limit_ms: Option<u32>) -> Action {
    let has_timeout = wait.has_timeout != 0;
    let timeout_ns = to_ns(wait.timeout);
    let state = wait.state();
    let mut left_ns = timeout_ns;
    let mut whole = true;
    if has_timeout && timeout_ns != 0 {
        let now = monotonic_ns();
        if state.deadline_ns == 0 {
            state.deadline_ns = now.saturating_add(timeout_ns).max(1);
        } else {
            left_ns = state.deadline_ns.saturating_sub(now);
            whole = false;
        }
    }
    let limit_ns = limit_ms.map(|limit| u64::from(limit) * 1_000_000);
    state.bounded = limit_ns.is_some_and(|limit| !has_timeout || limit < left_ns);
    state.asleep = true;
    state.slept = true;
    let bounded = state.bounded;
    held.instance.sleepers.set(held.instance.sleepers.get() + 1);
    count(Counter::KernelSleeps, 1);
    if bounded {
        wait.sleep_has_timeout = 1;
        wait.sleep = to_timespec(limit_ns.unwrap_or(0));
    } else if has_timeout {
        wait.sleep_has_timeout = 1;
        wait.sleep = if whole {
            wait.timeout
        } else {
            to_timespec(left_ns)
        };
    } else {
        wait.sleep_has_timeout = 0;
    }
    Action::Sleep
}

/// The sleep has ended: `result` events of the kernel are in the program's array, or `error` says why not.
pub fn after(wait: &mut Wait, result: c_int, error: c_int) -> Action {
    wait.state().asleep = false;
    wait.state().rounds = 0;
    let state = *wait.state();
    let Some(held) = instance::lock(state.instance, state.generation) else {
        // The set was closed by another thread while we slept in it.
        wait.result = result;
        wait.error = error;
        return Action::Done;
    };
    woken(&held);
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
    let mut found = harvest::sort(&held, target, 0, events, &mut deferred);
    if instance.impatient.count() > 0 && (events == 0 || state.bounded) {
        instance.last_patience_ticks.set(time_stamp());
        arming::list_impatient(&held);
    }
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
