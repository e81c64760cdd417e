//! Channels in which an instance has members that its waiter watches, densely.
#![expect(
    unsafe_code,
    reason = "a harvest position in a cell guarded by the lock"
)]

use super::Held;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};
use fastpath::channel::{Channel, table};
use fastpath::endpoint::Plain32;
use fastpath::ready::Harvest;
use kmod_interface::limits::{READY_KINDS, SLOTS_MAX};

/// An earlier set may have left marks of every slot behind.
const STRAYS_AT_FIRST: u32 = SLOTS_MAX * READY_KINDS as u32;

/// A channel with members that this instance's waiter watches.
#[repr(C)]
pub struct Joined {
    /// Index of the channel in the process's table.
    pub channel: AtomicU32,
    /// Members there.
    pub members: Plain32,
    /// Marks for slots without a member that are to be expected, as a signed number (see `harvest::storm`).
    pub stray_credit: Plain32,
    harvest: UnsafeCell<Harvest>,
}

impl Joined {
    /// The channel, while it lives.
    #[inline(always)]
    #[must_use]
    pub fn channel(&self) -> Option<&'static Channel> {
        table::get(self.channel.load(Ordering::Relaxed))
    }
}

impl Held {
    /// Runs over the joined channels with their harvest positions.
    #[inline]
    pub fn for_each_joined(&self, mut each: impl FnMut(&'static Channel, &mut Harvest)) {
        self.for_each_joined_with(|_, channel, harvest| each(channel, harvest));
    }

    /// As [`Held::for_each_joined`], with what this instance knows of each.
    #[inline(always)]
    pub fn for_each_joined_with(
        &self,
        mut each: impl FnMut(&'static Joined, &'static Channel, &mut Harvest),
    ) {
        let count = self.instance.joined_count.load(Ordering::Relaxed) as usize;
        for joined in self.instance.joined.iter().take(count) {
            if let Some(channel) = joined.channel() {
                // SAFETY: the lock is held, and `each` gets one position at a time.
                each(joined, channel, unsafe { &mut *joined.harvest.get() });
            }
        }
    }

    /// One more member in a channel; true when it is the first there.
    pub fn join(&self, channel: u32) -> Option<bool> {
        let count = self.instance.joined_count.load(Ordering::Relaxed) as usize;
        for joined in self.instance.joined.iter().take(count) {
            if joined.channel.load(Ordering::Relaxed) == channel {
                joined.members.add(1);
                return Some(false);
            }
        }
        let joined = self.instance.joined.get(count)?;
        joined.channel.store(channel, Ordering::Relaxed);
        joined.members.set(1);
        joined.stray_credit.set(STRAYS_AT_FIRST);
        // SAFETY: the lock is held.
        unsafe { *joined.harvest.get() = Harvest::new() };
        // Release, partner: the acquire of a spinner, which has no lock.
        self.instance
            .joined_count
            .store(count as u32 + 1, Ordering::Release);
        Some(true)
    }

    /// One member less; true when it was the last there.
    pub fn part(&self, channel: u32) -> bool {
        let count = self.instance.joined_count.load(Ordering::Relaxed) as usize;
        let joined = &self.instance.joined;
        let Some((place, found)) = joined
            .iter()
            .enumerate()
            .take(count)
            .find(|(_, joined)| joined.channel.load(Ordering::Relaxed) == channel)
        else {
            return false;
        };
        found.members.set(found.members.get().wrapping_sub(1));
        let credit = found.stray_credit.get() as i32 + READY_KINDS as i32;
        found
            .stray_credit
            .set(credit.min(STRAYS_AT_FIRST as i32) as u32);
        if found.members.get() != 0 {
            return false;
        }
        if let Some(last) = joined.get(count - 1)
            && count - 1 != place
        {
            found
                .channel
                .store(last.channel.load(Ordering::Relaxed), Ordering::Relaxed);
            found.members.set(last.members.get());
            found.stray_credit.set(last.stray_credit.get());
            // SAFETY: the lock is held.
            unsafe { *found.harvest.get() = *last.harvest.get() };
        }
        self.instance
            .joined_count
            .store(count as u32 - 1, Ordering::Release);
        true
    }
}
