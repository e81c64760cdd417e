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
use fastpath::stream::leave::Successor;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use traffic::{Counts, Random, Side, read_all, watchdog, write_all};

const BYTES: u64 = 1 << 20;
const WATCHDOG: Duration = Duration::from_secs(240);

#[derive(Default)]
struct Departures {
    /// Left in order.
    left: AtomicU64,
    /// Stayed, since leaving in order was impossible.
    stayed: AtomicU64,
}

/// What the program's thread that leaves does, at a moment of its own.
fn depart(side: Side, seed: u64, departures: &Departures) {
    let mut random = Random(seed);
    random.pause(3000);
    for _ in 0..200 {
        let left = side.stream().leave(Successor::Ourselves);
        if !left {
            departures.stayed.fetch_add(1, Ordering::Relaxed);
            random.pause(300);
            continue;
        }
        departures.left.fetch_add(1, Ordering::Relaxed);
        if side.endpoint.channel.take() != 0 {
            let (slot, generation) = (
                side.endpoint.slot.get(),
                side.endpoint.slot_generation.get(),
            );
            side.channel.slot_leave(slot, generation);
            side.channel.release();
        }
        return;
    }
}

fn run(seed: u64, counts: &Counts, departures: &Departures) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
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
    thread::scope(|scope| {
        let data = [
            scope.spawn(move || write_all(c, BYTES, seed * 8 + 1, 1, counts)),
            scope.spawn(move || write_all(s, BYTES, seed * 8 + 2, 2, counts)),
            scope.spawn(move || read_all(s, BYTES, seed * 8 + 3, 1)),
            scope.spawn(move || read_all(c, BYTES, seed * 8 + 4, 2)),
        ];
        scope.spawn(move || depart(leaver, seed * 8 + 5, departures));
        let results: Vec<_> = data.into_iter().map(|thread| thread.join()).collect();
        assert!(results.iter().all(Result::is_ok), "seed {seed}");
    });
    for side in [leaver, other] {
        let bound = side.endpoint.binding.load(Ordering::Acquire);
        assert_ne!(bound, binding::CONDEMNED, "seed {seed}");
        side.stream().leave(Successor::Nobody);
        if side.endpoint.channel.take() != 0 {
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
    let seeds = std::env::var("AXIO_TEST_SEEDS").map_or(60, |text| text.parse().unwrap_or(60));
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
