//! Processes that fork while they have accelerated connections in epoll sets, and children that crash: the same text as
//! on the bare kernel, and no hang.

mod built;
mod watched;

use built::{Program, library};
use std::process::Command;
use watched::{reported, run};

/// The same text on the bare kernel and under the library, and rings have carried something.
fn same_as_the_kernel(how: &str) {
    same_of("forks/forks.c", how);
}

fn same_of(source: &str, how: &str) {
    let (program, library) = (Program::of(source), library());
    let kernel = run(Command::new(&program.0).arg(how), "bare kernel");
    let report = program.0.with_extension("report");
    let here = run(
        Command::new(&program.0)
            .arg(how)
            .env("LD_PRELOAD", &library)
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        how,
    );
    let (calls, errors) = (
        reported(&report, "ring_calls"),
        reported(&report, "internal_errors"),
    );
    let _ = std::fs::remove_file(&report);
    assert_eq!(here, kernel, "{how}");
    assert!(calls > 0, "{how}: no ring was used");
    assert_eq!(errors, 0, "{how}");
}

#[test]
fn threads_that_fork_at_a_time_do_not_wait_for_each_other_for_ever() {
    same_as_the_kernel("at-a-time");
}

#[test]
fn a_connection_with_too_many_holders_goes_back_to_the_kernel_and_so_does_its_registration() {
    same_as_the_kernel("holders");
}

#[test]
fn workers_killed_asleep_take_nothing_with_them() {
    same_as_the_kernel("crashed");
}

#[test]
fn what_a_child_writes_that_has_given_up_privileges_reaches_no_relative() {
    same_as_the_kernel("parted");
}

#[test]
fn nor_does_what_a_child_writes_that_its_relatives_cannot_find() {
    same_as_the_kernel("unknown");
}

#[test]
fn a_set_that_another_thread_makes_during_the_fork_is_not_the_childs_to_change() {
    same_as_the_kernel("meanwhile");
}

#[test]
fn a_child_is_told_of_room_in_a_ring_that_its_parent_has_moved_to() {
    same_of("forks/relatives.c", "unseen");
}

#[test]
fn a_child_asleep_is_told_of_bytes_in_a_ring_that_its_parent_has_moved_to() {
    same_of("forks/relatives.c", "unheard");
}

#[test]
fn a_wait_asks_after_a_living_child_but_not_for_each_connection() {
    same_as_the_kernel("asked-after");
}

#[test]
fn behind_a_filter_no_call_is_made_that_the_program_does_not_make() {
    same_as_the_kernel("filtered");
}

#[test]
fn a_number_that_the_program_has_taken_from_the_library_is_its_own_in_children_too() {
    same_as_the_kernel("numbers");
}
