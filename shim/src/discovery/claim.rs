//! C asks for slots in channels it has already (TRUST.md "Later connections").
//!
//! The same claim goes into up to eight channels to the same accepting address: which of their far processes holds the
//! other end, only that process knows. The first answer whose knock is seen wins; the others are withdrawn.
//!
//! Where every slot is taken the claim is a *summons*: C has opened a box, too, and S, which finds the claim at its next
//! receive, dials at once and makes a larger channel, or refuses when it is not to have more slots.

use super::look::{self, FarEnd};
use super::patience::{Knocker, STALE_CLAIM_MS};
use super::{Bound, clock, knock};
use fastpath::channel::claims::{ClaimAnswer, ClaimTicket};
use fastpath::channel::{Channel, Role, table};
use fastpath::statistics::count;
use fastpath::sync::{AtomicU64, Ordering};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::BorrowedFd;

/// Channels one connection claims in.
const CHANNELS_PER_CLAIM: usize = 8;
/// Calls after which silence means that none of them holds the other end. Long before the limit of a handshake: places
/// are few, and S answers at the next receive.
const CALLS_UNANSWERED: u32 = 16;

/// S has refused a claim: for so long no other is made there, but S is called to the box.
const REFUSED_MS: u32 = 10;

/// When a claim last found no place.
static PLACES_SHORT_MS: AtomicU64 = AtomicU64::new(0);

/// True when a claim lately found no place in a channel.
pub fn are_places_short() -> bool {
    let last = PLACES_SHORT_MS.load(Ordering::Relaxed);
    clock::now_ms().saturating_sub(last) <= STALE_CLAIM_MS
}

/// True when a claim in this channel may get a slot, as far as C can know: S counts slots that are promised, too.
pub fn has_room(channel: &Channel) -> bool {
    channel.may_have_free_slot() && !channel.is_pressed(crate::eviction::now_ms(), REFUSED_MS)
}

/// As [`has_room`], for a connection that needs a channel of at least this size class.
pub fn fits(channel: &Channel, least_class: u32) -> bool {
    channel.class() >= least_class && has_room(channel)
}

#[derive(Clone, Copy)]
struct Open {
    /// Retained as long as the claim is open.
    channel: &'static Channel,
    ticket: ClaimTicket,
}

/// The claims of one connection.
#[derive(Clone, Copy)]
pub struct Claims {
    open: [Option<Open>; CHANNELS_PER_CLAIM],
    far_cookie: u64,
    /// What S is asked to show.
    asked: u32,
    is_summons: bool,
    /// The claim whose knock was seen and answered, with slot and generation.
    acknowledged: Option<(Open, u32, u32)>,
}

/// How claims stand.
pub enum Standing {
    /// None is open.
    None,
    /// Some are.
    Open,
    /// One is acknowledged; nothing else must be tried now.
    Acknowledged,
    /// Bound, the channel retained for the connection.
    Bound(Bound),
    /// All came to nothing.
    Failed(Reason),
}

impl Claims {
    /// No claims.
    pub const NONE: Claims = Claims {
        open: [None; CHANNELS_PER_CLAIM],
        far_cookie: 0,
        asked: 0,
        is_summons: false,
        acknowledged: None,
    };

    /// Writes claims for a connection into every channel that may lead to its far end: those that fit, or, as a summons,
    /// those that do not.
    pub fn begin(
        pair: &AddressPair,
        own_cookie: u64,
        far: &FarEnd,
        is_summons: bool,
        least_class: u32,
    ) -> Claims {
        let mut claims = Claims {
            far_cookie: far.cookie,
            asked: knock::other_than(far.shown),
            is_summons,
            ..Self::NONE
        };
        let mut candidates =
            table::claimable(Role::Connecting, pair.accept_address, pair.accept_port).filter(
                |channel| {
                    // After a change of user its new connections get channels of their own.
                    channel.far_side().is_some_and(|side| side.user == far.user)
                        && channel.takes_claims()
                        && fits(channel, least_class) != is_summons
                        && channel.retain()
                },
            );
        for open in &mut claims.open {
            let Some(channel) = candidates.next() else {
                break;
            };
            match channel.claim_begin(pair, own_cookie, claims.asked) {
                Some(ticket) => *open = Some(Open { channel, ticket }),
                None => {
                    PLACES_SHORT_MS.store(clock::now_ms(), Ordering::Relaxed);
                    channel.release();
                }
            }
        }
        claims
    }

    /// True when they only call S to the box.
    pub fn is_summons(&self) -> bool {
        self.is_summons
    }

    /// True while a claim is open or acknowledged.
    pub fn is_any(&self) -> bool {
        self.acknowledged.is_some() || self.open.iter().any(Option::is_some)
    }

    /// True once S has answered one, and we have knocked.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged.is_some()
    }

    /// One step.
    pub fn advance(
        &mut self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &mut Knocker,
        calls: u32,
    ) -> Standing {
        if let Some((open, slot, generation)) = self.acknowledged {
            return self.outcome(open, slot, generation, tcp, knocker);
        }
        if !self.is_any() {
            return Standing::None;
        }
        let mut reason = Reason::PeerHasNoAxio;
        for index in 0..CHANNELS_PER_CLAIM {
            let Some(open) = self.open.get(index).copied().flatten() else {
                continue;
            };
            match open.channel.claim_answer(open.ticket) {
                ClaimAnswer::None => continue,
                ClaimAnswer::Refused => {
                    open.channel.press(crate::eviction::now_ms());
                    reason = Reason::TooManySockets;
                }
                ClaimAnswer::Lie => {
                    open.channel.claim_failed();
                    reason = Reason::ProofFailed;
                }
                ClaimAnswer::Given {
                    slot,
                    generation,
                    knock_value,
                } => match self.acknowledge(open, tcp, pair, knocker, knock_value) {
                    Ok(()) => {
                        self.forget(index);
                        self.withdraw();
                        self.acknowledged = Some((open, slot, generation));
                        return Standing::Acknowledged;
                    }
                    // S has taken its answer back meanwhile, and its knock: no lie.
                    Err(Reason::ProofFailed)
                        if open.channel.claim_answer(open.ticket) == ClaimAnswer::Refused =>
                    {
                        reason = Reason::TimedOut;
                    }
                    Err(failed) => {
                        open.channel.claim_failed();
                        reason = failed;
                    }
                },
            }
            self.forget(index);
            open.channel.claim_end(open.ticket);
            open.channel.release();
        }
        if calls >= CALLS_UNANSWERED {
            self.withdraw();
        }
        if self.is_any() {
            Standing::Open
        } else {
            Standing::Failed(reason)
        }
    }

    /// S has answered: its knock is there or it is a lie.
    fn acknowledge(
        &self,
        open: Open,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &mut Knocker,
        value: u32,
    ) -> Result<(), Reason> {
        let far = look::far_end(tcp, pair, End::Connecting)?;
        let user = open.channel.far_side().map(|side| side.user);
        if far.cookie != self.far_cookie
            || Some(far.user) != user
            || !far.is_accepted
            || !knock::is_seen(far.shown, self.asked)
        {
            return Err(Reason::ProofFailed);
        }
        knocker.show(tcp, value)?;
        open.channel.claim_acknowledge(open.ticket);
        Ok(())
    }

    fn outcome(
        &mut self,
        open: Open,
        slot: u32,
        generation: u32,
        tcp: BorrowedFd<'_>,
        knocker: &mut Knocker,
    ) -> Standing {
        let Some(bound) = open.channel.claim_outcome(open.ticket) else {
            return Standing::Acknowledged;
        };
        self.acknowledged = None;
        knocker.restore(tcp);
        open.channel.claim_end(open.ticket);
        let process = fastpath::kernel_call::process_id();
        if bound
            && open
                .channel
                .bind_slot(slot, generation, knocker.cookie(), process)
        {
            count(Counter::ClaimsBound, 1);
            return Standing::Bound(Bound {
                channel: open.channel,
                slot,
                generation,
            });
        }
        if bound {
            // A slot that is not free here, or of an impossible generation.
            open.channel.claim_failed();
        }
        open.channel.release();
        Standing::Failed(if bound {
            Reason::BadOffer
        } else {
            // Our knock was there; S has not waited for us, or not come round to look.
            Reason::TimedOut
        })
    }

    fn forget(&mut self, index: usize) {
        if let Some(open) = self.open.get_mut(index) {
            *open = None;
        }
    }

    /// Takes back every claim that is not acknowledged.
    pub fn withdraw(&mut self) {
        for open in &mut self.open {
            if let Some(open) = open.take() {
                open.channel.claim_end(open.ticket);
                open.channel.release();
            }
        }
    }

    /// Gives up. The caller restores the options then.
    pub fn abandon(&mut self) {
        self.withdraw();
        if let Some((open, slot, generation)) = self.acknowledged.take() {
            open.channel.claim_orphan(open.ticket, slot, generation);
            open.channel.release();
        }
    }

    /// Fork child: only the counts of its copies of the channels change.
    pub fn forget_in_child(&mut self) {
        let acknowledged = self.acknowledged.take().map(|(open, ..)| open);
        for open in self
            .open
            .iter_mut()
            .filter_map(Option::take)
            .chain(acknowledged)
        {
            open.channel.release();
        }
    }
}
