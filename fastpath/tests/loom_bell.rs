//! Epochs and bells over the ring: a sleeper is never left asleep, and one arming costs at most one bell. Runs the shipped
//! source; see `loom.sh`.
#![cfg(loom)]
#![expect(unsafe_code, reason = "the ring's copies take raw pointers")]

mod model;

use fastpath::bell::{Epoch, due, due_shared};
use fastpath::fault::Fault;
use fastpath::ring::{Consumer, Producer, RingBytes};
use fastpath::sync::{AtomicU32, FarWord32, FarWord64, OwnWord32, OwnWord64, Word32, Word64};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use model::{PREEMPTIONS, holds, is_caught};

/// The line in the kernel: bells that arrived. A sleeper that nobody rings is a deadlock of the model.
#[derive(Clone)]
struct Line(Arc<(Mutex<u32>, Condvar)>);

impl Line {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(0), Condvar::new())))
    }
    fn ring(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }
    /// Sleeps until a bell is there, without consuming it.
    fn sleep(&self) {
        let mut unread = self.0.0.lock().unwrap();
        while *unread == 0 {
            unread = self.0.1.wait(unread).unwrap();
        }
    }
    /// Consumes the bells that have arrived; how many it were.
    fn drain(&self) -> u32 {
        std::mem::take(&mut *self.0.0.lock().unwrap())
    }
    fn unread(&self) -> u32 {
        *self.0.0.lock().unwrap()
    }
}

#[derive(Clone, Copy)]
struct Shared {
    bytes: RingBytes,
    tail: Word64,
    head: Word64,
    arm: Word32,
}

impl Shared {
    fn new(tail: u64) -> Self {
        Self {
            bytes: RingBytes::fresh(2),
            tail: Word64::fresh(tail),
            head: Word64::fresh(0),
            arm: Word32::fresh(0),
        }
    }
}

/// SEND of SWITCH.md §3, one byte a call: publish, F, BELL(rx).
fn send_bytes(shared: Shared, count: u64, line: &Line) {
    let mut rung = 0;
    for tail in 0..count {
        let mut producer = Producer::new(
            shared.bytes,
            tail,
            0,
            OwnWord64::new(shared.tail),
            FarWord64::new(shared.head),
        );
        // SAFETY: the ring has room for all the bytes of the test.
        unsafe { producer.copy_in([7].as_ptr(), 1) };
        producer.publish_and_fence();
        if due(FarWord32::new(shared.arm), &mut rung) {
            line.ring();
        }
    }
}

/// RECV and SLEEP(rx): takes `count` bytes, sleeping whenever there is none; counts armings.
fn receive_bytes(shared: Shared, count: u64, line: &Line) {
    let epoch = Epoch::new(OwnWord32::new(shared.arm));
    let mut consumer = Consumer::new(
        shared.bytes,
        0,
        0,
        OwnWord64::new(shared.head),
        FarWord64::new(shared.tail),
    );
    let (mut armings, mut bells) = (0, 0);
    while consumer.head() < count {
        if consumer.available(1).unwrap() == 0 {
            bells += line.drain();
            let _ = epoch.arm();
            armings += 1;
            if consumer.available(1).unwrap() == 0 {
                line.sleep();
            }
            epoch.disarm();
            continue;
        }
        let mut byte = 0;
        // SAFETY: one byte is there.
        unsafe { consumer.copy_out(&raw mut byte, 1) };
        assert_eq!(byte, 7);
    }
    bells += line.unread();
    assert!(bells <= armings, "{bells} bells for {armings} armings");
}

fn a_reader_that_sleeps_for_each_byte() {
    let (shared, line) = (Shared::new(0), Line::new());
    let writer = {
        let line = line.clone();
        thread::spawn(move || send_bytes(shared, 2, &line))
    };
    receive_bytes(shared, 2, &line);
    writer.join().unwrap();
    // One of this class, and one that was counted but not sent when the reader drained (SWITCH.md §5).
    assert!(line.unread() <= 2);
}

/// A reader that is armed all the time, as one that stays asleep: however much is sent, it is rung for once.
fn a_reader_that_stays_asleep() {
    let (shared, line) = (Shared::new(0), Line::new());
    let _ = Epoch::new(OwnWord32::new(shared.arm)).arm();
    send_bytes(shared, 2, &line);
    assert_eq!(line.unread(), 1);
}

/// SEND with a full ring, SLEEP(tx); RECV gives room: head, F, BELL(tx).
fn a_writer_that_sleeps_for_room() {
    let (shared, line) = (Shared::new(2), Line::new());
    let reader = {
        let line = line.clone();
        thread::spawn(move || {
            let mut consumer = Consumer::new(
                shared.bytes,
                0,
                2,
                OwnWord64::new(shared.head),
                FarWord64::new(shared.tail),
            );
            let mut rung = 0;
            for _ in 0..2 {
                consumer.skip(1);
                consumer.publish_and_fence();
                if due(FarWord32::new(shared.arm), &mut rung) {
                    line.ring();
                }
            }
        })
    };
    let epoch = Epoch::new(OwnWord32::new(shared.arm));
    let mut producer = Producer::new(
        shared.bytes,
        2,
        0,
        OwnWord64::new(shared.tail),
        FarWord64::new(shared.head),
    );
    for _ in 0..2 {
        while producer.room(1).unwrap() == 0 {
            let _ = line.drain();
            let _ = epoch.arm();
            if producer.room(1).unwrap() == 0 {
                line.sleep();
            }
            epoch.disarm();
        }
        // SAFETY: there is room for one byte.
        unsafe { producer.copy_in([1].as_ptr(), 1) };
    }
    reader.join().unwrap();
}

#[test]
fn a_sleeping_reader_is_always_woken_and_never_rung_twice_for_one_arming() {
    holds(Some(PREEMPTIONS + 2), a_reader_that_sleeps_for_each_byte);
    holds(None, a_reader_that_stays_asleep);
}

#[test]
fn a_sleeping_writer_is_always_woken() {
    holds(Some(PREEMPTIONS + 2), a_writer_that_sleeps_for_room);
}

#[test]
fn both_fences_new_epochs_and_the_note_of_what_was_rung_are_needed() {
    for body in [
        a_reader_that_sleeps_for_each_byte,
        a_writer_that_sleeps_for_room,
    ] {
        is_caught(Fault::PublishWithoutFence, Some(PREEMPTIONS), body);
        is_caught(Fault::ArmWithoutFence, Some(PREEMPTIONS), body);
        is_caught(Fault::ArmWithOldEpoch, Some(PREEMPTIONS), body);
    }
    is_caught(Fault::DueForgetsRung, None, a_reader_that_stays_asleep);
}

/// Two threads of one process wake one waiter (an epoll set with two connections): it is rung for exactly once when it
/// sleeps, by whichever of them sees it.
fn two_ringers_and_one_waiter() {
    let tails = [Word64::fresh(0), Word64::fresh(0)];
    let arm = Word32::fresh(0);
    let rung = Arc::new(AtomicU32::new(0));
    let line = Line::new();
    let ringers: Vec<_> = tails
        .into_iter()
        .map(|tail| {
            let (rung, line) = (rung.clone(), line.clone());
            thread::spawn(move || {
                OwnWord64::new(tail).publish_and_fence(1);
                if due_shared(FarWord32::new(arm), &rung) {
                    line.ring();
                }
            })
        })
        .collect();
    let epoch = Epoch::new(OwnWord32::new(arm));
    let (mut armings, mut bells, mut seen) = (0, 0, 0);
    let look = || {
        tails
            .iter()
            .map(|&tail| FarWord64::new(tail).load(fastpath::sync::Ordering::Acquire))
            .sum::<u64>()
    };
    while seen < 2 {
        bells += line.drain();
        let _ = epoch.arm();
        armings += 1;
        if look() == seen {
            line.sleep();
        }
        seen = look();
    }
    for ringer in ringers {
        ringer.join().unwrap();
    }
    bells += line.unread();
    assert!(bells <= armings, "{bells} bells for {armings} armings");
}

#[test]
fn of_two_ringers_one_rings_and_none_is_lost() {
    holds(Some(PREEMPTIONS), two_ringers_and_one_waiter);
}

#[test]
fn two_ringers_need_the_fences_and_the_common_note_as_well() {
    for fault in [
        Fault::PublishWithoutFence,
        Fault::ArmWithoutFence,
        Fault::ArmWithOldEpoch,
        Fault::DueForgetsRung,
    ] {
        is_caught(fault, Some(PREEMPTIONS), two_ringers_and_one_waiter);
    }
}
