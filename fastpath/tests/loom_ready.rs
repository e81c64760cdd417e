//! Ready bits with two wakers of one side: no published index is missed, asleep or awake. Runs the shipped source; see
//! `loom.sh`.
#![cfg(loom)]

mod model;

use fastpath::bell::{Epoch, due_shared};
use fastpath::fault::Fault;
use fastpath::ready::{Harvest, any, collect, mark};
use fastpath::sync::{
    AtomicU32, FarWord32, FarWord64, Ordering, OwnWord32, OwnWord64, Word32, Word64,
};
use loom::sync::Arc;
use loom::thread;
use model::{PREEMPTIONS, holds, is_caught};

/// One waiter of a channel with two connections, whose ready bits share a word or have one each.
#[derive(Clone, Copy)]
struct Shared {
    indices: [Word64; 2],
    /// Ready word and bit of each connection.
    places: [(usize, u64); 2],
    words: [Word64; 2],
    answers: [Word64; 2],
    summary: Word64,
    summary_answer: Word64,
    arm: Word32,
}

impl Shared {
    fn new(places: [(usize, u64); 2]) -> Self {
        let word = || Word64::fresh(0);
        Self {
            indices: [word(), word()],
            places,
            words: [word(), word()],
            answers: [word(), word()],
            summary: word(),
            summary_answer: word(),
            arm: Word32::fresh(0),
        }
    }

    /// Waker: publish with a full fence, mark, bell; true when it rang.
    fn publish(self, connection: usize, index: u64, rung: &AtomicU32) -> u32 {
        OwnWord64::new(self.indices[connection]).publish_and_fence(index);
        let (word, mask) = self.places[connection];
        mark(
            OwnWord64::new(self.words[word]),
            FarWord64::new(self.answers[word]),
            mask,
            OwnWord64::new(self.summary),
            FarWord64::new(self.summary_answer),
            1 << word,
        );
        u32::from(due_shared(FarWord32::new(self.arm), rung))
    }

    fn any(self, harvest: &Harvest) -> bool {
        any(
            FarWord64::new(self.summary),
            OwnWord64::new(self.summary_answer),
            harvest,
        )
    }

    /// Waiter: looks at the index of each marked connection, and only at those.
    fn collect(self, harvest: &mut Harvest, seen: &mut [u64; 2]) {
        collect(
            FarWord64::new(self.summary),
            OwnWord64::new(self.summary_answer),
            2,
            |index| {
                (
                    FarWord64::new(self.words[index as usize]),
                    OwnWord64::new(self.answers[index as usize]),
                )
            },
            harvest,
            64,
            |position| {
                let place = ((position / 64) as usize, 1 << (position % 64));
                for connection in 0..2 {
                    if self.places[connection] == place {
                        let index = FarWord64::new(self.indices[connection]);
                        seen[connection] = index.load(Ordering::Relaxed);
                    }
                }
            },
        );
    }
}

/// Two wakers, one of which publishes `rounds` times; the waiter collects `harvests` times, arms and looks. Whatever it
/// did not see by then it must be rung for, and must find in a last collect.
fn wake(places: [(usize, u64); 2], rounds: u64, harvests: u32) {
    let shared = Shared::new(places);
    let rung = Arc::new(AtomicU32::new(0));
    let wakers: Vec<_> = [rounds, 1]
        .into_iter()
        .enumerate()
        .map(|(connection, rounds)| {
            let rung = rung.clone();
            thread::spawn(move || {
                (1..=rounds)
                    .map(|index| shared.publish(connection, index, &rung))
                    .sum::<u32>()
            })
        })
        .collect();
    let (mut harvest, mut seen) = (Harvest::new(), [0; 2]);
    for _ in 0..harvests {
        shared.collect(&mut harvest, &mut seen);
    }
    let _ = Epoch::new(OwnWord32::new(shared.arm)).arm();
    let asleep = !shared.any(&harvest);
    let bells: u32 = wakers.into_iter().map(|waker| waker.join().unwrap()).sum();
    if asleep && seen != [rounds, 1] {
        assert_eq!(bells, 1, "asleep with {seen:?} seen");
    }
    assert!(bells <= 1);
    shared.collect(&mut harvest, &mut seen);
    assert_eq!(
        seen,
        [rounds, 1],
        "an index was published and never looked at"
    );
    assert!(!shared.any(&harvest));
}

fn bits_of_one_word() {
    wake([(0, 1), (0, 2)], 1, 1);
}

fn bits_of_two_words() {
    wake([(0, 1), (1, 1)], 1, 1);
}

fn the_same_bit() {
    // Two processes of one side send on one connection.
    let place = (0, 1);
    wake([place, place], 1, 1);
}

fn a_waker_that_comes_again() {
    wake([(0, 1), (0, 2)], 2, 1);
}

/// One waker that publishes `rounds` times, and a waiter that collects as often, arms and looks.
fn one_waker(rounds: u64) {
    let shared = Shared::new([(0, 1), (1, 1)]);
    let rung = AtomicU32::new(0);
    let waker = thread::spawn(move || {
        (1..=rounds)
            .map(|index| shared.publish(0, index, &rung))
            .sum::<u32>()
    });
    let (mut harvest, mut seen) = (Harvest::new(), [0; 2]);
    for _ in 0..rounds {
        shared.collect(&mut harvest, &mut seen);
    }
    let _ = Epoch::new(OwnWord32::new(shared.arm)).arm();
    let asleep = !shared.any(&harvest);
    let bells = waker.join().unwrap();
    assert!(!asleep || seen[0] == rounds || bells == 1);
    shared.collect(&mut harvest, &mut seen);
    assert_eq!(
        seen[0], rounds,
        "an index was published and never looked at"
    );
}

fn one_publish() {
    one_waker(1);
}

fn two_publishes() {
    one_waker(2);
}

#[test]
fn no_index_is_missed_by_one_waker() {
    holds(None, one_publish);
    holds(Some(PREEMPTIONS + 2), two_publishes);
}

#[test]
fn no_index_is_missed_by_two_wakers() {
    holds(Some(PREEMPTIONS), bits_of_one_word);
    holds(Some(PREEMPTIONS), bits_of_two_words);
    holds(Some(PREEMPTIONS), the_same_bit);
    holds(Some(PREEMPTIONS), a_waker_that_comes_again);
}

#[test]
fn the_order_of_index_bit_summary_and_epoch_is_needed() {
    for fault in [
        Fault::PublishWithoutFence,
        Fault::ArmWithoutFence,
        Fault::SummaryBeforeBit,
    ] {
        is_caught(fault, None, one_publish);
    }
    // These lose the second of two publishes.
    for fault in [Fault::SummaryAnsweredLast, Fault::AnswerAfterLook] {
        is_caught(fault, Some(PREEMPTIONS), two_publishes);
    }
}

#[test]
fn a_toggle_must_be_confirmed_because_two_wakers_can_undo_each_other() {
    is_caught(
        Fault::ToggleNotConfirmed,
        Some(PREEMPTIONS),
        a_waker_that_comes_again,
    );
}
