//! Bindings, grants, switches and bells at one chosen moment each.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod stream_pair;
mod traffic;

use fastpath::endpoint::Plain64;
use fastpath::stream::receive::Received;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use stream_pair::{Pair, fill_kernel, receive, receive_once, send};

#[test]
fn an_endpoint_s_addresses_outlive_its_life() {
    let pair = Pair::bound();
    let before = (
        pair.c.endpoint.own_entry.get(),
        pair.c.endpoint.far_entry.get(),
    );
    pair.c.endpoint.reset();
    let addresses: [&Plain64; 2] = [&pair.c.endpoint.own_entry, &pair.c.endpoint.far_entry];
    assert_eq!((addresses[0].get(), addresses[1].get()), before);
    assert!(before.0 != 0 && before.1 != 0);
}

#[test]
fn an_upgrade_by_a_grant_that_outlived_the_wish_is_asked_back() {
    let pair = Pair::bound();
    // The grant is given by a receive that finds nothing.
    assert_eq!(receive_once(pair.c, 100), Received::Empty);
    assert_eq!(pair.c.endpoint.granted.get(), 1);
    pair.c.stream().release();
    for _ in 0..100 {
        assert!(send(pair.s, 1));
        if pair.s.endpoint.tx_ep.get() == 1 {
            break;
        }
        while receive(pair.c, 100) > 0 {}
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        pair.s.endpoint.tx_ep.get(),
        1,
        "no upgrade by the open grant"
    );
    while receive(pair.c, 100) > 0 {}
    assert!(send(pair.s, 1));
    assert_eq!(
        pair.s.endpoint.tx_ep.get(),
        2,
        "the ring was not asked back"
    );
    while receive(pair.c, 100) > 0 {}
}

#[test]
fn what_lies_before_a_switch_back_is_readable_below_the_low_water_mark() {
    let pair = Pair::on_ring();
    pair.c.endpoint.low_water.set(100);
    assert!(send(pair.s, 50));
    assert!(!pair.c.stream().readiness(false).readable);
    pair.s.stream().release();
    assert!(send(pair.s, 60));
    assert!(pair.c.stream().readiness(false).readable);
}

#[test]
fn who_went_into_the_kernel_before_the_binding_is_waited_for_by_the_first_grant() {
    let pair = Pair::bound_behind(|side| {
        let generation = side.stream().generation;
        assert!(side.endpoint.enter_receive_if_unbound(generation));
        assert!(side.endpoint.enter_send_if_unbound(generation));
    });
    let (endpoint, generation) = (pair.c.endpoint, pair.c.stream().generation);
    assert!(!endpoint.enter_receive_if_unbound(generation));
    assert!(!endpoint.enter_send_if_unbound(generation));
    receive(pair.c, 100);
    assert_eq!(endpoint.granted.get(), 0, "a thread is inside");
    endpoint.kernel_received(generation, 0);
    receive(pair.c, 100);
    assert_eq!(endpoint.granted.get(), 1);
    // The far side consents, but this one has a thread inside a send.
    receive(pair.s, 100);
    assert!(send(pair.c, 1));
    assert_eq!(endpoint.tx_ep.get(), 0);
    endpoint.kernel_sent(generation, 0, 1);
    assert_eq!(receive(pair.s, 100), 1);
    assert!(send(pair.c, 1));
    assert_eq!(endpoint.tx_ep.get(), 1);
}

#[test]
fn bytes_of_threads_inside_the_kernel_are_counted_beside_those_of_the_ring() {
    const CALLS: u64 = 200_000;
    let pair = Pair::bound();
    let endpoint = pair.c.endpoint;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let stream = pair.c.stream();
                for _ in 0..CALLS {
                    endpoint.itx.enter();
                    stream.kernel_sent(1);
                    endpoint.irx.enter();
                    stream.kernel_received(1);
                }
            });
        }
        // A third one holds the locks.
        scope.spawn(|| {
            for _ in 0..CALLS {
                endpoint.bytes_out.add(1);
                endpoint.bytes_in.add(1);
            }
        });
    });
    assert_eq!(endpoint.sent_bytes(), 3 * CALLS);
    assert_eq!(endpoint.received_bytes(), 3 * CALLS);
}

#[test]
fn a_new_channel_is_asked_for_a_larger_ring_again() {
    let pair = Pair::bound_behind(|c| c.endpoint.ring_growth_refused.set(1));
    assert_eq!(pair.c.endpoint.ring_growth_refused.get(), 0);
}

#[test]
fn only_what_is_unbound_and_wished_for_is_bound_and_only_in_the_life_that_was_negotiated_for() {
    let pair = Pair::bound_behind(|c| {
        let (other, generation) = c.channel.allocate_slot().unwrap_or((1, 1));
        c.stream().release();
        assert!(!c.stream().bind(c.channel, other, generation), "given up");
        c.stream().wish();
        let mut stream = c.stream();
        stream.generation = stream.generation.wrapping_sub(1);
        assert!(!stream.bind(c.channel, other, generation), "closed");
        assert!(!c.stream().is_bound());
    });
    let before = pair.c.endpoint.slot_generation.get();
    assert!(
        !pair
            .c
            .stream()
            .bind(pair.c.channel, pair.slot + 1, before + 1),
        "bound already"
    );
    assert_eq!(pair.c.endpoint.slot.get(), pair.slot);
    assert_eq!(pair.c.endpoint.slot_generation.get(), before);
}

#[test]
fn a_bell_for_which_there_is_no_room_ends_nothing() {
    let pair = Pair::on_ring();
    let small: libc::c_int = 1;
    // SAFETY: one local value.
    let set = unsafe {
        libc::setsockopt(
            pair.c.descriptor,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const small).cast(),
            size_of_val(&small) as u32,
        )
    };
    assert_eq!(set, 0);
    // Somebody else's bytes, so that the room is gone whatever a bell takes.
    fill_kernel(pair.c);
    let arm = pair.own_entry(pair.s).arm_rx();
    arm.store(arm.load(Ordering::Relaxed) | 1, Ordering::Release);
    assert!(send(pair.c, 1));
    assert_eq!(pair.c.endpoint.broken.get(), 0);
    let own = pair.own_entry(pair.c);
    assert_eq!(
        own.koff().load(Ordering::Acquire),
        pair.c.endpoint.ktx.get()
    );
    assert_eq!(own.ringing().load(Ordering::Acquire), 0);
    assert!(send(pair.c, 1), "the ring goes on");
}

/// The far side's set.
const WAITER: u32 = 1;

/// The far side's set sleeps, and watches this connection.
fn far_set_sleeps(pair: &Pair) {
    let far = pair.own_entry(pair.s);
    far.waiter().store(WAITER, Ordering::Relaxed);
    far.watch().store(0b11, Ordering::Release);
    let epoch = pair.s.channel.own_waiter_epoch(WAITER as usize).unwrap();
    epoch.store(1, Ordering::Release);
}

fn assert_that_others_may_ring_for_the_set(pair: &Pair) {
    assert!(
        pair.c.channel.notify_waiter(WAITER as usize, pair.slot, 0),
        "the set counts as rung for, and nobody rang"
    );
}

#[test]
fn a_connection_that_cannot_ring_silences_no_other_of_the_set() {
    let pair = Pair::on_ring();
    far_set_sleeps(&pair);
    // It is just closing it.
    pair.own_entry(pair.s).gone().store(1, Ordering::Release);
    // A reader that wants the ring ended rings for writers, in the one way that does not look at `gone` before.
    pair.c.stream().ask_for_retreat();
    assert_that_others_may_ring_for_the_set(&pair);
}

#[test]
fn a_set_s_bell_that_finds_no_room_silences_no_other_of_the_set() {
    let pair = Pair::on_ring();
    far_set_sleeps(&pair);
    fill_kernel(pair.c);
    assert!(send(pair.c, 1));
    assert_that_others_may_ring_for_the_set(&pair);
}
