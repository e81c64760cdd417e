//! poll and select: one call over descriptors of which a ring carries some (READINESS.md 9).
//!
//! ```text
//!   look at the rings ─▶ something: the others are asked without waiting, done      nothing: spin if that pays
//!   arm each connection's own epochs, look again ─▶ something: from the top
//!   sleep in the trampoline on a copy, in which the line of a ring asks IN|RDHUP, and OUT only where the kernel carries
//!   awake: look; a bell without anything behind it: once more, with the time left and signals held back
//! ```
//!
//! select is poll over entries that the trampoline makes of the sets.
#![expect(
    unsafe_code,
    reason = "the record of a call and its arrays are handed over by pointer"
)]

use super::kernel_set::{EINTR, ERR, HUP, IN, OUT, PRI, RDHUP, RDNORM};
use super::trampolines::EXPOSED_SETS;
use super::wait::Action;
use super::{changes, decide, exposed, instance};
use crate::boundary::{Timespec, me};
use crate::{fd_table, process};
use core::ffi::{c_int, c_long};
use fastpath::endpoint::binding;
use fastpath::family;
use fastpath::kernel_call::{self, PollEntry};
use fastpath::statistics::count;
use fastpath::stream::sleep::{Armed, Sleep};
use fastpath::stream::{Stream, monotonic_ns};
use fastpath::sync::{Ordering, time_stamp};
use fastpath::wait::{self, Outcome, SpinGuard, Verdict, WaitHistory};
use kmod_interface::limits::SPURIOUS_WAKES;
use kmod_interface::statistics::Counter;

/// Members that a spin looks at; with more the call sleeps at once.
const SPIN_MEMBERS: usize = 16;
/// Rounds without a sleep and without a result before a member that says "look again" is only looked at now and then.
const ROUNDS: u32 = 8;
/// How often then.
const RECHECK_MS: u32 = 1;

/// What the kernel knows before the ring does: urgent data, and the far side's end in front of which bytes may lie.
const BESIDE_THE_RING: u32 = PRI | RDHUP;

/// What is known of one entry.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Index of the endpoint, plus one; 0 = an ordinary descriptor.
    endpoint: u32,
    generation: u32,
    /// What the thread is counted as on its line: 0 nothing, else 1 + [`Armed`] in order of declaration.
    armed: u32,
    /// 1: others sleep on bells of its line, which would end our sleep at once; it is left out of this one.
    crowded: u32,
}

/// One call, on the trampoline's stack. Mirrors `struct axio_poll` of `c/descriptor_sets.h`.
#[repr(C)]
pub struct Poll {
    /// Return value.
    pub result: c_long,
    /// errno to set, 0 = leave it.
    pub error: c_int,
    /// Number of entries.
    pub count: u32,
    /// The program's entries.
    pub entries: *mut PollEntry,
    /// What is slept on.
    pub copy: *mut PollEntry,
    /// What is known of each.
    pub members: *mut Member,
    /// The program's time-out, if it has one.
    pub timeout: Timespec,
    /// Whether it has.
    pub has_timeout: c_int,
    /// Whether the sleep about to be made is bounded by `sleep`.
    pub sleep_has_timeout: c_int,
    /// Longest sleep.
    pub sleep: Timespec,
    state: core::mem::MaybeUninit<State>,
    spare: [u64; 8 - size_of::<State>().div_ceil(8)],
}

const _: () = {
    assert!(size_of::<State>() <= 64);
    assert!(size_of::<Poll>() == 16 + 24 + 16 + 8 + 16 + 64);
    assert!(size_of::<Member>() == 16 && size_of::<PollEntry>() == 8);
};

#[derive(Clone, Copy, Debug)]
struct State {
    /// End of the time-out, monotonic ns; 0 = not asked yet.
    deadline_ns: u64,
    began_ticks: u64,
    /// Endpoint whose history the spin belongs to, plus one.
    historian: u32,
    rounds: u32,
    /// Sleeps that ended with nothing to report.
    vain: u32,
    has_ordinary: bool,
    spun: bool,
    interrupted: bool,
    slept: bool,
    asleep: bool,
    bounded: bool,
}

impl Poll {
    fn state(&mut self) -> &mut State {
        // SAFETY: `begin` writes it before it returns an action that leads back here.
        unsafe { self.state.assume_init_mut() }
    }
    // SAFETY of the three: arrays of `count` entries; the trampoline's, or the program's own argument, which the kernel
    // would read and write as well. Each slice lives for one statement.
    fn entries(&mut self) -> &mut [PollEntry] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.entries, self.count as usize) }
    }
    fn copy(&mut self) -> &mut [PollEntry] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.copy, self.count as usize) }
    }
    fn members(&mut self) -> &mut [Member] {
        // SAFETY: see above.
        unsafe { core::slice::from_raw_parts_mut(self.members, self.count as usize) }
    }
    fn is_look_only(&self) -> bool {
        self.has_timeout != 0 && self.timeout.seconds == 0 && self.timeout.nanoseconds == 0
    }
    fn entry(&mut self, place: usize) -> PollEntry {
        self.entries().get(place).copied().unwrap_or_default()
    }
    fn stream(&mut self, place: usize) -> Option<Stream> {
        let member = *self.members().get(place)?;
        let descriptor = self.entry(place).descriptor;
        let endpoint = family::endpoint(member.endpoint.checked_sub(1)?)?;
        (endpoint.generation.load(Ordering::Acquire) == member.generation)
            .then(|| Stream::new(endpoint, member.generation, descriptor, me()))
    }
    /// The stream of an entry that is answered by us: its endpoint has, or had, a slot.
    fn answered(&mut self, place: usize) -> Option<Stream> {
        self.stream(place).filter(is_ours)
    }
    fn done(&mut self, result: usize) -> Action {
        self.result = result as c_long;
        self.error = 0;
        Action::Done
    }
}

fn is_ours(stream: &Stream) -> bool {
    matches!(
        stream.endpoint.binding.load(Ordering::Acquire),
        binding::BOUND | binding::CONDEMNED
    )
}

fn asked(entry: PollEntry) -> u32 {
    u32::from(entry.events as u16)
}

/// Consumed bells and changed carriers concern epoll sets, too.
fn tell(stream: &Stream) {
    if stream.drained.get() || stream.switched.get() {
        changes::changed(stream);
    }
}

/// Starts a call.
pub fn begin(poll: &mut Poll) -> Action {
    let mut has_ordinary = false;
    let mut historian = 0;
    for place in 0..poll.count as usize {
        let descriptor = poll.entry(place).descriptor;
        let found = fd_table::get(descriptor);
        let member = Member {
            endpoint: found.map_or(0, |(index, _, _)| index + 1),
            generation: found.map_or(0, |(_, generation, _)| generation),
            armed: 0,
            crowded: 0,
        };
        // Written before a slice of it is made.
        // SAFETY: the trampoline's array has `count` places.
        unsafe { poll.members.add(place).write(member) };
        if found.is_none() {
            has_ordinary |= descriptor >= 0;
            if let Some((index, generation, _)) = instance::of_number(descriptor) {
                exposed::expose(index, generation);
            }
        } else if historian == 0 {
            historian = member.endpoint;
        }
    }
    if has_ordinary && EXPOSED_SETS.load(Ordering::Relaxed) != 0 {
        exposed::refresh_all(None);
    }
    if !process::is_on() && (0..poll.count as usize).all(|place| poll.answered(place).is_none()) {
        // Confined or switched off: no call that the program does not make (POSIX.md row 36).
        return Action::Real;
    }
    poll.state.write(State {
        deadline_ns: 0,
        began_ticks: 0,
        historian,
        rounds: 0,
        vain: 0,
        has_ordinary,
        spun: false,
        interrupted: false,
        slept: false,
        asleep: false,
        bounded: false,
    });
    go(poll, true)
}

/// Goes on with signals held back.
pub fn again(poll: &mut Poll) -> Action {
    go(poll, false)
}

fn go(poll: &mut Poll, mut may_spin: bool) -> Action {
    loop {
        // Ends that only the kernel knows of are looked for when nothing else is there, and not before a spin.
        let well = !may_spin || poll.is_look_only();
        let found = look(poll, well);
        if found > 0 {
            let others = ask_others(poll);
            learn(poll);
            return poll.done(found + others);
        }
        if poll.is_look_only() {
            // The kernel's own call looks at the others, and at signals as it always does.
            prepare_copy(poll, false);
            return sleep(poll, None);
        }
        if may_spin {
            may_spin = false;
            spin(poll);
            continue;
        }
        poll.state().rounds += 1;
        if let Some(action) = prepare_sleep(poll) {
            return action;
        }
    }
}

/// Looks at the rings and writes what holds; the number of entries with something.
fn look(poll: &mut Poll, well: bool) -> usize {
    let mut found = 0;
    for place in 0..poll.count as usize {
        let bits = poll
            .answered(place)
            .map_or(0, |stream| holds(poll.entry(place), &stream, well));
        if let Some(entry) = poll.entries().get_mut(place) {
            entry.returned = bits as i16;
        }
        found += usize::from(bits != 0);
    }
    found
}

/// What holds of what an entry asks.
fn holds(entry: PollEntry, stream: &Stream, well: bool) -> u32 {
    let asked = asked(entry);
    let ask_writable = asked & decide::WRITING != 0;
    let reportable = asked | ERR | HUP;
    if let Some(ready) = stream.glance(ask_writable) {
        let bits = decide::bits_of(ready) & reportable;
        if (bits != 0 || !well) && !stream.has_far_left() {
            return bits;
        }
    }
    let ready = stream.readiness(ask_writable);
    tell(stream);
    decide::bits_of(ready) & reportable
}

/// Asks the kernel, without waiting, about the descriptors that no ring carries; the number with something.
fn ask_others(poll: &mut Poll) -> usize {
    let asks_beside =
        (0..poll.count as usize).any(|place| asked(poll.entry(place)) & BESIDE_THE_RING != 0);
    if !poll.state().has_ordinary && !asks_beside && all_answered(poll) {
        return 0;
    }
    prepare_copy(poll, false);
    // SAFETY: the trampoline's array of `count` entries.
    let result = unsafe { kernel_call::poll_now(poll.copy, poll.count as usize) };
    if result == 0 {
        return 0;
    }
    merge(poll)
}

fn all_answered(poll: &mut Poll) -> bool {
    (0..poll.count as usize)
        .all(|place| poll.entry(place).descriptor < 0 || poll.answered(place).is_some())
}

/// The copy as the kernel is to see it: ordinary descriptors as they are; members of ours by their line if `by_line`,
/// else only for what the ring cannot know.
fn prepare_copy(poll: &mut Poll, by_line: bool) {
    for place in 0..poll.count as usize {
        let entry = poll.entry(place);
        let mut shown = PollEntry {
            returned: 0,
            ..entry
        };
        if let Some(stream) = poll.answered(place) {
            let mut events = asked(entry) & BESIDE_THE_RING;
            if by_line
                && poll
                    .members()
                    .get(place)
                    .is_some_and(|one| one.crowded == 0)
            {
                events |= line_events(asked(entry), &stream);
            } else if events == 0 {
                shown.descriptor = -1;
            }
            shown.events = events as i16;
        }
        // SAFETY: the trampoline's array has `count` places.
        unsafe { poll.copy.add(place).write(shown) };
    }
}

/// What the line of a member is asked for.
fn line_events(asked: u32, stream: &Stream) -> u32 {
    let carriers = stream.carriers();
    let reading =
        if asked & (IN | RDNORM) != 0 || (asked & decide::WRITING != 0 && carriers.sends_by_ring) {
            IN | RDHUP
        } else {
            asked & RDHUP
        };
    let writing = if carriers.sends_by_ring {
        0
    } else {
        asked & decide::WRITING
    };
    reading | writing
}

/// Takes over what the kernel has said of ordinary descriptors, and of urgent data; the number of entries that had
/// nothing before.
fn merge(poll: &mut Poll) -> usize {
    let mut added = 0;
    for place in 0..poll.count as usize {
        let said = poll
            .copy()
            .get(place)
            .map_or(0, |entry| u32::from(entry.returned as u16));
        let ours = poll.answered(place).is_some();
        let said = if ours { said & BESIDE_THE_RING } else { said };
        let Some(entry) = poll.entries().get_mut(place) else {
            continue;
        };
        let reportable = u32::from(entry.events as u16) | ERR | HUP | 0x20;
        let before = entry.returned;
        entry.returned |= (said & reportable) as i16;
        added += usize::from(before == 0 && entry.returned != 0);
    }
    added
}

/// Spins if that pays: until a ring has something, or the time is up.
fn spin(poll: &mut Poll) {
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

fn learn(poll: &mut Poll) {
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
        missed: state.spun && state.slept,
        slept: state.slept,
        stamp: hint.filter(|_| state.slept).map(|(_, stamp)| stamp),
        from_own_cpu: state.slept && hint.is_some_and(|(cpu, _)| cpu == wait::current_cpu()),
        interrupted: state.interrupted,
    };
    wait::finish(
        &process::POLICY,
        history,
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

/// Arms every member; nothing when one of them has something to look at.
fn prepare_sleep(poll: &mut Poll) -> Option<Action> {
    let mut limit_ms: Option<u32> = None;
    let patient = poll.state().rounds > ROUNDS;
    let mut shorten = |limit: u32| {
        limit_ms = Some(limit_ms.map_or(limit, |other: u32| other.min(limit)));
    };
    let mut writable_lines = false;
    for place in 0..poll.count as usize {
        let Some(stream) = poll.stream(place) else {
            continue;
        };
        let asked = asked(poll.entry(place));
        let ours = is_ours(&stream);
        let reading = asked & (IN | RDNORM) != 0;
        let writing = asked & decide::WRITING != 0 && stream.carriers().sends_by_ring;
        let wanted = match (reading, writing) {
            _ if !ours => {
                // Not bound yet: another thread may bind it while we sleep, and its first bell must stay for us.
                stream.count_sleeper();
                set_armed(poll, place, Some(Armed::Counted));
                continue;
            }
            (false, false) => continue,
            (true, false) => Armed::Readers,
            (false, true) => Armed::Writers,
            (true, true) => Armed::Both,
        };
        let sleep = stream.prepare_sleep(wanted);
        tell(&stream);
        match sleep {
            Sleep::Line(armed) => set_armed(poll, place, Some(armed)),
            Sleep::Bounded {
                armed,
                limit_ms,
                writable,
            } => {
                set_armed(poll, place, Some(armed));
                shorten(limit_ms);
                writable_lines |= writable;
            }
            Sleep::Retry if !patient => {
                finish_all(poll);
                return None;
            }
            // Something is there that the entry does not ask for, or not enough of it.
            Sleep::Retry => shorten(RECHECK_MS),
            Sleep::Crowded | Sleep::Reentered => {
                shorten(RECHECK_MS);
                if let Some(member) = poll.members().get_mut(place) {
                    member.crowded = 1;
                }
            }
        }
    }
    prepare_copy(poll, true);
    if writable_lines {
        // A rewind waits for room in the kernel.
        for place in 0..poll.count as usize {
            if poll.answered(place).is_some()
                && let Some(entry) = poll.copy().get_mut(place)
            {
                entry.events |= OUT as i16;
            }
        }
    }
    Some(sleep(poll, limit_ms))
}

fn set_armed(poll: &mut Poll, place: usize, armed: Option<Armed>) {
    if let Some(member) = poll.members().get_mut(place) {
        member.armed = match armed {
            None => 0,
            Some(Armed::Counted) => 1,
            Some(Armed::Readers) => 2,
            Some(Armed::Writers) => 3,
            Some(Armed::Both) => 4,
        };
    }
}

/// The thread is awake: it is counted on no line any more.
fn finish_all(poll: &mut Poll) {
    for place in 0..poll.count as usize {
        if let Some(member) = poll.members().get_mut(place) {
            member.crowded = 0;
        }
        let armed = match poll.members().get(place).map(|member| member.armed) {
            Some(1) => Armed::Counted,
            Some(2) => Armed::Readers,
            Some(3) => Armed::Writers,
            Some(4) => Armed::Both,
            _ => continue,
        };
        set_armed(poll, place, None);
        if let Some(stream) = poll.stream(place) {
            stream.finish_sleep(armed);
        }
    }
}

/// The trampoline is to sleep for the time left, at most `limit_ms`.
fn sleep(poll: &mut Poll, limit_ms: Option<u32>) -> Action {
    let has_timeout = poll.has_timeout != 0;
    let timeout_ns = (poll.timeout.seconds as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(poll.timeout.nanoseconds as u64);
    let mut left_ns = timeout_ns;
    if has_timeout && timeout_ns != 0 {
        let now = monotonic_ns();
        let state = poll.state();
        if state.deadline_ns == 0 {
            state.deadline_ns = now.saturating_add(timeout_ns).max(1);
        } else {
            left_ns = state.deadline_ns.saturating_sub(now);
        }
    }
    let limit_ns = limit_ms.map(|limit| u64::from(limit) * 1_000_000);
    let bounded = limit_ns.is_some_and(|limit| !has_timeout || limit < left_ns);
    let state = poll.state();
    state.bounded = bounded;
    state.asleep = true;
    state.slept = true;
    count(Counter::KernelSleeps, 1);
    let ns = if bounded {
        limit_ns.unwrap_or(0)
    } else {
        left_ns
    };
    poll.sleep_has_timeout = c_int::from(bounded || has_timeout);
    poll.sleep = Timespec {
        seconds: (ns / 1_000_000_000) as i64,
        nanoseconds: (ns % 1_000_000_000) as i64,
    };
    Action::Sleep
}

/// The sleep has ended.
pub fn after(poll: &mut Poll, result: c_int, error: c_int) -> Action {
    poll.state().asleep = false;
    poll.state().rounds = 0;
    finish_all(poll);
    let state = *poll.state();
    if error != 0 && error != EINTR {
        poll.result = -1;
        poll.error = error;
        return Action::Done;
    }
    let look_only = poll.is_look_only();
    let passed = state.deadline_ns != 0 && monotonic_ns() >= state.deadline_ns;
    let timed_out = passed || (result == 0 && !state.bounded);
    // A look that asks the kernel: it may be the line that has woken us.
    let mut found = if look_only { 0 } else { look(poll, true) };
    if result > 0 {
        found += merge(poll);
    }
    if found > 0 {
        if error == 0 {
            learn(poll);
        }
        return poll.done(found);
    }
    if error != 0 {
        poll.result = -1;
        poll.error = error;
        return Action::Done;
    }
    if timed_out || look_only {
        return poll.done(0);
    }
    count(Counter::SpuriousWakes, u64::from(result > 0));
    poll.state().vain += u32::from(result > 0);
    if poll.state().vain > SPURIOUS_WAKES {
        // Whoever wakes us for nothing, this often: not more than once a millisecond.
        fastpath::sync::nap_ns(RECHECK_MS * 1_000_000);
    }
    Action::Again
}

/// The thread is being cancelled in its sleep.
pub fn abandon(poll: &mut Poll) {
    if poll.state().asleep {
        poll.state().asleep = false;
        finish_all(poll);
    }
}
