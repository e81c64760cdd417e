//! Slots are taken away at random moments while both ends write and read: no byte is lost, doubled or out of order.
//!
//! Both sides in one process, over a real TCP connection: on each a writer, a reader that sleeps on the line, and a
//! controller that begins to give the slot up; one more thread binds the connection anew when both sides have left.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod traffic;

use channel_pair::{Ends, channel_pair};
use fastpath::family;
use fastpath::stream::unbind::Unbinding;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use traffic::{Counts, Random, Side, read_all, watchdog, write_all};

const BYTES: u64 = 12 << 20;
const WATCHDOG: Duration = Duration::from_secs(600);

/// Begins to give the slot up now and then, follows when the far side does, and takes the steps.
fn control(side: Side, seed: u64, stop: &AtomicBool, unbound: &AtomicU64) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        random.pause(400);
        let stream = side.stream();
        if !stream.is_bound() {
            continue;
        }
        match random.below(120) {
            0 | 1 => {
                stream.begin_unbinding(&|| true);
            }
            2 => stream.release(),
            3..=8 => stream.wish(),
            _ if stream.far_is_unbinding() => {
                stream.begin_unbinding(&|| true);
            }
            _ => {}
        }
        if let Unbinding::Done(given) = stream.unbind_step(&|| true) {
            unbound.fetch_add(1, Ordering::Relaxed);
            random.pause(300);
            given.channel.slot_leave(given.slot, given.generation);
            given.channel.release();
        }
    }
}

/// Binds again when both sides are free.
fn bind_again(connecting: Side, accepting: Side, seed: u64, stop: &AtomicBool) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        random.pause(200);
        if !(connecting.is_free() && accepting.is_free()) {
            continue;
        }
        connecting.channel.slot_sweep();
        accepting.channel.slot_sweep();
        let Some((slot, generation)) = accepting.channel.allocate_slot() else {
            continue;
        };
        for side in [accepting, connecting] {
            assert!(side.channel.retain());
            assert!(side.channel.bind_slot(slot, generation, 0, 0));
            // Not while the ring is not wished for, which another thread says now and then.
            while !side.stream().bind(side.channel, slot, generation) {
                side.stream().wish();
            }
            random.pause(200);
        }
    }
}

/// How often the slot was given up, and how many bytes went by ring and by kernel.
fn run(seed: u64) -> [u64; 3] {
    let (near, far) = traffic::connected();
    let Ends {
        connecting,
        accepting,
    } = channel_pair(0, 100 + seed as u16);
    let (c, s) = (Side::new(connecting, &near), Side::new(accepting, &far));
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    let unbound = AtomicU64::new(0);
    thread::scope(|scope| {
        let (stop, counts, unbound) = (&stop, &counts, &unbound);
        let data = [
            scope.spawn(move || write_all(c, BYTES, seed * 8 + 1, 1, counts)),
            scope.spawn(move || write_all(s, BYTES, seed * 8 + 2, 2, counts)),
            scope.spawn(move || read_all(s, BYTES, seed * 8 + 3, 1)),
            scope.spawn(move || read_all(c, BYTES, seed * 8 + 4, 2)),
        ];
        scope.spawn(move || control(c, seed * 8 + 5, stop, unbound));
        scope.spawn(move || control(s, seed * 8 + 6, stop, unbound));
        scope.spawn(move || bind_again(c, s, seed * 8 + 7, stop));
        let results: Vec<_> = data.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "seed {seed}");
    });
    let count = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (unbound, ring, kernel) = (
        count(&unbound),
        count(&counts.by_ring),
        count(&counts.by_kernel),
    );
    println!("seed {seed}: {unbound} unbindings, {ring} bytes by ring, {kernel} by kernel");
    connecting.release();
    accepting.release();
    [unbound, ring, kernel]
}

#[test]
fn slots_are_taken_away_under_traffic_and_no_byte_is_lost() {
    family::ensure().expect("family memory");
    let over = watchdog(WATCHDOG);
    let seeds =
        std::env::var("TEST_SEEDS").map_or(4, |text| text.parse().expect("TEST_SEEDS is a number"));
    assert!(seeds > 0, "TEST_SEEDS asks for nothing");
    // Of one alone the ring may get nothing on a busy machine: it is taken away as soon as it is there.
    let mut all = [0; 3];
    for seed in 1..=seeds {
        for (sum, count) in all.iter_mut().zip(run(seed)) {
            *sum += count;
        }
    }
    let [unbound, ring, kernel] = all;
    assert!(unbound >= 2 * seeds && ring > 0 && kernel > 0, "{all:?}");
    over.store(true, Ordering::Relaxed);
}
