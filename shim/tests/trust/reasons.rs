//! What a program does with its own connection that a ring cannot follow: back to the kernel for good, with a reason.

use crate::ending::run;
use crate::place::Place;

#[test]
fn what_a_ring_cannot_follow_is_a_reason_and_costs_no_byte() {
    assert_eq!(
        run(&mut Place::with("trust/reasons.c").program()).trim(),
        "12 scenarios"
    );
}
