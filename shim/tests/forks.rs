//! Processes that fork while they have accelerated connections in epoll sets, and children that crash: the same text as
//! on the bare kernel, and no hang.

mod as_on_the_kernel;
mod built;
mod watched;

use as_on_the_kernel::same_text;

fn forks(how: &str) {
    same_text("forks/forks.c", &[how]);
}

#[test]
fn threads_that_fork_at_a_time_do_not_wait_for_each_other_for_ever() {
    forks("at-a-time");
}

#[test]
fn a_connection_with_too_many_holders_goes_back_to_the_kernel_and_so_does_its_registration() {
    forks("holders");
}

#[test]
fn workers_killed_asleep_take_nothing_with_them() {
    forks("crashed");
}

#[test]
fn what_a_child_writes_that_has_given_up_privileges_reaches_no_relative() {
    forks("parted");
}

#[test]
fn nor_does_what_a_child_writes_that_its_relatives_cannot_find() {
    forks("unknown");
}

#[test]
fn a_set_that_another_thread_makes_during_the_fork_is_not_the_childs_to_change() {
    forks("meanwhile");
}

#[test]
fn a_child_is_told_of_room_in_a_ring_that_its_parent_has_moved_to() {
    same_text("forks/relatives.c", &["unseen"]);
}

#[test]
fn a_child_asleep_is_told_of_bytes_in_a_ring_that_its_parent_has_moved_to() {
    same_text("forks/relatives.c", &["unheard"]);
}

#[test]
fn a_wait_asks_after_a_living_child_but_not_for_each_connection() {
    forks("asked-after");
}

#[test]
fn behind_a_filter_no_call_is_made_that_the_program_does_not_make() {
    forks("filtered");
}

#[test]
fn a_number_that_the_program_has_taken_from_the_library_is_its_own_in_children_too() {
    forks("numbers");
}
