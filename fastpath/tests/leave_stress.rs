//! One thread gives the channel up for good (popen, posix_spawn, dup2 onto 0 to 2, SCM_RIGHTS, set*id ...) while others
//! of the same process send and receive at full speed: no byte is lost, doubled or invented, and nothing is reset.
//!
//! Both sides in one process, over a real TCP connection. What leaving in order needs is SWITCH.md §4; that siblings come
//! before it or behind it is `stream::leave`.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod traffic;

use channel_pair::{Ends, channel_pair};
use fastpath::endpoint::binding;
use fastpath::family;
use fastpath::stream::leave::{Departure, Successor};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use traffic::{Counts, Random, Side, read_all, watchdog, write_all};

const BYTES: u64 = 1 << 20;
const WATCHDOG: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Departures {
    /// Left in order.
    left: AtomicU64,
    /// Stayed, since leaving in order was impossible.
    stayed: AtomicU64,
}

/// How long a thread had to wait that wanted to run every few milliseconds, while `is_over` was false.
fn longest_wait(is_over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let before = Instant::now();
        thread::sleep(Duration::from_millis(5));
        longest = longest.max(before.elapsed());
    }
    longest
}

/// What the program's thread that leaves does, at a moment of its own.
fn depart(side: Side, seed: u64, departures: &Departures) {
    let mut random = Random(seed);
    random.pause(3000);
    for _ in 0..200 {
        let Departure { left, given } = side.stream().leave(Successor::Ourselves);
        if !left {
            departures.stayed.fetch_add(1, Ordering::Relaxed);
            random.pause(300);
            continue;
        }
        departures.left.fetch_add(1, Ordering::Relaxed);
        if let Some(given) = given {
            side.channel.slot_leave(given.slot, given.generation);
            side.channel.release();
        }
        return;
    }
}

fn run(seed: u64, counts: &Counts, departures: &Departures) {
    let (near, far) = traffic::connected();
    let Ends {
        connecting,
        accepting,
    } = channel_pair(0, 1000 + seed as u16);
    let (c, s) = (Side::new(connecting, &near), Side::new(accepting, &far));
    let (slot, generation) = accepting.allocate_slot().expect("a slot");
    for side in [s, c] {
        assert!(side.channel.bind_slot(slot, generation, 0, 0));
        assert!(side.stream().bind(side.channel, slot, generation));
    }
    let (leaver, other) = if seed & 1 == 0 { (c, s) } else { (s, c) };
    let is_over = AtomicBool::new(false);
    let (all_came, waited) = thread::scope(|scope| {
        let watcher = scope.spawn(|| longest_wait(&is_over));
        let data = [
            scope.spawn(move || write_all(c, BYTES, seed * 8 + 1, 1, counts)),
            scope.spawn(move || write_all(s, BYTES, seed * 8 + 2, 2, counts)),
            scope.spawn(move || read_all(s, BYTES, seed * 8 + 3, 1)),
            scope.spawn(move || read_all(c, BYTES, seed * 8 + 4, 2)),
        ];
        scope.spawn(move || depart(leaver, seed * 8 + 5, departures));
        let results: Vec<_> = data.into_iter().map(|thread| thread.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        let waited = watcher.join().expect("the watcher");
        (results.iter().all(Result::is_ok), waited)
    });
    let is_reset = [leaver, other]
        .iter()
        .any(|side| side.endpoint.binding.load(Ordering::Acquire) == binding::CONDEMNED);
    // Whoever leaves waits a second for what the far side has begun, and resets what stands still for longer.
    let may_reset = waited > Duration::from_millis(900);
    assert!(all_came || (is_reset && may_reset), "seed {seed}");
    assert!(!is_reset || may_reset, "seed {seed}: reset");
    for side in [leaver, other] {
        if side.stream().leave(Successor::Nobody).given.is_some() {
            side.channel.slot_leave(slot, generation);
            side.channel.release();
        }
        assert!(side.stream().retire());
    }
}

#[test]
fn siblings_of_a_leaver_lose_and_double_nothing() {
    family::ensure().expect("family memory");
    let over = watchdog(WATCHDOG);
    let seeds = std::env::var("TEST_SEEDS")
        .map_or(60, |text| text.parse().expect("TEST_SEEDS is a number"));
    assert!(seeds > 0, "TEST_SEEDS asks for nothing");
    let (counts, departures) = (Counts::default(), Departures::default());
    for seed in 1..=seeds {
        run(seed, &counts, &departures);
    }
    let count = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (left, stayed) = (count(&departures.left), count(&departures.stayed));
    let (ring, kernel) = (count(&counts.by_ring), count(&counts.by_kernel));
    println!("{left} left, {stayed} stayed at first, {ring} bytes by ring, {kernel} by kernel");
    assert!(left * 2 > seeds && ring > 0 && kernel > 0);
    over.store(true, Ordering::Relaxed);
}
