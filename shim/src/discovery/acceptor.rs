//! S's side of a negotiation: answers a claim, or dials a box and offers memory; advanced at each call on the
//! connection.
//!
//! ```text
//!   claim found ─▶ answered, knocking                                      ─▶ C's knock seen: bound
//!   box dialled ─▶ memory made ─▶ offered ─▶ C's knock seen: known, knocking ─▶ C says bound
//! ```
//!
//! * [`answered`]: claims. [`handshake`]: boxes. [`size`]: how much is made for whom.

mod answered;
mod handshake;
mod size;

use super::clock::is_time;
use super::negotiation::Negotiating;
use super::patience::{Knocker, Patience, STALE_CLAIM_MS, STALE_LOOK_MS};
use super::places::{Handle, Places};
use super::{Progress, confined};
use answered::{Answered, Found};
use fastpath::channel::{Channel, Role, table};
use fastpath::sync::{AtomicU32, AtomicU64, Ordering};
use handshake::{Handshake, dial};
use kmod_interface::handshake::AddressPair;
use kmod_interface::limits::CHANNELS_PER_PROCESS;
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;

/// Negotiations of the accepting side at one time: handshakes, and claims that were answered.
const NEGOTIATIONS_MAX: usize = 256;
/// Channels looked at for claims at an ordinary receive.
const CHANNELS_PER_LOOK: usize = 32;
/// What S is prepared to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Smallest size class of a channel that is of use to the connection.
    pub class: u32,
    /// Largest class to be made; a far process that has as many slots as this class gets no more.
    pub class_max: u32,
    /// Whether to dial a box when no claim is found: at the chances of TRUST.md only.
    pub may_dial: bool,
}

/// A negotiation of an accepting side; a handle, and the owner's to advance or abandon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptor(Handle);

#[derive(Clone, Copy)]
enum Stage {
    Answered(Answered),
    Handshake(Handshake),
    Ended,
}

#[derive(Clone, Copy)]
struct Negotiation {
    pair: AddressPair,
    patience: Patience,
    knocker: Knocker,
    stage: Stage,
}

static NEGOTIATIONS: Places<Negotiation, NEGOTIATIONS_MAX> = Places::vacant();

/// Tag of a handshake: user of the far end and class of the memory. 0: an answered claim.
fn handshake_tag(user: u32, class: u32) -> u64 {
    1 << 63 | u64::from(class) << 32 | u64::from(user)
}

impl Acceptor {
    /// True when a claim may be waiting for one of this process's connections to `pair`'s accepting address: for use
    /// before [`Acceptor::probe`] at every receive. Looks at a few channels at a time; a claim waits longer than it takes
    /// to come around.
    pub fn may_have_claims(pair: &AddressPair) -> bool {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = if table::live_count() as usize <= CHANNELS_PER_LOOK {
            0
        } else {
            NEXT.fetch_add(CHANNELS_PER_LOOK as u32, Ordering::Relaxed) as usize
        };
        let count = if first == 0 {
            CHANNELS_PER_PROCESS
        } else {
            CHANNELS_PER_LOOK
        };
        let (address, port) = (pair.accept_address, pair.accept_port);
        table::claimable_from(Role::Accepting, address, port, first, count)
            .any(Channel::claims_are_waiting)
    }

    /// Seeks the far end of a connection, after a receive (TRUST.md step 2): a claim in a channel that exists, else, if
    /// wanted, one probe for its box. Nothing: the peer has no Axio, or has not come so far yet.
    ///
    /// # Errors
    /// The reason why nothing came of this chance.
    pub fn probe(
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        wanted: Wanted,
    ) -> Result<Option<Acceptor>, Reason> {
        confined()?;
        let found = Found::search(pair);
        if found.is_empty() {
            return if wanted.may_dial {
                dial(tcp, pair, wanted)
            } else {
                Ok(None)
            };
        }
        found.answer(tcp, pair, wanted).map(Some)
    }

    /// [`Self::advance_or_end`] for who is alone.
    #[cfg(test)]
    pub fn advance(&mut self, tcp: BorrowedFd<'_>) -> Progress {
        self.advance_or_end(tcp, || {})
    }

    /// One step, as [`super::Connector::advance_or_end`].
    pub fn advance_or_end(&mut self, tcp: BorrowedFd<'_>, ending: impl FnOnce()) -> Progress {
        NEGOTIATIONS.advance(self.0, tcp, ending)
    }

    /// Gives up: the socket's options are as they were, all descriptors closed.
    pub fn abandon(self, tcp: BorrowedFd<'_>) {
        NEGOTIATIONS.abandon(self.0, tcp);
    }

    /// For the busy: ends answers to claims whose connection has fallen silent. They hold slots and places for claims,
    /// which nobody could ask for when all are held. Looks once in a while only.
    pub fn end_stale_answers() {
        reap_stale_claims();
    }

    /// As a number for an atomic word; never 0.
    pub fn to_number(self) -> u64 {
        self.0.to_number()
    }
    /// The handle of [`Self::to_number`].
    pub fn from_number(number: u64) -> Acceptor {
        Acceptor(Handle::from_number(number))
    }
}

fn put(tag: u64, negotiation: Negotiation) -> Result<Acceptor, Reason> {
    let handle = NEGOTIATIONS.put(tag, negotiation).or_else(|| {
        reap();
        NEGOTIATIONS.put(tag, negotiation)
    });
    handle.map(Acceptor).ok_or(Reason::TooManySockets)
}

impl Negotiating for Negotiation {
    fn step(&mut self, tcp: BorrowedFd<'_>) -> Result<Progress, Reason> {
        confined()?;
        if self.patience.rests() {
            return Ok(Progress::Pending);
        }
        let in_time = self.patience.call();
        let bound = match &mut self.stage {
            Stage::Answered(answered) => answered.step(tcp, &self.pair, &self.knocker)?,
            Stage::Handshake(handshake) => handshake.step(tcp, &self.pair, &mut self.knocker)?,
            Stage::Ended => return Err(Reason::Internal),
        };
        match bound {
            Some(bound) => {
                // The channel is the connection's.
                if let Stage::Handshake(handshake) = &mut self.stage {
                    self.knocker.restore(tcp);
                    handshake.close();
                }
                self.stage = Stage::Ended;
                Ok(Progress::Bound(bound))
            }
            None if in_time => Ok(Progress::Pending),
            None => Err(Reason::TimedOut),
        }
    }

    /// Everything of the negotiation goes. `restore` puts the options back: before a name is let go, but after C was told
    /// that its claim or its handshake comes to nothing, or it would take the missing knock for a lie.
    fn end(&mut self, restore: impl FnOnce(&mut Knocker)) {
        match core::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Answered(answered) => {
                let channel = answered.channel;
                channel.claim_refuse(answered.ticket);
                restore(&mut self.knocker);
                channel.cancel_slot(answered.slot, answered.generation);
                channel.release();
            }
            Stage::Handshake(mut handshake) => {
                handshake.forget_known();
                restore(&mut self.knocker);
                handshake.close();
                handshake.drop_memory();
            }
            Stage::Ended => restore(&mut self.knocker),
        }
    }
}

/// Ends negotiations whose connection nobody uses any more.
fn reap() {
    NEGOTIATIONS.end_useless(|negotiation| negotiation.patience.is_over());
}

/// Ends answers whose connection has fallen silent.
fn reap_stale_claims() {
    static LOOKED_MS: AtomicU64 = AtomicU64::new(0);
    if !is_time(&LOOKED_MS, STALE_LOOK_MS) {
        return;
    }
    NEGOTIATIONS.end_useless(|negotiation| {
        let is_claim = matches!(negotiation.stage, Stage::Answered(_));
        is_claim && negotiation.patience.is_older_than(STALE_CLAIM_MS)
    });
}

/// Fork child: closes and unmaps its copies; options, claims and slots are the parent's.
pub fn on_fork_child() {
    NEGOTIATIONS.drain_in_child(|negotiation| match &mut negotiation.stage {
        Stage::Answered(answered) => answered.channel.release(),
        Stage::Handshake(handshake) => {
            handshake.close();
            handshake.drop_memory();
        }
        Stage::Ended => {}
    });
}
