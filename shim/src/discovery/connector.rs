//! C's side of a negotiation: claims, a box, or both, advanced at each call on the connection.
//!
//! ```text
//!   box open ─▶ dialer admitted ─▶ offer taken: mapped, sealed, knocking ─▶ S's knock seen: bound
//!   claims   ─▶ one answered, its knock seen: knocking                   ─▶ bound
//! ```
//!
//! * [`taken`]: from the offer to the end of the handshake. [`stale`]: negotiations that nobody carries on.

mod stale;
mod taken;

use super::claim::{self, Claims, Standing};
use super::look::FarEnd;
use super::mailbox::Mailbox;
use super::negotiation::Negotiating;
use super::patience::{Knocker, Patience};
use super::places::{Entered, Handle, Leave, Places};
use super::{Bound, Progress, confined, look, offer};
use fastpath::channel::{Role, table};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::limits::BOXES_PER_PROCESS;
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;
use stale::{end_idle, reap};
use taken::Taken;

/// Boxes that may wait at one time for the same accepting address. The first one to succeed makes a channel in which
/// the others of a burst can claim; two, because several processes may share the address.
const BOXES_PER_ADDRESS: usize = 2;

/// Which of its chances a connection has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Any send after a receive: claims in channels that exist, which is cheap; a box only where these are full.
    Between,
    /// The connection has opened as many boxes as it may ([`BOXES_PER_CONNECTION`]): claims only.
    ///
    /// [`BOXES_PER_CONNECTION`]: kmod_interface::limits::BOXES_PER_CONNECTION
    ClaimOnly,
    /// The first chance of TRUST.md: claims, or a box when there is nowhere to claim.
    First,
    /// The connection has left a channel that was too small: as `Later`, but the far side may leave it a little later, and
    /// looks only then.
    Seek,
    /// Each later chance (8th, 64th, 512th, and those after claims that nobody heard): claims and a box.
    Later,
    /// So many bytes in one direction: as `Later`, but the far side looks only when it has seen twice as many, which may
    /// be hundreds of calls later.
    OneWay,
}

/// A negotiation of a connecting side; a handle, and the owner's to advance or abandon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connector(Handle);

#[derive(Clone, Copy)]
struct Negotiation {
    pair: AddressPair,
    patience: Patience,
    /// Begun by bytes in one direction, or to seek a larger channel: patient before the ends have met, too.
    is_one_way: bool,
    knocker: Knocker,
    claims: Claims,
    mailbox: Mailbox,
    /// The far end when its dialer was admitted.
    admitted: Option<FarEnd>,
    taken: Option<Taken>,
}

static NEGOTIATIONS: Places<Negotiation, { BOXES_PER_PROCESS as usize }> = Places::vacant();

/// Tag of a negotiation that has a box, or asks for a slot where none is free: its accepting address, never 0. Of others
/// the tag is 0.
fn box_tag(pair: &AddressPair) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in pair
        .accept_address
        .iter()
        .chain(&pair.accept_port.to_be_bytes())
    {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash | 1
}

/// True while fewer boxes wait for an address than may.
fn has_room_for_box(tag: u64) -> bool {
    let is_free = || NEGOTIATIONS.count(|other| other == tag) < BOXES_PER_ADDRESS;
    is_free() || (end_idle(tag) && is_free())
}

impl Connector {
    /// Seeks the far end of a connection, before a send (TRUST.md step 1). `tcp` is connected.
    ///
    /// # Errors
    /// [`Reason::Negotiating`]: nothing was tried because others are at it or there is nowhere to claim; ask again at a
    /// later send, as if this chance had not been. Any other reason: nothing came of this chance.
    #[cfg(test)]
    pub fn open(
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        chance: Chance,
    ) -> Result<Connector, Reason> {
        Self::open_in(tcp, pair, chance, 0)
    }

    /// The same, in a channel of at least this size class; where there is none, S is called to a box.
    ///
    /// # Errors
    /// As [`Connector::open`].
    pub fn open_in(
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        chance: Chance,
        least_class: u32,
    ) -> Result<Connector, Reason> {
        confined()?;
        reap();
        let (mut has_slots, mut has_channels) = (false, false);
        for channel in table::claimable(Role::Connecting, pair.accept_address, pair.accept_port) {
            if channel.takes_claims() {
                has_channels = true;
                has_slots |= claim::fits(channel, least_class);
            }
        }
        let tag = box_tag(pair);
        let may_box = has_room_for_box(tag);
        let may_summon = has_channels && !has_slots && may_box;
        let is_claim_or_nothing = matches!(chance, Chance::Between | Chance::ClaimOnly);
        if is_claim_or_nothing && !has_slots && !may_summon {
            return Err(Reason::Negotiating);
        }
        let far = look::far_end(tcp, pair, End::Connecting)?;
        let knocker = Knocker::new(tcp)?;
        let mut claims = if has_slots || may_summon {
            Claims::begin(pair, knocker.cookie(), &far, may_summon, least_class)
        } else {
            Claims::NONE
        };
        let wants_box = match chance {
            Chance::Between => claims.is_summons(),
            Chance::ClaimOnly => false,
            Chance::First => claims.is_summons() || !claims.is_any(),
            Chance::Seek | Chance::Later | Chance::OneWay => true,
        };
        let mut mailbox = Mailbox::NONE;
        if wants_box && may_box {
            match Mailbox::open(pair) {
                Ok(open) => mailbox = open,
                Err(_) if claims.is_any() && !claims.is_summons() => {}
                Err(reason) => {
                    claims.abandon();
                    return Err(reason);
                }
            }
        }
        if !mailbox.is_open() && !claims.is_any() {
            return Err(Reason::Negotiating);
        }
        // A summons without a box only says that slots are wanted; of those, too, few at a time.
        let is_counted = mailbox.is_open() || claims.is_summons();
        let tag = if is_counted { tag } else { 0 };
        let negotiation = Negotiation {
            pair: *pair,
            patience: Patience::new(),
            is_one_way: matches!(chance, Chance::OneWay | Chance::Seek),
            knocker,
            claims,
            mailbox,
            admitted: None,
            taken: None,
        };
        match NEGOTIATIONS.put(tag, negotiation) {
            Some(handle) => Ok(Connector(handle)),
            None => {
                claims.abandon();
                mailbox.close();
                Err(Reason::TooManySockets)
            }
        }
    }

    /// [`Self::advance_or_end`] for who is alone.
    #[cfg(test)]
    pub fn advance(&mut self, tcp: BorrowedFd<'_>) -> Progress {
        self.advance_or_end(tcp, || {})
    }

    /// One step, at a call on the connection. Never blocks. After `Bound` or `Failed` the negotiation has ended, the
    /// socket's options are as they were, and the handle finds nothing. `Failed` with [`Reason::Negotiating`]: nobody has
    /// heard the claims, and there was no box. `ending` is called before the handle finds nothing.
    pub fn advance_or_end(&mut self, tcp: BorrowedFd<'_>, ending: impl FnOnce()) -> Progress {
        NEGOTIATIONS.advance(self.0, tcp, ending)
    }

    /// A due turn, at which the far side will look: a box that nobody has dialled yet waits as long as a new one would.
    /// Bytes in one direction may have opened it long before.
    pub fn renew(&self) {
        NEGOTIATIONS.enter(self.0, |negotiation| {
            if negotiation.mailbox.is_open() && negotiation.admitted.is_none() {
                negotiation.patience = Patience::new();
            }
            ((), Leave::Keep)
        });
    }

    /// Gives up: the socket's options are as they were, all descriptors closed.
    pub fn abandon(self, tcp: BorrowedFd<'_>) {
        NEGOTIATIONS.abandon(self.0, tcp);
    }

    /// At a later turn than the one at which it claimed, just behind a step: true when there is an open claim that nobody
    /// has answered, and no box, but room for one. Whoever holds the far end has looked for claims since; it is a process
    /// with which there is no channel yet, and hears only of a box.
    pub fn is_unheard(self, pair: &AddressPair) -> bool {
        let is_unheard = NEGOTIATIONS.enter(self.0, |negotiation| {
            let claims = &negotiation.claims;
            let waits = claims.is_any() && !claims.is_acknowledged() && !claims.is_summons();
            (waits && !negotiation.mailbox.is_open(), Leave::Keep)
        });
        is_unheard == Entered::Inside(true) && has_room_for_box(box_tag(pair))
    }

    /// True when it has a box, just after [`Connector::open`].
    pub fn has_box(self) -> bool {
        NEGOTIATIONS.enter(self.0, |negotiation| {
            (negotiation.mailbox.is_open(), Leave::Keep)
        }) == Entered::Inside(true)
    }

    /// As a number for an atomic word; never 0.
    pub fn to_number(self) -> u64 {
        self.0.to_number()
    }
    /// The handle of [`Self::to_number`].
    pub fn from_number(number: u64) -> Connector {
        Connector(Handle::from_number(number))
    }
}

impl Negotiating for Negotiation {
    fn step(&mut self, tcp: BorrowedFd<'_>) -> Result<Progress, Reason> {
        confined()?;
        let have_met = self.admitted.is_some() || self.claims.is_acknowledged();
        if (have_met || self.is_one_way) && self.patience.rests() {
            return Ok(Progress::Pending);
        }
        let calls = if self.is_one_way {
            0
        } else {
            self.patience.calls()
        };
        let in_time = self.patience.call();
        if self.taken.is_none() {
            match self
                .claims
                .advance(tcp, &self.pair, &mut self.knocker, calls)
            {
                Standing::Bound(bound) => return Ok(Progress::Bound(bound)),
                Standing::Acknowledged => {
                    // One proof at a time: both use the same five options.
                    self.mailbox.close();
                    if !have_met {
                        self.patience.meet();
                    }
                    return in_time.then_some(Progress::Pending).ok_or(Reason::TimedOut);
                }
                // A summons that is refused or not heard: nobody will come to the box.
                Standing::Failed(Reason::PeerHasNoAxio) if !self.mailbox.is_open() => {
                    return Err(Reason::Negotiating);
                }
                Standing::Failed(reason)
                    if !self.mailbox.is_open()
                        || (self.claims.is_summons() && self.admitted.is_none()) =>
                {
                    return Err(reason);
                }
                Standing::Failed(_) | Standing::None | Standing::Open => {}
            }
        }
        if self.mailbox.is_open()
            && let Some(bound) = self.step_box(tcp)?
        {
            return Ok(Progress::Bound(bound));
        }
        if !in_time {
            // Whoever did not even dial has no Axio, or is not ours to find.
            return Err(if self.admitted.is_some() {
                Reason::TimedOut
            } else {
                Reason::PeerHasNoAxio
            });
        }
        Ok(Progress::Pending)
    }

    /// Everything of the negotiation goes. `restore` puts the options back: before a name is let go, but after S can see
    /// that the claims and the handshake are given up, or it would take the missing knock for a lie.
    fn end(&mut self, restore: impl FnOnce(&mut Knocker)) {
        self.claims.abandon();
        self.forget_mapped();
        restore(&mut self.knocker);
        self.unmap();
        self.mailbox.close();
    }
}

impl Negotiation {
    fn step_box(&mut self, tcp: BorrowedFd<'_>) -> Result<Option<Bound>, Reason> {
        if self.admitted.is_none() {
            self.admitted = self.mailbox.admit(tcp, &self.pair)?;
            if self.admitted.is_some() {
                self.patience.meet();
            }
        }
        let (Some(far_end), Some(visitor)) = (self.admitted, self.mailbox.visitor()) else {
            return Ok(None);
        };
        if self.taken.is_none() {
            let Some(received) = offer::receive(visitor)? else {
                return Ok(None);
            };
            self.claims.abandon();
            let far_process =
                super::mailbox::peer_credentials(visitor).map_or(0, |(_, process)| process);
            self.take(tcp, received, far_end, far_process)?;
        }
        self.conclude(tcp)
    }
}

/// Fork child: boxes, visitors and half-made memory are the parent's; the child closes its copies and touches neither
/// the socket's options nor the claims.
pub fn on_fork_child() {
    NEGOTIATIONS.drain_in_child(|negotiation| {
        negotiation.claims.forget_in_child();
        negotiation.unmap();
        negotiation.mailbox.close();
    });
}
