//! Breadth-first search through the whole state graph of a model.
//!
//! Found are, each with a shortest path to it: a step or state that breaks a promise; a dead end that is no good end;
//! and a state from which no good end can be reached any more. Steps that may happen but need not (a time-out, a kill,
//! a whim) never count as the way out.

use crate::violation::Violation;
use std::hash::{Hash, Hasher};

/// A model: a state graph and what is asked of it.
pub trait Model {
    /// A state; equal states are equal values.
    type State: Copy + Eq + Hash;
    /// Where everything begins.
    fn initial(&self) -> Self::State;
    /// Every step that some thread can take in `state`.
    fn successors(
        &self,
        state: &Self::State,
        out: &mut Transitions<Self::State>,
    ) -> Result<(), Violation>;
    /// Whether all is done in `state`; a violation if it is done wrongly.
    fn is_good_end(&self, state: &Self::State) -> Result<bool, Violation>;
}

/// The steps found from one state.
pub struct Transitions<State>(pub Vec<Transition<State>>);

/// One step.
#[derive(Clone, Copy)]
pub struct Transition<State> {
    /// The state behind it.
    pub after: State,
    /// It may happen, but nobody may rely on it.
    pub optional: bool,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole graph was seen and holds what it promises.
    Holds,
    /// Something breaks, at the end of the report's path.
    Fails(Violation),
    /// The bound on states was met; nothing was found so far.
    Stopped,
}

/// Result of a search.
pub struct Report<State> {
    /// How it ended.
    pub verdict: Verdict,
    /// States seen.
    pub states: usize,
    /// From the first state to the broken one; empty if all holds.
    pub path: Vec<State>,
}

/// Searches `model`, up to `most_states` states, and shows `visit` each state once.
pub fn search<M: Model>(
    model: &M,
    most_states: usize,
    mut visit: impl FnMut(&M::State),
) -> Report<M::State> {
    let mut graph = Graph::new(model.initial());
    let mut good_ends = Vec::new();
    let mut steps = Transitions(Vec::new());
    let mut position = 0;
    while position < graph.states.len() {
        let state = graph.states[position];
        visit(&state);
        steps.0.clear();
        let good = match model
            .successors(&state, &mut steps)
            .and_then(|()| model.is_good_end(&state))
        {
            Err(violation) => return graph.report(Verdict::Fails(violation), position),
            Ok(good) => good,
        };
        if !good
            && steps
                .0
                .iter()
                .all(|step| step.optional || step.after == state)
        {
            return graph.report(Verdict::Fails(Violation::DeadEnd), position);
        }
        good_ends.push(good);
        graph.expand(&state, position, &steps.0);
        if graph.states.len() > most_states {
            return graph.report(Verdict::Stopped, position);
        }
        position += 1;
    }
    match graph.first_without_way_to(good_ends) {
        Some(position) => graph.report(Verdict::Fails(Violation::NoWayOut), position),
        None => Report {
            verdict: Verdict::Holds,
            states: graph.states.len(),
            path: Vec::new(),
        },
    }
}

const NO_STATE: u32 = u32::MAX;
/// Mark of an optional step in the list of edges.
const OPTIONAL: u32 = 1 << 31;

/// The graph as far as it is known. States are numbered in the order they are found and expanded in the same order, so
/// the edges of a state lie together.
struct Graph<State> {
    states: Vec<State>,
    /// The state that each state was found from.
    parents: Vec<u32>,
    /// Targets of steps, those of state n up to `edge_ends[n]`.
    edges: Vec<u32>,
    edge_ends: Vec<u32>,
    /// Open addressing by hash: numbers of states.
    table: Vec<u32>,
}

impl<State: Copy + Eq + Hash> Graph<State> {
    fn new(first: State) -> Self {
        let mut graph = Self {
            states: Vec::new(),
            parents: Vec::new(),
            edges: Vec::new(),
            edge_ends: Vec::new(),
            table: vec![NO_STATE; 1 << 16],
        };
        graph.number_of(first, NO_STATE);
        graph
    }

    fn expand(&mut self, state: &State, position: usize, steps: &[Transition<State>]) {
        for step in steps.iter().filter(|step| step.after != *state) {
            let target = self.number_of(step.after, position as u32);
            self.edges.push(if step.optional {
                target | OPTIONAL
            } else {
                target
            });
        }
        self.edge_ends.push(self.edges.len() as u32);
    }

    /// The number of `state`, which is new if it was not known.
    fn number_of(&mut self, state: State, parent: u32) -> u32 {
        let slot = self.slot_of(&state);
        if self.table[slot] != NO_STATE {
            return self.table[slot];
        }
        let number = self.states.len() as u32;
        assert!(number < OPTIONAL, "too many states to number them");
        self.table[slot] = number;
        self.states.push(state);
        self.parents.push(parent);
        if self.states.len() * 2 > self.table.len() {
            self.table = vec![NO_STATE; self.table.len() * 2];
            for number in 0..self.states.len() {
                let slot = self.slot_of(&self.states[number]);
                self.table[slot] = number as u32;
            }
        }
        number
    }

    /// Where `state` is, or belongs, in the table.
    fn slot_of(&self, state: &State) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = hash_of(state) as usize & mask;
        while self.table[slot] != NO_STATE && self.states[self.table[slot] as usize] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The first state from which none of the good ends can be reached without optional steps.
    ///
    /// Steps lead mostly to states with higher numbers, so a few sweeps from the last state to the first find all ways.
    fn first_without_way_to(&mut self, good_ends: Vec<bool>) -> Option<usize> {
        self.table = Vec::new();
        let mut has_way = good_ends;
        loop {
            let mut found = false;
            for position in (0..has_way.len()).rev() {
                if has_way[position] {
                    continue;
                }
                let start = position
                    .checked_sub(1)
                    .map_or(0, |before| self.edge_ends[before]);
                let targets = &self.edges[start as usize..self.edge_ends[position] as usize];
                if targets
                    .iter()
                    .any(|&target| target & OPTIONAL == 0 && has_way[target as usize])
                {
                    has_way[position] = true;
                    found = true;
                }
            }
            if !found {
                return has_way.iter().position(|&way| !way);
            }
        }
    }

    fn report(&self, verdict: Verdict, position: usize) -> Report<State> {
        let parent = |&number: &u32| match self.parents[number as usize] {
            NO_STATE => None,
            parent => Some(parent),
        };
        let mut path: Vec<State> = std::iter::successors(Some(position as u32), parent)
            .map(|number| self.states[number as usize])
            .collect();
        path.reverse();
        Report {
            verdict,
            states: self.states.len(),
            path,
        }
    }
}

fn hash_of(state: &impl Hash) -> u64 {
    let mut hasher = MultiplyAndRotate(1);
    state.hash(&mut hasher);
    hasher.finish()
}

/// A fast hash for many small fields. States are compared as a whole, so a weak hash costs time, never truth.
struct MultiplyAndRotate(u64);

impl MultiplyAndRotate {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for MultiplyAndRotate {
    fn finish(&self) -> u64 {
        let folded = (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        folded ^ folded >> 29
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }
    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }
    fn write_isize(&mut self, word: isize) {
        self.add(word as u64);
    }
}
