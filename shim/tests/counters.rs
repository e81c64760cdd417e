//! What the statistics page counts, of the process and of each socket, held against histories that are known to the call:
//! `tests/c/counters.c` has them. Whatever a history does not name must not have moved.

mod built;

use built::{Program, library};
use std::process::Command;

fn play(history: &str, spin_us: &str) {
    let program = Program::of("counters.c");
    let output = Command::new(&program.0)
        .arg(history)
        .env_clear()
        .env("LD_PRELOAD", library())
        .env("AXIO_UPGRADE", "eager")
        .env("AXIO_SPIN_US", spin_us)
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{history}: {:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn each_sleep_and_each_bell_is_counted_once() {
    play("sleeps", "0");
}

#[test]
fn a_release_is_local_here_and_asked_for_there_and_calls_by_kernel_are_counted() {
    play("release", "0");
}

#[test]
fn a_reader_that_does_nothing_is_a_spill() {
    play("spill", "0");
}

#[test]
fn a_full_ring_behind_an_end_of_the_other_direction_is_a_dead_line() {
    play("dead_line", "0");
}

#[test]
fn what_is_sent_again_behind_one_who_left_is_counted_byte_by_byte() {
    play("rewind", "0");
}

#[test]
fn spins_are_won_by_quick_answers_and_lost_to_slow_ones() {
    play("spins", "1000");
}
