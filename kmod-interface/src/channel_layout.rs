//! One side's region: a sealed, fully allocated memfd, written by its side and read by the other.
//!
//! ```text
//!   0      header            256
//!   256    control events    32 x 32
//!   1280   claims            16 x 96     answers 16 x 32
//!   3328   own waiters       64 x own_waiter_bytes      epoch, answers to ready bits
//!          far waiters       64 x far_waiter_bytes      stamp, cpu, summary, ready bits for the far side's sets
//!          entries           slots x 192
//!   page   pool              ring space in 4 KiB pages
//! ```

use crate::ict::ENTRY_BYTES;
use crate::limits::{CLAIMS, CONTROL_EVENTS, POOL_PAGE_BYTES, READY_KINDS, WAITERS};

/// Byte offsets of the header's words.
pub mod header {
    /// u32: [`crate::limits::MAGIC`].
    pub const MAGIC: usize = 0;
    /// u32: [`crate::limits::VERSION`].
    pub const VERSION: usize = 4;
    /// u64: feature bits in force.
    pub const FEATURES: usize = 8;
    /// u32: size class, index into [`super::CLASSES`].
    pub const CLASS: usize = 16;
    /// u32: handshake word, connecting side: 1 = both regions are mapped and sealed.
    pub const MAPPED: usize = 20;
    /// u32: handshake word, connecting side: the value it asks the accepting side to show.
    pub const KNOCK_VALUE: usize = 24;
    /// u32: handshake word, accepting side: 1 = the connecting side's knock was seen.
    pub const KNOWN: usize = 28;
    /// u32: handshake word, connecting side: 1 = the accepting side's knock was seen, the channel is in use.
    pub const BOUND: usize = 32;
    /// u32: counts up with every claim written here; a reader looks at claims only when it moved.
    pub const CLAIM_COUNTER: usize = 36;
    /// u32: counts up with every answer written here.
    pub const ANSWER_COUNTER: usize = 40;
    /// u32: control events ever written here.
    pub const CONTROL_TAIL: usize = 44;
    /// u32: 1 once the home of this side has left the channel: it reads no claims and answers none any more.
    pub const GONE: usize = 48;
    /// Size of the header.
    pub const BYTES: usize = 256;
}

/// Byte offsets within a claim (connecting side) or an answer (accepting side).
pub mod claim {
    /// u32: 0 = free; else the claim's sequence number, written last.
    pub const SEQUENCE: usize = 0;
    /// u32: value the accepting side is asked to show.
    pub const KNOCK_VALUE: usize = 4;
    /// u64: cookie of the connecting side's socket.
    pub const COOKIE: usize = 8;
    /// 36 bytes: the address pair as [`crate::handshake::AddressPair`] writes it.
    pub const PAIR: usize = 16;
    /// u32: sequence number of the claim whose answer's knock was seen and returned.
    pub const ACKNOWLEDGED: usize = 56;
    /// Size of a claim.
    pub const BYTES: usize = 96;

    /// Offsets within an answer.
    pub mod answer {
        /// u32: sequence number of the claim answered, written last.
        pub const SEQUENCE: usize = 0;
        /// u32: slot given.
        pub const SLOT: usize = 4;
        /// u32: generation of the slot.
        pub const GENERATION: usize = 8;
        /// u32: value the connecting side is asked to show.
        pub const KNOCK_VALUE: usize = 12;
        /// u32: sequence number of the claim that is bound: both knocks were seen.
        pub const BOUND: usize = 16;
        /// u32: sequence number of a claim that was refused (no slot, quota).
        pub const REFUSED: usize = 20;
        /// Size of an answer.
        pub const BYTES: usize = 32;
    }
}

/// Byte offsets within an own waiter.
pub mod own_waiter {
    /// u32: the epoll set's epoch; odd = armed.
    pub const EPOCH: usize = 0;
    /// u64: answers to the far side's summary word.
    pub const ANSWER_SUMMARY: usize = 8;
    /// u64 each: answers to the far side's ready words.
    pub const ANSWER_WORDS: usize = 16;
}

/// Byte offsets within a far waiter: what this side writes for an epoll set of the far side. The summary, the
/// stamp and the first ready words share one line.
pub mod far_waiter {
    /// u64: time stamp counter of the last bell.
    pub const STAMP: usize = 0;
    /// u32: CPU of the last ringer.
    pub const CPU: usize = 8;
    /// u64: one bit for each ready word; ready = differs from the answer.
    pub const SUMMARY: usize = 16;
    /// u64 each: ready bits, two kinds a slot (bit = slot * 2 + kind).
    pub const READY_WORDS: usize = 24;
}

/// Sizes of a region with a given number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionLayout {
    /// Slots, a multiple of 16.
    pub slots: u32,
    /// Size of the whole region.
    pub region_bytes: u32,
}

/// The size classes, chosen by measurement: the first handshake, some 128 connections, all 1024 slots.
pub const CLASSES: [RegionLayout; 3] = [
    RegionLayout {
        slots: 16,
        region_bytes: 128 << 10,
    },
    RegionLayout {
        slots: 128,
        region_bytes: 2 << 20,
    },
    RegionLayout {
        slots: 1024,
        region_bytes: 8 << 20,
    },
];

const fn lines(bytes: usize) -> usize {
    bytes.div_ceil(64) * 64
}

impl RegionLayout {
    /// The layout of a size class, or nothing when the class does not exist.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "checked in the line before; constant functions have no `get`"
    )]
    pub const fn of_class(class: u32) -> Option<RegionLayout> {
        if (class as usize) < CLASSES.len() {
            Some(CLASSES[class as usize])
        } else {
            None
        }
    }
    /// Ready words per waiter.
    #[must_use]
    pub const fn ready_words(&self) -> usize {
        (self.slots as usize * READY_KINDS).div_ceil(64)
    }
    /// Size of one own waiter.
    #[must_use]
    pub const fn own_waiter_bytes(&self) -> usize {
        lines(own_waiter::ANSWER_WORDS + self.ready_words() * 8)
    }
    /// Size of one far waiter.
    #[must_use]
    pub const fn far_waiter_bytes(&self) -> usize {
        lines(far_waiter::READY_WORDS + self.ready_words() * 8)
    }
    /// Offset of control event `index`.
    #[must_use]
    pub const fn control_event(index: usize) -> usize {
        header::BYTES + (index % CONTROL_EVENTS) * crate::control_event::BYTES
    }
    /// Offset of claim `index`.
    #[must_use]
    pub const fn claim(index: usize) -> usize {
        header::BYTES
            + CONTROL_EVENTS * crate::control_event::BYTES
            + (index % CLAIMS) * claim::BYTES
    }
    /// Offset of answer `index`.
    #[must_use]
    pub const fn answer(index: usize) -> usize {
        Self::claim(0) + CLAIMS * claim::BYTES + (index % CLAIMS) * claim::answer::BYTES
    }
    const OWN_WAITERS: usize = Self::answer(0) + CLAIMS * claim::answer::BYTES;
    /// Offset of own waiter `index`; 0 is never used, it means the connection's own epochs.
    #[must_use]
    pub const fn own_waiter(&self, index: usize) -> usize {
        Self::OWN_WAITERS + (index % WAITERS) * self.own_waiter_bytes()
    }
    /// Offset of far waiter `index`.
    #[must_use]
    pub const fn far_waiter(&self, index: usize) -> usize {
        Self::OWN_WAITERS
            + WAITERS * self.own_waiter_bytes()
            + (index % WAITERS) * self.far_waiter_bytes()
    }
    const fn entries(&self) -> usize {
        Self::OWN_WAITERS + WAITERS * (self.own_waiter_bytes() + self.far_waiter_bytes())
    }
    /// Offset of the entry of `slot`, or nothing when the slot does not exist.
    #[must_use]
    pub const fn entry(&self, slot: u32) -> Option<usize> {
        if slot < self.slots {
            Some(self.entries() + slot as usize * ENTRY_BYTES)
        } else {
            None
        }
    }
    /// Offset of the pool.
    #[must_use]
    pub const fn pool_offset(&self) -> u32 {
        let end = self.entries() + self.slots as usize * ENTRY_BYTES;
        (end.div_ceil(POOL_PAGE_BYTES as usize) * POOL_PAGE_BYTES as usize) as u32
    }
    /// Size of the pool.
    #[must_use]
    pub const fn pool_bytes(&self) -> u32 {
        self.region_bytes - self.pool_offset()
    }
    /// Ready-bit position of a slot and kind: word index and mask.
    #[must_use]
    pub const fn ready_bit(slot: u32, kind: u32) -> (usize, u64) {
        let bit = slot as usize * READY_KINDS + kind as usize;
        (bit / 64, 1 << (bit % 64))
    }
}

#[expect(clippy::indexing_slicing, reason = "when it is compiled")]
const _: () = {
    let mut class = 0;
    while class < CLASSES.len() {
        let layout = CLASSES[class];
        assert!(layout.slots <= crate::limits::SLOTS_MAX);
        assert!(layout.own_waiter(0).is_multiple_of(64) && layout.far_waiter(0).is_multiple_of(64));
        assert!(layout.entries().is_multiple_of(64));
        // Each slot must be able to have a small ring.
        assert!(layout.pool_bytes() / POOL_PAGE_BYTES >= layout.slots);
        // One summary word must have a bit for each ready word.
        assert!(layout.ready_words() <= 64);
        class += 1;
    }
};
