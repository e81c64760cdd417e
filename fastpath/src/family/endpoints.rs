//! The endpoints of a family: blocks of one size at fixed places of the arena, named by index. A free one is linked to the
//! next by index, under a head that counts against ABA.
#![expect(unsafe_code, reason = "hands out references to blocks of the arena")]

use super::{ARENA, ENDPOINTS_OFFSET, Header, gate, header, header_at, reaping};
use crate::endpoint::Endpoint;
use crate::sync::Ordering;

/// Endpoints a family can have at a time.
pub const ENDPOINTS: u32 = 65536;

const NO_INDEX: u32 = u32::MAX;

/// The endpoint of an index, if this family has memory for it.
#[inline(always)]
#[must_use]
pub fn endpoint(index: u32) -> Option<&'static Endpoint> {
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() || index >= ENDPOINTS {
        return None;
    }
    // SAFETY: the arena, which is never unmapped.
    Some(unsafe { block_at(base, index) })
}

/// The endpoint of an index in that memory.
///
/// # Safety
/// `base` is an arena, which stays mapped as long as the block is used; the index is one of its blocks.
#[inline(always)]
pub(super) unsafe fn block_at<'memory>(base: *mut u8, index: u32) -> &'memory Endpoint {
    // SAFETY: inside the arena, aligned (the offset is page aligned, the size a multiple of 64), made of atomics.
    unsafe {
        &*base
            .add(ENDPOINTS_OFFSET + index as usize * size_of::<Endpoint>())
            .cast::<Endpoint>()
    }
}

/// The index of an endpoint of this family.
#[must_use]
pub fn index_of(endpoint: &'static Endpoint) -> Option<u32> {
    let base = ARENA.load(Ordering::Acquire) as usize;
    let offset = (core::ptr::from_ref(endpoint) as usize)
        .checked_sub(base.checked_add(ENDPOINTS_OFFSET)?)?;
    let index = offset / size_of::<Endpoint>();
    (base != 0 && index < ENDPOINTS as usize).then_some(index as u32)
}

/// Takes a free endpoint; its state is that of a socket nothing is known about, and nobody holds it yet.
#[must_use]
pub fn allocate_endpoint() -> Option<(u32, &'static Endpoint)> {
    let header = header()?;
    look_for_the_dead(header);
    let _inside = gate::enter();
    take_free(header)
}

/// As [`allocate_endpoint`], for `process`, which holds it by one number. What it begins with is written by `begin`, which
/// is given its index, too, and waits for nobody: it is called behind the gate, so that nothing of this is lost while
/// another thread parts from relatives, which takes the locks only of what is held by then.
#[must_use]
#[inline]
pub fn begin_endpoint(
    process: u32,
    begin: impl FnOnce(u32, &'static Endpoint),
) -> Option<(u32, &'static Endpoint)> {
    let header = header()?;
    look_for_the_dead(header);
    let _inside = gate::enter();
    let (index, block) = take_free(header)?;
    block.set_first_holder(process);
    begin(index, block);
    Some((index, block))
}

/// Takes locks, so before the gate.
#[inline]
fn look_for_the_dead(header: &Header) {
    if header.free_head.load(Ordering::Acquire) as u32 == 0 && reaping::is_due(header) {
        let _ = reaping::reap(header);
    }
}

/// Behind the gate.
fn take_free(header: &Header) -> Option<(u32, &'static Endpoint)> {
    loop {
        // Low half: index + 1 of the first free block; high half: a count against ABA.
        let head = header.free_head.load(Ordering::Acquire);
        let first = (head as u32).wrapping_sub(1);
        if first == NO_INDEX {
            let used = header.used.fetch_add(1, Ordering::AcqRel);
            if used >= ENDPOINTS {
                header.used.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            let block = endpoint(used)?;
            block.reset();
            return Some((used, block));
        }
        let block = endpoint(first)?;
        let next = block.next_free.load(Ordering::Acquire);
        let count = (head >> 32).wrapping_add(1);
        let new = count << 32 | u64::from(next);
        if header
            .free_head
            .compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            block.reset();
            return Some((first, block));
        }
    }
}

/// Gives an endpoint back. The caller is its last holder and has raised its generation.
pub fn free_endpoint(index: u32) {
    let _inside = gate::enter();
    let base = ARENA.load(Ordering::Acquire);
    if base.is_null() || index >= ENDPOINTS {
        return;
    }
    // SAFETY: the arena, which is never unmapped.
    unsafe { link(base, index, index) }
}

/// Takes all free blocks out: index + 1 of the first, 0 = none. Nobody links them anew before they are given back.
pub(super) fn take_free_list(header: &Header) -> u32 {
    let mut head = header.free_head.load(Ordering::Acquire);
    loop {
        let new = (head >> 32).wrapping_add(1) << 32;
        match header
            .free_head
            .compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return head as u32,
            Err(seen) => head = seen,
        }
    }
}

/// Gives what [`take_free_list`] took back.
///
/// # Safety
/// `base` is the same arena, which stays mapped meanwhile.
pub(super) unsafe fn give_free_list_back(base: *mut u8, list: u32) {
    let Some(first) = list.checked_sub(1) else {
        return;
    };
    let mut last = first;
    // SAFETY: as promised; the list names blocks of that memory, each once.
    while let Some(next) = unsafe { block_at(base, last) }
        .next_free
        .load(Ordering::Acquire)
        .checked_sub(1)
    {
        last = next;
    }
    // SAFETY: as promised.
    unsafe { link(base, first, last) }
}

/// Puts linked blocks before the free ones.
///
/// # Safety
/// `base` is an arena that stays mapped meanwhile, of which these are blocks.
pub(super) unsafe fn link(base: *mut u8, first: u32, last: u32) {
    // SAFETY: as promised.
    let (header, last) = unsafe { (header_at(base), block_at(base, last)) };
    let mut head = header.free_head.load(Ordering::Acquire);
    loop {
        last.next_free.store(head as u32, Ordering::Release);
        let new = (head >> 32).wrapping_add(1) << 32 | u64::from(first + 1);
        match header
            .free_head
            .compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return,
            Err(seen) => head = seen,
        }
    }
}

/// Endpoints ever used: no index at or beyond this one is in use.
#[must_use]
pub fn endpoints_used() -> u32 {
    header().map_or(0, |header| {
        header.used.load(Ordering::Acquire).min(ENDPOINTS)
    })
}
