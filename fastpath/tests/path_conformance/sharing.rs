//! What the two sides of a channel tell each other beside rings: slots, claims, ready bits, epochs, events, ends.

use crate::world::{Kind, PORT, SOME_LOOKS, join, soon, soon_true};
use fastpath::bell::{self, Epoch};
use fastpath::channel::claims::{Acknowledgement, ClaimAnswer};
use fastpath::channel::{Channel, Role, table};
use fastpath::ready::{self, Harvest};
use fastpath::sync::Ordering;
use kmod_interface::handshake::AddressPair;
use kmod_interface::ict::SLOT_BOUND;

pub fn a_slot_comes_back_when_both_sides_left_it<K: Kind>() {
    let joined = join(K::pair(0));
    let (c, s) = (joined.c, joined.s);
    for round in 1..200 {
        let (slot, generation) = soon(|| s.allocate_slot());
        assert!(s.bind_slot(slot, generation, 11, 100), "round {round}");
        assert!(c.bind_slot(slot, generation, 22, 200), "round {round}");
        let far = c.far_entry(slot).unwrap();
        // The generation alone is there since the last sweep.
        soon_true(|| {
            far.generation().load(Ordering::Acquire) == generation
                && far.state().load(Ordering::Acquire) == SLOT_BOUND
        });
        assert_eq!(far.cookie().load(Ordering::Relaxed), 11);
        let (c_own, s_own) = (c.own_entry(slot).unwrap(), s.own_entry(slot).unwrap());
        c_own.tail().store(77, Ordering::Relaxed);
        s.slot_leave(slot, generation);
        for _ in 0..3 {
            s.slot_sweep();
        }
        assert_eq!(c.slots_in_use(), 1);
        c.slot_leave(slot, generation);
        c.slot_sweep();
        assert_eq!(
            c_own.tail().load(Ordering::Relaxed),
            77,
            "S has not finished"
        );
        soon_true(|| {
            s.slot_sweep();
            s_own.generation().load(Ordering::Relaxed) != generation
        });
        soon_true(|| {
            c.slot_sweep();
            c.slots_in_use() == 0
        });
        assert_eq!(c_own.tail().load(Ordering::Relaxed), 0);
    }
}

pub fn a_claim_is_found_answered_and_bound<K: Kind>() {
    let joined = join(K::pair(0));
    let (c, s) = (joined.c, joined.s);
    for port in 1..40 {
        let pair = AddressPair {
            connect_address: [1; 16],
            accept_address: [2; 16],
            connect_port: port,
            accept_port: 80,
        };
        let ticket = c.claim_begin(&pair, u64::from(port) << 50, 31).unwrap();
        let found = soon(|| s.claim_find(&pair));
        assert_eq!(
            (found.cookie, found.knock_value),
            (u64::from(port) << 50, 31)
        );
        assert!(s.claim_take(found.ticket));
        assert_eq!(c.claim_answer(ticket), ClaimAnswer::None);
        if port % 3 == 0 {
            s.claim_refuse(found.ticket);
            let answer = soon(|| Some(c.claim_answer(ticket)).filter(|a| *a != ClaimAnswer::None));
            assert_eq!(answer, ClaimAnswer::Refused);
        } else {
            s.claim_give(found.ticket, 5, port.into(), 17);
            let answer = soon(|| Some(c.claim_answer(ticket)).filter(|a| *a != ClaimAnswer::None));
            let given = ClaimAnswer::Given {
                slot: 5,
                generation: port.into(),
                knock_value: 17,
            };
            assert_eq!(answer, given);
            assert_eq!(s.claim_acknowledged(found.ticket), Acknowledgement::None);
            c.claim_acknowledge(ticket);
            soon_true(|| s.claim_acknowledged(found.ticket) == Acknowledgement::Given);
            s.claim_bound(found.ticket);
            assert!(soon(|| c.claim_outcome(ticket)));
        }
        c.claim_end(ticket);
    }
}

pub const WAITER: usize = 9;

/// Positions that are ready for S's waiter.
pub fn collect(s: &Channel, harvest: &mut Harvest) -> Vec<u32> {
    let mut positions = Vec::new();
    ready::collect(
        s.far_ready_summary(WAITER).unwrap(),
        s.own_answer_summary(WAITER).unwrap(),
        s.layout().ready_words() as u32,
        |word| {
            (
                s.far_ready_word(WAITER, word as usize).unwrap(),
                s.own_answer_word(WAITER, word as usize).unwrap(),
            )
        },
        harvest,
        1000,
        |position| positions.push(position),
    );
    positions
}

pub fn each_mark_is_collected_once<K: Kind>() {
    let joined = join(K::pair(1));
    let (c, s) = (joined.c, joined.s);
    let mut harvest = Harvest::new();
    for round in 0..50_u32 {
        let mut marked: Vec<u32> = [3, 77, 100 + round % 20, 3]
            .map(|slot| {
                // What became ready is published with a fence.
                let tail = c.own_entry(slot).unwrap().tail();
                tail.publish_and_fence(round.into());
                let _ = c.notify_waiter(WAITER, slot, round & 1);
                slot * 2 + (round & 1)
            })
            .into();
        marked.sort_unstable();
        marked.dedup();
        let mut collected = Vec::new();
        soon_true(|| {
            collected.extend(collect(s, &mut harvest));
            collected.len() >= marked.len()
        });
        collected.sort_unstable();
        assert_eq!(collected, marked);
        for _ in 0..SOME_LOOKS {
            assert!(collect(s, &mut harvest).is_empty());
        }
    }
}

pub fn an_armed_sleeper_is_rung_for_once<K: Kind>() {
    let joined = join(K::pair(0));
    let (c, s) = (joined.c, joined.s);
    let epoch = Epoch::new(s.own_entry(2).unwrap().arm_rx());
    let (far, tail) = (
        c.far_entry(2).unwrap().arm_rx(),
        c.own_entry(2).unwrap().tail(),
    );
    let mut rung = 0;
    for round in 1..500 {
        // Armed before the waker's publish: the waker must see it, whatever is late.
        epoch.arm();
        tail.publish_and_fence(round);
        assert!(bell::due(far, &mut rung), "round {round}");
        assert!(!bell::due(far, &mut rung), "twice in round {round}");
        epoch.disarm();
        // The waker first: the sleeper's second look must find what was published.
        tail.publish_and_fence(round + (1 << 32));
        let rings = bell::due(far, &mut rung);
        epoch.arm();
        let seen = s.far_entry(2).unwrap().tail().load(Ordering::Acquire);
        assert!(rings || seen == round + (1 << 32), "round {round}");
        epoch.disarm();
    }
}

pub fn events_arrive_in_order<K: Kind>() {
    let joined = join(K::pair(0));
    let (c, s) = (joined.c, joined.s);
    for round in 0..100 {
        for slot in 0..3 {
            assert!(s.post_revert(slot, round));
        }
        for slot in 0..3 {
            let event = soon(|| c.next_event());
            assert_eq!((event.slot, event.generation), (slot, round));
        }
    }
    for _ in 0..SOME_LOOKS {
        assert_eq!(c.next_event(), None);
    }
}

pub fn the_last_member_ends_the_channel_and_the_far_side_hears_of_it<K: Kind>() {
    let joined = join(K::pair(0));
    let (c, s) = (joined.c, joined.s);
    let index = s.index();
    let entry = s.own_entry(3).unwrap();
    entry.tail().publish_and_fence(5);
    assert!(s.retain());
    s.release();
    assert!(!c.far_home_left() && c.takes_claims());
    s.release();
    assert!(table::get(index).is_none_or(|other| !std::ptr::eq(other, s)) || !s.retain());
    soon_true(|| c.far_home_left());
    assert!(!c.takes_claims());
    assert_eq!(entry.tail().load(Ordering::Relaxed), 0);
    assert_eq!(c.far_entry(3).unwrap().tail().load(Ordering::Relaxed), 5);
    assert!(table::claimable(Role::Accepting, [0; 16], PORT).all(|other| !std::ptr::eq(other, s)));
}
