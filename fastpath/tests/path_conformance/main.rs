//! One suite for every path: the facts of the contract (`fastpath::path::Path`), then what rests on them, then faults, then
//! whole streams. A new path is one `Kind` and one line below.
#![allow(
    unsafe_code,
    reason = "words, rings and sockets of the tests themselves"
)]

mod connection;
mod contract;
mod faults;
mod rings;
mod sharing;
mod stream_faults;
mod stream_storms;
mod streams;
mod world;

macro_rules! facts {
    ($room:ident for $kind:ty: $($fact:ident)*) => {
        $(#[test]
        fn $fact() {
            crate::$room::$fact::<$kind>();
        })*
    };
}

macro_rules! every_fact_for {
    ($name:ident: $kind:ty) => {
        mod $name {
            facts! { contract for $kind:
                both_memories_are_zeros_before_the_first_store
                a_store_appears_at_the_far_end_and_nowhere_else
                a_side_reads_back_what_it_stored
                stores_come_into_view_in_their_order_and_never_go_back
                a_store_comes_into_view_by_looking_alone
                of_two_sides_that_store_fence_and_load_one_sees_the_other
                a_locked_store_is_a_fence_too
                what_was_given_to_the_kernel_is_behind_what_was_stored
                the_far_memory_cannot_be_stored_to
                retired_memory_is_zeros_and_stores_into_it_reach_nobody
                what_an_ended_side_had_stored_stays_readable
                both_memories_have_the_size_of_their_class
            }
            facts! { rings for $kind:
                bytes_pass_in_order_through_many_wraps
                nothing_is_seen_before_it_is_published_and_then_all
                a_full_ring_refuses_and_takes_again_when_it_was_read
                a_peek_takes_nothing
                positions_go_on_behind_the_largest_number
                an_impossible_tail_is_blamed_and_moves_nothing
                an_impossible_head_is_blamed_and_moves_nothing
                a_far_ring_outside_the_pool_is_no_ring
                what_was_published_before_an_end_is_read_behind_it
            }
            facts! { sharing for $kind:
                a_slot_comes_back_when_both_sides_left_it
                a_claim_is_found_answered_and_bound
                each_mark_is_collected_once
                an_armed_sleeper_is_rung_for_once
                events_arrive_in_order
                the_last_member_ends_the_channel_and_the_far_side_hears_of_it
            }
        }
    };
}

every_fact_for! { shm: crate::world::SharedPages }
every_fact_for! { in_process: crate::world::OneProcess }
every_fact_for! { faulty_without_faults: crate::world::Prompt }
every_fact_for! { faulty_with_delays: crate::world::Late }

/// Facts that need two threads or a fork child, which a path with faults does not have.
mod several_threads {
    facts! { contract for crate::world::SharedPages:
        of_two_threads_that_store_fence_and_load_one_sees_the_other
    }
    mod in_process {
        facts! { contract for crate::world::OneProcess:
            of_two_threads_that_store_fence_and_load_one_sees_the_other
        }
    }
}
mod relatives {
    facts! { contract for crate::world::SharedPages:
        a_fork_child_stores_for_its_side_and_its_end_is_its_own
    }
    mod in_process {
        facts! { contract for crate::world::OneProcess:
            a_fork_child_stores_for_its_side_and_its_end_is_its_own
        }
    }
}
