//! S's half of a claim.

use super::{Acknowledgement, ClaimTicket, FoundClaim, bump, pair};
use crate::channel::{Channel, Role};
use crate::sync::{Ordering, fence};
use kmod_interface::channel_layout::{RegionLayout, claim, claim::answer, header};
use kmod_interface::handshake::AddressPair;
use kmod_interface::limits::{CLAIMS, KNOCK_BITS};

impl Channel {
    /// True when claims may be waiting: new ones, or some that were not this process's connections' yet.
    #[must_use]
    pub fn claims_are_waiting(&self) -> bool {
        let Some(parts) = self.parts.get() else {
            return false;
        };
        // Acquire, partner: the release in `bump`: the claims before it are there.
        let counter = parts
            .far()
            .word32(header::CLAIM_COUNTER)
            .load(Ordering::Acquire);
        counter != self.claims.counter.load(Ordering::Relaxed)
            || self.claims.places.load(Ordering::Relaxed) != 0
    }

    /// Looks for an unanswered claim of this pair. One load of a far word while nothing changed.
    #[must_use]
    pub fn claim_find(&self, pair: &AddressPair) -> Option<FoundClaim> {
        let parts = self.parts.get()?;
        if parts.role != Role::Accepting {
            return None;
        }
        if !self.claims_are_waiting() || !self.takes_claims() {
            return None;
        }
        // Acquire, partner: the release in `bump`: the claims before it are there.
        let counter = parts
            .far()
            .word32(header::CLAIM_COUNTER)
            .load(Ordering::Acquire);
        self.claims.counter.store(counter, Ordering::Relaxed);
        let mut found = None;
        for place in 0..CLAIMS as u32 {
            let Some(sequence) = self.unanswered_at(place) else {
                self.forget_place(place);
                continue;
            };
            self.claims.places.fetch_or(1 << place, Ordering::AcqRel);
            if found.is_some() || pair::read(parts.far(), place) != *pair {
                continue;
            }
            let start = RegionLayout::claim(place as usize);
            let candidate = FoundClaim {
                ticket: ClaimTicket { place, sequence },
                cookie: parts
                    .far()
                    .word64(start + claim::COOKIE)
                    .load(Ordering::Relaxed),
                knock_value: self.far_claim(place, claim::KNOCK_VALUE),
            };
            // Acquire fence, partner: the release fence in `claim_begin`.
            fence(Ordering::Acquire);
            let same = self.far_claim(place, claim::SEQUENCE) == sequence;
            if same && candidate.knock_value >> KNOCK_BITS == 0 {
                found = Some(candidate);
            }
        }
        found
    }

    /// The sequence of a claim at a place that this process has not answered.
    fn unanswered_at(&self, place: u32) -> Option<u32> {
        let sequence = self.far_claim(place, claim::SEQUENCE);
        (sequence != 0 && sequence != self.claims.sequence(place)).then_some(sequence)
    }

    /// There is no claim at a place. Another thread may just have found the next one there: it set the bit after it had
    /// seen that claim, so who takes the bit away sees the claim, too.
    fn forget_place(&self, place: u32) {
        let bit = 1 << place;
        if self.claims.places.load(Ordering::Relaxed) & bit == 0 {
            return;
        }
        let before = self.claims.places.fetch_and(!bit, Ordering::AcqRel);
        if before & bit != 0 && self.unanswered_at(place).is_some() {
            self.claims.places.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Marks a claim as this process's to answer; false when another thread was first.
    #[must_use]
    pub fn claim_take(&self, ticket: ClaimTicket) -> bool {
        let Some(answered) = self.claims.sequences.get(ticket.place as usize) else {
            return false;
        };
        let before = answered.swap(ticket.sequence, Ordering::AcqRel);
        self.forget_place(ticket.place);
        before != ticket.sequence
    }
    /// Answers a claim with a slot.
    pub fn claim_give(&self, ticket: ClaimTicket, slot: u32, generation: u32, knock_value: u32) {
        let words = [
            (answer::SLOT, slot),
            (answer::GENERATION, generation),
            (answer::KNOCK_VALUE, knock_value),
        ];
        for (offset, value) in words {
            if let Some(word) = self.own_answer(ticket.place, offset) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.say(ticket, answer::SEQUENCE);
    }
    /// Whether C has acknowledged an answered claim.
    #[must_use]
    pub fn claim_acknowledged(&self, ticket: ClaimTicket) -> Acknowledgement {
        if self.far_claim(ticket.place, claim::ACKNOWLEDGED) == ticket.sequence {
            Acknowledgement::Given
        } else if self.far_claim(ticket.place, claim::SEQUENCE) != ticket.sequence {
            Acknowledgement::Withdrawn
        } else {
            Acknowledgement::None
        }
    }
    /// Whether C has given the claim up, also after it had acknowledged the answer.
    #[must_use]
    pub fn claim_is_withdrawn(&self, ticket: ClaimTicket) -> bool {
        self.far_claim(ticket.place, claim::SEQUENCE) != ticket.sequence
    }
    /// The connection is bound: both knocks were seen.
    pub fn claim_bound(&self, ticket: ClaimTicket) {
        self.say(ticket, answer::BOUND);
    }
    /// The claim comes to nothing.
    pub fn claim_refuse(&self, ticket: ClaimTicket) {
        self.say(ticket, answer::REFUSED);
    }

    fn say(&self, ticket: ClaimTicket, what: usize) {
        let Some(parts) = self.parts.get() else {
            return;
        };
        if let Some(word) = self.own_answer(ticket.place, what) {
            // Release, partner: the acquire in `far_answer`.
            word.store(ticket.sequence, Ordering::Release);
        }
        bump(parts.own().word32(header::ANSWER_COUNTER));
    }
}
