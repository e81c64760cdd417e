//! S answers claims in channels that exist (TRUST.md "Later connections"), or follows a summons to C's box.

use super::handshake::dial;
use super::size::slots_max;
use super::{Acceptor, Negotiation, Stage, Wanted, put, reap_stale_claims};
use crate::discovery::look::FarEnd;
use crate::discovery::patience::{Knocker, Patience};
use crate::discovery::{Bound, knock, look, quota};
use fastpath::channel::claims::{Acknowledgement, ClaimTicket, FoundClaim};
use fastpath::channel::{Channel, Role, table};
use fastpath::statistics::count;
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::BorrowedFd;

/// Claims of one connection that are looked at: as many as C writes.
const CLAIMS_FOUND: usize = 8;

/// A claim that was answered.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    /// Retained.
    pub(super) channel: &'static Channel,
    pub(super) ticket: ClaimTicket,
    pub(super) slot: u32,
    pub(super) generation: u32,
    far: FarEnd,
    /// What C is asked to show.
    asked: u32,
}

/// Claims of one connection, each taken, in channels that are retained for it. All lead to the same far process.
pub(super) struct Found {
    claims: [Option<(&'static Channel, FoundClaim)>; CLAIMS_FOUND],
}

impl Found {
    pub(super) fn search(pair: &AddressPair) -> Found {
        let mut found = table::claimable(Role::Accepting, pair.accept_address, pair.accept_port)
            .filter_map(|channel| {
                let claim = channel.claim_find(pair)?;
                if !channel.retain() {
                    return None;
                }
                if !channel.claim_take(claim.ticket) {
                    channel.release();
                    return None;
                }
                Some((channel, claim))
            });
        Found {
            claims: core::array::from_fn(|_| found.next()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.iter().all(Option::is_none)
    }

    /// Answers the first claim for which there is a slot. When there is none C has a box, too (a summons), and gets a
    /// larger channel, if it may have one.
    pub(super) fn answer(
        self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        wanted: Wanted,
    ) -> Result<Acceptor, Reason> {
        let mut result = Err(Reason::TooManySockets);
        let (mut slots, mut class) = (0, wanted.class);
        let mut answered = None;
        for (channel, claim) in self.claims.iter().flatten() {
            if channel.class() < wanted.class {
                // Outgrown. Nobody is in the way there, so nobody is asked to leave.
                slots += channel.layout().slots;
                continue;
            }
            result = try_answer(tcp, pair, channel, *claim);
            match result {
                Ok(_) => answered = Some(channel.index()),
                Err(Reason::TooManySockets) => {
                    channel.press(crate::eviction::now_ms());
                    slots += channel.layout().slots;
                    class = class.max(channel.class() + 1);
                    continue;
                }
                Err(Reason::ProofFailed) => channel.claim_failed(),
                Err(_) => {}
            }
            break;
        }
        let is_full = result.is_err() && slots > 0;
        if is_full && slots < slots_max(wanted) {
            let larger = Wanted { class, ..wanted };
            result = dial(tcp, pair, larger).and_then(|begun| begun.ok_or(Reason::TooManySockets));
        }
        for (channel, claim) in self.claims.iter().flatten() {
            if answered == Some(channel.index()) {
                continue; // the negotiation has it
            }
            // A claim that comes to nothing in favour of another, or of the box, C withdraws itself.
            if result.is_err() {
                channel.claim_refuse(claim.ticket);
            }
            channel.release();
        }
        result
    }
}

fn try_answer(
    tcp: BorrowedFd<'_>,
    pair: &AddressPair,
    channel: &'static Channel,
    claim: FoundClaim,
) -> Result<Acceptor, Reason> {
    let far = look::far_end(tcp, pair, End::Accepting)?;
    let user = channel.far_side().map(|side| side.user);
    if Some(far.user) != user || far.cookie != claim.cookie || !far.is_accepted {
        return Err(Reason::ProofFailed);
    }
    let mut knocker = Knocker::new(tcp)?;
    let slot = channel.allocate_slot().or_else(|| {
        reap_stale_claims();
        channel.allocate_slot()
    });
    let (slot, generation) = slot.ok_or(Reason::TooManySockets)?;
    let asked = knock::other_than(far.shown);
    let shown = knocker.show(tcp, claim.knock_value);
    let negotiation = Negotiation {
        pair: *pair,
        patience: Patience::new(),
        knocker,
        stage: Stage::Answered(Answered {
            channel,
            ticket: claim.ticket,
            slot,
            generation,
            far,
            asked,
        }),
    };
    let begun = shown.and_then(|()| put(0, negotiation));
    match begun {
        // After the knock is there: C looks as soon as it reads this.
        Ok(_) => channel.claim_give(claim.ticket, slot, generation, asked),
        Err(_) => {
            knocker.restore(tcp);
            channel.cancel_slot(slot, generation);
        }
    }
    begun
}

impl Answered {
    pub(super) fn step(
        &self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &Knocker,
    ) -> Result<Option<Bound>, Reason> {
        match self.channel.claim_acknowledged(self.ticket) {
            Acknowledgement::None => return Ok(None),
            Acknowledgement::Withdrawn => return Err(Reason::PeerLeft),
            Acknowledgement::Given => {}
        }
        let seen = look::far_end(tcp, pair, End::Accepting)?;
        if seen.cookie != self.far.cookie
            || seen.user != self.far.user
            || !knock::is_seen(seen.shown, self.asked)
        {
            if self.channel.claim_is_withdrawn(self.ticket) {
                // C was left waiting too long and has taken its knock back; no lie.
                return Err(Reason::PeerLeft);
            }
            self.channel.claim_failed();
            quota::proof_failed(self.far.user);
            return Err(Reason::ProofFailed);
        }
        let process = fastpath::kernel_call::process_id();
        let (slot, generation) = (self.slot, self.generation);
        if !self
            .channel
            .bind_slot(slot, generation, knocker.cookie(), process)
        {
            return Err(Reason::Internal);
        }
        self.channel.claim_bound(self.ticket);
        count(Counter::ClaimsBound, 1);
        Ok(Some(Bound {
            channel: self.channel,
            slot,
            generation,
        }))
    }
}
