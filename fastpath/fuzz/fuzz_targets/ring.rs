//! The ring with a lying far side: steps from the fuzzer's bytes, checked against a plain queue (`tests/ring_ops`).
#![no_main]

#[path = "../../tests/ring_ops/mod.rs"]
mod ring_ops;

use libfuzzer_sys::fuzz_target;
use ring_ops::{Op, run};

/// Bytes of a step: its kind and two numbers.
const STEP_BYTES: usize = 17;

fuzz_target!(|data: &[u8]| {
    let Some((&[power, ref position @ ..], steps)) = data.split_first_chunk::<9>() else {
        return;
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let ops = steps
        .chunks_exact(STEP_BYTES)
        .map(|step| Op::from_parts(step[0], number(&step[1..9]), number(&step[9..])));
    run(1 << (power % 14), number(position), ops);
});
