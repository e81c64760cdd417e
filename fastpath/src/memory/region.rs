//! A mapped region of a channel, as the code above sees it: an address, sizes, and whose words they are.
//!
//! Which kind of memory is behind it, who made it and who checked it is the [path](crate::path)'s business.
//!
//! R1. Every address handed out lies in the mapping, whatever offset was asked for.
//! R2. A retired region reads as zeros and keeps its addresses, so a handle into it never faults.
#![expect(
    unsafe_code,
    reason = "computes addresses in mapped memory and replaces mappings"
)]

use crate::sync::{FarWord32, FarWord64, OwnWord32, OwnWord64, Word32, Word64};
use kmod_interface::channel_layout::RegionLayout;
use rustix::mm::{MapFlags, ProtFlags};

/// A region this side writes.
#[derive(Clone, Copy, Debug)]
pub struct OwnRegion {
    base: *mut u8,
    layout: RegionLayout,
    class: u32,
}

/// A region the far side writes, mapped without write permission.
#[derive(Clone, Copy, Debug)]
pub struct FarRegion {
    base: *mut u8,
    layout: RegionLayout,
    class: u32,
}

// SAFETY: handles are addresses; what is behind them is accessed by atomic words and checked copies only.
unsafe impl Send for OwnRegion {}
// SAFETY: as above.
unsafe impl Sync for OwnRegion {}
// SAFETY: as above.
unsafe impl Send for FarRegion {}
// SAFETY: as above.
unsafe impl Sync for FarRegion {}

fn unmap(base: *mut u8, bytes: usize) {
    // SAFETY: callers own the mapping and drop every handle with it.
    let _ = unsafe { rustix::mm::munmap(base.cast(), bytes) };
}

/// Puts anonymous memory in the place of a mapping: the content is gone from this process, and a thread that was
/// still on its way in reads zeros instead of faulting.
pub(crate) fn put_zeros(base: *mut u8, bytes: usize, protection: ProtFlags) {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: replaces exactly the mapping the caller owns.
    let replaced = unsafe { rustix::mm::mmap_anonymous(base.cast(), bytes, protection, flags) };
    if replaced.is_err() {
        // The content must go whatever it costs (TRUST.md row 17).
        unmap(base, bytes);
    }
}

macro_rules! region_words {
    ($region:ident $word32:ident $word64:ident $protection:expr) => {
        impl $region {
            /// The region mapped at `base`.
            ///
            /// # Safety
            /// `base` is page-aligned, and all bytes of the class stay mapped there, with the permissions that the type
            /// promises, until [`Self::unmap`].
            pub(crate) const unsafe fn at(base: *mut u8, layout: RegionLayout, class: u32) -> Self {
                Self {
                    base,
                    layout,
                    class,
                }
            }
            /// First address.
            #[inline(always)]
            #[must_use]
            pub fn base(&self) -> *mut u8 {
                self.base
            }
            /// Sizes.
            #[inline(always)]
            #[must_use]
            pub fn layout(&self) -> RegionLayout {
                self.layout
            }
            /// Size class.
            #[must_use]
            pub fn class(&self) -> u32 {
                self.class
            }
            /// The 32-bit word at a byte offset of `channel_layout`. An offset that is unaligned or outside, which no
            /// constant is, is brought inside: a wrong word, never a wild address.
            #[inline(always)]
            #[must_use]
            pub fn word32(&self, offset: usize) -> $word32 {
                let offset = if offset + 4 <= self.layout.region_bytes as usize {
                    offset & !3
                } else {
                    0
                };
                // SAFETY: inside the mapping and aligned, by the line above.
                $word32::new(unsafe { Word32::at(self.base.add(offset)) })
            }
            /// The 64-bit word at a byte offset, as [`Self::word32`].
            #[inline(always)]
            #[must_use]
            pub fn word64(&self, offset: usize) -> $word64 {
                let offset = if offset + 8 <= self.layout.region_bytes as usize {
                    offset & !7
                } else {
                    0
                };
                // SAFETY: inside the mapping and aligned, by the line above.
                $word64::new(unsafe { Word64::at(self.base.add(offset)) })
            }
            /// Replaces the mapping by zeros that only this process sees, keeping its address range from being used for
            /// anything else.
            pub(crate) fn retire(&self) {
                put_zeros(self.base, self.layout.region_bytes as usize, $protection);
            }
            /// Ends the mapping; the address space is free again. No handle into it may be used any more.
            pub fn unmap(self) {
                unmap(self.base, self.layout.region_bytes as usize);
            }
        }
    };
}

region_words!(OwnRegion OwnWord32 OwnWord64 ProtFlags::READ | ProtFlags::WRITE);
region_words!(FarRegion FarWord32 FarWord64 ProtFlags::READ);
