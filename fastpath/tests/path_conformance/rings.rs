//! Rings on a path: what I1 to I5 of the ring promise, between two ends of a channel.

use crate::world::{Joined, Kind, SOME_LOOKS, content, join, soon, soon_true};
use fastpath::error::Blame;
use fastpath::path::Path;
use fastpath::ring::{Consumer, Producer};
use fastpath::sync::Ordering;

const RING: u32 = 4096;
const SLOT: u32 = 3;

fn stretch(from: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|index| content(0, from.wrapping_add(index)))
        .collect()
}

/// One direction, C to S, with what each side keeps between its calls.
pub struct Direction<'a, End> {
    pub joined: &'a Joined<End>,
    offset: u32,
    tail: u64,
    head_seen: u64,
    head: u64,
    tail_seen: u64,
}

impl<'a, End: Path> Direction<'a, End> {
    pub fn new(joined: &'a Joined<End>, start: u64) -> Self {
        let offset = joined.c.allocate_ring(RING).expect("ring space");
        let own = joined.c.own_entry(SLOT).expect("entry");
        own.ring_offset().store(offset, Ordering::Relaxed);
        own.ring_bytes().store(RING, Ordering::Relaxed);
        own.tail().store(start, Ordering::Release);
        let reader = joined.s.own_entry(SLOT).expect("entry");
        reader.head().store(start, Ordering::Release);
        let (far_tail, far_head) = (
            joined.s.far_entry(SLOT).expect("entry").tail(),
            joined.c.far_entry(SLOT).expect("entry").head(),
        );
        soon_true(|| far_tail.load(Ordering::Acquire) == start);
        soon_true(|| far_head.load(Ordering::Acquire) == start);
        Direction {
            joined,
            offset,
            tail: start,
            head_seen: start,
            head: start,
            tail_seen: start,
        }
    }

    /// Bytes that were read.
    pub fn taken(&self) -> u64 {
        self.head
    }

    fn producer(&self) -> Producer {
        let ring = self.joined.c.own_ring(self.offset, RING).expect("ring");
        let own = self.joined.c.own_entry(SLOT).expect("entry");
        let far = self.joined.c.far_entry(SLOT).expect("entry");
        Producer::new(ring, self.tail, self.head_seen, own.tail(), far.head())
    }

    fn consumer(&self) -> Consumer {
        let own = self.joined.s.own_entry(SLOT).expect("entry");
        let far = self.joined.s.far_entry(SLOT).expect("entry");
        let offset = soon(|| Some(far.ring_offset().load(Ordering::Relaxed)).filter(|&at| at != 0));
        let ring = self.joined.s.far_ring(offset, RING).expect("ring");
        Consumer::new(ring, self.head, self.tail_seen, own.head(), far.tail())
    }

    /// Writes at most `most` bytes; what went in.
    pub fn write(&mut self, most: usize) -> usize {
        let mut producer = self.producer();
        let room = producer.room(most as u64).expect("an honest reader") as usize;
        let bytes = stretch(self.tail, room.min(most));
        // SAFETY: no more than there is room.
        unsafe { producer.copy_in(bytes.as_ptr(), bytes.len()) };
        producer.publish();
        (self.tail, self.head_seen) = (producer.tail(), producer.head_seen());
        bytes.len()
    }

    /// Reads at most `most` bytes and compares them; how many came.
    pub fn read(&mut self, most: usize) -> usize {
        let mut consumer = self.consumer();
        let available = consumer.available(most as u64).expect("an honest writer") as usize;
        let mut bytes = vec![0; available.min(most)];
        // SAFETY: no more than there is.
        unsafe { consumer.copy_out(bytes.as_mut_ptr(), bytes.len()) };
        consumer.publish();
        assert!(bytes == stretch(self.head, bytes.len()), "at {}", self.head);
        (self.head, self.tail_seen) = (consumer.head(), consumer.tail_seen());
        bytes.len()
    }
}

pub fn bytes_pass_in_order_through_many_wraps<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 0);
    let mut random = crate::world::Random::new(11);
    while direction.head < 40 * u64::from(RING) {
        direction.write(random.below(1500) as usize);
        direction.read(random.below(1500) as usize);
    }
    let tail = direction.tail;
    soon_true(|| {
        direction.read(RING as usize);
        direction.head == tail
    });
}

pub fn nothing_is_seen_before_it_is_published_and_then_all<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 0);
    for _ in 0..30 {
        let bytes = stretch(direction.tail, 100);
        let mut producer = direction.producer();
        soon_true(|| producer.room(100) == Ok(u64::from(RING)) || producer.look().is_err());
        // SAFETY: there is room.
        unsafe { producer.copy_in(bytes.as_ptr(), bytes.len()) };
        for _ in 0..SOME_LOOKS {
            assert_eq!(direction.consumer().available(1), Ok(0));
        }
        producer.publish();
        direction.tail = producer.tail();
        soon_true(|| direction.consumer().available(100) == Ok(100));
        assert_eq!(
            soon(|| Some(direction.read(100)).filter(|&read| read > 0)),
            100
        );
        direction.head_seen = soon(|| {
            let mut producer = direction.producer();
            producer.look().expect("an honest reader");
            (producer.head_seen() == direction.head).then_some(direction.head)
        });
    }
}

pub fn a_full_ring_refuses_and_takes_again_when_it_was_read<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 0);
    for _ in 0..5 {
        let mut written = 0;
        soon_true(|| {
            written += direction.write(RING as usize + 1000);
            direction.tail - direction.head == u64::from(RING)
        });
        for _ in 0..SOME_LOOKS {
            assert_eq!(direction.write(1), 0, "the ring is full");
        }
        assert!(written > 0);
        soon_true(|| direction.read(70) == 70);
        soon_true(|| direction.write(1) == 1);
        let head = direction.head;
        soon_true(|| {
            direction.read(1000);
            direction.head == direction.tail && direction.head > head
        });
    }
}

pub fn a_peek_takes_nothing<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 4000);
    assert_eq!(direction.write(300), 300);
    soon_true(|| direction.consumer().available(300) == Ok(300));
    for ahead in [0, 50, 299] {
        let mut consumer = direction.consumer();
        soon_true(|| consumer.available(300) == Ok(300));
        let mut byte = 0;
        // SAFETY: 300 are there.
        unsafe { consumer.peek(ahead, &raw mut byte, 1) };
        assert_eq!(byte, content(0, 4000 + ahead));
        assert_eq!(consumer.head(), 4000);
    }
    let far_head = joined.c.far_entry(SLOT).unwrap().head();
    for _ in 0..SOME_LOOKS {
        assert_eq!(far_head.load(Ordering::Acquire), 4000);
    }
    soon_true(|| direction.read(300) == 300);
}

pub fn positions_go_on_behind_the_largest_number<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, u64::MAX - 700);
    let start = direction.head;
    soon_true(|| {
        direction.write(333);
        direction.read(200);
        direction.head.wrapping_sub(start) > 2 * u64::from(RING)
    });
    assert!(direction.head < start && direction.tail < start);
}

pub fn an_impossible_tail_is_blamed_and_moves_nothing<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 10_000);
    assert_eq!(direction.write(100), 100);
    soon_true(|| direction.read(100) == 100);
    let tail = joined.c.own_entry(SLOT).unwrap().tail();
    let far_tail = joined.s.far_entry(SLOT).unwrap().tail();
    let (head, ring) = (direction.head, u64::from(RING));
    for lie in [head - 1, 0, head + ring + 1, head + (1 << 40), u64::MAX] {
        tail.store(lie, Ordering::Release);
        soon_true(|| far_tail.load(Ordering::Acquire) == lie);
        let mut consumer = direction.consumer();
        for _ in 0..3 {
            assert!(
                matches!(consumer.available(1), Err(Blame::PeerMisbehaved(_))),
                "{lie}"
            );
        }
        assert_eq!((consumer.head(), consumer.tail_seen()), (head, head));
    }
    tail.store(head + ring, Ordering::Release);
    soon_true(|| direction.consumer().available(1) == Ok(ring));
}

pub fn an_impossible_head_is_blamed_and_moves_nothing<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 10_000);
    assert_eq!(direction.write(RING as usize), RING as usize);
    let head = joined.s.own_entry(SLOT).unwrap().head();
    let far_head = joined.c.far_entry(SLOT).unwrap().head();
    let tail = direction.tail;
    for lie in [10_000 - 1, 0, tail + 1, tail + (1 << 40), u64::MAX] {
        head.store(lie, Ordering::Release);
        soon_true(|| far_head.load(Ordering::Acquire) == lie);
        let mut producer = direction.producer();
        for _ in 0..3 {
            assert!(
                matches!(producer.room(1), Err(Blame::PeerMisbehaved(_))),
                "{lie}"
            );
        }
        assert_eq!((producer.tail(), producer.head_seen()), (tail, 10_000));
    }
    head.store(tail, Ordering::Release);
    soon_true(|| direction.producer().room(1) == Ok(u64::from(RING)));
}

pub fn a_far_ring_outside_the_pool_is_no_ring<K: Kind>() {
    let joined = join(K::pair(0));
    let layout = joined.c.layout();
    let pool = layout.pool_offset();
    for side in [joined.c, joined.s] {
        assert!(side.far_ring(pool, RING).is_some());
        assert!(side.far_ring(layout.region_bytes - RING, RING).is_some());
        for (offset, ring_bytes) in [
            (pool - RING, RING),
            (pool + 1, RING),
            (layout.region_bytes, RING),
            (layout.region_bytes - RING, 2 * RING),
            (u32::MAX - RING + 1, RING),
            (pool, 0),
            (pool, RING - 1),
            (pool, 3 * RING),
            (pool, 1 << 31),
            (0, RING),
        ] {
            assert!(
                side.far_ring(offset, ring_bytes).is_none(),
                "{offset} {ring_bytes}"
            );
        }
    }
}

/// P9 as a reader meets it.
pub fn what_was_published_before_an_end_is_read_behind_it<K: Kind>() {
    let joined = join(K::pair(0));
    let mut direction = Direction::new(&joined, 0);
    assert!(joined.c.retain(), "released once here, once at the end");
    let written = direction.write(3000);
    assert_eq!(written, 3000);
    joined.c.release();
    joined.c.release();
    soon_true(|| {
        direction.read(500);
        direction.head == 3000
    });
    for _ in 0..SOME_LOOKS {
        assert_eq!(direction.read(1), 0);
    }
}
