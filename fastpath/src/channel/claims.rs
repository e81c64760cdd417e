//! How a later connection of the same two processes asks for a slot (TRUST.md "Later connections").
//!
//! ```text
//!   C, connecting side, place i of its region        S, accepting side, place i of its region
//!   claim {pair, cookie, value for S} sequence ──▶   pair is one of mine, look: cookie, user
//!   look: value, cookie                        ◀──   answer {slot, generation, value for C} sequence
//!   acknowledged = sequence                    ──▶   look: value, cookie
//!   bind the slot                              ◀──   bound = sequence        (or refused = sequence)
//! ```
//!
//! A1. C takes a place back only when S has said `bound` or `refused`, or before it acknowledged: S binds nothing that
//!     is not acknowledged. A claim that C gave up in between is an *orphan*: its place stays until S has spoken.
//! A2. The looks and knocks are the shim's; here is only what lies in the regions. Every far word is copied once.
//! A3. Only homes claim and answer (C3 of the channel).
//!
//! * [`asking`]: C's half.
//! * [`answering`]: S's half.

mod answering;
mod asking;

use super::Channel;
use crate::memory::untrusted::{copy_in, copy_out};
use crate::sync::{AtomicU32, AtomicU64, Ordering, OwnWord32};
use kmod_interface::channel_layout::{RegionLayout, claim};
use kmod_interface::handshake::{AddressPair, PAIR_BYTES};
use kmod_interface::limits::CLAIMS;

/// Failed proofs after which a channel takes and makes no more claims.
const FAILED_CLAIMS: u32 = 8;
const PAIR_WORDS: usize = PAIR_BYTES / 4;

/// A claim C has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimTicket {
    place: u32,
    sequence: u32,
}

/// What S answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// Nothing yet.
    None,
    /// No slot is to be had.
    Refused,
    /// A slot, if the knocks are seen.
    Given {
        /// The slot; it exists.
        slot: u32,
        /// Its generation; not 0.
        generation: u32,
        /// The value C is asked to show.
        knock_value: u32,
    },
    /// Impossible values.
    Lie,
}

/// A claim S has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundClaim {
    /// What the answer goes to.
    pub ticket: ClaimTicket,
    /// Cookie of the claiming socket.
    pub cookie: u64,
    /// The value S is asked to show.
    pub knock_value: u32,
}

/// What has become of a claim that S answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// Nothing yet.
    None,
    /// C has seen S's knock and shows its own.
    Given,
    /// C gave the claim up.
    Withdrawn,
}

/// Process-private state of the claims of one channel. A fork child's copy is never used (A3).
pub(super) struct ClaimState {
    /// C: sequence number given last. S: claim counter seen last.
    counter: AtomicU32,
    /// C: places in use, a bit each. S: claims found that were not ours to answer yet.
    places: AtomicU32,
    /// C: orphans, a bit each.
    orphans: AtomicU32,
    failed: AtomicU32,
    /// C: sequence of each place. S: sequence answered last at each place.
    sequences: [AtomicU32; CLAIMS],
    /// C: slot and generation of an orphan.
    slots: [AtomicU64; CLAIMS],
}

impl ClaimState {
    pub const fn new() -> Self {
        Self {
            counter: AtomicU32::new(0),
            places: AtomicU32::new(0),
            orphans: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            sequences: [const { AtomicU32::new(0) }; CLAIMS],
            slots: [const { AtomicU64::new(0) }; CLAIMS],
        }
    }
    pub fn reset(&self) {
        for word in [&self.counter, &self.places, &self.orphans, &self.failed] {
            word.store(0, Ordering::Relaxed);
        }
        for word in &self.sequences {
            word.store(0, Ordering::Relaxed);
        }
    }
    fn sequence(&self, place: u32) -> u32 {
        self.sequences
            .get(place as usize)
            .map_or(0, |sequence| sequence.load(Ordering::Relaxed))
    }
    fn set_sequence(&self, place: u32, value: u32) {
        if let Some(sequence) = self.sequences.get(place as usize) {
            sequence.store(value, Ordering::Relaxed);
        }
    }
}

/// Several threads may bump at once. One that was late and wrote what the other had already raised would hide its claim
/// from a far side that has looked in between.
fn bump(counter: OwnWord32) {
    loop {
        let seen = counter.load(Ordering::Relaxed);
        let bumped = counter.compare_exchange(
            seen,
            seen.wrapping_add(1),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if bumped.is_ok() {
            return;
        }
    }
}

mod pair {
    //! Address pairs in claims.
    #![expect(unsafe_code, reason = "copies a pair out of and into a claim")]

    use super::{AddressPair, PAIR_BYTES, PAIR_WORDS, RegionLayout, claim, copy_in, copy_out};
    use crate::memory::region::{FarRegion, OwnRegion};

    pub(super) fn write(own: &OwnRegion, place: u32, pair: &AddressPair) {
        let bytes = pair.to_bytes();
        let mut words = [0_u32; PAIR_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            let mut four = [0_u8; 4];
            four.copy_from_slice(chunk);
            *word = u32::from_ne_bytes(four);
        }
        let offset = RegionLayout::claim(place as usize) + claim::PAIR;
        // SAFETY: a claim's place lies inside every region and is 4-aligned.
        unsafe { copy_in(own.base().add(offset), words) };
    }
    pub(super) fn read(far: &FarRegion, place: u32) -> AddressPair {
        let offset = RegionLayout::claim(place as usize) + claim::PAIR;
        // SAFETY: as above.
        let words: [u32; PAIR_WORDS] = unsafe { copy_out(far.base().add(offset)) };
        let mut bytes = [0_u8; PAIR_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        AddressPair::from_bytes(&bytes)
    }
}

/// Both sides.
impl Channel {
    /// True while this channel makes and takes claims: home on both ends, not too many failed proofs or storms.
    #[must_use]
    pub fn takes_claims(&self) -> bool {
        !self.is_distrusted() && self.is_home() && !self.far_home_left()
    }
    /// True once too many proofs failed here, or too many connections were given up for storms.
    #[must_use]
    pub fn is_distrusted(&self) -> bool {
        self.claims.failed.load(Ordering::Relaxed) >= FAILED_CLAIMS
    }
    /// Counts a proof that failed: a wrong knock, cookie or user, or an impossible answer. Silence is no failure.
    pub fn claim_failed(&self) {
        let failed = self.claims.failed.load(Ordering::Relaxed);
        self.claims
            .failed
            .store(failed.saturating_add(1), Ordering::Relaxed);
    }

    /// Counts a connection that was given up because the far side woke this one for nothing: like a failed proof.
    pub fn connection_pestered(&self) {
        self.claim_failed();
    }

    fn own_claim(&self, place: u32, word: usize) -> Option<OwnWord32> {
        let offset = RegionLayout::claim(place as usize) + word;
        Some(self.parts.get()?.own().word32(offset))
    }
    fn own_answer(&self, place: u32, word: usize) -> Option<OwnWord32> {
        let offset = RegionLayout::answer(place as usize) + word;
        Some(self.parts.get()?.own().word32(offset))
    }
    /// One untrusted word; 0, which says nothing, when there is no region.
    fn far_claim(&self, place: u32, word: usize) -> u32 {
        let offset = RegionLayout::claim(place as usize) + word;
        // Acquire, partners: the releases of `sequence` and `acknowledged` in C.
        self.parts.get().map_or(0, |parts| {
            parts.far().word32(offset).load(Ordering::Acquire)
        })
    }
    fn far_answer(&self, place: u32, word: usize) -> u32 {
        let offset = RegionLayout::answer(place as usize) + word;
        // Acquire, partners: the releases of `sequence`, `bound` and `refused` in S.
        self.parts.get().map_or(0, |parts| {
            parts.far().word32(offset).load(Ordering::Acquire)
        })
    }
}
