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

use super::arming::Own;
use super::fault::{Fault, sound, window};
use super::harvest::{self, Deferred, Target};
use super::instance::{self, Held, Instance};
use super::kernel_set::{self, EINTR, Event};
use super::trampolines::EXPOSED_SETS;
use super::{arming, exposed, sharing};
use crate::boundary::Timespec;
use crate::process;
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use fastpath::statistics::count;
use fastpath::stream::monotonic_ns;
use fastpath::sync::time_stamp;
use fastpath::wait::{self, Outcome, SpinGuard, Verdict};
use kmod_interface::limits::SPURIOUS_WAKES;
use kmod_interface::statistics::Counter;

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

/// What the trampoline must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Action {
    /// Return the result; errno is set unless 0.
    Done = 0,
    /// The program's own call.
    Real = 1,
    /// Sleep as `sleep` says, then `after_wait`.
    Sleep = 2,
    /// Hold signals back if that is not so yet, then `again_wait`.
    Again = 3,
}

/// One epoll_wait of the program, on the trampoline's stack. Mirrors `struct axio_wait` of `c/readiness.h`.
#[repr(C)]
pub struct Wait {
    /// Return value.
    pub result: c_int,
    /// errno to set, 0 = leave it.
    pub error: c_int,
    /// The epoll descriptor.
    pub set: c_int,
    /// Events the program has room for.
    pub maximum: c_int,
    /// The program's array.
    pub events: *mut Event,
    /// The program's time-out, if it has one.
    pub timeout: Timespec,
    /// Whether it has.
    pub has_timeout: c_int,
    /// Whether the sleep about to be made is bounded by `sleep`.
    pub sleep_has_timeout: c_int,
    /// Longest sleep.
    pub sleep: Timespec,
    /// This side's part.
    pub state: core::mem::MaybeUninit<State>,
    spare: [u64; 8 - size_of::<State>().div_ceil(8)],
}

const _: () = {
    assert!(size_of::<State>() <= 64);
    assert!(size_of::<Wait>() == 16 + 8 + 16 + 8 + 16 + 64);
};

/// This side's part of a wait.
#[derive(Clone, Copy, Debug)]
pub struct State {
    instance: u32,
    generation: u32,
    /// End of the time-out, monotonic ns; 0 = not asked yet.
    deadline_ns: u64,
    /// When the wait began, in time stamp ticks; 0 = it has not.
    began_ticks: u64,
    spun: bool,
    interrupted: bool,
    slept: bool,
    asleep: bool,
    /// The present sleep ends before the program's time-out does.
    bounded: bool,
    rounds: u32,
    /// Sleeps that ended with nothing to report.
    vain: u32,
}

impl State {
    const fn of(instance: u32, generation: u32) -> State {
        State {
            instance,
            generation,
            deadline_ns: 0,
            began_ticks: 0,
            spun: false,
            interrupted: false,
            slept: false,
            asleep: false,
            bounded: false,
            rounds: 0,
            vain: 0,
        }
    }
}

impl Wait {
    fn state(&mut self) -> &mut State {
        // SAFETY: `begin` writes it before it returns an action that leads back here.
        unsafe { self.state.assume_init_mut() }
    }
    fn target(&self) -> Target {
        Target {
            events: self.events,
            maximum: self.maximum as usize,
        }
    }
    fn done(&mut self, result: usize) -> Action {
        self.result = result as c_int;
        self.error = 0;
        Action::Done
    }
    fn is_look_only(&self) -> bool {
        self.has_timeout != 0 && self.timeout.seconds == 0 && self.timeout.nanoseconds == 0
    }
}

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

fn ticks(us: u64) -> u64 {
    process::POLICY
        .ticks_per_us()
        .map_or(0, |per_us| us * u64::from(per_us))
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

/// Spins if that pays; true when there may be something now.
fn spin(wait: &mut Wait, instance: &'static Instance) -> bool {
    let state = wait.state();
    if state.began_ticks != 0 {
        return false;
    }
    let now = time_stamp().max(1);
    state.began_ticks = now;
    if instance.without_waiter.get() != 0
        || instance.shared.get() != 0
        || instance.joined_count.load(Ordering::Relaxed) == 0
    {
        return false;
    }
    let far_cpu = bell_hint(instance).map(|(cpu, _)| cpu);
    let verdict = wait::begin(
        &process::POLICY,
        &instance.history,
        far_cpu,
        wait::current_cpu(),
    );
    let Verdict::Spin { mut until_ticks } = verdict else {
        return false;
    };
    if wait.has_timeout != 0 && wait.timeout.seconds == 0 {
        until_ticks = until_ticks.min(now + ticks(wait.timeout.nanoseconds as u64 / 1000));
    }
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
fn learn(wait: &mut Wait) {
    let state = *wait.state();
    if state.began_ticks == 0 {
        return;
    }
    wait.state().began_ticks = 0;
    let Some(instance) = super::tables::instance(state.instance) else {
        return;
    };
    let hint = bell_hint(instance);
    let outcome = Outcome {
        spun: state.spun,
        missed: state.spun && state.slept,
        slept: state.slept,
        stamp: hint.filter(|_| state.slept).map(|(_, stamp)| stamp),
        from_own_cpu: state.slept && hint.is_some_and(|(cpu, _)| cpu == wait::current_cpu()),
        interrupted: state.interrupted,
    };
    wait::finish(
        &process::POLICY,
        &instance.history,
        outcome,
        state.began_ticks,
        time_stamp(),
    );
    if state.spun {
        let counter = if state.slept {
            Counter::SpinsLost
        } else {
            Counter::SpinsWon
        };
        count(counter, 1);
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

fn to_ns(time: Timespec) -> u64 {
    (time.seconds as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanoseconds as u64)
}

fn to_timespec(ns: u64) -> Timespec {
    Timespec {
        seconds: (ns / 1_000_000_000) as i64,
        nanoseconds: (ns % 1_000_000_000) as i64,
    }
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
