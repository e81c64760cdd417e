//! A channel's family memory: what this side's processes share about it and the far side never maps.
//!
//! One anonymous shared mapping per channel, inherited by fork children at the same address. All words are atomic, all
//! zero is the initial state.
#![expect(unsafe_code, reason = "maps family memory and refers to it")]

use super::pool::PoolTruth;
use super::slots::SlotTruth;
use crate::error::Blame;
use crate::memory::region::put_zeros;
use crate::sync::AtomicU32;
use core::ptr::null_mut;
use rustix::mm::{MapFlags, ProtFlags};

/// Start of the mapping; the slots follow.
#[repr(C)]
pub(super) struct Block {
    pub pool: PoolTruth,
    /// Slots this side has left and that are not swept yet.
    pub left: AtomicU32,
    /// Slots that are not free.
    pub in_use: AtomicU32,
    /// Slots that have ring space of this side.
    pub rings: AtomicU32,
    spare: AtomicU32,
    slots: [SlotTruth; 0],
}

/// Handle of a channel's family memory.
#[derive(Clone, Copy)]
pub(super) struct Truth {
    base: *mut Block,
    slots: u32,
}

// SAFETY: the handle is an address; what lies there may be shared (asserted below).
unsafe impl Send for Truth {}
// SAFETY: as above.
unsafe impl Sync for Truth {}

const fn may_be_shared<T: Sync>() {}
const _: () = may_be_shared::<Block>();

const fn block_bytes(slots: u32) -> usize {
    size_of::<Block>() + slots as usize * size_of::<SlotTruth>()
}

impl Truth {
    pub fn make(slots: u32) -> Result<Truth, Blame> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping.
        let base = unsafe {
            rustix::mm::mmap_anonymous(null_mut(), block_bytes(slots), protection, MapFlags::SHARED)
        }
        .map_err(|errno| Blame::Os(errno.raw_os_error()))?;
        Ok(Truth {
            base: base.cast(),
            slots,
        })
    }
    #[inline(always)]
    pub fn block(&self) -> &Block {
        // SAFETY: mapped until `unmap`, which comes after the last user; all words are atomic.
        unsafe { &*self.base }
    }
    #[inline(always)]
    pub fn slot(&self, slot: u32) -> Option<&SlotTruth> {
        if slot >= self.slots {
            return None;
        }
        // SAFETY: the mapping has room for `slots` of them behind the block.
        Some(unsafe {
            &*(&raw const (*self.base).slots)
                .cast::<SlotTruth>()
                .add(slot as usize)
        })
    }
    /// Replaces the content by zeros that only this process sees; its relatives keep theirs.
    pub fn retire(&self) {
        put_zeros(
            self.base.cast(),
            block_bytes(self.slots),
            ProtFlags::READ | ProtFlags::WRITE,
        );
    }
    pub fn unmap(&self) {
        // SAFETY: the table unmaps a place before it uses it again, when nobody knows it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), block_bytes(self.slots)) };
    }
}
