//! What a side sees when it looks: the conditions that several steps share.

use crate::configuration::Configuration;
use crate::state::State;

/// The ring of direction `d` takes another byte.
pub fn ring_has_room(configuration: &Configuration, state: &State, d: usize) -> bool {
    let stream = &state.stream[d];
    stream.tail < stream.head + configuration.ring_bytes
}

/// The kernel takes another data byte of direction `d`.
pub fn kernel_has_room(configuration: &Configuration, state: &State, d: usize) -> bool {
    state.stream[d].kernel.data() < configuration.kernel_bytes
}

/// Side `x`'s peer has left the channel, and `x` has not done with REWIND.
pub fn owes_rewind(state: &State, x: usize) -> bool {
    state.side[1 - x].gone && !state.stream[x].over
}

/// A writer of side `x` must not sleep (SLEEP 4, tx): room, a switch, a wish, no live line, or the peer's `gone`.
pub fn writer_has_cause(configuration: &Configuration, state: &State, x: usize) -> bool {
    let stream = &state.stream[x];
    ring_has_room(configuration, state, x)
        || !stream.on_ring()
        || !state.stream[1 - x].is_live_line()
        || stream.want
        || owes_rewind(state, x)
}

/// A reader of side `x` must not sleep (SLEEP 4, rx): data, a switch, an end, or the peer's `gone`.
pub fn reader_has_cause(state: &State, x: usize) -> bool {
    let stream = &state.stream[1 - x];
    stream.has_ring_data()
        || stream.has_unpassed_switch()
        || stream.fin
        || stream.keof
        || owes_rewind(state, x)
}
