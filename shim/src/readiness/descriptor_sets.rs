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

mod look;
mod record;
mod spin;

pub use record::{Member, Poll};

use super::kernel_set::{IN, OUT, RDNORM};
use super::trampolines::EXPOSED_SETS;
use super::wait::Action;
use super::{decide, exposed, instance};
use crate::boundary::Timespec;
use crate::{fd_table, process};
use core::ffi::c_int;
use fastpath::clock::monotonic_ns;
use fastpath::statistics::count;
use fastpath::stream::sleep::{Armed, Sleep};
use fastpath::sync::Ordering;
use kmod_interface::limits::SPURIOUS_WAKES;
use kmod_interface::statistics::Counter;
use libc::EINTR;
use look::{ask_others, look, merge, prepare_copy, tell};
use record::{State, asked, is_ours};
use spin::{learn, spin};

/// Rounds without a sleep and without a result before a member that says "look again" is only looked at now and then.
const ROUNDS: u32 = 8;
/// How often then.
const RECHECK_MS: u32 = 1;

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
    if !poll.is_look_only() {
        count(Counter::KernelSleeps, 1);
    }
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
