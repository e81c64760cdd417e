//! What cannot be had, and what must not be taken: limits, sandboxes, malformed offers. The connection stays on the kernel
//! path with a reason and carries every byte.

use crate::ending::run;
use crate::place::Place;

#[test]
fn limits_and_sandboxes_are_reasons() {
    assert_eq!(
        run(&mut Place::with("trust/limits.c").program()).trim(),
        "21 scenarios"
    );
}

#[test]
fn malformed_offers_are_reasons() {
    assert_eq!(
        run(&mut Place::with("trust/bad_offers.c").program()).trim(),
        "33 bad offers"
    );
}
