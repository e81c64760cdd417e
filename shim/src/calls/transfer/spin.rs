//! The part of a wait that does not sleep: spins as WAITING.md says, and what the policy learns from a wait that has ended.

use crate::boundary::{Kind, State};
use crate::process;
use fastpath::endpoint::Endpoint;
use fastpath::stream::Stream;
use fastpath::sync::time_stamp;
use fastpath::wait::{self, Outcome, SpinGuard, Verdict};

/// A wait has ended with something done: the policy learns from it.
#[inline(always)]
pub(super) fn end_wait(state: &mut State, stream: &Stream) {
    if state.wait_began_ticks != 0 {
        learn(state, stream);
    }
}

/// Spins if that pays; true when there may be something now.
pub(super) fn spin(state: &mut State, stream: &Stream, ready: impl Fn(&Stream) -> bool) -> bool {
    if state.wait_began_ticks != 0 {
        return false;
    }
    state.wait_began_ticks = time_stamp().max(1);
    let (far_cpu, stamp) = stream.far_bell_hint();
    let far_cpu = (stamp != 0).then_some(far_cpu);
    let verdict = wait::begin(
        &process::POLICY,
        history(state, stream.endpoint),
        far_cpu,
        wait::current_cpu(),
    );
    let Verdict::Spin { until_ticks } = verdict else {
        return false;
    };
    let Some(mut guard) = SpinGuard::enter(&process::POLICY, until_ticks) else {
        return false;
    };
    state.spun = true;
    while guard.look_again() {
        if ready(stream) {
            return true;
        }
    }
    state.missed = true;
    state.interrupted = guard.interrupted();
    false
}

fn learn(state: &mut State, stream: &Stream) {
    let outcome = Outcome {
        spun: state.spun,
        missed: state.missed,
        slept: state.slept,
        interrupted: state.interrupted,
        ..Outcome::default()
    };
    let t0 = state.wait_began_ticks;
    process::learn_from_wait(
        history(state, stream.endpoint),
        outcome.with_bell(Some(stream.far_bell_hint()), t0),
        t0,
        Some(stream),
    );
    state.wait_began_ticks = 0;
    state.sleepless = 0;
    state.spun = false;
    state.missed = false;
    state.interrupted = false;
    state.slept = false;
}

fn history(state: &State, endpoint: &'static Endpoint) -> &'static wait::WaitHistory {
    match state.kind {
        Kind::Send => &endpoint.wait_send,
        Kind::Receive => &endpoint.wait_receive,
    }
}
