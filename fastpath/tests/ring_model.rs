//! The ring against a plain queue: random steps of both ends, with and without a lying far side.
#![cfg(not(loom))]
#![expect(unsafe_code, reason = "the shared body calls the ring's raw copies")]

mod ring_ops;

use proptest::prelude::*;
use ring_ops::{Op, run};

fn steps() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(
        (any::<u8>(), any::<u64>(), any::<u64>())
            .prop_map(|(kind, a, b)| Op::from_parts(kind, a, b)),
        1..200,
    )
}

fn lengths() -> impl Strategy<Value = u32> {
    (0..14u32).prop_map(|power| 1 << power)
}

/// Positions where something could wrap come as often as others.
fn positions() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        any::<u64>(),
        (0..300u64).prop_map(|back| u64::MAX - back)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_ring_is_a_queue(ring_bytes in lengths(), position in positions(), ops in steps()) {
        run(ring_bytes, position, ops.into_iter().filter(|op| !op.is_hostile()));
    }

    #[test]
    fn lies_are_refused_and_nothing_outside_the_ring_is_touched(
        ring_bytes in lengths(), position in positions(), ops in steps()
    ) {
        run(ring_bytes, position, ops);
    }
}
