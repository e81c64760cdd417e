//! The path within one process: both ends over anonymous memory. No descriptor, no seal, nothing a sandbox forbids; for
//! tests of everything above a path.
//!
//! Each side's memory is mapped twice: writable for its own end, read-only for the other, so that one end can be retired
//! or unmapped while the other goes on reading (P8, P9). The second mapping is mremap(2)'s: an old size of 0 duplicates a
//! shareable mapping.
//!
//! What the processor cannot uphold here, since there is nobody to uphold it against: both ends have all rights of the
//! process, so that only the types keep one from writing what is the other's (P1), and nobody checks a seal. Pages
//! that must not be touched lie before and behind each mapping: an access that misses it by little is a SIGSEGV.
#![expect(unsafe_code, reason = "maps anonymous memory")]

use super::Path;
use crate::error::Blame;
use crate::memory::region::{FarRegion, OwnRegion};
use core::ffi::c_void;
use core::ptr::null_mut;
use kmod_interface::channel_layout::RegionLayout;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// Length of the untouchable pages at each end of a mapping.
const GUARD_BYTES: usize = 4096;

/// One end of the path.
#[derive(Clone, Copy, Debug)]
pub struct InProcess {
    own: OwnRegion,
    far: FarRegion,
}

fn os(errno: Errno) -> Blame {
    Blame::Os(errno.raw_os_error())
}

/// Memory of one side, twice: where it is written, and where it is read.
pub(super) fn make_twice(class: u32) -> Result<(OwnRegion, FarRegion), Blame> {
    let layout = RegionLayout::of_class(class).ok_or(Blame::Unsupported)?;
    let bytes = layout.region_bytes as usize;
    let (write, read) = (reserve(bytes)?, reserve(bytes)?);
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: both places were reserved above and nobody else knows them.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        rustix::mm::mmap_anonymous(write, bytes, protection, flags).map_err(os)?;
        let flags = MremapFlags::MAYMOVE;
        rustix::mm::mremap_fixed(write, 0, bytes, flags, read).map_err(os)?;
        rustix::mm::mprotect(read, bytes, MprotectFlags::READ).map_err(os)?;
        Ok((
            OwnRegion::at(write.cast(), layout, class),
            FarRegion::at(read.cast(), layout, class),
        ))
    }
}

/// Address space with a guard on both sides of `bytes`; where they begin.
fn reserve(bytes: usize) -> Result<*mut c_void, Blame> {
    let all = bytes + 2 * GUARD_BYTES;
    // SAFETY: a fresh mapping that nothing may touch.
    let start = unsafe {
        rustix::mm::mmap_anonymous(null_mut(), all, ProtFlags::empty(), MapFlags::PRIVATE)
    }
    .map_err(os)?;
    Ok(start.wrapping_byte_add(GUARD_BYTES))
}

/// Unmaps what [`make_twice`] mapped at `base`, with its guards.
pub(super) fn unmap_guarded(base: *mut u8, layout: RegionLayout) {
    let start = base.wrapping_sub(GUARD_BYTES).cast();
    let all = layout.region_bytes as usize + 2 * GUARD_BYTES;
    // SAFETY: the reservation of `reserve`, whose handles the caller gives up.
    let _ = unsafe { rustix::mm::munmap(start, all) };
}

/// Both ends of a new path.
///
/// # Errors
/// [`Blame::Unsupported`] for a class that does not exist, [`Blame::Os`] without memory.
pub fn pair(class: u32) -> Result<[InProcess; 2], Blame> {
    let (first_own, second_far) = make_twice(class)?;
    let (second_own, first_far) = make_twice(class)?;
    let end = |own, far| InProcess { own, far };
    Ok([end(first_own, first_far), end(second_own, second_far)])
}

impl Path for InProcess {
    fn own(&self) -> &OwnRegion {
        &self.own
    }
    fn far(&self) -> &FarRegion {
        &self.far
    }
    fn retire(&self) {
        self.own.retire();
        self.far.retire();
    }
    fn unmap(&self) {
        unmap_guarded(self.own.base(), self.own.layout());
        unmap_guarded(self.far.base(), self.far.layout());
    }
}
