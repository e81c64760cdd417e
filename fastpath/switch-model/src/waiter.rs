//! One `arm` word shared by many connections (SWITCH.md, end of §1): an epoll set that several connections wake.
//!
//! Two ringer processes: process 0 has connections 0 and 1, a thread each; process 1 has connection 2. The waiter is one
//! set with up to three threads in it. `rung` belongs to a ringer process, and its threads update it without a lock.
//!
//! Connection 0 may be closed by another thread of the set's process while the set sleeps: LEAVE, which a ringer sees in
//! ANNOUNCE, and which takes the bells that have come.

use crate::deliberate_bugs::changes;
use crate::search::{Model, Transition, Transitions};
use crate::violation::Violation;

const CONNECTIONS: usize = 3;
/// The most threads in the set.
pub const MOST_THREADS: usize = 3;
/// The ringer process of each connection.
const PROCESS: [usize; CONNECTIONS] = [0, 0, 1];

changes! {
    /// A change to how epochs are armed and rung for.
    WaiterBug {
        /// Harmless: the ringer compares for a different value, not for a newer one.
        DifferentIsEnough "different-is-enough",
        /// Harmless: `rung` is set to the present `arm`, before the bell.
        RungIsPresentArm "rung-is-present-arm",
        /// Harmless: a ringer whose exchange of `rung` lost gives up, without looking again.
        LostExchangeGivesUp "lost-exchange-gives-up",
        /// Arming takes the odd value that was there already.
        RearmSameValue "rearm-same-value",
        /// A thread of the set goes to sleep without looking again after arming.
        NoSecondLook "no-second-look",
        /// `rung` is noted before ANNOUNCE, which may forbid the bell.
        NotedBeforeAnnounce "noted-before-announce",
        /// Whoever closes a connection and takes its bells does not kick the set.
        CloserDoesNotKick "closer-does-not-kick",
    }
}

/// What to explore.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Threads in the set, at most [`MOST_THREADS`].
    pub threads: usize,
    /// How often each connection becomes ready.
    pub publications: [u8; CONNECTIONS],
    /// Connection 0 may be closed.
    pub closes: bool,
    /// What is done differently.
    pub bug: Option<WaiterBug>,
}

/// Where a ringer's thread stands. Words it has loaded go with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Ringer {
    /// Between two publications.
    Idle,
    /// Published, fence: load `arm`.
    LoadArm,
    /// Load `rung` and compare.
    LoadRung { arm: u8 },
    /// Move `rung` forward, unless another thread was faster.
    Exchange { arm: u8, rung: u8 },
    /// ANNOUNCE, before `rung` is noted.
    Announce { arm: u8 },
    /// ANNOUNCE: `ringing` is set; look at `gone`.
    Look { arm: u8 },
    /// Deliberate bug: the same behind the note.
    LookLate,
    /// Send the bell.
    Ring,
}

/// Where the thread stands that closes connection 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Closer {
    /// It has not begun; perhaps it never will.
    Open,
    /// LEAVE 1: `gone` is written.
    Gone,
    /// LEAVE is done.
    Closed,
}

/// Where a thread of the set stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sleeper {
    /// No such thread.
    Nobody,
    /// Awake: takes the set's lock, consumes bells if nobody sleeps, arms.
    Awake,
    /// Armed: looks again, then gives the lock back.
    Armed,
    /// Asleep in the kernel.
    Asleep,
}

/// A state of this model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The set's epoch.
    arm: u8,
    /// What each ringer process last rang for.
    rung: [u8; 2],
    /// Publications that the set has not looked at, by connection.
    ready: [u8; CONNECTIONS],
    /// Bells unread, by connection.
    bells: [u8; CONNECTIONS],
    /// Publications to come, by connection.
    left: [u8; CONNECTIONS],
    /// Threads asleep or about to be.
    asleep: u8,
    ringers: [Ringer; CONNECTIONS],
    sleepers: [Sleeper; MOST_THREADS],
    closer: Closer,
    /// `ringing` of connection 0.
    ringing: bool,
    /// A sleeper is to wake without a bell.
    kicked: bool,
}

impl State {
    /// The most bells unread on one connection.
    pub fn most_bells(&self) -> u8 {
        self.bells.into_iter().max().unwrap_or(0)
    }
    fn has_bells(&self) -> bool {
        self.bells != [0; CONNECTIONS]
    }
    fn has_ready(&self) -> bool {
        self.ready != [0; CONNECTIONS]
    }
}

impl Model for Waiter {
    type State = State;

    fn initial(&self) -> State {
        let mut sleepers = [Sleeper::Nobody; MOST_THREADS];
        sleepers[..self.threads].fill(Sleeper::Awake);
        State {
            arm: 0,
            rung: [0; 2],
            ready: [0; CONNECTIONS],
            bells: [0; CONNECTIONS],
            left: self.publications,
            asleep: 0,
            ringers: [Ringer::Idle; CONNECTIONS],
            sleepers,
            closer: if self.closes {
                Closer::Open
            } else {
                Closer::Closed
            },
            ringing: false,
            kicked: false,
        }
    }

    fn successors(&self, state: &State, out: &mut Transitions<State>) -> Result<(), Violation> {
        let ringers = (0..CONNECTIONS).filter_map(|connection| self.ring(state, connection));
        let sleepers = (0..MOST_THREADS).filter_map(|thread| self.sleep(state, thread));
        let closer = self.close(state);
        // Nobody need ever close it.
        let optional = state.closer == Closer::Open;
        out.0
            .extend(closer.map(|after| Transition { after, optional }));
        out.0
            .extend(ringers.chain(sleepers).map(|after| Transition {
                after,
                optional: false,
            }));
        Ok(())
    }

    /// All was published, and the set has seen it all.
    fn is_good_end(&self, state: &State) -> Result<bool, Violation> {
        let all_published =
            state.left == [0; CONNECTIONS] && state.ringers == [Ringer::Idle; CONNECTIONS];
        Ok(all_published && !state.has_ready())
    }
}

impl Waiter {
    /// The next step of the thread that closes connection 0.
    fn close(&self, state: &State) -> Option<State> {
        let mut after = *state;
        after.closer = match state.closer {
            Closer::Open => Closer::Gone,
            Closer::Gone if state.ringing => return None,
            Closer::Gone => {
                after.kicked |=
                    state.bells[0] > 0 && self.bug != Some(WaiterBug::CloserDoesNotKick);
                after.bells[0] = 0;
                after.ready[0] = 0;
                Closer::Closed
            }
            Closer::Closed => return None,
        };
        Some(after)
    }

    /// The next step of a connection's ringer.
    fn ring(&self, state: &State, connection: usize) -> Option<State> {
        let mut after = *state;
        let announces = self.closes && connection == 0;
        let is_closed = announces && state.closer == Closer::Closed;
        let is_gone = announces && state.closer != Closer::Open;
        let is_late = self.bug == Some(WaiterBug::NotedBeforeAnnounce);
        let rung = &mut after.rung[PROCESS[connection]];
        after.ringers[connection] = match state.ringers[connection] {
            Ringer::Idle => {
                after.left[connection] = state.left[connection].checked_sub(1)?;
                after.ready[connection] += u8::from(!is_closed);
                Ringer::LoadArm
            }
            Ringer::LoadArm => Ringer::LoadRung { arm: state.arm },
            Ringer::LoadRung { arm } => {
                let different = arm != *rung;
                let newer = arm > *rung;
                let due = if self.bug == Some(WaiterBug::DifferentIsEnough) {
                    different
                } else {
                    newer
                };
                if !(arm % 2 == 1 && due) {
                    after.ringing &= !announces;
                    Ringer::Idle
                } else if announces && !is_late && !state.ringing {
                    Ringer::Announce { arm }
                } else {
                    Ringer::Exchange { arm, rung: *rung }
                }
            }
            Ringer::Announce { arm } => {
                after.ringing = true;
                Ringer::Look { arm }
            }
            Ringer::Look { .. } if is_gone => {
                after.ringing = false;
                Ringer::Idle
            }
            Ringer::Look { arm } => Ringer::LoadRung { arm },
            Ringer::LookLate if is_gone => {
                after.ringing = false;
                Ringer::Idle
            }
            Ringer::LookLate => Ringer::Ring,
            Ringer::Exchange {
                arm,
                rung: expected,
            } => {
                if self.bug == Some(WaiterBug::RungIsPresentArm) {
                    *rung = state.arm;
                    Ringer::Ring
                } else if *rung == expected {
                    *rung = arm;
                    if announces && is_late {
                        after.ringing = true;
                        Ringer::LookLate
                    } else {
                        Ringer::Ring
                    }
                } else if self.bug == Some(WaiterBug::LostExchangeGivesUp) {
                    Ringer::Idle
                } else {
                    Ringer::LoadRung { arm }
                }
            }
            Ringer::Ring => {
                after.bells[connection] += 1;
                after.ringing &= !announces;
                Ringer::Idle
            }
        };
        Some(after)
    }

    /// The next step of a thread of the set. The set's lock is held from arming to the second look.
    fn sleep(&self, state: &State, thread: usize) -> Option<State> {
        let mut after = *state;
        after.sleepers[thread] = match state.sleepers[thread] {
            Sleeper::Nobody => return None,
            Sleeper::Awake => {
                let locked = state.sleepers.contains(&Sleeper::Armed);
                let backs_off = state.has_bells() && state.asleep > 0;
                if locked || backs_off {
                    return None;
                }
                let was_odd = state.arm % 2 == 1;
                if !(was_odd && self.bug == Some(WaiterBug::RearmSameValue)) {
                    after.arm += if was_odd { 2 } else { 1 };
                }
                after.bells = [0; CONNECTIONS];
                after.asleep += 1;
                Sleeper::Armed
            }
            Sleeper::Armed if state.has_ready() && self.bug != Some(WaiterBug::NoSecondLook) => {
                after.ready = [0; CONNECTIONS];
                after.asleep -= 1;
                if after.asleep == 0 {
                    after.arm += 1;
                }
                Sleeper::Awake
            }
            Sleeper::Armed => Sleeper::Asleep,
            Sleeper::Asleep => {
                if !state.has_bells() && !state.kicked {
                    return None;
                }
                after.kicked = false;
                after.asleep -= 1;
                Sleeper::Awake
            }
        };
        Some(after)
    }
}
