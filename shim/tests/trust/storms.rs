//! A far side that wakes its victim for nothing: its connection goes back to the kernel, or is reset; behind eight of them
//! the channel takes no more (TRUST.md, storms).

use crate::ending::run;
use crate::place::Place;

#[test]
fn who_wakes_for_nothing_loses_the_ring() {
    assert_eq!(
        run(&mut Place::with("trust/storms.c").program()).trim(),
        "10 scenarios"
    );
}
