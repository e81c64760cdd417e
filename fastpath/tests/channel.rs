//! Slots, ring space, claims and the table of channels, both ends in one process.

mod channel_pair;

use channel_pair::{channel_pair, far_side};
use fastpath::channel::claims::{Acknowledgement, ClaimAnswer};
use fastpath::channel::{Role, table};
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::{CLASSES, RegionLayout};
use kmod_interface::handshake::AddressPair;
use std::collections::HashSet;

fn pair(connect_port: u16) -> AddressPair {
    AddressPair {
        connect_address: [1; 16],
        accept_address: [2; 16],
        connect_port,
        accept_port: 80,
    }
}

#[test]
fn only_the_accepting_side_hands_out_slots_and_each_once() {
    let ends = channel_pair(0, 1);
    assert_eq!(ends.connecting.allocate_slot(), None);
    let slots: HashSet<_> = std::iter::from_fn(|| ends.accepting.allocate_slot()).collect();
    assert_eq!(slots.len(), 16);
    assert!(slots.iter().all(|&(_, generation)| generation == 1));
    assert!(!ends.accepting.may_have_free_slot());
    ends.connecting.release();
    ends.accepting.release();
}

#[test]
fn a_slot_comes_back_only_when_both_sides_left_and_the_far_side_echoed() {
    let ends = channel_pair(0, 2);
    let (c, s) = (ends.connecting, ends.accepting);
    let (slot, generation) = s.allocate_slot().unwrap();
    assert!(s.bind_slot(slot, generation, 11, 100));
    assert!(c.bind_slot(slot, generation, 22, 200));
    assert!(!c.bind_slot(slot, generation, 22, 200), "bound already");
    let (s_own, c_own) = (s.own_entry(slot).unwrap(), c.own_entry(slot).unwrap());
    assert_eq!(
        c.far_entry(slot).unwrap().cookie().load(Ordering::Relaxed),
        11
    );
    assert_eq!(
        s.far_entry(slot).unwrap().cookie().load(Ordering::Relaxed),
        22
    );
    s_own.tail().store(77, Ordering::Relaxed);
    c_own.tail().store(88, Ordering::Relaxed);

    s.slot_leave(slot, generation);
    s.slot_sweep();
    assert_eq!(s_own.tail().load(Ordering::Relaxed), 77, "C is still there");
    c.slot_leave(slot, generation + 1);
    assert_eq!(
        c_own.leaving().load(Ordering::Relaxed),
        0,
        "another generation's leave"
    );
    c.slot_leave(slot, generation);
    c.slot_leave(slot, generation);
    c.slot_sweep();
    assert_eq!(
        c_own.tail().load(Ordering::Relaxed),
        88,
        "S has not finished"
    );
    s.slot_sweep();
    assert_eq!(s_own.tail().load(Ordering::Relaxed), 0);
    assert_eq!(s_own.generation().load(Ordering::Relaxed), generation + 1);
    let other = s.allocate_slot().unwrap();
    assert_ne!(other.0, slot, "C has not echoed");
    c.slot_sweep();
    assert_eq!(c_own.tail().load(Ordering::Relaxed), 0);
    assert_eq!(c_own.generation().load(Ordering::Relaxed), generation + 1);
    assert_eq!(s.allocate_slot(), Some((slot, generation + 1)));
    assert!(!c.bind_slot(slot, generation, 0, 0), "an old generation");
    assert!(c.bind_slot(slot, generation + 1, 0, 0));
    c.release();
    s.release();
}

#[test]
fn a_cancelled_slot_is_handed_out_again_with_its_generation() {
    let ends = channel_pair(0, 3);
    let given = ends.accepting.allocate_slot().unwrap();
    ends.accepting.cancel_slot(given.0, given.1 + 1);
    assert_ne!(ends.accepting.allocate_slot(), Some(given));
    ends.accepting.cancel_slot(given.0, given.1);
    let again: HashSet<_> = std::iter::from_fn(|| ends.accepting.allocate_slot()).collect();
    assert!(again.contains(&given));
    ends.connecting.release();
    ends.accepting.release();
}

#[test]
fn the_connecting_side_refuses_slots_and_generations_that_cannot_be() {
    let ends = channel_pair(0, 4);
    let c = ends.connecting;
    for (slot, generation) in [(0, 0), (0, 2), (16, 1), (u32::MAX, 1), (0, u32::MAX)] {
        assert!(!c.bind_slot(slot, generation, 0, 0), "{slot} {generation}");
    }
    assert!(c.own_entry(16).is_none() && c.far_entry(u32::MAX).is_none());
    c.release();
    ends.accepting.release();
}

#[test]
fn slots_circulate_for_ever() {
    let ends = channel_pair(0, 5);
    let (c, s) = (ends.connecting, ends.accepting);
    for round in 0..1000 {
        let (slot, generation) = s.allocate_slot().unwrap_or_else(|| panic!("round {round}"));
        assert!(s.bind_slot(slot, generation, 1, 1) && c.bind_slot(slot, generation, 2, 2));
        c.slot_leave(slot, generation);
        s.slot_leave(slot, generation);
        s.slot_sweep();
        c.slot_sweep();
    }
    assert_eq!((c.slots_in_use(), s.slots_in_use()), (0, 0));
    c.release();
    s.release();
}

#[test]
fn ring_space_is_never_given_twice_and_the_last_freed_comes_first() {
    for class in 0..CLASSES.len() as u32 {
        let ends = channel_pair(class, 6);
        let c = ends.connecting;
        let layout = RegionLayout::of_class(class).unwrap();
        let mut pages = HashSet::new();
        let mut rings = Vec::new();
        for bytes in [4096, 65536, 4096, 8192, 1 << 20, 4096, 65536] {
            let Some(offset) = c.allocate_ring(bytes) else {
                assert!(class < 2 && bytes > 4096, "{class} {bytes}");
                continue;
            };
            assert!(c.own_ring(offset, bytes).is_some());
            assert!(ends.accepting.far_ring(offset, bytes).is_some());
            for page in 0..bytes / 4096 {
                assert!(pages.insert(offset + page * 4096), "page given twice");
            }
            rings.push((offset, bytes));
        }
        let &(offset, bytes) = rings.last().unwrap();
        c.free_ring(offset, bytes);
        assert_eq!(c.allocate_ring(bytes), Some(offset));
        while let Some(offset) = c.allocate_ring(4096) {
            assert!(pages.insert(offset), "page given twice");
        }
        assert_eq!(pages.len() as u32, layout.pool_bytes() / 4096);
        for (offset, bytes) in rings {
            c.free_ring(offset, bytes);
            // Of the longer ones what is free now is kept for slots without a ring.
            if bytes == 4096 {
                assert_eq!(c.allocate_ring(bytes), Some(offset));
            }
        }
        c.release();
        ends.accepting.release();
    }
}

#[test]
fn impossible_rings_are_refused() {
    let ends = channel_pair(0, 7);
    let c = ends.connecting;
    for bytes in [0, 1, 4095, 12288, 2 << 20, u32::MAX] {
        assert_eq!(c.allocate_ring(bytes), None);
    }
    let layout = c.layout();
    let pool = layout.pool_offset();
    for (offset, bytes) in [
        (0, 4096),
        (pool - 4096, 4096),
        (pool + 1, 4096),
        (layout.region_bytes, 4096),
        (layout.region_bytes - 4096, 8192),
        (u32::MAX - 4095, 4096),
        (pool, 4096 * 3),
        (pool, 0),
    ] {
        assert!(c.far_ring(offset, bytes).is_none(), "{offset} {bytes}");
        assert!(c.own_ring(offset, bytes).is_none(), "{offset} {bytes}");
        c.free_ring(offset, bytes);
    }
    c.release();
    ends.accepting.release();
}

#[test]
fn waiters_see_each_others_words() {
    for class in 0..CLASSES.len() as u32 {
        let ends = channel_pair(class, 8);
        let (c, s) = (ends.connecting, ends.accepting);
        let words = c.layout().ready_words();
        for waiter in [1, 63] {
            c.own_waiter_epoch(waiter)
                .unwrap()
                .store(3, Ordering::Relaxed);
            assert_eq!(
                s.far_waiter_epoch(waiter).unwrap().load(Ordering::Relaxed),
                3
            );
            for word in [0, words - 1] {
                let value = (waiter * 100 + word) as u64;
                s.own_ready_word(waiter, word)
                    .unwrap()
                    .store(value, Ordering::Relaxed);
                assert_eq!(
                    c.far_ready_word(waiter, word)
                        .unwrap()
                        .load(Ordering::Relaxed),
                    value
                );
                c.own_answer_word(waiter, word)
                    .unwrap()
                    .store(value, Ordering::Relaxed);
                assert_eq!(
                    s.far_answer_word(waiter, word)
                        .unwrap()
                        .load(Ordering::Relaxed),
                    value
                );
            }
            s.own_ready_summary(waiter)
                .unwrap()
                .store(9, Ordering::Relaxed);
            s.own_stamp(waiter).unwrap().store(10, Ordering::Relaxed);
            s.own_cpu(waiter).unwrap().store(11, Ordering::Relaxed);
            c.own_answer_summary(waiter)
                .unwrap()
                .store(12, Ordering::Relaxed);
            assert_eq!(
                c.far_ready_summary(waiter).unwrap().load(Ordering::Relaxed),
                9
            );
            assert_eq!(c.far_stamp(waiter).unwrap().load(Ordering::Relaxed), 10);
            assert_eq!(c.far_cpu(waiter).unwrap().load(Ordering::Relaxed), 11);
            assert_eq!(
                s.far_answer_summary(waiter)
                    .unwrap()
                    .load(Ordering::Relaxed),
                12
            );
        }
        assert!(c.own_waiter_epoch(0).is_none() && c.own_waiter_epoch(64).is_none());
        assert!(c.own_ready_word(1, words).is_none());
        c.release();
        s.release();
    }
}

#[test]
fn a_claim_is_found_once_answered_acknowledged_and_bound() {
    let ends = channel_pair(0, 9);
    let (c, s) = (ends.connecting, ends.accepting);
    assert_eq!(s.claim_find(&pair(1)), None);
    let other = c.claim_begin(&pair(2), 5, 6).unwrap();
    let ticket = c.claim_begin(&pair(1), 1 << 50, 31).unwrap();
    assert_eq!(c.claim_answer(ticket), ClaimAnswer::None);
    assert_eq!(s.claim_find(&pair(3)), None);
    let found = s.claim_find(&pair(1)).unwrap();
    assert_eq!((found.cookie, found.knock_value), (1 << 50, 31));
    assert!(s.claim_take(found.ticket) && !s.claim_take(found.ticket));
    assert_eq!(s.claim_find(&pair(1)), None, "answered once");
    let (slot, generation) = s.allocate_slot().unwrap();
    s.claim_give(found.ticket, slot, generation, 17);
    assert_eq!(
        c.claim_answer(ticket),
        ClaimAnswer::Given {
            slot,
            generation,
            knock_value: 17
        }
    );
    assert_eq!(s.claim_acknowledged(found.ticket), Acknowledgement::None);
    c.claim_acknowledge(ticket);
    assert_eq!(s.claim_acknowledged(found.ticket), Acknowledgement::Given);
    assert_eq!(c.claim_outcome(ticket), None);
    s.claim_bound(found.ticket);
    assert_eq!(c.claim_outcome(ticket), Some(true));
    c.claim_end(ticket);
    // The other claim is still to be found, also by a look that the counter does not announce.
    let found = s.claim_find(&pair(2)).unwrap();
    assert!(s.claim_take(found.ticket));
    s.claim_refuse(found.ticket);
    assert_eq!(c.claim_answer(other), ClaimAnswer::Refused);
    c.claim_end(other);
    c.release();
    s.release();
}

#[test]
fn a_withdrawn_claim_is_seen_and_its_place_serves_again() {
    let ends = channel_pair(0, 10);
    let (c, s) = (ends.connecting, ends.accepting);
    for round in 0..100 {
        let tickets: Vec<_> = std::iter::from_fn(|| c.claim_begin(&pair(7), 1, 2)).collect();
        assert_eq!(tickets.len(), 16, "round {round}");
        let found = s.claim_find(&pair(7)).unwrap();
        for ticket in tickets {
            c.claim_end(ticket);
        }
        assert_eq!(
            s.claim_acknowledged(found.ticket),
            Acknowledgement::Withdrawn
        );
        assert_eq!(s.claim_find(&pair(7)), None);
    }
    c.release();
    s.release();
}

#[test]
fn an_orphaned_claim_leaves_the_slot_that_it_is_given_after_all() {
    let ends = channel_pair(0, 11);
    let (c, s) = (ends.connecting, ends.accepting);
    for bound in [true, false] {
        let ticket = c.claim_begin(&pair(1), 1, 2).unwrap();
        let found = s.claim_find(&pair(1)).unwrap();
        assert!(s.claim_take(found.ticket));
        let (slot, generation) = s.allocate_slot().unwrap();
        s.claim_give(found.ticket, slot, generation, 3);
        c.claim_acknowledge(ticket);
        c.claim_orphan(ticket, slot, generation);
        // The place is not used again before S has spoken.
        let others: Vec<_> = std::iter::from_fn(|| c.claim_begin(&pair(2), 1, 2)).collect();
        assert_eq!(others.len(), 15);
        if bound {
            assert!(s.bind_slot(slot, generation, 1, 1));
            s.claim_bound(found.ticket);
        } else {
            s.cancel_slot(slot, generation);
            s.claim_refuse(found.ticket);
        }
        let after = c.claim_begin(&pair(2), 1, 2).expect("the orphan's place");
        s.slot_leave(slot, generation);
        s.slot_sweep();
        c.slot_sweep();
        assert_eq!((s.slots_in_use(), c.slots_in_use()), (0, 0));
        for ticket in others.into_iter().chain([after]) {
            c.claim_end(ticket);
        }
    }
    c.release();
    s.release();
}

#[test]
fn eight_failed_proofs_end_the_claims_of_a_channel() {
    let ends = channel_pair(0, 12);
    let c = ends.connecting;
    for _ in 0..8 {
        assert!(c.takes_claims());
        c.claim_failed();
    }
    assert!(!c.takes_claims());
    assert_eq!(c.claim_begin(&pair(1), 1, 2), None);
    c.release();
    ends.accepting.release();
}

#[test]
fn the_last_member_ends_the_channel_and_the_far_side_sees_it() {
    let ends = channel_pair(0, 13);
    let (c, s) = (ends.connecting, ends.accepting);
    assert_eq!(table::claimable(Role::Accepting, [0; 16], 13).count(), 1);
    assert_eq!(table::claimable(Role::Accepting, [1; 16], 13).count(), 0);
    assert_eq!(c.far_side(), Some(far_side(13)));
    let index = s.index();
    assert!(std::ptr::eq(table::get(index).unwrap(), s));
    let entry = s.own_entry(3).unwrap();
    entry.tail().store(5, Ordering::Relaxed);
    assert!(s.retain());
    s.release();
    assert!(!c.far_home_left() && c.takes_claims());
    s.release();
    assert!(table::get(index).is_none());
    assert!(!s.retain(), "gone");
    assert!(c.far_home_left() && !c.takes_claims());
    // A thread that was on its way in reads zeros.
    assert_eq!(entry.tail().load(Ordering::Relaxed), 0);
    assert_eq!(s.far_entry(3).unwrap().tail().load(Ordering::Relaxed), 0);
    c.release();
}

#[test]
fn a_fork_child_is_not_home_but_may_leave_and_free() {
    let ends = channel_pair(0, 15);
    let (c, s) = (ends.connecting, ends.accepting);
    let (slot, generation) = s.allocate_slot().unwrap();
    assert!(s.bind_slot(slot, generation, 1, 1) && c.bind_slot(slot, generation, 1, 1));
    let ring = c.allocate_ring(65536).unwrap();
    assert_eq!(c.allocate_ring(65536), None, "class 0 has room for one");
    let status = child::run(|| {
        let nothing = !c.is_home()
            && c.allocate_ring(4096).is_none()
            && s.allocate_slot().is_none()
            && c.claim_begin(&pair(1), 1, 1).is_none()
            && !s.bind_slot(slot, generation, 1, 1);
        c.free_ring(ring, 65536);
        c.slot_leave(slot, generation);
        // The child's last close ends its mapping, not its parent's channel.
        c.release();
        let zeros = c
            .own_entry(slot)
            .unwrap()
            .generation()
            .load(Ordering::Relaxed)
            == 0;
        nothing && zeros
    });
    assert!(status, "see the child's conditions");
    assert!(c.is_home() && !s.far_home_left());
    assert_eq!(
        c.own_entry(slot).unwrap().leaving().load(Ordering::Relaxed),
        generation
    );
    assert_eq!(c.allocate_ring(65536), Some(ring));
    s.slot_leave(slot, generation);
    s.slot_sweep();
    c.slot_sweep();
    assert_eq!((s.slots_in_use(), c.slots_in_use()), (0, 0));
    c.release();
    s.release();
}

mod child {
    //! A fork child that answers yes or no and leaves without running anything else.
    #![expect(unsafe_code, reason = "fork")]

    pub fn run(body: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child makes no call that could need a lock of another thread, and ends by _exit.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                libc::_exit(if body() { 0 } else { 1 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

#[test]
fn long_rings_leave_a_page_for_each_slot_without_one() {
    let ends = channel_pair(1, 23);
    let c = ends.connecting;
    let layout = c.layout();
    let mut long = 0;
    while c.allocate_ring(65536).is_some() {
        long += 1;
    }
    assert!(long > 0);
    for slot in 0..layout.slots {
        let offset = c.allocate_ring(4096).expect("a page for each slot");
        c.slot_has_ring(slot, 0, offset, 4096);
    }
    c.release();
    ends.accepting.release();
}

#[test]
fn ring_space_comes_back_with_the_slot() {
    let ends = channel_pair(0, 24);
    let (c, s) = (ends.connecting, ends.accepting);
    let pages = c.layout().pool_bytes() / 4096;
    for round in 1..=3 * pages {
        let (slot, generation) = s.allocate_slot().unwrap();
        assert!(s.bind_slot(slot, generation, 1, 1) && c.bind_slot(slot, generation, 2, 2));
        for side in [c, s] {
            let offset = side.allocate_ring(4096);
            let offset = offset.unwrap_or_else(|| panic!("no page in round {round}"));
            side.slot_has_ring(slot, generation, offset, 4096);
            side.slot_leave(slot, generation);
        }
        s.slot_sweep();
        c.slot_sweep();
    }
    c.release();
    s.release();
}

#[test]
fn events_reach_the_far_side_in_order_and_the_oldest_are_lost_first() {
    use kmod_interface::control_event::Kind;
    use kmod_interface::limits::CONTROL_EVENTS;
    let ends = channel_pair(0, 25);
    let (c, s) = (ends.connecting, ends.accepting);
    assert_eq!(c.next_event(), None);
    assert!(s.post_revert(3, 7) && s.post_revert(4, 8));
    for (slot, generation) in [(3, 7), (4, 8)] {
        let event = c.next_event().unwrap();
        assert_eq!(
            (event.kind, event.slot, event.generation),
            (Kind::RevertOne, slot, generation)
        );
    }
    assert_eq!((c.next_event(), s.next_event()), (None, None));
    let count = CONTROL_EVENTS as u32 + 5;
    for slot in 0..count {
        assert!(s.post_revert(slot, 1));
    }
    let slots: Vec<_> = std::iter::from_fn(|| c.next_event())
        .map(|event| event.slot)
        .collect();
    assert_eq!(slots, (5..count).collect::<Vec<_>>());
    c.release();
    s.release();
}
