//! Ready bits: which of many connections changed, found in O(changed) (CHANNEL.md "Ready bits", READINESS.md 2).
//!
//! ```text
//!   writer's word   0 1 1 0     summary of words, the same way: one bit for each word
//!   answer word     0 1 0 0     bit ready = writer's bit differs from the answer
//!                       ^ ready
//! ```
//!
//! Both words have one side as their writer; toggling when equal makes "ready", copying makes "seen". Hints, never
//! truth: a set bit says "look at the indices", and a lying far side can only cause looks, at most `limit` a call.
//!
//! Order, each arrow a full fence:
//! * waker: index -> bit -> summary -> epoch
//! * waiter: epoch -> summary; summary answered -> words; word answered -> indices
//!
//! So a waker that skips a toggle because it reads "not answered yet" is served by the answer that is still to come, and
//! a waiter that sleeps because it reads "nothing" is rung.

use crate::fault::{Fault, sound};
use crate::sync::{FarWord64, Ordering, OwnWord64, fence_after_toggle};

/// Tries of one toggle. Each failed try is another thread's success or an answer in between; a far side that answers
/// without pause, without looking, has only itself to blame for a bit it misses.
const TOGGLE_TRIES: u32 = 64;

/// Waker: makes the bit `mask` of a word ready, and the word's bit in the summary. The index it tells of is published
/// with a full fence behind it (`publish_and_fence`); the look at the epoch (`bell::due_shared`) comes after.
///
/// Several threads and processes of one side may mark bits of one word, or the same bit, at once.
#[inline]
pub fn mark(
    ready_word: OwnWord64,
    answer_word: FarWord64,
    mask: u64,
    summary: OwnWord64,
    summary_answer: FarWord64,
    summary_mask: u64,
) {
    if !sound(Fault::SummaryBeforeBit) {
        make_ready(summary, summary_answer, summary_mask);
        make_ready(ready_word, answer_word, mask);
        return;
    }
    make_ready(ready_word, answer_word, mask);
    make_ready(summary, summary_answer, summary_mask);
}

/// Toggles the bit if it equals its answer, until it is seen to differ; a full fence behind it.
///
/// The look after a successful exchange is needed: between our load and our exchange another thread may have toggled,
/// been answered, and toggled again, back to the word we compare with. Our exchange then takes its readiness away.
#[inline]
fn make_ready(own: OwnWord64, answer: FarWord64, mask: u64) {
    for _ in 0..TOGGLE_TRIES {
        // Acquire, partner: the release of the exchange below in another thread of this side: having read its toggle we
        // also read the answer that it had read.
        let word = own.load(Ordering::Acquire);
        let answered = answer.load(Ordering::Acquire);
        if (word ^ answered) & mask != 0 {
            break;
        }
        let exchange = own.compare_exchange(word, word ^ mask, Ordering::SeqCst, Ordering::Relaxed);
        if exchange.is_ok() && !sound(Fault::ToggleNotConfirmed) {
            break;
        }
    }
    // Partner: the fence behind the waiter's answer, and behind its arming.
    fence_after_toggle();
}

/// What a waiter keeps of one channel between two calls; its own memory, under the lock of its set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harvest {
    /// Words whose summary bit is answered but that were not read to the end.
    pending: u64,
    /// Word to begin with, so that a busy one does not starve the rest.
    next_word: u32,
    /// Bit of that word to begin with.
    next_bit: u32,
}

impl Harvest {
    /// Nothing left over.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pending: 0,
            next_word: 0,
            next_bit: 0,
        }
    }
}

/// Waiter: is anything marked? One load of the far summary; what the look between arming and sleeping asks of each
/// channel. The caller has armed with a full fence (`Epoch::arm`).
#[inline]
#[must_use]
pub fn any(summary: FarWord64, summary_answer: OwnWord64, harvest: &Harvest) -> bool {
    harvest.pending != 0
        // Acquire, partner: the waker's exchange: the words behind a set summary bit are seen, too.
        || summary.load(Ordering::Acquire) != summary_answer.load(Ordering::Relaxed)
}

/// Waiter: takes marked bits, at most `limit`, and calls `each` with the position (word * 64 + bit) of every one, after
/// its answer is out. Returns how many were taken; what is left over stays in `harvest` and makes [`any`] true.
///
/// `word(index)` gives the far ready word and the own answer word, for `index < words`, at most 64. Words are visited in
/// turn, going on where the call before ended. Positions come from the far side: the caller ignores those it has nothing
/// bound to.
#[inline]
pub fn collect(
    summary: FarWord64,
    summary_answer: OwnWord64,
    words: u32,
    word: impl Fn(u32) -> (FarWord64, OwnWord64),
    harvest: &mut Harvest,
    limit: u32,
    mut each: impl FnMut(u32),
) -> u32 {
    let answered = summary_answer.load(Ordering::Relaxed);
    // Acquire, partner: the waker's exchange.
    let marked = summary.load(Ordering::Acquire);
    if marked != answered {
        if sound(Fault::SummaryAnsweredLast) {
            // The whole word is answered, also bits that stand for no word: a liar cannot keep `any` true.
            // Fence, partner: the one behind the waker's toggle of the bit: it reads the old answer only if we read its bit.
            summary_answer.publish_and_fence(marked);
        }
        harvest.pending |= (marked ^ answered) & low_bits(words);
    }
    let mut taken = 0;
    let mut unread = harvest.pending;
    while unread != 0 {
        if taken >= limit {
            break;
        }
        let index = first_from(unread, harvest.next_word);
        if index != harvest.next_word {
            harvest.next_word = index;
            harvest.next_bit = 0;
        }
        let (far, own) = word(index);
        let own_before = own.load(Ordering::Relaxed);
        let ready = far.load(Ordering::Acquire) ^ own_before;
        // Bits before the place to begin with come last, behind all other words.
        let skipped = ready & low_bits(harvest.next_bit);
        let mut rest = ready ^ skipped;
        let mut chosen = 0;
        while rest != 0 && taken < limit {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            chosen |= 1 << bit;
            taken += 1;
            harvest.next_bit = bit + 1;
        }
        if rest == 0 {
            harvest.next_word = (index + 1) % 64;
            harvest.next_bit = 0;
            if skipped == 0 {
                unread &= !(1 << index);
                harvest.pending &= !(1 << index);
            }
        }
        if chosen != 0 {
            if sound(Fault::AnswerAfterLook) {
                // Fence, partner: the one behind the waker's publish of the index: it reads the old answer only if we read
                // its index.
                own.publish_and_fence(own_before ^ chosen);
            }
            let mut rest = chosen;
            while rest != 0 {
                each(index * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
            if !sound(Fault::AnswerAfterLook) {
                own.publish_and_fence(own_before ^ chosen);
            }
        }
    }
    if !sound(Fault::SummaryAnsweredLast) {
        summary_answer.publish_and_fence(marked);
    }
    taken
}

/// The lowest `count` bits.
#[inline(always)]
const fn low_bits(count: u32) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

/// The first set bit at or after `start`, going round. `bits` is not 0.
#[inline(always)]
const fn first_from(bits: u64, start: u32) -> u32 {
    let turned = bits.rotate_right(start % 64);
    (turned.trailing_zeros() + start) % 64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Word64;
    use std::collections::BTreeSet;

    fn word() -> Word64 {
        let place: &'static mut u64 = Box::leak(Box::new(0));
        #[expect(unsafe_code, reason = "a word of the test's own")]
        // SAFETY: leaked, aligned.
        unsafe {
            Word64::at(std::ptr::from_mut(place).cast())
        }
    }

    struct Table {
        ready: Vec<Word64>,
        answers: Vec<Word64>,
        summary: Word64,
        summary_answer: Word64,
    }

    impl Table {
        fn new(words: usize) -> Self {
            Self {
                ready: (0..words).map(|_| word()).collect(),
                answers: (0..words).map(|_| word()).collect(),
                summary: word(),
                summary_answer: word(),
            }
        }
        fn mark(&self, position: u32) {
            let index = (position / 64) as usize;
            mark(
                OwnWord64::new(self.ready[index]),
                FarWord64::new(self.answers[index]),
                1 << (position % 64),
                OwnWord64::new(self.summary),
                FarWord64::new(self.summary_answer),
                1 << index,
            );
        }
        fn any(&self, harvest: &Harvest) -> bool {
            any(
                FarWord64::new(self.summary),
                OwnWord64::new(self.summary_answer),
                harvest,
            )
        }
        fn collect(&self, harvest: &mut Harvest, limit: u32) -> Vec<u32> {
            let mut positions = Vec::new();
            let taken = collect(
                FarWord64::new(self.summary),
                OwnWord64::new(self.summary_answer),
                self.ready.len() as u32,
                |index| {
                    (
                        FarWord64::new(self.ready[index as usize]),
                        OwnWord64::new(self.answers[index as usize]),
                    )
                },
                harvest,
                limit,
                |position| positions.push(position),
            );
            assert_eq!(taken as usize, positions.len());
            assert!(taken <= limit);
            positions
        }
    }

    #[test]
    fn each_mark_is_collected_once_and_again_after_a_new_mark() {
        let table = Table::new(3);
        let mut harvest = Harvest::new();
        assert!(!table.any(&harvest));
        assert!(table.collect(&mut harvest, 64).is_empty());
        for _ in 0..3 {
            for position in [0, 5, 5, 64, 191, 63] {
                table.mark(position);
            }
            assert!(table.any(&harvest));
            let positions: BTreeSet<u32> = table.collect(&mut harvest, 64).into_iter().collect();
            assert_eq!(positions, BTreeSet::from([0, 5, 63, 64, 191]));
            assert!(!table.any(&harvest));
        }
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_call_and_starves_nobody() {
        let table = Table::new(32);
        let mut harvest = Harvest::new();
        let all: BTreeSet<u32> = (0..32 * 64).step_by(7).collect();
        for &position in &all {
            table.mark(position);
        }
        let mut seen = BTreeSet::new();
        let mut calls = 0;
        while table.any(&harvest) {
            for position in table.collect(&mut harvest, 10) {
                assert!(seen.insert(position), "{position} twice");
            }
            // A busy connection marks itself before each call.
            if calls < 10 {
                table.mark(1);
            }
            seen.remove(&1);
            calls += 1;
        }
        assert_eq!(seen, all);
        assert!(calls <= all.len().div_ceil(10) + 11, "{calls}");
    }

    #[test]
    fn a_busy_connection_does_not_starve_its_neighbours() {
        let table = Table::new(2);
        let mut harvest = Harvest::new();
        for position in 0..128 {
            table.mark(position);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..140 {
            for position in table.collect(&mut harvest, 1) {
                table.mark(position.min(3));
                seen.insert(position);
            }
        }
        assert_eq!(seen.len(), 128);
    }

    #[test]
    fn a_liar_costs_looks_within_the_limit_and_nothing_else() {
        let table = Table::new(2);
        let mut harvest = Harvest::new();
        table.summary.store(u64::MAX << 2, Ordering::Relaxed);
        assert!(table.any(&harvest));
        assert!(table.collect(&mut harvest, 64).is_empty());
        assert!(
            !table.any(&harvest),
            "bits that stand for no word are answered"
        );
        table.ready[1].store(u64::MAX, Ordering::Relaxed);
        table.summary.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(
            table.collect(&mut harvest, 10),
            (64..74).collect::<Vec<_>>()
        );
    }
}
