//! C's half of a claim.

use super::{ClaimAnswer, ClaimTicket, bump, pair};
use crate::channel::{Channel, Role};
use crate::sync::{Ordering, fence};
use kmod_interface::channel_layout::{RegionLayout, claim, claim::answer, header};
use kmod_interface::handshake::AddressPair;
use kmod_interface::limits::{CLAIMS, KNOCK_BITS};

impl Channel {
    /// Writes a claim; nothing when every place is in use or the channel takes no claims.
    #[must_use]
    pub fn claim_begin(
        &self,
        pair: &AddressPair,
        cookie: u64,
        knock_value: u32,
    ) -> Option<ClaimTicket> {
        let parts = self.parts.get()?;
        if parts.role != Role::Connecting || !self.takes_claims() {
            return None;
        }
        self.resolve_orphans();
        let place = self.take_place()?;
        let sequence = match self
            .claims
            .counter
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
        {
            0 => self
                .claims
                .counter
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1),
            sequence => sequence,
        };
        self.claims.set_sequence(place, sequence);
        let start = RegionLayout::claim(place as usize);
        let word = |offset: usize| parts.own().word32(start + offset);
        word(claim::SEQUENCE).store(0, Ordering::Relaxed);
        // Release fence, partner: the acquire fence in `claim_find`: who reads a new field also reads this 0 or what
        // follows, not the old sequence.
        fence(Ordering::Release);
        word(claim::KNOCK_VALUE).store(knock_value, Ordering::Relaxed);
        parts
            .own()
            .word64(start + claim::COOKIE)
            .store(cookie, Ordering::Relaxed);
        pair::write(parts.own(), place, pair);
        // Release, partner: the acquire of the sequence in `claim_find`.
        word(claim::SEQUENCE).store(sequence, Ordering::Release);
        bump(parts.own().word32(header::CLAIM_COUNTER));
        Some(ClaimTicket { place, sequence })
    }

    fn take_place(&self) -> Option<u32> {
        loop {
            let used = self.claims.places.load(Ordering::Relaxed);
            let place = (!used).trailing_zeros();
            if place >= CLAIMS as u32 {
                return None;
            }
            let taken = self.claims.places.compare_exchange(
                used,
                used | 1 << place,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Some(place);
            }
        }
    }

    /// What S has answered to a claim.
    #[must_use]
    pub fn claim_answer(&self, ticket: ClaimTicket) -> ClaimAnswer {
        let ClaimTicket { place, sequence } = ticket;
        if self.far_answer(place, answer::REFUSED) == sequence {
            return ClaimAnswer::Refused;
        }
        if self.far_answer(place, answer::SEQUENCE) != sequence {
            return ClaimAnswer::None;
        }
        let slot = self.far_answer(place, answer::SLOT);
        let generation = self.far_answer(place, answer::GENERATION);
        let knock_value = self.far_answer(place, answer::KNOCK_VALUE);
        if slot >= self.layout().slots || generation == 0 || knock_value >> KNOCK_BITS != 0 {
            return ClaimAnswer::Lie;
        }
        ClaimAnswer::Given {
            slot,
            generation,
            knock_value,
        }
    }
    /// Tells S that its knock was seen and that ours is there.
    pub fn claim_acknowledge(&self, ticket: ClaimTicket) {
        if let Some(word) = self.own_claim(ticket.place, claim::ACKNOWLEDGED) {
            // Release, partner: the acquire in `claim_acknowledged`.
            word.store(ticket.sequence, Ordering::Release);
        }
    }
    /// After the acknowledgement: bound or refused, or nothing yet.
    #[must_use]
    pub fn claim_outcome(&self, ticket: ClaimTicket) -> Option<bool> {
        if self.far_answer(ticket.place, answer::BOUND) == ticket.sequence {
            Some(true)
        } else if self.far_answer(ticket.place, answer::REFUSED) == ticket.sequence {
            Some(false)
        } else {
            None
        }
    }
    /// The place is free again. Only before the acknowledgement or after the outcome (A1).
    pub fn claim_end(&self, ticket: ClaimTicket) {
        let Some(parts) = self.parts.get() else {
            return;
        };
        if let Some(word) = self.own_claim(ticket.place, claim::SEQUENCE) {
            word.store(0, Ordering::Release);
        }
        bump(parts.own().word32(header::CLAIM_COUNTER));
        // Release, partner: the acquire in `take_place`.
        self.claims
            .places
            .fetch_and(!(1 << ticket.place), Ordering::Release);
    }
    /// Gives up an acknowledged claim without knowing its outcome (A1). Should S bind the slot, this side leaves it.
    /// Before the knock is taken back, so that S, who misses it, sees why.
    pub fn claim_orphan(&self, ticket: ClaimTicket, slot: u32, generation: u32) {
        if let Some(word) = self.own_claim(ticket.place, claim::SEQUENCE) {
            // Release, partner: the acquire in `claim_is_withdrawn`.
            word.store(0, Ordering::Release);
        }
        if let Some(place) = self.claims.slots.get(ticket.place as usize) {
            place.store(
                u64::from(slot) << 32 | u64::from(generation),
                Ordering::Relaxed,
            );
        }
        self.claims
            .orphans
            .fetch_or(1 << ticket.place, Ordering::Release);
    }

    fn resolve_orphans(&self) {
        let mut orphans = self.claims.orphans.load(Ordering::Acquire);
        while orphans != 0 {
            let place = orphans.trailing_zeros();
            orphans &= orphans - 1;
            let ticket = ClaimTicket {
                place,
                sequence: self.claims.sequence(place),
            };
            let Some(bound) = self.claim_outcome(ticket) else {
                continue;
            };
            let before = self
                .claims
                .orphans
                .fetch_and(!(1 << place), Ordering::AcqRel);
            if before & 1 << place == 0 {
                continue; // another thread was faster
            }
            if bound && let Some(orphan) = self.claims.slots.get(place as usize) {
                let orphan = orphan.load(Ordering::Relaxed);
                let (slot, generation) = ((orphan >> 32) as u32, orphan as u32);
                if self.bind_slot(slot, generation, 0, 0) {
                    self.slot_leave(slot, generation);
                }
            }
            self.claim_end(ticket);
        }
    }
}
