//! Life of a slot (CHANNEL.md).
//!
//! ```text
//!            S, the accepting side                          C, the connecting side
//!   free     generation g, C echoed g                       generation g
//!   bound    hands out (slot, g) by offer or answer         bound by the same
//!   left     writes leaving(g), when both directions are    writes leaving(g), likewise
//!            on the kernel and passed
//!   free     both left: zeroes its half, generation g+1     sees g+1: zeroes its half, echoes g+1
//! ```
//!
//! L1. The words of an entry are copies; who holds what is decided from family memory (C2 of the channel).
//! L2. A slot is handed out only when the far side's generation equals ours, so that its half is zeroed, too.
//! L3. Generation 0 was never bound; both halves of such a slot are zero, and its first binding is generation 1.
//! L4. Any relative may write `leaving`; zeroing and handing out is the home's (C3).
//!
//! L5. Ring space of this side belongs to the slot, and is free again with it.
//!
//! A far side that lies here (leaves what it still uses, echoes what it did not zero) finds its own next connection
//! with odd words in it, which the stream code checks like any others.

use super::{Channel, Role};
use crate::ict::OwnEntry;
use crate::stream::labels::{Label, reached};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::ict::{ENTRY_BYTES, SLOT_BOUND, offset};

/// One slot in family memory.
#[repr(C)]
pub(super) struct SlotTruth {
    pub(super) generation: AtomicU32,
    pub(super) phase: AtomicU32,
    /// Index of the endpoint that has the slot, plus one; 0 = none yet.
    pub(super) endpoint: AtomicU32,
    /// When `sampled_bytes` was first seen (ms, wrapping, never 0); 0 = never looked at.
    pub(super) sampled_ms: AtomicU32,
    /// Bytes the connection had carried when it was last looked at (see `eviction`).
    pub(super) sampled_bytes: AtomicU64,
    /// Ring space of this side, length in the upper half; 0 = none. Free when the slot is.
    ring: AtomicU64,
}

const FREE: u32 = 0;
pub(super) const BOUND: u32 = 1;
const LEFT: u32 = 2;
const SWEEPING: u32 = 3;

/// The generation after this one; 0 is skipped when the count comes around.
const fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// Of a slot that has left.
fn say_leaving(own: &OwnEntry, truth: &SlotTruth, generation: u32) {
    truth.endpoint.store(0, Ordering::Relaxed);
    // Release, partner: the acquire in S's sweep: nothing of this connection is written here any more. (In S another
    // thread may sweep in between; a late word of an old generation tells nobody anything.)
    own.leaving().store(generation, Ordering::Release);
    reached(Label::SlotLeave);
}

/// Takes a free slot, if `is_right` says something of it once it is taken: a whole life may have passed since it was looked
/// at.
fn take<T>(truth: &SlotTruth, is_right: impl Fn() -> Option<T>) -> Option<T> {
    // Acquire, partner: the release of FREE in a sweep: the generation after that life is seen.
    let won = truth
        .phase
        .compare_exchange(FREE, BOUND, Ordering::Acquire, Ordering::Relaxed)
        .is_ok();
    if !won {
        return None;
    }
    let right = is_right();
    if right.is_none() {
        truth.phase.store(FREE, Ordering::Release);
    }
    right
}

impl Channel {
    /// S, home: a slot for a new connection, and its generation. Sweeps first.
    #[must_use]
    pub fn allocate_slot(&self) -> Option<(u32, u32)> {
        let parts = self.parts.get()?;
        if parts.role != Role::Accepting || !self.is_home() {
            return None;
        }
        self.slot_sweep();
        // The lowest free one, so that few entries are in use and those are warm.
        (0..parts.own().layout().slots)
            .find_map(|slot| self.try_slot(slot).map(|generation| (slot, generation)))
    }

    fn try_slot(&self, slot: u32) -> Option<u32> {
        let truth = self.parts.get()?.truth.slot(slot)?;
        if truth.phase.load(Ordering::Relaxed) != FREE || self.echoed(slot, truth).is_none() {
            return None;
        }
        take(truth, || self.echoed(slot, truth)).inspect(|generation| {
            truth.generation.store(*generation, Ordering::Relaxed);
            self.count_in_use(1);
        })
    }

    /// S: the generation of a free slot, if C's half is zero, too (L2).
    fn echoed(&self, slot: u32, truth: &SlotTruth) -> Option<u32> {
        // Acquire, partner: the release in C's sweep: its half is zero (L2).
        let far_generation = self.far_entry(slot)?.generation().load(Ordering::Acquire);
        let generation = truth.generation.load(Ordering::Relaxed);
        // L3; generation 1 may have been cancelled before C heard of it.
        let echoed = far_generation == generation || (generation <= 1 && far_generation == 0);
        echoed.then_some(generation.max(1))
    }

    /// S, home: takes back a slot that was handed out but never bound: C was not told, or was told that it is refused.
    pub fn cancel_slot(&self, slot: u32, generation: u32) {
        let Some(truth) = self.slot_truth(slot, generation) else {
            return;
        };
        let cancelled = truth
            .phase
            .compare_exchange(BOUND, FREE, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if cancelled {
            self.count_in_use(-1);
        }
    }

    fn count_in_use(&self, change: i32) {
        if let Some(parts) = self.parts.get() {
            parts
                .truth
                .block()
                .in_use
                .fetch_add(change as u32, Ordering::Relaxed);
        }
    }

    fn count_rings(&self, change: i32) {
        if let Some(parts) = self.parts.get() {
            let rings = &parts.truth.block().rings;
            rings.fetch_add(change as u32, Ordering::Relaxed);
        }
    }

    pub(super) fn slot_truth(&self, slot: u32, generation: u32) -> Option<&SlotTruth> {
        let truth = self.parts.get()?.truth.slot(slot)?;
        (truth.generation.load(Ordering::Relaxed) == generation).then_some(truth)
    }

    /// Home: writes who the connection of a slot is into this side's half. S for a slot it allocated; C for one that S
    /// named, which is refused when it is not free here or its generation is not the one that comes next.
    #[must_use]
    pub fn bind_slot(&self, slot: u32, generation: u32, cookie: u64, process: u32) -> bool {
        let (Some(parts), Some(own)) = (self.parts.get(), self.own_entry(slot)) else {
            return false;
        };
        let Some(truth) = parts.truth.slot(slot) else {
            return false;
        };
        if !self.is_home() {
            return false;
        }
        match parts.role {
            Role::Accepting => {
                let known = truth.generation.load(Ordering::Relaxed);
                if known != generation || truth.phase.load(Ordering::Relaxed) != BOUND {
                    return false;
                }
            }
            Role::Connecting => {
                let is_next = || {
                    let known = truth.generation.load(Ordering::Relaxed);
                    (generation != 0 && known.max(1) == generation).then_some(())
                };
                if is_next().is_none() || take(truth, is_next).is_none() {
                    return false;
                }
                self.count_in_use(1);
                truth.generation.store(generation, Ordering::Relaxed);
            }
        }
        own.cookie().store(cookie, Ordering::Relaxed);
        own.owner_process().store(process, Ordering::Relaxed);
        own.state().store(SLOT_BOUND, Ordering::Relaxed);
        // Release, partner: the far side's acquire of the generation before it reads who this is.
        own.generation().store(generation, Ordering::Release);
        reached(Label::SlotBind);
        true
    }

    /// Any relative: which endpoint has the slot, for those who must find it by its slot.
    pub fn slot_taken_by(&self, slot: u32, generation: u32, endpoint: u32) {
        if let Some(truth) = self.slot_truth(slot, generation) {
            truth.sampled_ms.store(0, Ordering::Relaxed);
            truth.endpoint.store(endpoint + 1, Ordering::Release);
        }
    }

    /// The endpoint that has the slot, by its index.
    #[must_use]
    pub fn endpoint_of_slot(&self, slot: u32, generation: u32) -> Option<u32> {
        let truth = self.slot_truth(slot, generation)?;
        if truth.phase.load(Ordering::Acquire) != BOUND {
            return None;
        }
        truth.endpoint.load(Ordering::Acquire).checked_sub(1)
    }

    /// Any relative: the ring space a slot has now. It is free again when both sides have left the slot; what it had
    /// before the caller gives back.
    pub fn slot_has_ring(&self, slot: u32, generation: u32, offset: u32, ring_bytes: u32) {
        if let Some(truth) = self.slot_truth(slot, generation) {
            let ring = u64::from(ring_bytes) << 32 | u64::from(offset);
            if truth.ring.swap(ring, Ordering::AcqRel) == 0 {
                self.count_rings(1);
            }
        }
    }

    /// Any relative: this side is done with the slot, in both directions. Idempotent.
    pub fn slot_leave(&self, slot: u32, generation: u32) {
        let (Some(parts), Some(own)) = (self.parts.get(), self.own_entry(slot)) else {
            return;
        };
        let Some(truth) = self.slot_truth(slot, generation) else {
            return;
        };
        // Counted before it has left: who dies in between costs vain sweeps, not the slot.
        let count = &parts.truth.block().left;
        count.fetch_add(1, Ordering::Relaxed);
        let left = truth
            .phase
            .compare_exchange(BOUND, LEFT, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if left {
            say_leaving(&own, truth, generation);
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Home: finishes slots that both sides left (S) or that S has finished (C). Called before slots are needed, and
    /// occasionally; costs one load while nothing is left.
    pub fn slot_sweep(&self) {
        let Some(parts) = self.parts.get() else {
            return;
        };
        let left = &parts.truth.block().left;
        if left.load(Ordering::Relaxed) == 0 || !self.is_home() {
            return;
        }
        for slot in 0..parts.own().layout().slots {
            let Some(truth) = parts.truth.slot(slot) else {
                return;
            };
            if truth.phase.load(Ordering::Acquire) == LEFT {
                self.sweep_one(slot, truth);
            }
        }
    }

    fn sweep_one(&self, slot: u32, truth: &SlotTruth) {
        let (Some(parts), Some(own), Some(far)) =
            (self.parts.get(), self.own_entry(slot), self.far_entry(slot))
        else {
            return;
        };
        let generation = truth.generation.load(Ordering::Relaxed);
        if own.leaving().load(Ordering::Relaxed) != generation {
            // Who left it is about to say so, or died before.
            say_leaving(&own, truth, generation);
        }
        let next = next_generation(generation);
        let finished = match parts.role {
            // Acquire, partner: the release in C's `slot_leave`.
            Role::Accepting => far.leaving().load(Ordering::Acquire) == generation,
            // Acquire, partner: the release of the new generation below, in S.
            Role::Connecting => far.generation().load(Ordering::Acquire) == next,
        };
        let mine = finished
            && truth
                .phase
                .compare_exchange(LEFT, SWEEPING, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !mine {
            return;
        }
        let Some(start) = parts.own().layout().entry(slot) else {
            return;
        };
        for word in (0..ENTRY_BYTES).step_by(4) {
            if word != offset::GENERATION {
                parts.own().word32(start + word).store(0, Ordering::Relaxed);
            }
        }
        // Nobody reads the ring any more: the far side has left, and this one with every rewind it had.
        let ring = truth.ring.swap(0, Ordering::Acquire);
        if ring != 0 {
            self.free_ring(ring as u32, (ring >> 32) as u32);
            self.count_rings(-1);
        }
        truth.generation.store(next, Ordering::Relaxed);
        // Release, partner: the far side's acquire of the generation, in its sweep (C) or allocation (S): zeroed first.
        own.generation().store(next, Ordering::Release);
        reached(Label::SlotFree);
        truth.phase.store(FREE, Ordering::Release);
        self.count_in_use(-1);
        parts.truth.block().left.fetch_sub(1, Ordering::Relaxed);
    }

    /// C: false when every slot is held here, so that asking for one is in vain. S: the same.
    #[must_use]
    pub fn may_have_free_slot(&self) -> bool {
        self.slot_sweep();
        self.slots_in_use() < self.layout().slots
    }

    /// Number of slots that are bound or on their way out.
    #[must_use]
    pub fn slots_in_use(&self) -> u32 {
        self.parts.get().map_or(0, |parts| {
            parts.truth.block().in_use.load(Ordering::Relaxed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{FarSide, table};
    use crate::memory::region::{FarRegion, OwnRegion};
    use crate::path::shm::{self, Shm};
    use rustix::fd::AsFd;

    fn channels() -> (&'static Channel, &'static Channel) {
        let far = FarSide {
            user: 0,
            process: 0,
            accept_address: [0; 16],
            accept_port: 77,
        };
        let (from_s, from_c) = (shm::make_memfd(0).unwrap(), shm::make_memfd(0).unwrap());
        let s_own = OwnRegion::map_and_seal(from_s.as_fd(), 0).unwrap();
        shm::seal_size(from_c.as_fd()).unwrap();
        let (c_own, c_far) = shm::take_offered(from_s.as_fd(), from_c.as_fd(), 0).unwrap();
        FarRegion::check_returned(from_c.as_fd(), 0).unwrap();
        let s_far = FarRegion::map_checked(from_c.as_fd(), 0).unwrap();
        (
            table::insert(Role::Connecting, Shm::new(c_own, c_far), far).unwrap(),
            table::insert(Role::Accepting, Shm::new(s_own, s_far), far).unwrap(),
        )
    }

    #[test]
    fn a_slot_is_not_lost_with_a_process_that_dies_while_it_leaves() {
        let (c, s) = channels();
        let (slot, generation) = s.allocate_slot().unwrap();
        assert!(s.bind_slot(slot, generation, 0, 0) && c.bind_slot(slot, generation, 0, 0));
        // As far as `slot_leave` had come.
        let parts = c.parts.get().unwrap();
        let truth = parts.truth.slot(slot).unwrap();
        parts.truth.block().left.fetch_add(1, Ordering::Relaxed);
        truth.phase.store(LEFT, Ordering::Relaxed);
        s.slot_leave(slot, generation);
        s.slot_sweep();
        assert_eq!((s.slots_in_use(), c.slots_in_use()), (1, 1));
        c.slot_sweep();
        s.slot_sweep();
        c.slot_sweep();
        assert_eq!((s.slots_in_use(), c.slots_in_use()), (0, 0));
        assert_eq!(s.allocate_slot(), Some((slot, generation + 1)));
        s.release();
        c.release();
    }

    #[test]
    fn a_whole_life_between_the_look_at_a_slot_and_its_taking_is_noticed() {
        let (c, s) = channels();
        let truth = s.parts.get().unwrap().truth.slot(0).unwrap();
        let seen = s.echoed(0, truth).unwrap();
        // Another thread's connection comes and goes.
        let (slot, generation) = s.allocate_slot().unwrap();
        assert_eq!((slot, generation), (0, seen));
        assert!(s.bind_slot(slot, generation, 0, 0) && c.bind_slot(slot, generation, 0, 0));
        for channel in [c, s, c] {
            channel.slot_leave(slot, generation);
            channel.slot_sweep();
        }
        s.slot_sweep();
        let still = || (s.echoed(0, truth) == Some(seen)).then_some(seen);
        assert_eq!(take(truth, still), None);
        assert_eq!(truth.phase.load(Ordering::Relaxed), FREE);
        // C has not zeroed its half of the next generation yet, or has: never the old one again.
        assert!(!c.bind_slot(slot, generation, 0, 0));
        c.slot_sweep();
        assert_eq!(s.allocate_slot(), Some((slot, generation + 1)));
        s.release();
        c.release();
    }
}
