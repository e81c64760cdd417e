//! The ring against a plain queue, one body for the property tests and the fuzz target.
//!
//! Both ends run in one thread on one small ring that ends where unmapped memory begins. Each step says what happens at one
//! end, or what a lying far side writes into a word that the end reads; the oracle knows the answer to each.
//!
//! The includer allows unsafe code; this body has to call the ring's raw copies.

use fastpath::error::Blame;
use fastpath::ring::{Consumer, Producer, RingBytes};
use fastpath::sync::{FarWord64, Ordering, OwnWord64, Word64};
use std::collections::VecDeque;

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Look for room, copy at most this many bytes in two pieces, publish.
    Send {
        wanted: u64,
        first: u64,
        fence: bool,
    },
    /// Look for bytes, copy at most this many out in two pieces, publish.
    Receive {
        wanted: u64,
        first: u64,
        fence: bool,
    },
    /// Look ahead without taking.
    Peek { ahead: u64, wanted: u64 },
    /// Take without looking.
    Skip { wanted: u64 },
    /// The far reader lies: head = what the sender checked last + this.
    LieHead { offset: i64 },
    /// The far writer lies: tail = what the receiver checked last + this.
    LieTail { offset: i64 },
    /// The far writer scribbles over a byte of the ring.
    Scribble { position: u64, byte: u8 },
}

impl Op {
    /// Any three numbers are a step; small ones come often.
    #[must_use]
    pub fn from_parts(kind: u8, a: u64, b: u64) -> Self {
        let small = |value: u64| if value & 1 == 0 { value % 80 } else { value };
        let near = |value: u64| {
            if value & 1 == 0 {
                (value % 200) as i64 - 100
            } else {
                value as i64
            }
        };
        match kind % 12 {
            0..=3 => Self::Send {
                wanted: small(a),
                first: small(b),
                fence: kind & 64 != 0,
            },
            4..=7 => Self::Receive {
                wanted: small(a),
                first: small(b),
                fence: kind & 64 != 0,
            },
            8 => Self::Peek {
                ahead: small(a),
                wanted: small(b),
            },
            9 => Self::Skip { wanted: small(a) },
            10 if kind & 64 == 0 => Self::LieHead { offset: near(a) },
            10 => Self::LieTail { offset: near(a) },
            _ => Self::Scribble {
                position: a,
                byte: b as u8,
            },
        }
    }

    /// A lie or a scribble.
    #[must_use]
    pub fn is_hostile(&self) -> bool {
        matches!(
            self,
            Self::LieHead { .. } | Self::LieTail { .. } | Self::Scribble { .. }
        )
    }
}

/// A ring of `ring_bytes` whose last byte is followed by memory that faults.
struct Memory {
    map: *mut u8,
    map_bytes: usize,
    base: *mut u8,
}

impl Memory {
    fn new(ring_bytes: usize) -> Self {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        const PAGE: usize = 4096;
        let map_bytes = ring_bytes.div_ceil(PAGE) * PAGE + PAGE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let map = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                map_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .expect("mmap")
        .cast::<u8>();
        let guard = map.wrapping_add(map_bytes - PAGE);
        // SAFETY: the last page of the mapping above.
        unsafe { mprotect(guard.cast(), PAGE, MprotectFlags::empty()) }.expect("mprotect");
        Self {
            map,
            map_bytes,
            base: guard.wrapping_sub(ring_bytes),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nothing points into it any more.
        let _ = unsafe { rustix::mm::munmap(self.map.cast(), self.map_bytes) };
    }
}

struct World {
    ring_bytes: u64,
    _memory: Memory,
    bytes: RingBytes,
    _words: Box<[u64; 2]>,
    tail_word: Word64,
    head_word: Word64,
    /// Own states, as family memory keeps them.
    tail: u64,
    head_seen: u64,
    head: u64,
    tail_seen: u64,
    /// The oracle: what is in the ring, `None` where a scribble may have changed it.
    queue: VecDeque<Option<u8>>,
    next: u8,
}

/// Runs the steps on a ring of `ring_bytes` that has carried `position` bytes; panics where ring and oracle differ.
pub fn run(ring_bytes: u32, position: u64, ops: impl IntoIterator<Item = Op>) {
    let memory = Memory::new(ring_bytes as usize);
    let mut words = Box::new([position; 2]);
    let [tail_place, head_place] = &mut *words;
    // SAFETY: the box lives as long as the world does.
    let (tail_word, head_word) = unsafe {
        (
            Word64::at(std::ptr::from_mut(tail_place).cast()),
            Word64::at(std::ptr::from_mut(head_place).cast()),
        )
    };
    let mut world = World {
        ring_bytes: u64::from(ring_bytes),
        // SAFETY: the mapping lives as long as the world does.
        bytes: unsafe { RingBytes::at(memory.base, ring_bytes) },
        _memory: memory,
        _words: words,
        tail_word,
        head_word,
        tail: position,
        head_seen: position,
        head: position,
        tail_seen: position,
        queue: VecDeque::new(),
        next: 1,
    };
    for op in ops {
        world.step(op);
    }
}

impl World {
    fn producer(&self) -> Producer {
        Producer::new(
            self.bytes,
            self.tail,
            self.head_seen,
            OwnWord64::new(self.tail_word),
            FarWord64::new(self.head_word),
        )
    }
    fn consumer(&self) -> Consumer {
        Consumer::new(
            self.bytes,
            self.head,
            self.tail_seen,
            OwnWord64::new(self.head_word),
            FarWord64::new(self.tail_word),
        )
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Send {
                wanted,
                first,
                fence,
            } => self.send(wanted, first, fence),
            Op::Receive {
                wanted,
                first,
                fence,
            } => self.receive(wanted, first, fence),
            Op::Peek { ahead, wanted } => self.peek(ahead, wanted),
            Op::Skip { wanted } => self.skip(wanted),
            Op::LieHead { offset } => self.lie_head(offset),
            Op::LieTail { offset } => self.lie_tail(offset),
            Op::Scribble { position, byte } => self.scribble(position, byte),
        }
    }

    fn send(&mut self, wanted: u64, first: u64, fence: bool) {
        let mut producer = self.producer();
        let room = producer.room(wanted).expect("an honest reader is believed");
        let free = self.ring_bytes - self.queue.len() as u64;
        assert!(room <= free, "more room than there is");
        assert!(room >= wanted.min(free), "a look shows all the room");
        let count = wanted.min(room);
        let bytes: Vec<u8> = (0..count)
            .map(|index| self.next.wrapping_add(index as u8))
            .collect();
        let (front, back) = bytes.split_at(first.min(count) as usize);
        for piece in [front, back] {
            // SAFETY: the pieces together are no more than the room.
            unsafe { producer.copy_in(piece.as_ptr(), piece.len()) };
        }
        if fence {
            producer.publish_and_fence();
        } else {
            producer.publish();
        }
        self.next = self.next.wrapping_add(count as u8);
        self.queue.extend(bytes.into_iter().map(Some));
        assert_eq!(producer.tail(), self.tail.wrapping_add(count));
        self.tail = producer.tail();
        self.head_seen = producer.head_seen();
    }

    fn receive(&mut self, wanted: u64, first: u64, fence: bool) {
        let mut consumer = self.consumer();
        let available = consumer
            .available(wanted)
            .expect("an honest writer is believed");
        assert!(available <= self.queue.len() as u64, "more than was sent");
        assert!(available >= wanted.min(self.queue.len() as u64));
        let count = wanted.min(available) as usize;
        let mut bytes = vec![0; count];
        let (front, back) = bytes.split_at_mut((first as usize).min(count));
        for piece in [front, back] {
            // SAFETY: the pieces together are no more than is there.
            unsafe { consumer.copy_out(piece.as_mut_ptr(), piece.len()) };
        }
        if fence {
            consumer.publish_and_fence();
        } else {
            consumer.publish();
        }
        for (byte, expected) in bytes.into_iter().zip(self.queue.drain(..count)) {
            assert!(expected.is_none_or(|expected| expected == byte));
        }
        assert_eq!(consumer.head(), self.head.wrapping_add(count as u64));
        self.head = consumer.head();
        self.tail_seen = consumer.tail_seen();
    }

    fn peek(&mut self, ahead: u64, wanted: u64) {
        let mut consumer = self.consumer();
        let available = consumer
            .available(ahead.saturating_add(wanted))
            .expect("an honest writer is believed");
        let ahead = ahead.min(available);
        let count = wanted.min(available - ahead) as usize;
        let mut bytes = vec![0; count];
        // SAFETY: `ahead` and `count` together are no more than is there.
        unsafe { consumer.peek(ahead, bytes.as_mut_ptr(), count) };
        for (byte, expected) in bytes.iter().zip(self.queue.iter().skip(ahead as usize)) {
            assert!(expected.is_none_or(|expected| expected == *byte));
        }
        assert_eq!(consumer.head(), self.head, "nothing is taken");
        self.tail_seen = consumer.tail_seen();
    }

    fn skip(&mut self, wanted: u64) {
        let mut consumer = self.consumer();
        let available = consumer
            .available(wanted)
            .expect("an honest writer is believed");
        consumer.skip(wanted);
        consumer.publish();
        let count = wanted.min(available) as usize;
        self.queue.drain(..count);
        assert_eq!(consumer.head(), self.head.wrapping_add(count as u64));
        self.head = consumer.head();
        self.tail_seen = consumer.tail_seen();
    }

    /// Accepted exactly if it lies between what was checked before and the own tail; refused without a trace. The true
    /// word comes back afterwards: one lie ends a connection, here we want many.
    fn lie_head(&mut self, offset: i64) {
        let head = self.head_seen.wrapping_add_signed(offset);
        self.head_word.store(head, Ordering::Relaxed);
        let mut producer = self.producer();
        let before = producer.head_seen();
        let possible = head.wrapping_sub(self.head_seen) <= self.tail.wrapping_sub(self.head_seen);
        let answer = producer.room(u64::MAX);
        assert_eq!(answer.is_ok(), possible, "{answer:?}");
        match answer {
            Ok(room) => assert!(room <= self.ring_bytes),
            Err(blame) => {
                assert!(matches!(blame, Blame::PeerMisbehaved(_)));
                assert_eq!(producer.head_seen(), before);
            }
        }
        assert_eq!(producer.tail(), self.tail);
        self.head_word.store(self.head, Ordering::Relaxed);
    }

    /// As for the head, between what was checked before and a whole ring ahead of the own head; what such a tail promises
    /// can be copied out without leaving the ring.
    fn lie_tail(&mut self, offset: i64) {
        let tail = self.tail_seen.wrapping_add_signed(offset);
        self.tail_word.store(tail, Ordering::Relaxed);
        let mut consumer = self.consumer();
        let before = consumer.tail_seen();
        let known = self.tail_seen.wrapping_sub(self.head);
        let possible = tail.wrapping_sub(self.tail_seen) <= self.ring_bytes - known;
        let answer = consumer.available(u64::MAX);
        assert_eq!(answer.is_ok(), possible, "{answer:?}");
        match answer {
            Ok(available) => {
                assert!(available <= self.ring_bytes);
                let mut bytes = vec![0; available as usize];
                // SAFETY: as many as are said to be there.
                unsafe { consumer.copy_out(bytes.as_mut_ptr(), bytes.len()) };
            }
            Err(blame) => {
                assert!(matches!(blame, Blame::PeerMisbehaved(_)));
                assert_eq!(consumer.tail_seen(), before);
            }
        }
        self.tail_word.store(self.tail, Ordering::Relaxed);
    }

    fn scribble(&mut self, position: u64, byte: u8) {
        // SAFETY: one byte of the ring; the writer of a ring may write any of them.
        unsafe { self.bytes.copy_in(position, &raw const byte, 1) };
        let mask = self.ring_bytes - 1;
        for (index, expected) in self.queue.iter_mut().enumerate() {
            if (self.head.wrapping_add(index as u64) ^ position) & mask == 0 {
                *expected = None;
            }
        }
    }
}
