//! How a wait falls asleep: armed, looked once more, for how long.

use super::DISTRUST_MS;
use super::record::{Action, Wait, to_ns, to_timespec};
use crate::readiness::arming::{self, Own};
use crate::readiness::exposed;
use crate::readiness::fault::{Fault, sound, window};
use crate::readiness::instance::{self, Held};
use fastpath::clock::monotonic_ns;
use fastpath::statistics::count;
use kmod_interface::statistics::Counter;

/// Rounds without a sleep and without a result: a far side that marks what it has not published gets no more.
const ROUNDS: u32 = 16;

/// Arms, looks again, and says how to sleep; nothing when something has come meanwhile.
pub(super) fn prepare_sleep(wait: &mut Wait) -> Option<Action> {
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
pub(super) fn woken(held: &Held) {
    let sleepers = &held.instance.sleepers;
    sleepers.set(sleepers.get().saturating_sub(1));
    if sleepers.get() == 0 {
        arming::disarm_all_own(held);
    }
}

/// The trampoline is to sleep for the time left, at most `limit_ms`.
pub(super) fn sleep_in_kernel(wait: &mut Wait, held: &Held, limit_ms: Option<u32>) -> Action {
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
    state.departed = held.instance.departed.count();
    state.slept = true;
    let bounded = state.bounded;
    held.instance.sleepers.set(held.instance.sleepers.get() + 1);
    if !wait.is_look_only() {
        count(Counter::KernelSleeps, 1);
    }
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
