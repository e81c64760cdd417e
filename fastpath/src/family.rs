//! Family memory: shared with fork relatives only, never given to a peer (CHANNEL.md "Family memory").
//!
//! One anonymous `MAP_SHARED` arena, made before the first managed call and inherited by fork at the same address. It
//! holds the truth that fork must find: endpoints with their locks, own indices and counts, and the table of processes.
//! Blocks have a fixed size and never move; a block that is free is linked by index.
//!
//! * [`endpoints`]: the blocks, handed out and given back.
//! * [`processes`]: who the relatives are, what they are called, and who of them lives.
//! * [`reaping`]: endpoints whose holders were killed.
//! * [`parting`]: leaving the family's memory for a copy of one's own. [`gate`]: keeping one's other threads away meanwhile.
#![expect(
    unsafe_code,
    reason = "maps the arena and hands out references to its parts, which are made of atomics"
)]

mod endpoints;
pub(crate) mod gate;
mod parting;
mod processes;
mod reaping;

pub use endpoints::{
    ENDPOINTS, allocate_endpoint, begin_endpoint, endpoint, endpoints_used, free_endpoint, index_of,
};
pub use parting::{copy_over, part};
pub use processes::{
    PROCESSES, become_child, expect_unknown_child, is_leaving, is_own_memory, is_own_process,
    is_owner_alive, is_process_alive, is_process_alive_now, is_process_believed_alive, leave_place,
    name_child, process_id_at, process_place, release_child_place, reserve_child_place, stay,
};

use crate::endpoint::Endpoint;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::sync::atomic::AtomicPtr;
use processes::Process;

#[repr(C)]
struct Header {
    free_head: AtomicU64,
    used: AtomicU32,
    /// When blocks of the killed were looked for last, in ms; 0 = never.
    reaped_ms: AtomicU32,
    processes: [Process; PROCESSES],
}

static ARENA: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

const ENDPOINTS_OFFSET: usize = size_of::<Header>().div_ceil(4096) * 4096;
const ARENA_BYTES: usize = ENDPOINTS_OFFSET + ENDPOINTS as usize * size_of::<Endpoint>();

fn header() -> Option<&'static Header> {
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() {
        return None;
    }
    // SAFETY: the arena is never unmapped.
    Some(unsafe { header_at(base) })
}

/// What that memory begins with.
///
/// # Safety
/// `base` is an arena, which stays mapped as long as this is used.
unsafe fn header_at<'memory>(base: *mut u8) -> &'memory Header {
    // SAFETY: as promised; large enough, zero-filled at first, and Header is made of atomics.
    unsafe { &*base.cast::<Header>() }
}

/// Maps the arena if this family has none yet, and gives this process a place in it.
///
/// # Errors
/// When the kernel has no memory or the family has no place for one more process.
#[inline]
pub fn ensure() -> Result<(), crate::error::Blame> {
    // A place is one in the arena.
    if process_place().is_some() {
        return Ok(());
    }
    make()
}

#[cold]
fn make() -> Result<(), crate::error::Blame> {
    if ARENA.load(Ordering::Acquire).is_null() {
        use rustix::mm::{MapFlags, ProtFlags};
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                core::ptr::null_mut(),
                ARENA_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
            )
        }
        .map_err(|errno| crate::error::Blame::Os(errno.raw_os_error()))?
        .cast::<u8>();
        // Release pairs with the acquire in `header`; a thread that lost the race gives its mapping back.
        if ARENA
            .compare_exchange(
                core::ptr::null_mut(),
                base,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_err()
        {
            // SAFETY: the mapping made above, which nobody else has seen.
            let _ = unsafe { rustix::mm::munmap(base.cast(), ARENA_BYTES) };
        }
    }
    processes::take_own()
}
