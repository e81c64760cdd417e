//! The faults themselves, on bare ends and channels: what each does, and that it does no more.

use crate::rings::Direction;
use crate::sharing::{WAITER, collect};
use crate::world::{Joined, Kind, OneProcess, Random, SOME_LOOKS, SharedPages, join, soon_true};
use fastpath::error::Blame;
use fastpath::path::Path;
use fastpath::path::faulty::{Died, Faulty, Plan};
use fastpath::path::in_process::InProcess;
use fastpath::ready::Harvest;
use fastpath::ring::{Consumer, Producer};
use fastpath::sync::Ordering;
use kmod_interface::handshake::AddressPair;
use kmod_interface::limits::WAITERS;
use std::panic::{AssertUnwindSafe, catch_unwind};

const PLACE: usize = 64 << 10;

fn ends(plan: Plan) -> [Faulty<InProcess>; 2] {
    Faulty::pair(OneProcess::pair(0), [plan; 2]).expect("memory")
}

#[test]
fn delayed_stores_wait_and_all_are_seen_in_the_end() {
    let [near, far] = ends(Plan::late(5, 4));
    for value in 1..=100 {
        near.own().word32(PLACE).store(value, Ordering::Release);
    }
    assert_eq!((far.unseen(), near.stores(), near.unseen()), (100, 100, 0));
    let mut seen = Vec::new();
    soon_true(|| {
        seen.push(far.far().word32(PLACE).load(Ordering::Acquire));
        seen.last() == Some(&100)
    });
    assert!(seen.is_sorted());
    seen.dedup();
    assert!(
        (20..100).contains(&seen.len()),
        "late, but not at once: {seen:?}"
    );
    assert_eq!(far.unseen(), 0);
    near.own().word32(PLACE).store(101, Ordering::Release);
    far.see_all();
    assert_eq!(far.unseen(), 0);
    near.unmap();
    far.unmap();
}

#[test]
fn a_look_may_find_the_writer_in_the_middle() {
    let [near, far] = ends(Plan::late(6, 1));
    let mut middles = 0;
    for value in 1..200 {
        near.own().word32(PLACE).store(value, Ordering::Relaxed);
        near.own()
            .word32(PLACE + 64)
            .store(value, Ordering::Release);
        soon_true(|| {
            let second = far.far().word32(PLACE + 64).load(Ordering::Acquire);
            let first = far.far().word32(PLACE).load(Ordering::Acquire);
            middles += u32::from(first != second);
            second == value
        });
    }
    assert!(middles > 100, "{middles}");
    near.unmap();
    far.unmap();
}

#[test]
fn one_end_may_be_late_and_the_other_prompt() {
    let plans = [Plan::PROMPT, Plan::late(7, 2)];
    let [near, far] = Faulty::pair(SharedPages::pair(0), plans).expect("memory");
    let mut late = 0;
    for value in 1..100 {
        far.own().word32(PLACE).store(value, Ordering::Release);
        assert_eq!(near.far().word32(PLACE).load(Ordering::Acquire), value);
        near.own().word32(PLACE).store(value, Ordering::Release);
        late += u32::from(far.far().word32(PLACE).load(Ordering::Acquire) != value);
    }
    assert!(late > 50, "{late}");
    near.unmap();
    far.unmap();
}

#[test]
fn a_lost_notification_is_made_good_by_the_next_look() {
    let joined = join(ends(Plan::PROMPT));
    let (c, s) = (joined.c, joined.s);
    let mut direction = Direction::new(&joined, 0);
    let mut harvest = Harvest::new();
    for _ in 0..5 {
        joined.paths[1].lose_notifications();
        assert_eq!(direction.write(100), 100);
        let _ = c.notify_waiter(WAITER, 3, 0);
        for _ in 0..SOME_LOOKS {
            assert!(collect(s, &mut harvest).is_empty(), "it was lost");
        }
        // What it would have told of is there for whoever looks.
        assert_eq!(direction.read(200), 100);
        // Marks that lie behind it must not be believed to be told already.
        let _ = c.notify_waiter(WAITER, 4, 0);
        joined.paths[1].redeliver();
        assert_eq!(collect(s, &mut harvest), [6, 8]);
        assert!(collect(s, &mut harvest).is_empty());
    }
}

#[test]
fn a_writer_that_dies_at_any_store_leaves_exactly_what_it_had_published() {
    let mut died = [0; 2];
    for store in 0.. {
        let joined = join(ends(Plan::late(store, 2)));
        let mut direction = Direction::new(&joined, 0);
        joined.paths[0].die_at_store(store);
        let mut published = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for bytes in [100, 1000, 2900, 1] {
                direction.write(bytes);
                published += bytes as u64;
            }
        }));
        let is_in_the_middle = match outcome {
            Ok(()) => {
                joined.paths[0].live_again();
                assert_eq!(
                    (store, died),
                    (8, [4, 4]),
                    "a copy and a publish each, four times"
                );
                return;
            }
            Err(death) => {
                assert!(death.is::<Died>());
                store % 2 == 1
            }
        };
        died[usize::from(is_in_the_middle)] += 1;
        for _ in 0..1000 {
            direction.read(700);
        }
        assert_eq!(direction.taken(), published);
        let dead = catch_unwind(AssertUnwindSafe(|| direction.write(1)));
        assert!(dead.is_err(), "the dead write no more");
        joined.paths[0].live_again();
    }
}

/// Calls everything that reads what the far side writes.
fn look_at_everything<End: Path>(joined: &Joined<End>, random: &mut Random) {
    for channel in [joined.c, joined.s] {
        let layout = channel.layout();
        if let Some(event) = channel.next_event() {
            // Whatever slot a lie names, an entry is shown only for those that there are.
            let is_there = channel.own_entry(event.slot).is_some();
            assert_eq!(is_there, event.slot < layout.slots);
        }
        let _ = (channel.takes_claims(), channel.far_home_left());
        let pair = AddressPair {
            connect_address: [1; 16],
            accept_address: [2; 16],
            connect_port: 1,
            accept_port: 2,
        };
        if let Some(ticket) = channel.claim_begin(&pair, 1, 1) {
            if let fastpath::channel::claims::ClaimAnswer::Given { slot, .. } =
                channel.claim_answer(ticket)
            {
                assert!(slot < layout.slots);
            }
            channel.claim_end(ticket);
        }
        if let Some(found) = channel.claim_find(&pair)
            && channel.claim_take(found.ticket)
        {
            channel.claim_refuse(found.ticket);
        }
        if let Some((slot, generation)) = channel.allocate_slot() {
            assert!(slot < layout.slots && generation > 0);
            channel.cancel_slot(slot, generation);
        }
        channel.slot_sweep();
        let mut harvest = Harvest::new();
        for position in collect(channel, &mut harvest) {
            assert!((position as usize) < layout.ready_words() * 64);
        }
        let waiter = random.below(WAITERS as u64) as usize;
        let _ = channel.notify_waiter(waiter, random.below(16) as u32, 0);
        for slot in 0..layout.slots {
            let far = channel.far_entry(slot).expect("entry");
            let own = channel.own_entry(slot).expect("entry");
            let (offset, ring_bytes) = (
                far.ring_offset().load(Ordering::Relaxed),
                far.ring_bytes().load(Ordering::Relaxed),
            );
            let Some(ring) = channel.far_ring(offset, ring_bytes) else {
                continue;
            };
            let (head, tail) = (random.next(), random.below(4096));
            let mut consumer = Consumer::new(ring, head, head, own.head(), far.tail());
            let mut bytes = vec![0; ring_bytes as usize];
            match consumer.available(u64::MAX) {
                // SAFETY: what is available is no more than the ring.
                Ok(available) => unsafe {
                    assert!(available <= u64::from(ring_bytes));
                    consumer.copy_out(bytes.as_mut_ptr(), available as usize);
                },
                Err(blame) => assert!(matches!(blame, Blame::PeerMisbehaved(_))),
            }
            let own_ring = channel
                .own_ring(layout.pool_offset(), 4096)
                .expect("the first page");
            let mut producer = Producer::new(own_ring, tail, 0, own.tail(), far.head());
            match producer.room(u64::MAX) {
                // SAFETY: there is room.
                Ok(room) => unsafe {
                    assert!(room <= 4096);
                    let bytes = [0; 4096];
                    producer.copy_in(bytes.as_ptr(), room as usize);
                },
                Err(blame) => assert!(matches!(blame, Blame::PeerMisbehaved(_))),
            }
        }
    }
}

/// Guard pages lie around every mapping, so an access outside is a SIGSEGV.
#[test]
fn whatever_is_scribbled_nothing_outside_is_touched_and_nothing_panics() {
    let mut random = Random::new(99);
    for seed in 0..20 {
        let joined = join(ends(Plan::late(seed, 3)));
        let region = joined.c.layout().region_bytes as usize;
        for round in 0..60 {
            for path in &joined.paths {
                let offset = random.below(region as u64) as usize;
                // Long rows of one value, single words, plausible small numbers.
                let value = match random.below(3) {
                    0 => random.next(),
                    1 => u64::MAX,
                    _ => random.below(region as u64),
                };
                let row = if round % 8 == 0 { 4096 } else { 3 };
                let bytes: Vec<u8> = (0..row).flat_map(|_| value.to_ne_bytes()).collect();
                path.scribble(offset & !3, &bytes);
                let layout = joined.c.layout();
                let entry = layout.entry(random.below(16) as u32).expect("entry");
                path.scribble(entry + random.below(48) as usize * 4, &bytes[..4]);
                // A ring that lies in the pool.
                let ring = [layout.pool_offset(), 4096].map(u32::to_ne_bytes).concat();
                path.scribble(entry + kmod_interface::ict::offset::RING_OFFSET, &ring);
            }
            look_at_everything(&joined, &mut random);
        }
    }
}

#[test]
fn what_is_scribbled_is_in_one_view_alone() {
    let [near, far] = ends(Plan::PROMPT);
    near.own().word32(PLACE).store(1, Ordering::Release);
    far.see_all();
    far.scribble(PLACE, &[0xFF; 8]);
    assert_eq!(far.far().word64(PLACE).load(Ordering::Acquire), u64::MAX);
    assert_eq!(near.own().word64(PLACE).load(Ordering::Acquire), 1);
    assert_eq!(near.far().word64(PLACE).load(Ordering::Acquire), 0);
    assert_eq!(far.own().word64(PLACE).load(Ordering::Acquire), 0);
    // Cut off at the end of the region.
    far.scribble((128 << 10) - 4, &[0xFF; 64]);
    far.scribble(usize::MAX, &[0xFF; 64]);
    near.unmap();
    far.unmap();
}
