//! The path between two processes of one host: a memfd of each side, filled, sealed and mapped in an order in which no
//! step can be undone by the process at the other end (TRUST.md rows 3, 4, 18, 19; "Discovery and identity" steps 3, 6,
//! 7).
//!
//! ```text
//!   S, the accepting side, makes both        C, the connecting side, receives both
//!   txS  make, fill, map writable,           seals are all there, none is WRITE; same kind of file, size;
//!        seal all four                       map read-only; filled
//!   txC  make, fill, seal the size           seals of the size; kind, size; map writable, seal the rest; filled
//!        ... when C is done: all four seals, filled, map read-only
//! ```
//!
//! S1. A region that is mapped cannot shrink, grow, or get a hole, by anybody: SHRINK, GROW, FUTURE_WRITE and SEAL are
//!     set, and every block was there after that. So touching it never faults and is never charged to the reader (P8).
//! S2. A far region is mapped without write permission and cannot be made writable (P1).
//! S3. The maker of memory that was given away may have kept a writable mapping of it. So the connecting side never
//!     takes a decision from what it reads back out of its own region; its truth is in family memory (P7).
//! S4. Descriptors of the far side are asked for their seals first: that never blocks, whatever file they are.
//!
//! Order and fences (P3, P4, P5) are the processor's: both sides map the same pages.
#![expect(unsafe_code, reason = "maps shared memory")]

use super::Path;
use crate::error::Blame;
use crate::kernel_call::resource_limit;
use crate::memory::descriptor::Descriptor;
use crate::memory::region::{FarRegion, OwnRegion};
use crate::sync::{AtomicU64, Ordering};
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

/// One end of the path: both regions, mapped.
#[derive(Clone, Copy, Debug)]
pub struct Shm {
    own: OwnRegion,
    far: FarRegion,
}

impl Shm {
    /// The end that has these two. They came from [`take_offered`], or from [`OwnRegion::map_and_seal`] and
    /// [`FarRegion::map_checked`].
    #[must_use]
    pub const fn new(own: OwnRegion, far: FarRegion) -> Shm {
        Shm { own, far }
    }
}

impl Path for Shm {
    #[inline(always)]
    fn own(&self) -> &OwnRegion {
        &self.own
    }
    #[inline(always)]
    fn far(&self) -> &FarRegion {
        &self.far
    }
    fn retire(&self) {
        self.own.retire();
        self.far.retire();
    }
    fn unmap(&self) {
        self.own.unmap();
        self.far.unmap();
    }
}

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
    if resource_limit(libc::RLIMIT_FSIZE).map_err(Blame::Os)? < bytes {
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

/// Asks for the seals only, which never blocks (S4).
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

impl OwnRegion {
    /// S, for its own region: maps it writable, then seals it for good.
    ///
    /// # Errors
    /// [`Blame::Os`].
    pub fn map_and_seal(memfd: BorrowedFd<'_>, class: u32) -> Result<OwnRegion, Blame> {
        let layout = layout_of(class)?;
        let base = map(memfd, layout, ProtFlags::READ | ProtFlags::WRITE)?;
        // SAFETY: the mapping just made, writable.
        let region = unsafe { OwnRegion::at(base, layout, class) };
        if let Err(errno) = rustix::fs::fcntl_add_seals(memfd, SEALS_FINAL) {
            region.unmap();
            return Err(os(errno));
        }
        Ok(region)
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
        // SAFETY: the mapping just made.
        Ok(unsafe { FarRegion::at(base, layout, class) })
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
    let base = map(far, layout, ProtFlags::READ)?;
    // SAFETY: the mapping just made.
    let far_region = unsafe { FarRegion::at(base, layout, class) };
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
