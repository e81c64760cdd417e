//! What holds of each entry: by the rings, and by the kernel for the others.
#![expect(
    unsafe_code,
    reason = "the arrays of a call are handed over by pointer"
)]

use super::record::{Poll, asked};
use crate::readiness::decide;
use crate::readiness::kernel_set::{ERR, HUP, IN, PRI, RDHUP, RDNORM};
use fastpath::kernel_call::{self, PollEntry};
use fastpath::stream::Stream;

/// What the kernel knows before the ring does: urgent data, and the far side's end in front of which bytes may lie.
const BESIDE_THE_RING: u32 = PRI | RDHUP;

/// Looks at the rings and writes what holds; the number of entries with something.
pub(super) fn look(poll: &mut Poll, well: bool) -> usize {
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

/// Consumed bells and changed carriers concern epoll sets, too.
pub(super) fn tell(stream: &Stream) {
    if stream.drained.get() || stream.switched.get() {
        crate::process::readiness_changed(stream);
    }
}

/// Asks the kernel, without waiting, about the descriptors that no ring carries; the number with something.
pub(super) fn ask_others(poll: &mut Poll) -> usize {
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
pub(super) fn prepare_copy(poll: &mut Poll, by_line: bool) {
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
pub(super) fn merge(poll: &mut Poll) -> usize {
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
