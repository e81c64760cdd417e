//! A channel: a [path](crate::path) with its two regions, and what this side must remember about them (CHANNEL.md).
//!
//! C1. Every word of a region has one writer. Handles say which: `Own…` words are this side's, `Far…` words untrusted.
//! C2. What this side decides from is in family memory (who holds which slot, which pages are taken), never read back
//!     out of a region: the maker of the memory may be able to write there (path.rs P7).
//! C3. Only the **home**, the process that finished the handshake, hands out slots and ring space or makes claims. Its
//!     fork relatives use what is bound, leave slots, and free ring space.
//! C4. A channel with no member is gone: its content is replaced by zeros at once, its addresses stay reserved until
//!     [`table`] uses the place again, so that a thread still on its way in reads zeros instead of faulting.
//!
//! * [`table`]: the channels of this process.
//! * [`home`]: am I the process that made this, or a fork child's copy of it?
//! * [`slots`]: life of a slot.
//! * [`pool`]: ring space.
//! * [`notify`]: telling an epoll set of the far side.
//! * [`claims`]: how a later connection asks for a slot.
//! * [`eviction`]: who gives one up for it.

pub mod claims;
pub mod eviction;
pub mod home;
pub mod notify;
pub mod pool;
pub mod slots;
pub mod table;
mod truth;

use crate::ict::{FarEntry, OwnEntry};
use crate::memory::region::{FarRegion, OwnRegion};
use crate::path::Chosen;
use crate::sync::{AtomicU32, AtomicU64, FarWord32, FarWord64, OwnWord32, OwnWord64};
use claims::ClaimState;
use kmod_interface::channel_layout::{RegionLayout, far_waiter, header, own_waiter};
use kmod_interface::limits::WAITERS;
use parts::PartsCell;
use truth::Truth;

/// Which end of the handshake this side was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// C: called connect(), writes claims.
    Connecting,
    /// S: accepted, made the memory, hands out slots, answers claims.
    Accepting,
}

/// Who is at the far end, and for which address new connections may ask for a slot here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarSide {
    /// User id of the far process as socket diagnostics showed it; 65534 means unknown.
    pub user: u32,
    /// Process id of the far process as this process sees it, 0 when it cannot; never trusted, it only chooses sizes.
    pub process: u32,
    /// Address of the accepting end, as in [`kmod_interface::handshake::AddressPair`].
    pub accept_address: [u8; 16],
    /// Port of the accepting end.
    pub accept_port: u16,
}

/// One channel of this process; a place in [`table`].
pub struct Channel {
    phase: AtomicU32,
    members: AtomicU32,
    retired_serial: AtomicU64,
    parts: PartsCell,
    claims: ClaimState,
    rung: notify::Rung,
    eviction: eviction::EvictionState,
}

mod parts {
    //! What is set when a channel is made and does not change as long as it lives.
    #![expect(unsafe_code, reason = "a cell written once before it is shared")]

    use super::{Chosen, FarRegion, FarSide, OwnRegion, Role, Truth};
    use crate::path::Path;
    use core::cell::UnsafeCell;

    /// The fixed parts of a channel.
    #[derive(Clone, Copy)]
    pub(super) struct Parts {
        pub index: u32,
        pub role: Role,
        pub path: Chosen,
        pub truth: Truth,
        pub far_side: FarSide,
        pub home: u64,
    }

    impl Parts {
        /// The memory this side writes.
        #[inline(always)]
        pub fn own(&self) -> &OwnRegion {
            self.path.own()
        }
        /// The memory the far side writes.
        #[inline(always)]
        pub fn far(&self) -> &FarRegion {
            self.path.far()
        }
    }

    /// `None` in a place that was never used. Written by the table only, in phase MAKING, when nobody else may look.
    pub(super) struct PartsCell(UnsafeCell<Option<Parts>>);

    // SAFETY: what every thread may read is `Parts`, which may be shared (asserted below). One thread writes, in phase
    // MAKING, when the place is its own, and publishes with phase LIVE. Readers are of two kinds. Members keep the place
    // from becoming FREE, and so from being made anew. Those that found it by index or while going through the table
    // (`table::get`, `live`, `claimable`) look during one part of one call, and look it up anew for the next. When the
    // channel ends meanwhile they go on reading what stays there, and the memory stays mapped, until `table::REUSE_AFTER`
    // other places were left: so many channels would have to end within that part of a call.
    unsafe impl Sync for PartsCell {}

    const fn may_be_shared<T: Send + Sync>() {}
    const _: () = may_be_shared::<Parts>();

    impl PartsCell {
        pub const fn empty() -> Self {
            Self(UnsafeCell::new(None))
        }
        /// # Safety
        /// The caller holds the place in phase MAKING.
        pub unsafe fn set(&self, parts: Option<Parts>) {
            // SAFETY: the phase keeps every reader out.
            unsafe { *self.0.get() = parts };
        }
        #[inline(always)]
        pub fn get(&self) -> Option<&Parts> {
            // SAFETY: a holder of a channel got it after phase LIVE was published (acquire in the table); the place is
            // not made anew before `table::REUSE_AFTER` other channels came and went.
            unsafe { (*self.0.get()).as_ref() }
        }
    }
}

macro_rules! waiter_words {
    ($($name:ident($($argument:ident)?) $region:ident $word:ident $method:ident = $base:ident + $offset:expr, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            ///
            /// Nothing when there is no such waiter or word (waiter 0 has none).
            #[inline]
            #[must_use]
            pub fn $name(&self, waiter: usize $(, $argument: usize)?) -> Option<$word> {
                let parts = self.parts.get()?;
                let layout = parts.own().layout();
                if waiter == 0 || waiter >= WAITERS {
                    return None;
                }
                $(if $argument >= layout.ready_words() {
                    return None;
                })?
                Some(parts.$region().$method(layout.$base(waiter) + $offset $(+ $argument * 8)?))
            }
        )*
    };
}

impl Channel {
    /// Its place in the table.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.parts.get().map_or(0, |parts| parts.index)
    }
    /// Which end of the handshake this side was.
    #[must_use]
    pub fn role(&self) -> Role {
        self.parts
            .get()
            .map_or(Role::Connecting, |parts| parts.role)
    }
    /// Who is at the far end.
    #[must_use]
    pub fn far_side(&self) -> Option<FarSide> {
        self.parts.get().map(|parts| parts.far_side)
    }
    /// Size class of both regions.
    #[must_use]
    pub fn class(&self) -> u32 {
        self.parts.get().map_or(0, |parts| parts.own().class())
    }
    /// Sizes of both regions.
    #[must_use]
    pub fn layout(&self) -> RegionLayout {
        self.parts.get().map_or(
            RegionLayout {
                slots: 0,
                region_bytes: 0,
            },
            |parts| parts.own().layout(),
        )
    }
    /// True in the process that finished the handshake, false in its fork relatives (C3).
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.parts
            .get()
            .is_some_and(|parts| home::is_current(parts.home))
    }

    /// This side's entry of a slot.
    #[inline]
    #[must_use]
    pub fn own_entry(&self, slot: u32) -> Option<OwnEntry> {
        let own = self.parts.get()?.own();
        let offset = own.layout().entry(slot)?;
        Some(entry::own(own, offset))
    }
    /// The far side's entry of a slot.
    #[inline]
    #[must_use]
    pub fn far_entry(&self, slot: u32) -> Option<FarEntry> {
        let far = self.parts.get()?.far();
        let offset = far.layout().entry(slot)?;
        Some(entry::far(far, offset))
    }

    waiter_words! {
        own_waiter_epoch() own OwnWord32 word32 = own_waiter + own_waiter::EPOCH,
            "Epoch of our epoll set `waiter`.";
        far_waiter_epoch() far FarWord32 word32 = own_waiter + own_waiter::EPOCH,
            "Epoch of the far side's epoll set `waiter`.";
        own_ready_word(word) own OwnWord64 word64 = far_waiter + far_waiter::READY_WORDS,
            "Ready bits that we write for the far side's waiter.";
        own_ready_summary() own OwnWord64 word64 = far_waiter + far_waiter::SUMMARY,
            "Summary that we write for the far side's waiter.";
        own_stamp() own OwnWord64 word64 = far_waiter + far_waiter::STAMP,
            "Time stamp of our last bell for the far side's waiter.";
        own_cpu() own OwnWord32 word32 = far_waiter + far_waiter::CPU,
            "CPU of our last bell for the far side's waiter.";
        far_answer_word(word) far FarWord64 word64 = own_waiter + own_waiter::ANSWER_WORDS,
            "The far side's answers to [`Self::own_ready_word`].";
        far_answer_summary() far FarWord64 word64 = own_waiter + own_waiter::ANSWER_SUMMARY,
            "The far side's answers to [`Self::own_ready_summary`].";
        far_ready_word(word) far FarWord64 word64 = far_waiter + far_waiter::READY_WORDS,
            "Ready bits that the far side writes for our waiter.";
        far_ready_summary() far FarWord64 word64 = far_waiter + far_waiter::SUMMARY,
            "Summary that the far side writes for our waiter.";
        far_stamp() far FarWord64 word64 = far_waiter + far_waiter::STAMP,
            "Time stamp of the far side's last bell for our waiter.";
        far_cpu() far FarWord32 word32 = far_waiter + far_waiter::CPU,
            "CPU of the far side's last bell for our waiter.";
        own_answer_word(word) own OwnWord64 word64 = own_waiter + own_waiter::ANSWER_WORDS,
            "Our answers to [`Self::far_ready_word`].";
        own_answer_summary() own OwnWord64 word64 = own_waiter + own_waiter::ANSWER_SUMMARY,
            "Our answers to [`Self::far_ready_summary`].";
    }

    /// True once the home of the far side has left the channel: nobody answers claims there any more.
    #[must_use]
    pub fn far_home_left(&self) -> bool {
        use crate::sync::Ordering;
        self.parts
            .get()
            .is_none_or(|parts| parts.far().word32(header::GONE).load(Ordering::Acquire) != 0)
    }
}

mod entry {
    //! Entries of slots that exist.
    #![expect(unsafe_code, reason = "computes the address of an entry")]

    use super::{FarEntry, FarRegion, OwnEntry, OwnRegion};

    #[inline(always)]
    pub(super) fn own(region: &OwnRegion, offset: usize) -> OwnEntry {
        // SAFETY: `offset` came from the layout's `entry`, which is inside the region and 64-aligned.
        unsafe { OwnEntry::at(region.base().add(offset)) }
    }
    #[inline(always)]
    pub(super) fn far(region: &FarRegion, offset: usize) -> FarEntry {
        // SAFETY: as above.
        unsafe { FarEntry::at(region.base().add(offset)) }
    }
}
