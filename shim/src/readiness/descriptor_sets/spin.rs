//! Spinning before a sleep, and what the policy learns from a call (WAITING.md).

use super::record::{Poll, State, asked};
use crate::process;
use crate::readiness::decide;
use crate::readiness::kernel_set::{IN, RDNORM};
use fastpath::family;
use fastpath::sync::time_stamp;
use fastpath::wait::{self, Outcome, SpinGuard, Verdict, WaitHistory};

/// Members that a spin looks at; with more the call sleeps at once.
const SPIN_MEMBERS: usize = 16;

/// Spins if that pays: until a ring has something, or the time is up.
pub(super) fn spin(poll: &mut Poll) {
    let state = *poll.state();
    let Some(history) = history(&state).filter(|_| state.began_ticks == 0) else {
        return;
    };
    let now = time_stamp().max(1);
    poll.state().began_ticks = now;
    let places = poll.count as usize;
    if (0..places)
        .filter(|place| poll.answered(*place).is_some())
        .count()
        > SPIN_MEMBERS
    {
        return;
    }
    let hint = (0..places)
        .find_map(|place| poll.answered(place))
        .map(|stream| stream.far_bell_hint());
    let Some((far_cpu, stamp)) = hint else { return };
    let far_cpu = (stamp != 0).then_some(far_cpu);
    let verdict = wait::begin(&process::POLICY, history, far_cpu, wait::current_cpu());
    let Verdict::Spin { mut until_ticks } = verdict else {
        return;
    };
    if poll.has_timeout != 0
        && poll.timeout.seconds == 0
        && let Some(per_us) = process::POLICY.ticks_per_us()
    {
        let most = poll.timeout.nanoseconds as u64 / 1000 * u64::from(per_us);
        until_ticks = until_ticks.min(now.wrapping_add(most));
    }
    let Some(mut guard) = SpinGuard::enter(&process::POLICY, until_ticks) else {
        return;
    };
    poll.state().spun = true;
    while guard.look_again() {
        for place in 0..places {
            let Some(stream) = poll.answered(place) else {
                continue;
            };
            let asked = asked(poll.entry(place));
            if (asked & (IN | RDNORM) != 0
                && stream.may_receive(stream.endpoint.low_water.get().max(1) as usize))
                || (asked & decide::WRITING != 0 && stream.may_send())
            {
                return;
            }
        }
    }
    poll.state().interrupted = guard.interrupted();
}

fn history(state: &State) -> Option<&'static WaitHistory> {
    family::endpoint(state.historian.checked_sub(1)?).map(|endpoint| &endpoint.wait_receive)
}

pub(super) fn learn(poll: &mut Poll) {
    let state = *poll.state();
    let Some(history) = history(&state).filter(|_| state.began_ticks != 0) else {
        return;
    };
    poll.state().began_ticks = 0;
    let hint = (0..poll.count as usize)
        .find_map(|place| poll.answered(place))
        .map(|stream| stream.far_bell_hint());
    let outcome = Outcome {
        spun: state.spun,
        slept: state.slept,
        interrupted: state.interrupted,
        ..Outcome::default()
    };
    let t0 = state.began_ticks;
    process::learn_from_wait(history, outcome.with_bell(hint, t0), t0, None);
}
