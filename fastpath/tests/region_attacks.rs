//! Each attack of TRUST.md on shared memory, tried against the checks of `path::shm`.
#![expect(unsafe_code, reason = "maps and attacks memory by hand")]

use fastpath::error::Blame;
use fastpath::memory::descriptor::Descriptor;
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::shm;
use fastpath::sync::Ordering;
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::ptr::null_mut;

const BYTES: u64 = 128 << 10;

fn sealed(bytes: u64, filled: bool, seals: SealFlags) -> Descriptor {
    let memfd = rustix::fs::memfd_create(c"attack", MemfdFlags::ALLOW_SEALING).expect("memfd");
    rustix::fs::ftruncate(&memfd, bytes).expect("size");
    if filled {
        rustix::fs::fallocate(&memfd, FallocateFlags::empty(), 0, bytes).expect("fill");
    }
    rustix::fs::fcntl_add_seals(&memfd, seals).expect("seals");
    memfd.into()
}

fn size_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW
}

fn all_seals() -> SealFlags {
    size_seals() | SealFlags::FUTURE_WRITE | SealFlags::SEAL
}

/// What C says to an offer of these two.
fn refusal(far: &Descriptor, own: &Descriptor) -> &'static str {
    match shm::take_offered(far.as_fd(), own.as_fd(), 0) {
        Err(Blame::PeerMisbehaved(why)) => why,
        other => panic!("taken or blamed on another: {other:?}"),
    }
}

fn good_far() -> Descriptor {
    sealed(BYTES, true, all_seals())
}

fn good_own() -> Descriptor {
    sealed(BYTES, true, size_seals())
}

#[test]
fn an_honest_offer_is_taken_and_the_two_sides_read_each_other() {
    let (from_s, from_c) = (shm::make_memfd(0).unwrap(), shm::make_memfd(0).unwrap());
    let s_own = OwnRegion::map_and_seal(from_s.as_fd(), 0).unwrap();
    shm::seal_size(from_c.as_fd()).unwrap();
    assert_eq!(shm::peek_word(&from_c, 64), Ok(0));
    let (c_own, c_far) = shm::take_offered(from_s.as_fd(), from_c.as_fd(), 0).unwrap();
    FarRegion::check_returned(from_c.as_fd(), 0).unwrap();
    let s_far = FarRegion::map_checked(from_c.as_fd(), 0).unwrap();
    s_own.word32(64).store(7, Ordering::Release);
    c_own.word64(72).store(1 << 40, Ordering::Release);
    assert_eq!(c_far.word32(64).load(Ordering::Acquire), 7);
    assert_eq!(s_far.word64(72).load(Ordering::Acquire), 1 << 40);
    assert_eq!(shm::peek_word(&from_c, 76), Ok(1 << 8));
    for region in [s_own, c_own] {
        region.unmap();
    }
    for region in [s_far, c_far] {
        region.unmap();
    }
}

#[test]
fn memory_with_holes_is_refused() {
    let holes = "memory: has holes";
    assert_eq!(
        refusal(&sealed(BYTES, false, all_seals()), &good_own()),
        holes
    );
    assert_eq!(
        refusal(&good_far(), &sealed(BYTES, false, size_seals())),
        holes
    );
    // Filled and sealed in size only, then punched: what remains possible until FUTURE_WRITE is set.
    let punched = good_own();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&punched, punch, 4096, 4096).unwrap();
    assert_eq!(refusal(&good_far(), &punched), holes);
}

#[test]
fn after_the_check_nobody_can_punch_shrink_or_map_writable() {
    let (far, own) = (good_far(), good_own());
    let (own_region, far_region) = shm::take_offered(far.as_fd(), own.as_fd(), 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for memfd in [&far, &own] {
        assert_eq!(
            rustix::fs::fallocate(memfd, punch, 0, BYTES),
            Err(Errno::PERM)
        );
        assert_eq!(rustix::fs::ftruncate(memfd, 4096), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(memfd, BYTES * 2), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(memfd, b"x", 0), Err(Errno::PERM));
        // SAFETY: expected to fail; a success would be leaked.
        let mapped = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(null_mut(), 4096, protection, MapFlags::SHARED, memfd, 0)
        };
        assert_eq!(mapped, Err(Errno::PERM));
        assert_eq!(
            rustix::fs::fcntl_add_seals(memfd, SealFlags::WRITE),
            Err(Errno::PERM)
        );
    }
    // SAFETY: expected to fail, so nothing changes.
    let opened = unsafe {
        rustix::mm::mprotect(
            far_region.base().cast(),
            4096,
            rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE,
        )
    };
    assert_eq!(opened, Err(Errno::ACCESS));
    own_region.unmap();
    far_region.unmap();
}

#[test]
fn a_missing_seal_is_refused() {
    let missing = "seals: one is missing";
    for seal in [
        SealFlags::SHRINK,
        SealFlags::GROW,
        SealFlags::FUTURE_WRITE,
        SealFlags::SEAL,
    ] {
        let far = sealed(BYTES, true, all_seals().difference(seal));
        assert_eq!(refusal(&far, &good_own()), missing);
    }
    for seal in [SealFlags::SHRINK, SealFlags::GROW] {
        let own = sealed(BYTES, true, size_seals().difference(seal));
        assert_eq!(refusal(&good_far(), &own), missing);
    }
}

#[test]
fn memory_sealed_against_its_writer_is_refused() {
    let against = "seals: sealed against its writer";
    let write = sealed(BYTES, true, size_seals() | SealFlags::WRITE);
    assert_eq!(refusal(&good_far(), &write), against);
    let future = sealed(BYTES, true, size_seals() | SealFlags::FUTURE_WRITE);
    assert_eq!(refusal(&good_far(), &future), against);
    let no_more = sealed(BYTES, true, size_seals() | SealFlags::SEAL);
    assert_eq!(refusal(&good_far(), &no_more), against);
}

#[test]
fn the_size_must_be_that_of_the_class() {
    let size = "memory: not the size of its class";
    for bytes in [0, 4096, BYTES - 4096, BYTES + 4096, 1 << 30] {
        let far = sealed(bytes, false, all_seals());
        assert_eq!(refusal(&far, &good_own()), size);
        let own = sealed(bytes, false, size_seals());
        assert_eq!(refusal(&good_far(), &own), size);
    }
}

#[test]
fn other_kinds_of_file_are_refused() {
    let never = "seals: not a file that can have any";
    let (read_end, _write_end) = rustix::pipe::pipe().unwrap();
    assert_eq!(refusal(&read_end.into(), &good_own()), never);
    let zero = rustix::fs::open(
        c"/dev/zero",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    );
    assert_eq!(refusal(&good_far(), &zero.unwrap().into()), never);
    // A file of a mounted tmpfs cannot be sealed by anybody.
    if let Ok(file) = rustix::fs::open(
        c"/dev/shm",
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::RUSR,
    ) {
        let why = refusal(&file.into(), &good_own());
        assert!(why.starts_with("seals: "), "{why}");
    }
}

#[test]
fn a_hugetlb_memfd_with_all_seals_is_refused() {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    let memfd = match rustix::fs::memfd_create(c"huge", flags) {
        Ok(memfd) => memfd,
        Err(errno) => {
            // Built without hugetlbfs: then nobody can offer such memory either.
            assert!(
                matches!(errno, Errno::NOSYS | Errno::INVAL | Errno::NODEV),
                "{errno:?}"
            );
            return;
        }
    };
    rustix::fs::ftruncate(&memfd, 2 << 20).unwrap();
    rustix::fs::fcntl_add_seals(&memfd, all_seals()).unwrap();
    assert_eq!(
        refusal(&memfd.into(), &good_own()),
        "memory: not a plain memfd"
    );
}

#[test]
fn a_region_that_comes_back_unsealed_or_punched_is_refused() {
    let given = shm::make_memfd(0).unwrap();
    shm::seal_size(given.as_fd()).unwrap();
    assert_eq!(
        FarRegion::check_returned(given.as_fd(), 0),
        Err(Blame::PeerMisbehaved("seals: one is missing"))
    );
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&given, punch, 0, 4096).unwrap();
    rustix::fs::fcntl_add_seals(&given, SealFlags::FUTURE_WRITE | SealFlags::SEAL).unwrap();
    assert_eq!(
        FarRegion::check_returned(given.as_fd(), 0),
        Err(Blame::PeerMisbehaved("memory: has holes"))
    );
}

#[test]
fn a_class_that_does_not_exist_is_refused() {
    assert!(shm::make_memfd(3).is_err());
    assert!(shm::take_offered(good_far().as_fd(), good_own().as_fd(), u32::MAX).is_err());
}

#[test]
fn a_word_beyond_the_region_is_the_first_word() {
    let memfd = shm::make_memfd(0).unwrap();
    let own = OwnRegion::map_and_seal(memfd.as_fd(), 0).unwrap();
    own.word32(0).store(41, Ordering::Relaxed);
    assert_eq!(own.word32(BYTES as usize).load(Ordering::Relaxed), 41);
    assert_eq!(own.word32(BYTES as usize - 3).load(Ordering::Relaxed), 41);
    assert_eq!(own.word64(BYTES as usize - 7).load(Ordering::Relaxed), 41);
    own.unmap();
}
