//! Ends, deaths and lies at one chosen moment each, on both ends of a stream in one process, over a real TCP connection.
//! What must come of them is said in PROTOCOL.md §12 and §13.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod traffic;

use channel_pair::{Ends, channel_pair};
use fastpath::endpoint::{Plain64, binding, pestered};
use fastpath::family;
use fastpath::ict::{FarEntry, OwnEntry};
use fastpath::lock::Owner;
use fastpath::stream::leave::Successor;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use traffic::Side;

struct Pair {
    c: Side,
    s: Side,
    slot: u32,
    sockets: [TcpStream; 2],
}

impl Pair {
    /// A bound pair whose directions are both on the kernel.
    fn bound() -> Pair {
        static PORT: AtomicU16 = AtomicU16::new(3000);
        family::ensure().expect("family memory");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let Ends {
            connecting,
            accepting,
        } = channel_pair(0, PORT.fetch_add(1, Ordering::Relaxed));
        let (c, s) = (Side::new(connecting, &near), Side::new(accepting, &far));
        let (slot, generation) = accepting.allocate_slot().expect("a slot");
        for side in [s, c] {
            assert!(side.channel.bind_slot(slot, generation, 0, 0));
            assert!(side.stream().bind(side.channel, slot, generation));
        }
        Pair {
            c,
            s,
            slot,
            sockets: [near, far],
        }
    }

    /// Both directions on the ring, everything read.
    fn on_ring() -> Pair {
        let pair = Pair::bound();
        for _ in 0..1000 {
            for (from, to) in [(pair.c, pair.s), (pair.s, pair.c)] {
                receive(to, 100);
                send(from, 1);
                receive(to, 100);
            }
            let is_on_ring =
                |side: Side| side.endpoint.tx_ep.get() & side.endpoint.rx_ep.get() & 1 == 1;
            if is_on_ring(pair.c) && is_on_ring(pair.s) {
                while receive(pair.c, 100) + receive(pair.s, 100) > 0 {}
                return pair;
            }
        }
        panic!("the streams stay on the kernel");
    }

    fn own_entry(&self, side: Side) -> OwnEntry {
        side.channel.own_entry(self.slot).unwrap()
    }

    fn far_entry(&self, side: Side) -> FarEntry {
        side.channel.far_entry(self.slot).unwrap()
    }
}

fn is_bound_as(side: Side) -> u32 {
    side.endpoint.binding.load(Ordering::Acquire)
}

/// Sends that many bytes, by whatever carries; false when that is impossible now.
fn send(side: Side, bytes: usize) -> bool {
    let stream = side.stream();
    let mut buffer = vec![7_u8; bytes];
    let piece = Piece {
        base: buffer.as_mut_ptr(),
        bytes,
    };
    // SAFETY: one piece of a buffer that lives through the call.
    match stream.send(&mut unsafe { Pieces::new(&raw const piece, 1) }) {
        Sent::Bytes(sent) => sent == bytes,
        Sent::Kernel => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the buffer.
            let sent = unsafe { libc::send(side.descriptor, piece.base.cast(), bytes, flags) };
            stream.kernel_sent(sent.max(0) as usize);
            sent == bytes as isize
        }
        _ => false,
    }
}

fn receive_once(side: Side, wanted: usize) -> Received {
    let mut buffer = vec![0_u8; wanted];
    let piece = Piece {
        base: buffer.as_mut_ptr(),
        bytes: wanted,
    };
    let taking = Taking {
        peek: false,
        discard: false,
        behind: false,
        wanted,
        minimum: 1,
    };
    let stream = side.stream();
    // SAFETY: one piece of a buffer that lives through the call.
    match stream.receive(&mut unsafe { Pieces::new(&raw const piece, 1) }, taking) {
        Received::Kernel | Received::KernelBounded => {
            // SAFETY: the buffer.
            let taken = unsafe {
                libc::recv(
                    side.descriptor,
                    piece.base.cast(),
                    wanted,
                    libc::MSG_DONTWAIT,
                )
            };
            stream.kernel_received(taken.max(0) as usize);
            match taken {
                0 => Received::End,
                1.. => Received::Bytes(taken as usize),
                _ => Received::Empty,
            }
        }
        other => other,
    }
}

fn receive(side: Side, wanted: usize) -> usize {
    match receive_once(side, wanted) {
        Received::Bytes(bytes) => bytes,
        _ => 0,
    }
}

/// Bytes that lie unread in the kernel's queue of a socket, once as many as are expected have come, and no more come.
fn unread_in_kernel(side: Side, expected: u64) -> u64 {
    let unread = || fastpath::stream::line::unread_bytes(side.descriptor);
    let until = Instant::now() + Duration::from_secs(10);
    while unread() < expected && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    unread()
}

/// Makes the kernel take nothing more from `side`, whose far end does not read. The far kernel's buffer grows for a while.
fn fill_kernel(side: Side) {
    let bytes = [0_u8; 65536];
    let mut quiet_rounds = 0;
    while quiet_rounds < 30 {
        quiet_rounds += 1;
        for length in [bytes.len(), 1] {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the array.
            while unsafe { libc::send(side.descriptor, bytes.as_ptr().cast(), length, flags) } > 0 {
                quiet_rounds = 0;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The id of a thread that has ended.
fn dead_owner() -> Owner {
    let thread = thread::spawn(fastpath::kernel_call::thread_id)
        .join()
        .unwrap();
    thread::sleep(Duration::from_millis(5));
    Owner {
        thread,
        process_slot: family::process_place().unwrap(),
    }
}

#[test]
fn a_leaver_resets_when_the_far_side_stops_between_announcing_and_ringing() {
    let pair = Pair::on_ring();
    pair.own_entry(pair.s).ringing().store(1, Ordering::Release);
    assert!(pair.c.stream().leave(Successor::Stranger));
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);
}

#[test]
fn who_closes_leaves_although_the_far_side_is_stopped() {
    let pair = Pair::on_ring();
    pair.own_entry(pair.s).ringing().store(1, Ordering::Release);
    assert!(pair.c.stream().leave(Successor::Nobody));
    assert_eq!(is_bound_as(pair.c), binding::LEFT);
}

#[test]
fn who_leaves_for_itself_stays_while_it_could_only_reset_and_leaves_later() {
    let pair = Pair::on_ring();
    assert!(send(pair.s, 50));
    pair.s.stream().release();
    assert!(send(pair.s, 60));
    assert!(!pair.c.stream().leave(Successor::Ourselves));
    assert_eq!(is_bound_as(pair.c), binding::BOUND);
    let mut taken = 0;
    while taken < 110 {
        let bytes = receive(pair.c, 200);
        assert!(bytes > 0);
        taken += bytes;
    }
    assert!(pair.c.stream().leave(Successor::Ourselves));
    assert_eq!(is_bound_as(pair.c), binding::LEFT);
}

#[test]
fn what_does_not_fit_the_kernel_any_more_is_a_reset_and_no_clean_end() {
    // Both leave: the second one's ring bytes, which the first has not read, find no room.
    let pair = Pair::on_ring();
    assert!(send(pair.c, 50));
    fill_kernel(pair.c);
    pair.own_entry(pair.s).gone().store(1, Ordering::Release);
    assert!(pair.c.stream().leave(Successor::Nobody));
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);

    // The same by shutdown, of a descriptor that must not block.
    let pair = Pair::on_ring();
    assert!(send(pair.c, 50));
    fill_kernel(pair.c);
    pair.own_entry(pair.s).gone().store(1, Ordering::Release);
    pair.sockets[0].set_nonblocking(true).unwrap();
    assert!(!pair.c.stream().begin_shutdown());
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);
}

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

/// A far side that grants, switches and takes back as soon as it can.
fn lie(stop: &AtomicBool, most: u32, mut step: impl FnMut() -> bool) {
    let mut steps = 0;
    while !stop.load(Ordering::Relaxed) && steps < most {
        steps += u32::from(step());
    }
}

#[test]
fn a_receive_comes_back_from_a_far_side_that_switches_without_end() {
    let pair = Pair::on_ring();
    let victim = pair.c.endpoint;
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(20);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (own, far) = (pair.own_entry(pair.s), pair.far_entry(pair.s));
            lie(&stop, 20_000, || {
                // Both switches are made before the victim has passed the first of them, and no bell belongs to them.
                let passed = far.rx_ep().load(Ordering::Acquire);
                own.kr()
                    .store(far.krx().load(Ordering::Acquire), Ordering::Relaxed);
                let ep = if passed & 1 == 0 {
                    passed + 2
                } else {
                    passed + 1
                };
                let changes = own.ep().load(Ordering::Relaxed) != ep;
                own.ep().store(ep, Ordering::Release);
                changes
            });
        });
        while victim.pestered.load(Ordering::Acquire) == pestered::NO && Instant::now() < until {
            let before = victim.rx_ep.get();
            receive_once(pair.c, 100);
            let switches = victim.rx_ep.get().wrapping_sub(before);
            assert!(switches <= 2 * 8 + 2, "{switches} switches in one call");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_send_comes_back_from_a_far_side_that_takes_back_without_end() {
    let pair = Pair::on_ring();
    let victim = pair.c.endpoint;
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(20);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (own, far) = (pair.own_entry(pair.s), pair.far_entry(pair.s));
            let mut drained = vec![0_u8; 4096];
            lie(&stop, 20_000, || {
                let ep = far.ep().load(Ordering::Acquire);
                own.want().store(ep | 1, Ordering::Relaxed);
                if ep & 1 == 1 {
                    // SAFETY: the buffer.
                    unsafe {
                        let buffer = drained.as_mut_ptr().cast();
                        libc::recv(pair.s.descriptor, buffer, 4096, libc::MSG_DONTWAIT);
                    }
                    return false;
                }
                own.head()
                    .store(far.tail().load(Ordering::Acquire), Ordering::Relaxed);
                own.krx()
                    .store(far.kr().load(Ordering::Acquire), Ordering::Relaxed);
                own.rx_ep().store(ep, Ordering::Release);
                let grants = own.grant().load(Ordering::Relaxed) != ep + 1;
                own.grant().store(ep + 1, Ordering::Release);
                grants
            });
        });
        while victim.pestered.load(Ordering::Acquire) == pestered::NO && Instant::now() < until {
            let before = victim.tx_ep.get();
            victim.upgrade_after_ns.set(0);
            let stream = pair.c.stream();
            // Nothing is sent by the kernel, so that what the far side says of its counts stays true.
            if stream.enter_kernel_send_if_even() {
                stream.kernel_sent(0);
            }
            let switches = victim.tx_ep.get().wrapping_sub(before);
            assert!(switches <= 2 * 8 + 2, "{switches} switches in one call");
        }
        stop.store(true, Ordering::Relaxed);
    });
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
    thread::sleep(Duration::from_millis(20));
    let before = unread_in_kernel(pair.s, 0);
    assert!(pair.c.endpoint.tx_lock.try_lock(dead_owner()));
    pair.c.stream().ask_for_retreat();
    assert_eq!(unread_in_kernel(pair.s, before + 1), before + 1);
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
fn bytes_of_threads_inside_the_kernel_are_counted_beside_those_of_the_ring() {
    const CALLS: u64 = 200_000;
    let pair = Pair::bound();
    let endpoint = pair.c.endpoint;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let stream = pair.c.stream();
                for _ in 0..CALLS {
                    endpoint.itx.fetch_add(1, Ordering::Relaxed);
                    stream.kernel_sent(1);
                    endpoint.irx.fetch_add(1, Ordering::Relaxed);
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
    let pair = Pair::bound();
    pair.c.endpoint.ring_growth_refused.set(1);
    let generation = pair.c.endpoint.slot_generation.get();
    assert!(pair.c.stream().bind(pair.c.channel, pair.slot, generation));
    assert_eq!(pair.c.endpoint.ring_growth_refused.get(), 0);
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

#[test]
fn a_connection_that_cannot_ring_silences_no_other_of_the_set() {
    const WAITER: u32 = 1;
    let pair = Pair::on_ring();
    // The far side's set sleeps, and watches this connection, which it is just closing.
    let far = pair.own_entry(pair.s);
    far.waiter().store(WAITER, Ordering::Relaxed);
    far.watch().store(0b11, Ordering::Release);
    let epoch = pair.s.channel.own_waiter_epoch(WAITER as usize).unwrap();
    epoch.store(1, Ordering::Release);
    far.gone().store(1, Ordering::Release);
    // A reader that wants the ring ended rings for writers, in the one way that does not look at `gone` before.
    pair.c.stream().ask_for_retreat();
    assert!(
        pair.c.channel.notify_waiter(WAITER as usize, pair.slot, 0),
        "the set counts as rung for, and nobody rang"
    );
}
