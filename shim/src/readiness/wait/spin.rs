//! Spinning before a sleep, and what the policy learns from a wait (WAITING.md).

use super::record::Wait;
use crate::process;
use crate::readiness::instance::Instance;
use crate::readiness::tables;
use core::sync::atomic::Ordering;
use fastpath::sync::time_stamp;
use fastpath::wait::{self, Outcome, SpinGuard, Verdict};

pub(super) fn ticks(us: u64) -> u64 {
    process::POLICY
        .ticks_per_us()
        .map_or(0, |per_us| us * u64::from(per_us))
}

/// Until when a spin pays, in time stamp ticks; nothing where none does, or this call has spun.
pub(super) fn spins_until(wait: &mut Wait, instance: &'static Instance) -> Option<u64> {
    let state = wait.state();
    if state.began_ticks != 0 {
        return None;
    }
    let now = time_stamp().max(1);
    state.began_ticks = now;
    if instance.without_waiter.get() != 0
        || instance.shared.get() != 0
        || instance.joined_count.load(Ordering::Relaxed) == 0
    {
        return None;
    }
    let far_cpu = bell_hint(instance).map(|(cpu, _)| cpu);
    let verdict = wait::begin(
        &process::POLICY,
        &instance.history,
        far_cpu,
        wait::current_cpu(),
    );
    let Verdict::Spin { mut until_ticks } = verdict else {
        return None;
    };
    if wait.has_timeout != 0 && wait.timeout.seconds == 0 {
        until_ticks = until_ticks.min(now + ticks(wait.timeout.nanoseconds as u64 / 1000));
    }
    Some(until_ticks)
}

/// Spins; true when there may be something now.
pub(super) fn spin(wait: &mut Wait, instance: &'static Instance, until_ticks: u64) -> bool {
    let Some(mut guard) = SpinGuard::enter(&process::POLICY, until_ticks) else {
        return false;
    };
    let state = wait.state();
    state.spun = true;
    while guard.look_again() {
        if instance.sees_something() {
            return true;
        }
    }
    state.interrupted = guard.interrupted();
    false
}

/// CPU and time stamp of the last bell for this set, from the channel that was busy last.
fn bell_hint(instance: &Instance) -> Option<(u32, u64)> {
    let waiter = instance.waiter.get() as usize;
    let index = instance
        .last_channel
        .load(Ordering::Relaxed)
        .checked_sub(1)?;
    let channel = fastpath::channel::table::get(index)?;
    let stamp = channel
        .far_stamp(waiter)?
        .load(fastpath::sync::Ordering::Relaxed);
    let cpu = channel
        .far_cpu(waiter)?
        .load(fastpath::sync::Ordering::Relaxed);
    (stamp != 0).then_some((cpu, stamp))
}

/// A wait has ended: the policy learns from it.
pub(super) fn learn(wait: &mut Wait) {
    let state = *wait.state();
    if state.began_ticks == 0 {
        return;
    }
    wait.state().began_ticks = 0;
    let Some(instance) = tables::instance(state.instance) else {
        return;
    };
    let outcome = Outcome {
        spun: state.spun,
        slept: state.slept,
        interrupted: state.interrupted,
        ..Outcome::default()
    };
    let t0 = state.began_ticks;
    process::learn_from_wait(
        &instance.history,
        outcome.with_bell(bell_hint(instance), t0),
        t0,
        None,
    );
}
