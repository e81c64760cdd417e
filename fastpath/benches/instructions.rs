//! Hot calls to be counted by `instructions.sh`: instructions, not times, so that a busy machine does not matter.
//!
//! `instructions <call> <count>` does the call `count` times after a set-up that does not depend on `count`; the script
//! takes the difference between two counts.
#![expect(unsafe_code, reason = "rings over memory of this program")]

use fastpath::bell::{due, due_shared};
use fastpath::lock::{LockWord, Locked, Owner};
use fastpath::ready::{Harvest, collect, mark};
use fastpath::ring::{Consumer, Producer, RingBytes};
use fastpath::sync::{AtomicU32, FarWord32, FarWord64, OwnWord64, Word32, Word64, time_stamp};
use fastpath::wait::{Outcome, SpinPolicy, WaitHistory, begin_at, finish};
use std::hint::black_box;

const RING_BYTES: u32 = 1 << 20;
const MESSAGE_BYTES: usize = 64;
/// Messages that fit into the ring, so that a run never has to receive to go on sending.
const MESSAGES_MOST: u64 = RING_BYTES as u64 / MESSAGE_BYTES as u64;

/// A word of this program's memory, on a line of its own.
fn word64() -> Word64 {
    #[repr(align(64))]
    struct Line(u64);
    let line = Box::leak(Box::new(Line(0)));
    // SAFETY: leaked and aligned.
    unsafe { Word64::at(std::ptr::from_mut(&mut line.0).cast()) }
}

fn word32() -> Word32 {
    let word = Box::leak(Box::new(0u32));
    // SAFETY: leaked and aligned.
    unsafe { Word32::at(std::ptr::from_mut(word).cast()) }
}

/// One direction as both ends keep it.
struct Direction {
    bytes: RingBytes,
    tail_word: Word64,
    head_word: Word64,
    arm: FarWord32,
    rung: u32,
    tail: u64,
    head_seen: u64,
    head: u64,
    tail_seen: u64,
}

impl Direction {
    fn new() -> Self {
        let memory = Vec::leak(vec![0u8; RING_BYTES as usize]);
        Self {
            // SAFETY: leaked, of that length.
            bytes: unsafe { RingBytes::at(memory.as_mut_ptr(), RING_BYTES) },
            tail_word: word64(),
            head_word: word64(),
            arm: FarWord32::new(word32()),
            rung: 0,
            tail: 0,
            head_seen: 0,
            head: 0,
            tail_seen: 0,
        }
    }

    /// What SEND does on the ring: look for room, copy, publish with a fence, see whether a bell is due.
    #[inline(never)]
    fn send(&mut self, message: &[u8]) -> bool {
        let mut producer = Producer::new(
            self.bytes,
            self.tail,
            self.head_seen,
            OwnWord64::new(self.tail_word),
            FarWord64::new(self.head_word),
        );
        let Ok(room) = producer.room(message.len() as u64) else {
            return false;
        };
        let bytes = message.len().min(room as usize);
        // SAFETY: no more than there is room for.
        unsafe { producer.copy_in(message.as_ptr(), bytes) };
        producer.publish_and_fence();
        self.tail = producer.tail();
        self.head_seen = producer.head_seen();
        due(self.arm, &mut self.rung) || bytes == message.len()
    }

    /// What RECV does on the ring: see what is there, copy, publish with a fence, see whether a bell is due.
    #[inline(never)]
    fn receive(&mut self, target: &mut [u8]) -> usize {
        let mut consumer = Consumer::new(
            self.bytes,
            self.head,
            self.tail_seen,
            OwnWord64::new(self.head_word),
            FarWord64::new(self.tail_word),
        );
        let Ok(available) = consumer.available(target.len() as u64) else {
            return 0;
        };
        let bytes = target.len().min(available as usize);
        // SAFETY: no more than is there.
        unsafe { consumer.copy_out(target.as_mut_ptr(), bytes) };
        consumer.publish_and_fence();
        self.head = consumer.head();
        self.tail_seen = consumer.tail_seen();
        let _ = due(self.arm, &mut self.rung);
        bytes
    }
}

fn sends(count: u64) {
    let mut direction = Direction::new();
    let message = black_box([7; MESSAGE_BYTES]);
    for _ in 0..count {
        assert!(direction.send(&message));
    }
}

fn receives(count: u64) {
    let mut direction = Direction::new();
    for _ in 0..MESSAGES_MOST {
        assert!(direction.send(&[7; MESSAGE_BYTES]));
    }
    let mut target = [0; MESSAGE_BYTES];
    for _ in 0..count {
        assert_eq!(direction.receive(black_box(&mut target)), MESSAGE_BYTES);
    }
}

fn locks(count: u64) {
    let lock = LockWord::new();
    let me = black_box(Owner {
        thread: 1,
        process_slot: 1,
    });
    for _ in 0..count {
        assert_eq!(lock.lock(me, |_| true), Locked::Taken);
        lock.unlock(me);
    }
}

/// One connection of 64 made ready, found and answered.
fn readies(count: u64) {
    let (ready, answer, summary, summary_answer) = (word64(), word64(), word64(), word64());
    let arm = FarWord32::new(word32());
    let rung = AtomicU32::new(0);
    let mut harvest = Harvest::new();
    for round in 0..count {
        mark(
            OwnWord64::new(ready),
            FarWord64::new(answer),
            1 << (round % 64),
            OwnWord64::new(summary),
            FarWord64::new(summary_answer),
            1,
        );
        assert!(!due_shared(arm, &rung));
        let taken = collect(
            FarWord64::new(summary),
            OwnWord64::new(summary_answer),
            1,
            |_| (FarWord64::new(ready), OwnWord64::new(answer)),
            &mut harvest,
            64,
            |position| {
                black_box(position);
            },
        );
        assert_eq!(taken, 1);
    }
}

/// The policy's share of a wait that spins and wins.
fn waits(count: u64) {
    let policy = SpinPolicy::calibrated(2600, 2);
    let history = WaitHistory::new();
    let now = time_stamp();
    for _ in 0..count {
        let _ = black_box(begin_at(&policy, &history, Some(1), 0, now));
        let won = Outcome {
            spun: true,
            ..Outcome::default()
        };
        finish(&policy, &history, won, now, now + 100);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, call, count] = &arguments[..] else {
        eprintln!(
            "counted by benches/instructions.sh: instructions send|receive|lock|ready|wait COUNT"
        );
        return;
    };
    let count: u64 = count.parse().expect("a count");
    assert!(count <= MESSAGES_MOST, "at most {MESSAGES_MOST}");
    match call.as_str() {
        "send" => sends(count),
        "receive" => receives(count),
        "lock" => locks(count),
        "ready" => readies(count),
        "wait" => waits(count),
        other => panic!("no call {other}"),
    }
}
