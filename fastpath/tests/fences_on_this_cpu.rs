//! The full fences as this CPU executes them. The model checker has fences of its own; on x86 the shipped ones are locked
//! instructions, which only hardware can refute: two threads store and then look, many times, and never may both miss.
#![cfg(not(loom))]
#![expect(unsafe_code, reason = "words of the test's own")]

use fastpath::bell::{Epoch, due};
use fastpath::sync::{
    FarWord32, FarWord64, Ordering, OwnWord32, OwnWord64, Word32, Word64, full_fence,
};
use std::sync::atomic::AtomicU32;
use std::thread;

const ROUNDS: u32 = 200_000;

/// A word on a line of its own.
#[repr(align(128))]
struct Line(u64);

fn place() -> *mut u8 {
    std::ptr::from_mut(&mut Box::leak(Box::new(Line(0))).0).cast()
}

/// Lets two threads start a round as closely together as it goes.
fn meet(turn: &AtomicU32, round: u32) {
    turn.fetch_add(1, Ordering::AcqRel);
    let mut looks = 0u32;
    while turn.load(Ordering::Acquire) < 2 * round {
        looks += 1;
        // On a machine where the other thread does not run, waiting harder does not help.
        if looks.is_multiple_of(1000) {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Rounds in which both missed: `publish` then is-a-bell-due against arm then look.
fn both_missed(publish: fn(OwnWord64, u64)) -> u32 {
    // SAFETY: leaked and aligned.
    let (tail, arm) = unsafe { (Word64::at(place()), Word32::at(place())) };
    let turn = AtomicU32::new(0);
    let (rang, seen) = thread::scope(|scope| {
        let waker = scope.spawn(|| {
            let mut rung = 0;
            (1..=ROUNDS)
                .map(|round| {
                    meet(&turn, 2 * round - 1);
                    publish(OwnWord64::new(tail), u64::from(round));
                    let rang = due(FarWord32::new(arm), &mut rung);
                    meet(&turn, 2 * round);
                    rang
                })
                .collect::<Vec<_>>()
        });
        let epoch = Epoch::new(OwnWord32::new(arm));
        let seen: Vec<_> = (1..=ROUNDS)
            .map(|round| {
                meet(&turn, 2 * round - 1);
                let _ = epoch.arm();
                let seen = FarWord64::new(tail).load(Ordering::Acquire) == u64::from(round);
                meet(&turn, 2 * round);
                epoch.disarm();
                seen
            })
            .collect();
        (waker.join().expect("waker"), seen)
    });
    rang.iter()
        .zip(&seen)
        .filter(|&(&rang, &seen)| !rang && !seen)
        .count() as u32
}

#[test]
fn a_publish_with_a_fence_and_an_arming_never_miss_each_other() {
    assert_eq!(both_missed(|tail, value| tail.publish_and_fence(value)), 0);
}

#[test]
fn a_plain_publish_with_a_fence_before_the_look_does_as_well() {
    let publish = |tail: OwnWord64, value| {
        tail.store(value, Ordering::Release);
        full_fence();
    };
    assert_eq!(both_missed(publish), 0);
}
