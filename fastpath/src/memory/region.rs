//! One side's region: a memfd that is filled, sealed and mapped in an order in which no step can be undone by the
//! process at the other end (TRUST.md rows 3, 4, 18, 19; "Discovery and identity" steps 3, 6, 7).
//!
//! ```text
//!   S, the accepting side, makes both        C, the connecting side, receives both
//!   txS  make, fill, map writable,           seals are all there, none is WRITE; same kind of file, size;
//!        seal all four                       map read-only; filled
//!   txC  make, fill, seal the size           seals of the size; kind, size; map writable, seal the rest; filled
//!        ... when C is done: all four seals, filled, map read-only
//! ```
//!
//! R1. A region that is mapped cannot shrink, grow, or get a hole, by anybody: SHRINK, GROW, FUTURE_WRITE and SEAL are
//!     set, and every block was there after that. So touching it never faults and is never charged to the reader.
//! R2. A far region is mapped without write permission and cannot be made writable.
//! R3. The maker of memory that was given away may have kept a writable mapping of it. So the connecting side never
//!     takes a decision from what it reads back out of its own region; its truth is in family memory.
//! R4. Descriptors of the far side are asked for their seals first: that never blocks, whatever file they are.
#![expect(
    unsafe_code,
    reason = "maps shared memory and computes addresses in it"
)]

use super::descriptor::Descriptor;
use crate::error::Blame;
use crate::kernel_call::resource_limit;
use crate::sync::{
    AtomicU64, FarWord32, FarWord64, Ordering, OwnWord32, OwnWord64, Word32, Word64,
};
use core::ptr::null_mut;
use kmod_interface::channel_layout::RegionLayout;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Seals of a region that is mapped on both sides.
const SEALS_FINAL: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);
/// Seals of a region that its future writer has yet to map.
const SEALS_GIVEN: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
/// fallocate(2) gives up at each signal; more in a row than this is somebody else's quarrel.
const FILL_TRIES: u32 = 16;
/// getrlimit(2): largest file this process may make.
const RLIMIT_FSIZE: usize = 1;

/// A region this side writes.
#[derive(Clone, Copy, Debug)]
pub struct OwnRegion {
    base: *mut u8,
    layout: RegionLayout,
    class: u32,
}

/// A region the far side writes, mapped read-only.
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

fn os(errno: Errno) -> Blame {
    Blame::Os(errno.raw_os_error())
}

fn layout_of(class: u32) -> Result<RegionLayout, Blame> {
    RegionLayout::of_class(class).ok_or(Blame::PeerMisbehaved("no such size class"))
}

fn create_memfd() -> Result<Descriptor, Blame> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    // The constant name tells an onlooker nothing but that it is ours.
    match rustix::fs::memfd_create(c"axio", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"axio", flags),
        other => other,
    }
    .map(Descriptor::from)
    .map_err(os)
}

/// Makes the memory of one region: sized and filled, not sealed. The caller is charged for all of it.
///
/// # Errors
/// [`Blame::Os`] with the kernel's errno (memfd_create(2), ftruncate(2), fallocate(2)); EFBIG when the program's
/// limit for file sizes is too small.
pub fn make_memfd(class: u32) -> Result<Descriptor, Blame> {
    let layout = layout_of(class)?;
    let bytes = u64::from(layout.region_bytes);
    // Beyond this limit the kernel would not only refuse, it would send SIGXFSZ to the program.
    if resource_limit(RLIMIT_FSIZE).map_err(Blame::Os)? < bytes {
        return Err(os(Errno::FBIG));
    }
    let memfd = create_memfd()?;
    rustix::fs::ftruncate(&memfd, bytes).map_err(os)?;
    for _ in 0..FILL_TRIES {
        match rustix::fs::fallocate(&memfd, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(memfd),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(os(errno)),
        }
    }
    Err(os(Errno::INTR))
}

/// Seals the size of memory that is about to be given to its writer (S for txC).
///
/// # Errors
/// [`Blame::Os`].
pub fn seal_size(memfd: BorrowedFd<'_>) -> Result<(), Blame> {
    rustix::fs::fcntl_add_seals(memfd, SEALS_GIVEN).map_err(os)
}

/// Asks for the seals only, which never blocks (R4).
fn check_seals(memfd: BorrowedFd<'_>, wanted: SealFlags) -> Result<(), Blame> {
    let seals = rustix::fs::fcntl_get_seals(memfd)
        .map_err(|_| Blame::PeerMisbehaved("seals: not a file that can have any"))?;
    if !seals.contains(wanted) {
        return Err(Blame::PeerMisbehaved("seals: one is missing"));
    }
    if seals.contains(SealFlags::WRITE) {
        return Err(Blame::PeerMisbehaved("seals: sealed against its writer"));
    }
    Ok(())
}

/// Same file system as a plain memfd of ours (not hugetlb, FUSE or a mounted tmpfs), and the size of its class.
fn check_kind_and_size(memfd: BorrowedFd<'_>, layout: RegionLayout) -> Result<(), Blame> {
    let plain = plain_memfd_device()?;
    let status = rustix::fs::fstat(memfd).map_err(os)?;
    if status.st_dev != plain {
        return Err(Blame::PeerMisbehaved("memory: not a plain memfd"));
    }
    if status.st_size != i64::from(layout.region_bytes) {
        return Err(Blame::PeerMisbehaved("memory: not the size of its class"));
    }
    Ok(())
}

/// Every block is there. Means something only after FUTURE_WRITE and SEAL are set: from then on nobody can punch.
fn check_filled(memfd: BorrowedFd<'_>, layout: RegionLayout) -> Result<(), Blame> {
    let status = rustix::fs::fstat(memfd).map_err(os)?;
    // stat(2) counts blocks of 512 bytes, whatever the file system's own.
    if status.st_blocks.saturating_mul(512) < i64::from(layout.region_bytes) {
        return Err(Blame::PeerMisbehaved("memory: has holes"));
    }
    Ok(())
}

/// The device number that all plain memfds of this kernel share; asked for once.
fn plain_memfd_device() -> Result<u64, Blame> {
    // 0 is no device of a memfd: the kernel numbers its internal mounts from 1.
    static DEVICE: AtomicU64 = AtomicU64::new(0);
    let known = DEVICE.load(Ordering::Relaxed);
    if known != 0 {
        return Ok(known);
    }
    let memfd = create_memfd()?;
    let device = rustix::fs::fstat(&memfd).map_err(os)?.st_dev;
    DEVICE.store(device, Ordering::Relaxed);
    Ok(device)
}

fn map(
    memfd: BorrowedFd<'_>,
    layout: RegionLayout,
    protection: ProtFlags,
) -> Result<*mut u8, Blame> {
    let bytes = layout.region_bytes as usize;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base =
        unsafe { rustix::mm::mmap(null_mut(), bytes, protection, MapFlags::SHARED, memfd, 0) }
            .map_err(os)?;
    // Core dumps must not carry a neighbour's bytes. An old kernel that refuses loses nothing else.
    // SAFETY: the mapping just made.
    let _ = unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxDontDump) };
    Ok(base.cast())
}

fn unmap(base: *mut u8, layout: RegionLayout) {
    // SAFETY: callers own the mapping and drop every handle with it.
    let _ = unsafe { rustix::mm::munmap(base.cast(), layout.region_bytes as usize) };
}

/// Puts anonymous memory in the place of a mapping: the content is gone from this process, and a thread that was
/// still on its way in reads zeros instead of faulting.
fn put_zeros(base: *mut u8, layout: RegionLayout, protection: ProtFlags) {
    let bytes = layout.region_bytes as usize;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: replaces exactly the mapping the caller owns.
    let replaced = unsafe { rustix::mm::mmap_anonymous(base.cast(), bytes, protection, flags) };
    if replaced.is_err() {
        // The content must go whatever it costs (TRUST.md row 17).
        unmap(base, layout);
    }
}

macro_rules! region_words {
    ($region:ident $word32:ident $word64:ident) => {
        impl $region {
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
            /// Ends the mapping; the address space is free again. No handle into it may be used any more.
            pub fn unmap(self) {
                unmap(self.base, self.layout);
            }
        }
    };
}

region_words!(OwnRegion OwnWord32 OwnWord64);
region_words!(FarRegion FarWord32 FarWord64);

impl OwnRegion {
    /// S, for its own region: maps it writable, then seals it for good.
    ///
    /// # Errors
    /// [`Blame::Os`].
    pub fn map_and_seal(memfd: BorrowedFd<'_>, class: u32) -> Result<OwnRegion, Blame> {
        let layout = layout_of(class)?;
        let base = map(memfd, layout, ProtFlags::READ | ProtFlags::WRITE)?;
        if let Err(errno) = rustix::fs::fcntl_add_seals(memfd, SEALS_FINAL) {
            unmap(base, layout);
            return Err(os(errno));
        }
        Ok(OwnRegion {
            base,
            layout,
            class,
        })
    }
    /// Replaces the mapping by zeros, keeping its address range from being used for anything else.
    pub(crate) fn retire(&self) {
        put_zeros(self.base, self.layout, ProtFlags::READ | ProtFlags::WRITE);
    }
}

impl FarRegion {
    /// S, for the region it gave away, once C says that it is mapped: all seals are there, no block is missing.
    /// Separate from [`FarRegion::map_checked`] because the proof of possession comes between the two.
    ///
    /// # Errors
    /// [`Blame::PeerMisbehaved`] with what is wrong, [`Blame::Os`].
    pub fn check_returned(memfd: BorrowedFd<'_>, class: u32) -> Result<(), Blame> {
        let layout = layout_of(class)?;
        check_seals(memfd, SEALS_FINAL)?;
        check_filled(memfd, layout)
    }
    /// Maps read-only what [`FarRegion::check_returned`] approved.
    ///
    /// # Errors
    /// [`Blame::Os`].
    pub fn map_checked(memfd: BorrowedFd<'_>, class: u32) -> Result<FarRegion, Blame> {
        let layout = layout_of(class)?;
        let base = map(memfd, layout, ProtFlags::READ)?;
        Ok(FarRegion {
            base,
            layout,
            class,
        })
    }
    /// As [`OwnRegion::retire`].
    pub(crate) fn retire(&self) {
        put_zeros(self.base, self.layout, ProtFlags::READ);
    }
}

/// C: checks, maps and seals the two descriptors of an offer, in TRUST.md's order. `far` is the accepting side's
/// region, `own` the one it made for us.
///
/// # Errors
/// [`Blame::PeerMisbehaved`] with what is wrong, [`Blame::Os`]. Nothing stays mapped.
pub fn take_offered(
    far: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
    class: u32,
) -> Result<(OwnRegion, FarRegion), Blame> {
    let layout = layout_of(class)?;
    check_seals(far, SEALS_FINAL)?;
    check_seals(own, SEALS_GIVEN)?;
    check_kind_and_size(far, layout)?;
    check_kind_and_size(own, layout)?;
    let far_region = FarRegion {
        base: map(far, layout, ProtFlags::READ)?,
        layout,
        class,
    };
    // Seals the own region after its writable mapping is there; the kernel lets it live on.
    let own_region = OwnRegion::map_and_seal(own, class).map_err(|blame| {
        far_region.unmap();
        match blame {
            // Somebody sealed it against its writer, or against further seals.
            Blame::Os(errno) if errno == Errno::PERM.raw_os_error() => {
                Blame::PeerMisbehaved("seals: sealed against its writer")
            }
            other => other,
        }
    })?;
    if let Err(blame) = check_filled(far, layout).and_then(|()| check_filled(own, layout)) {
        far_region.unmap();
        own_region.unmap();
        return Err(blame);
    }
    Ok((own_region, far_region))
}

/// One word of memory that was given away and is not mapped here yet, by pread(2): no mapping, no fault.
///
/// # Errors
/// [`Blame::Os`].
pub fn peek_word(memfd: impl AsFd, offset: usize) -> Result<u32, Blame> {
    let mut bytes = [0_u8; 4];
    match rustix::io::pread(memfd, &mut bytes, offset as u64) {
        Ok(4) => Ok(u32::from_ne_bytes(bytes)),
        Ok(_) => Err(Blame::PeerMisbehaved("memory: shorter than a header")),
        Err(errno) => Err(os(errno)),
    }
}
