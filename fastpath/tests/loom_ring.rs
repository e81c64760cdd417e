//! The ring in every interleaving: nothing lost, doubled or re-ordered, no byte touched by both ends at once, and lying
//! indices refused. Runs the shipped source; see `loom.sh`.
#![cfg(loom)]
#![expect(unsafe_code, reason = "the ring's copies take raw pointers")]

mod model;

use fastpath::error::Blame;
use fastpath::fault::Fault;
use fastpath::ring::{Consumer, Producer, RingBytes};
use fastpath::sync::{FarWord64, Ordering, OwnWord64, Word64};
use loom::thread;
use model::{holds, is_caught};

/// What both ends map.
#[derive(Clone, Copy)]
struct Shared {
    bytes: RingBytes,
    tail: Word64,
    head: Word64,
}

impl Shared {
    /// An empty ring that has carried `position` bytes.
    fn at(ring_bytes: u32, position: u64) -> Self {
        Self {
            bytes: RingBytes::fresh(ring_bytes),
            tail: Word64::fresh(position),
            head: Word64::fresh(position),
        }
    }
}

/// The sender's own state, as family memory would keep it between calls.
struct Sender {
    shared: Shared,
    tail: u64,
    head_seen: u64,
    next: u8,
}

impl Sender {
    fn new(shared: Shared) -> Self {
        let position = shared.tail.load(Ordering::Relaxed);
        Self {
            shared,
            tail: position,
            head_seen: position,
            next: 1,
        }
    }

    /// One call: sends up to `wanted` bytes, each one more than the last; says how many.
    fn send(&mut self, wanted: usize) -> Result<usize, Blame> {
        let mut producer = Producer::new(
            self.shared.bytes,
            self.tail,
            self.head_seen,
            OwnWord64::new(self.shared.tail),
            FarWord64::new(self.shared.head),
        );
        let room = producer.room(wanted as u64)?;
        assert!(room <= u64::from(self.shared.bytes.ring_bytes()));
        let count = wanted.min(room as usize);
        let bytes: Vec<u8> = (0..count).map(|index| self.next + index as u8).collect();
        // SAFETY: no more than there is room for.
        unsafe { producer.copy_in(bytes.as_ptr(), count) };
        producer.publish();
        self.next += count as u8;
        self.tail = producer.tail();
        self.head_seen = producer.head_seen();
        Ok(count)
    }
}

/// The receiver's own state.
struct Receiver {
    shared: Shared,
    head: u64,
    tail_seen: u64,
    next: u8,
}

impl Receiver {
    fn new(shared: Shared) -> Self {
        let position = shared.head.load(Ordering::Relaxed);
        Self {
            shared,
            head: position,
            tail_seen: position,
            next: 1,
        }
    }

    /// One call: takes what is there, up to `wanted`, and checks that it is what comes next.
    fn receive(&mut self, wanted: usize) -> Result<usize, Blame> {
        let mut consumer = Consumer::new(
            self.shared.bytes,
            self.head,
            self.tail_seen,
            OwnWord64::new(self.shared.head),
            FarWord64::new(self.shared.tail),
        );
        let available = consumer.available(wanted as u64)?;
        assert!(available <= u64::from(self.shared.bytes.ring_bytes()));
        let count = wanted.min(available as usize);
        let mut bytes = [0; 8];
        // SAFETY: no more than is there.
        unsafe { consumer.copy_out(bytes.as_mut_ptr(), count) };
        consumer.publish();
        for &byte in &bytes[..count] {
            assert_eq!(byte, self.next, "lost, doubled or re-ordered");
            self.next += 1;
        }
        self.head = consumer.head();
        self.tail_seen = consumer.tail_seen();
        Ok(count)
    }
}

fn stream_through(ring_bytes: u32, position: u64, sends: &'static [usize], receives: &[usize]) {
    let shared = Shared::at(ring_bytes, position);
    let mut receiver = Receiver::new(shared);
    let writer = thread::spawn(move || {
        let mut sender = Sender::new(shared);
        for &wanted in sends {
            sender.send(wanted).expect("honest far side");
        }
        sender.next
    });
    for &wanted in receives {
        receiver.receive(wanted).expect("honest far side");
    }
    let end = writer.join().expect("writer");
    while receiver.receive(2).expect("honest far side") != 0 {}
    assert_eq!(receiver.next, end, "all that was sent has arrived");
}

fn a_stream_of_single_bytes() {
    stream_through(2, 0, &[1, 1, 1, 1], &[1, 1, 1]);
}

fn a_stream_that_wraps_and_fills() {
    stream_through(2, 1, &[2, 2, 1], &[1, 2, 2]);
}

fn a_stream_of_uneven_pieces_at_the_end_of_the_numbers() {
    stream_through(4, u64::MAX - 2, &[3, 2, 3], &[2, 4]);
}

#[test]
fn every_byte_arrives_once_and_in_order() {
    holds(None, a_stream_of_single_bytes);
    holds(None, a_stream_that_wraps_and_fills);
    holds(None, a_stream_of_uneven_pieces_at_the_end_of_the_numbers);
}

#[test]
fn release_and_acquire_of_both_indices_are_needed() {
    is_caught(
        Fault::PublishWithoutRelease,
        None,
        a_stream_that_wraps_and_fills,
    );
    is_caught(
        Fault::FarIndexWithoutAcquire,
        None,
        a_stream_that_wraps_and_fills,
    );
}

/// A far reader that writes any head it likes while we send: room never exceeds the ring, what it takes back or invents is
/// refused, and a refused value changes nothing.
fn a_lying_head() {
    let shared = Shared::at(4, 8);
    let liar = thread::spawn(move || {
        for head in [12, 0, u64::MAX, 9] {
            shared.head.store(head, Ordering::Release);
        }
    });
    let mut sender = Sender::new(shared);
    let mut refusals = 0;
    for wanted in [3, 2, 4] {
        let before = (sender.tail, sender.head_seen);
        match sender.send(wanted) {
            Ok(_) => assert!(
                (8..=sender.tail).contains(&sender.head_seen) && sender.head_seen <= 12,
                "believed {}",
                sender.head_seen
            ),
            Err(blame) => {
                assert!(matches!(blame, Blame::PeerMisbehaved(_)));
                assert_eq!(before, (sender.tail, sender.head_seen));
                refusals += 1;
            }
        }
    }
    liar.join().expect("liar");
    // 9 came last and was never a lie once a byte is on the way; 12 is one unless four bytes are.
    assert!(refusals <= 3);
    assert!(sender.tail - sender.head_seen <= 4);
}

/// A far writer that writes any tail it likes while we receive.
fn a_lying_tail() {
    let shared = Shared::at(4, 8);
    let liar = thread::spawn(move || {
        for tail in [13, 7, u64::MAX] {
            shared.tail.store(tail, Ordering::Release);
        }
    });
    let mut consumer = Consumer::new(
        shared.bytes,
        8,
        8,
        OwnWord64::new(shared.head),
        FarWord64::new(shared.tail),
    );
    for _ in 0..2 {
        match consumer.available(1) {
            Ok(available) => assert_eq!(available, 0, "each of the tails is a lie"),
            Err(blame) => assert!(matches!(blame, Blame::PeerMisbehaved(_))),
        }
    }
    liar.join().expect("liar");
    assert_eq!((consumer.head(), consumer.tail_seen()), (8, 8));
}

#[test]
fn lying_indices_are_refused() {
    holds(None, a_lying_head);
    holds(None, a_lying_tail);
}

#[test]
fn the_check_of_far_indices_is_needed() {
    is_caught(Fault::FarIndexUnchecked, None, a_lying_head);
    is_caught(Fault::FarIndexUnchecked, None, a_lying_tail);
}
