//! How a step is written down: what the thread sees now, and what follows.

use crate::configuration::Rules;
use crate::deliberate_bugs::DeliberateBug;
use crate::kernel;
use crate::looks;
use crate::place::Place;
use crate::search::{Transition, Transitions};
use crate::state::{BELL, Side, State, Stream};
use crate::thread::{Carried, Thread};
use crate::violation::Violation;

/// What a step pushes its outcomes into.
pub(super) type Outcomes<'a> = &'a mut Transitions<State>;
/// What a step comes to, beside its outcomes.
pub(super) type Step = Result<(), Violation>;

/// A thread and the state it is about to take a step in.
///
/// Seen from the thread: it sends on its own side's stream and receives on the peer's.
pub(super) struct Now<'a> {
    pub(super) rules: &'a Rules,
    pub(super) state: &'a State,
    pub(super) index: usize,
    pub(super) me: usize,
    pub(super) peer: usize,
}

impl<'a> Now<'a> {
    pub(super) fn new(rules: &'a Rules, state: &'a State, index: usize) -> Self {
        let me = usize::from(state.threads[index].side.min(1));
        Self {
            rules,
            state,
            index,
            me,
            peer: 1 - me,
        }
    }
    pub(super) fn has(&self, bug: DeliberateBug) -> bool {
        self.rules.has(bug)
    }
    pub(super) fn thread(&self) -> &Thread {
        &self.state.threads[self.index]
    }
    pub(super) fn own_side(&self) -> &Side {
        &self.state.side[self.me]
    }
    pub(super) fn far_side(&self) -> &Side {
        &self.state.side[self.peer]
    }
    /// The stream this side sends on.
    pub(super) fn sending(&self) -> &Stream {
        &self.state.stream[self.me]
    }
    /// The stream this side receives on. It carries the bells for this side's readers and writers.
    pub(super) fn receiving(&self) -> &Stream {
        &self.state.stream[self.peer]
    }
    /// The program has written all it will.
    pub(super) fn all_written(&self) -> bool {
        self.sending().written == self.rules.configuration.bytes[self.me]
    }
    /// The peer has left and its ring was not rewound.
    pub(super) fn owes_rewind(&self) -> bool {
        looks::owes_rewind(self.state, self.me)
    }
    /// The beginning of an outcome: the present state.
    pub(super) fn next(&self) -> Next {
        Next {
            state: *self.state,
            index: self.index,
            me: self.me,
        }
    }
}

/// An outcome in the making.
pub(super) struct Next {
    pub(super) state: State,
    pub(super) index: usize,
    pub(super) me: usize,
}

impl Next {
    pub(super) fn thread(&mut self) -> &mut Thread {
        &mut self.state.threads[self.index]
    }
    pub(super) fn carry(&mut self, carried: Carried) {
        self.thread().carried = carried;
    }
    pub(super) fn own_side(&mut self) -> &mut Side {
        &mut self.state.side[self.me]
    }
    pub(super) fn far_side(&mut self) -> &mut Side {
        &mut self.state.side[1 - self.me]
    }
    pub(super) fn sending(&mut self) -> &mut Stream {
        &mut self.state.stream[self.me]
    }
    pub(super) fn receiving(&mut self) -> &mut Stream {
        &mut self.state.stream[1 - self.me]
    }
    pub(super) fn unlock_tx(&mut self) {
        self.own_side().tx_lock = false;
    }
    pub(super) fn unlock_rx(&mut self) {
        self.own_side().rx_lock = false;
    }
    /// Sends a byte of this side's into its kernel stream.
    pub(super) fn send_to_kernel(&mut self, byte: u8) -> Step {
        kernel::send(&mut self.state, self.me, byte)
    }
    /// The bell is sent: `ringing=0`.
    pub(super) fn send_bell(&mut self) -> Step {
        kernel::send(&mut self.state, self.me, BELL)?;
        self.sending().ringing = false;
        Ok(())
    }
    /// ANNOUNCE, its first half. The look at `gone` is the beginning of the next step.
    pub(super) fn announce(&mut self, rules: &Rules) {
        if rules.somebody_leaves() {
            self.sending().ringing = true;
        }
    }
    pub(super) fn goes_to(mut self, place: Place) -> State {
        self.thread().place = place;
        self.state
    }
}

impl Transitions<State> {
    pub(super) fn push(&mut self, next: Next, place: Place) {
        let after = next.goes_to(place);
        self.0.push(Transition {
            after,
            optional: false,
        });
    }
    /// What somebody may do but need not: never the only way out.
    pub(super) fn push_optional(&mut self, next: Next, place: Place) {
        let after = next.goes_to(place);
        self.0.push(Transition {
            after,
            optional: true,
        });
    }
}
