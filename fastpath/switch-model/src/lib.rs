//! Explicit-state model of the stream switch, and the labels that it shares with the code.
#[path = "../../src/stream/labels.rs"]
pub mod labels;
