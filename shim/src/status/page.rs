//! The statistics page: a file of memory that others of the same user can read, made at the first matching socket.
//!
//! It is found by its descriptor, and stays mapped without it. A fork child leaves its parent's page to the parent and
//! makes its own; rows of connections that came with it stay where they are.
#![expect(unsafe_code, reason = "maps the statistics page and writes its header")]

use crate::discovery::private::{Kept, PrivateDescriptor};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use fastpath::family;
use fastpath::memory::descriptor::Descriptor;
use fastpath::statistics;
use kmod_interface::statistics::{
    MAGIC, PAGE_BYTES, ROW_BYTES, ROWS, ROWS_OFFSET, VERSION, header,
};
use rustix::fd::{AsFd, IntoRawFd, OwnedFd};

/// The page's descriptor: `axio stat` finds it under /proc/PID/fd.
static DESCRIPTOR: Kept = Kept::empty();
/// 1 while a thread makes it.
static MAKING: AtomicU32 = AtomicU32::new(0);
/// Sockets that came by.
static ASKED: AtomicU32 = AtomicU32::new(0);
/// Each so many sockets it is tried again to make the page, and looked whether the program has closed the descriptor.
const TURNS: u32 = 64;

/// Makes the page at the first matching socket. Failure leaves counters private and rows absent until a later one.
pub fn ensure_page() {
    // Two threads at a time may count one socket: nobody minds a look that comes one later.
    let asked = ASKED.load(Ordering::Relaxed);
    ASKED.store(asked.wrapping_add(1), Ordering::Relaxed);
    let is_turn = asked.is_multiple_of(TURNS);
    if !is_turn || MAKING.swap(1, Ordering::Acquire) != 0 {
        return;
    }
    let page = statistics::page();
    if page.is_null() {
        if let Some(page) = make_page() {
            // SAFETY: the mapping is never unmapped.
            unsafe { statistics::set_page(page) };
            super::rows::open_missing_rows();
        }
    } else {
        show_again(page);
    }
    MAKING.store(0, Ordering::Release);
}

/// A program that closes all descriptors it does not know closes that of the page, too, without which nobody finds it: the
/// page moves to a new file.
fn show_again(page: *mut u8) {
    let kept = DESCRIPTOR.take();
    if !kept.is_some() || kept.get().is_some() {
        DESCRIPTOR.put(kept);
        return;
    }
    let Some(memfd) = make_file() else {
        return;
    };
    // What others count while the page is copied is lost.
    // SAFETY: the page was mapped with that length and is never unmapped; made of atomics.
    let moved = unsafe {
        family::copy_over(
            page,
            used_bytes(page),
            PAGE_BYTES,
            Some(memfd.as_fd()),
            |_| true,
        )
    };
    if moved {
        keep(memfd);
    }
}

/// A file for the page, of its size.
fn make_file() -> Option<OwnedFd> {
    use rustix::fs::MemfdFlags;
    if !fits_file_size(PAGE_BYTES as u64) {
        return None;
    }
    let memfd =
        rustix::fs::memfd_create("axio", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    rustix::fs::ftruncate(&memfd, PAGE_BYTES as u64).ok()?;
    Some(memfd)
}

/// Nobody but this process may write the file, which is mapped; its descriptor goes to a high number, as programs expect
/// low ones for themselves. The page stays mapped without it.
fn keep(memfd: OwnedFd) {
    use rustix::fs::SealFlags;
    let _ = rustix::fs::fcntl_add_seals(
        &memfd,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
    );
    let fresh = Descriptor::from_number(memfd.into_raw_fd());
    if let Ok(kept) = PrivateDescriptor::keep(fresh) {
        DESCRIPTOR.put(kept);
    }
}

/// What of a page was ever written.
fn used_bytes(page: *mut u8) -> usize {
    // SAFETY: an aligned word of the header.
    let rows =
        unsafe { (*page.add(header::ROWS_USED).cast::<AtomicU32>()).load(Ordering::Acquire) };
    ROWS_OFFSET + (rows as usize).min(ROWS) * ROW_BYTES
}

fn make_page() -> Option<*mut u8> {
    use rustix::mm::{MapFlags, ProtFlags};
    let memfd = make_file()?;
    // SAFETY: a fresh mapping of a file of this size.
    let page = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            PAGE_BYTES,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &memfd,
            0,
        )
    }
    .ok()?
    .cast::<u8>();
    let word32 = |offset: usize, value: u32| {
        // SAFETY: an aligned word inside the header.
        unsafe { (*page.add(offset).cast::<AtomicU32>()).store(value, Ordering::Release) };
    };
    word32(header::PROCESS, fastpath::kernel_call::process_id());
    word32(header::VERSION, VERSION);
    // With the id it tells the process that a page is about from a later one.
    let start = fastpath::life::own_start_seen_here();
    // SAFETY: an aligned word inside the header.
    unsafe {
        (*page.add(header::START_TIME).cast::<AtomicU64>()).store(start, Ordering::Release);
    }
    let name = program_name();
    // SAFETY: 32 bytes inside the header.
    unsafe { core::ptr::copy_nonoverlapping(name.as_ptr(), page.add(header::PROGRAM), 32) };
    word32(header::MAGIC, MAGIC);
    keep(memfd);
    Some(page)
}

/// What the kernel calls this program, ended by a zero.
pub(super) fn program_name() -> [u8; 32] {
    let mut name = [0u8; 32];
    if let Ok(file) = rustix::fs::open(
        c"/proc/self/comm",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        let length = rustix::io::read(&file, &mut name).unwrap_or(0);
        if let Some(last) = name.get_mut(length.saturating_sub(1)) {
            *last = 0;
        }
    }
    name
}

/// Beyond RLIMIT_FSIZE the kernel would not only refuse to make a file grow, it would send SIGXFSZ to the program.
pub(super) fn fits_file_size(bytes: u64) -> bool {
    fastpath::kernel_call::resource_limit(libc::RLIMIT_FSIZE).is_ok_and(|limit| bytes <= limit)
}

/// Pages of ancestors, still mapped because rows of connections that came by fork lie there.
static ANCESTORS: [AtomicPtr<u8>; GENERATIONS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; GENERATIONS];
/// More generations of forks, each with connections of its own, are hardly met.
const GENERATIONS: usize = 32;

/// In a fork child: the page is the parent's; the child makes its own at its next matching socket.
pub fn forget_page() {
    let page = statistics::page();
    // SAFETY: null is allowed.
    unsafe { statistics::set_page(core::ptr::null_mut()) };
    statistics::forget_counts();
    super::report::forget_lines();
    MAKING.store(0, Ordering::Release);
    ASKED.store(0, Ordering::Relaxed);
    if !page.is_null() {
        let free = ANCESTORS
            .iter()
            .find(|place| place.load(Ordering::Relaxed).is_null());
        if let Some(free) = free {
            free.store(page, Ordering::Relaxed);
        }
    }
    DESCRIPTOR.close_in_child();
}

/// Before the process changes who it is: what it counts from now on in rows of its ancestors' pages, they do not see.
/// False without memory.
#[must_use]
pub fn part_from_ancestors() -> bool {
    ANCESTORS
        .iter()
        .map(|place| place.swap(core::ptr::null_mut(), Ordering::Relaxed))
        .filter(|page| !page.is_null())
        // SAFETY: mapped as a page, for the rest of the process's life; made of atomics.
        .all(|page| unsafe {
            family::copy_over(page, used_bytes(page), PAGE_BYTES, None, |_| true)
        })
}
