//! Deaths inside a step of the switch: the next thread of the family that takes the lock finds what the dead one left half
//! done. What must come of them is said in PROTOCOL.md §12 and §13.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod stream_pair;
mod traffic;

use fastpath::endpoint::binding;
use fastpath::stream::receive::Received;
use fastpath::stream::rewind::Rewound;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use stream_pair::{
    Pair, dead_owner, fill_kernel, is_bound_as, receive, receive_once, send, unacknowledged,
    unread_in_kernel, wait_for_end,
};

/// A rewind that waits for room, and whose owner has died.
fn rewind_of_the_dead() -> Pair {
    let pair = Pair::on_ring();
    assert!(send(pair.c, 50));
    fill_kernel(pair.c);
    pair.own_entry(pair.s).gone().store(1, Ordering::Release);
    assert_eq!(pair.c.stream().rewind(), Rewound::Blocked);
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    pair
}

/// Reads what the kernel has taken from `pair.c`, all of it, and what comes until nothing has come for a while.
fn drain_kernel(pair: &Pair) -> usize {
    let mut buffer = vec![0_u8; 65536];
    let mut total = 0;
    let mut quiet_rounds = 0;
    let until = Instant::now() + Duration::from_secs(10);
    while quiet_rounds < 30 {
        let (target, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the buffer.
        let taken = unsafe { libc::recv(pair.s.descriptor, target, length, libc::MSG_DONTWAIT) };
        if taken > 0 {
            quiet_rounds = 0;
        } else if unacknowledged(pair.c) == 0 || Instant::now() > until {
            quiet_rounds += 1;
        }
        total += taken.max(0) as usize;
        thread::sleep(Duration::from_millis(u64::from(taken <= 0)));
    }
    total
}

#[test]
fn a_rewind_of_the_dead_goes_on_when_there_is_room() {
    let pair = rewind_of_the_dead();
    assert_eq!(pair.c.stream().rewind(), Rewound::Blocked);
    assert_eq!(is_bound_as(pair.c), binding::BOUND);
    drain_kernel(&pair);
    assert_eq!(pair.c.stream().rewind(), Rewound::Over);
    assert_eq!(drain_kernel(&pair), 50);
}

#[test]
fn a_rewind_of_the_dead_that_nobody_can_count_is_a_reset() {
    // Where the kernel stood when it began is not known.
    let pair = rewind_of_the_dead();
    pair.c.endpoint.rewind_counted.set(0);
    pair.c.stream().rewind();
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);

    // Somebody has sent behind its back.
    let pair = rewind_of_the_dead();
    drain_kernel(&pair);
    fill_kernel(pair.c);
    pair.c.stream().rewind();
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);
}

#[test]
fn an_upgrade_that_died_before_its_switch_leaves_no_bell_among_the_bytes() {
    let pair = Pair::on_ring();
    pair.c.stream().release();
    while receive(pair.s, 100) > 0 {}
    assert_eq!(pair.c.endpoint.tx_ep.get(), 2);
    assert_eq!(pair.s.endpoint.rx_ep.get(), 2);
    let own = pair.own_entry(pair.c);
    let sent = own.kr().load(Ordering::Acquire);
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    own.koff().store(sent + 1, Ordering::Release);
    own.ringing().store(1, Ordering::Release);
    assert!(send(pair.c, 3));
    assert_eq!(unread_in_kernel(pair.s, 3), 3);
    assert_eq!(own.ringing().load(Ordering::Acquire), 0);
}

#[test]
fn a_death_behind_the_far_side_s_end_still_rings() {
    let pair = Pair::on_ring();
    pair.sockets[1].shutdown(std::net::Shutdown::Write).unwrap();
    wait_for_end(pair.c);
    let before = unread_in_kernel(pair.s, 0);
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    pair.c.stream().ask_for_retreat();
    assert_eq!(unread_in_kernel(pair.s, before + 1), before + 1);
}

#[test]
fn after_a_death_nothing_is_believed_that_the_maker_of_the_memory_may_have_written() {
    // What the reader of the dead had shown.
    let pair = Pair::on_ring();
    assert!(send(pair.s, 10));
    let own = pair.own_entry(pair.c);
    let head = own.head().load(Ordering::Acquire);
    assert!(pair.c.endpoint.rx_lock.try_lock(dead_owner()));
    own.head()
        .store(head.wrapping_sub(1 << 40), Ordering::Release);
    own.rx_ep().store(7, Ordering::Release);
    own.grant().store(9, Ordering::Release);
    own.krx().store(1 << 50, Ordering::Release);
    assert_eq!(receive_once(pair.c, 1 << 20), Received::Bytes(10));
    assert_eq!(own.head().load(Ordering::Acquire), head + 10);
    let endpoint = pair.c.endpoint;
    assert_eq!(own.rx_ep().load(Ordering::Acquire), 1);
    assert_eq!((endpoint.rx_ep.get(), endpoint.granted.get()), (1, 1));
    assert_eq!(own.krx().load(Ordering::Acquire), endpoint.krx.get());

    // What its writer had shown.
    let pair = Pair::on_ring();
    let own = pair.own_entry(pair.c);
    let (tail, before) = (
        own.tail().load(Ordering::Acquire),
        unread_in_kernel(pair.s, 0),
    );
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    own.tail().store(tail + 3000, Ordering::Release);
    own.koff()
        .store(pair.c.endpoint.ktx.get() + 1000, Ordering::Release);
    own.fin().store(0, Ordering::Release);
    assert!(send(pair.c, 5));
    assert_eq!(own.tail().load(Ordering::Acquire), tail + 5);
    assert!(unread_in_kernel(pair.s, before + 1) <= before + 2);
    assert_eq!(receive(pair.s, 1 << 20), 5);
    assert_eq!(is_bound_as(pair.s), binding::BOUND);
}

#[test]
fn what_the_dead_had_noted_and_not_shown_is_shown() {
    let pair = Pair::on_ring();
    let own = pair.own_entry(pair.c);
    let tail = own.tail().load(Ordering::Acquire);
    assert!(send(pair.c, 9));
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    own.tail().store(tail, Ordering::Release);
    pair.c.stream().ask_for_retreat();
    assert_eq!(own.tail().load(Ordering::Acquire), tail + 9);
    assert_eq!(receive(pair.s, 100), 9);
}

#[test]
fn a_retreat_that_died_before_its_bell_is_closed() {
    let pair = Pair::on_ring();
    let own = pair.own_entry(pair.c);
    let endpoint = pair.c.endpoint;
    // All steps of the retreat but the last.
    own.ringing().store(1, Ordering::Release);
    let end = endpoint.ktx.add(1);
    endpoint.kr.set(end);
    own.kr().store(end, Ordering::Release);
    own.koff().store(end, Ordering::Release);
    endpoint.tx_ep.publish(2);
    own.ep().store(2, Ordering::Release);
    assert!(endpoint.tx_lock.try_lock(dead_owner()));
    assert!(send(pair.c, 3));
    let mut taken = 0;
    let until = Instant::now() + Duration::from_secs(10);
    while taken < 3 && Instant::now() < until {
        taken += receive(pair.s, 100);
    }
    assert_eq!((taken, is_bound_as(pair.s)), (3, binding::BOUND));
    assert_eq!(own.ringing().load(Ordering::Acquire), 0);
}

#[test]
fn a_death_with_no_room_for_a_bell_counts_none() {
    let pair = Pair::on_ring();
    fill_kernel(pair.c);
    let (own, endpoint) = (pair.own_entry(pair.c), pair.c.endpoint);
    let sent = fastpath::stream::line::sent_offset(pair.c.descriptor).unwrap();
    own.koff().store(sent + 1, Ordering::Release);
    endpoint.ktx.set(sent + 1);
    own.ringing().store(1, Ordering::Release);
    assert!(endpoint.tx_lock.try_lock(dead_owner()));
    assert!(send(pair.c, 1));
    assert_eq!(endpoint.ktx.get(), sent);
    assert_eq!(own.koff().load(Ordering::Acquire), sent);
}

#[test]
fn a_shutdown_that_died_before_the_kernel_s_is_one() {
    let pair = Pair::on_ring();
    assert!(send(pair.c, 20));
    thread::scope(|scope| {
        scope.spawn(|| assert!(pair.c.stream().begin_shutdown()));
    });
    thread::sleep(Duration::from_millis(5));
    assert!(!send(pair.c, 3), "bytes behind an end");
    assert_eq!(receive(pair.s, 100), 20);
    assert_eq!(receive_once(pair.s, 100), Received::End);
    let until = Instant::now() + Duration::from_secs(10);
    while !pair.s.stream().readiness(false).read_ended && Instant::now() < until {}
    assert_eq!(receive_once(pair.s, 100), Received::End);
    assert_eq!(is_bound_as(pair.s), binding::BOUND);
    // The other direction goes on.
    assert!(send(pair.s, 4));
    assert_eq!(receive(pair.c, 100), 4);
}
