//! The channels of this process: a fixed table, process-private (a fork child has its own copy of the counts, as it has
//! of the descriptors).
//!
//! A channel lives while it has members: descriptors of this process bound to it, or a handshake under way. The last
//! one out makes it zeros (C4). Places are used again, the one that was left first at the earliest, and not before
//! [`REUSE_AFTER`] others were left.

use super::claims::ClaimState;
use super::parts::{Parts, PartsCell};
use super::truth::Truth;
use super::{Channel, FarSide, Role, home};
use crate::error::Blame;
use crate::memory::region::OwnRegion;
use crate::path::{Chosen, Path};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use kmod_interface::channel_layout::header;
use kmod_interface::limits::{CHANNELS_PER_PROCESS, FEATURES, MAGIC, VERSION};

/// Places left since a place was left, before it is used again.
pub const REUSE_AFTER: usize = 32;

const FREE: u32 = 0;
const MAKING: u32 = 1;
const LIVE: u32 = 2;
const RETIRING: u32 = 3;

static TABLE: [Channel; CHANNELS_PER_PROCESS] = [const { Channel::vacant() }; CHANNELS_PER_PROCESS];
/// No place at or behind this one was ever used.
static USED: AtomicU32 = AtomicU32::new(0);
/// What a live channel is looked up by, densely, so that a look-up among a thousand channels touches few lines; 0 where
/// none lives. A hint: what it leads to is compared in full.
static KEYS: [AtomicU64; CHANNELS_PER_PROCESS] =
    [const { AtomicU64::new(0) }; CHANNELS_PER_PROCESS];
static LIVE_COUNT: AtomicU32 = AtomicU32::new(0);
static RETIRED: AtomicU64 = AtomicU64::new(0);

fn key_of(role: Role, accept_address: &[u8; 16], accept_port: u16) -> u64 {
    let [a, b, c, d] = [0, 4, 8, 12].map(|at| {
        accept_address
            .get(at..at + 4)
            .and_then(|four| four.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    });
    let port = u64::from(accept_port) << 1 | u64::from(role == Role::Accepting);
    let mut key = port;
    for word in [a, b, c, d] {
        key = (key.rotate_left(21) ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    key | 1
}

impl Channel {
    const fn vacant() -> Self {
        Self {
            phase: AtomicU32::new(FREE),
            members: AtomicU32::new(0),
            retired_serial: AtomicU64::new(0),
            parts: PartsCell::empty(),
            claims: ClaimState::new(),
            rung: super::notify::Rung::new(),
            eviction: super::eviction::EvictionState::new(),
        }
    }

    /// One more descriptor of this process is bound to the channel; false when it is gone already.
    #[must_use]
    pub fn retain(&self) -> bool {
        let mut members = self.members.load(Ordering::Relaxed);
        while members != 0 {
            match self.members.compare_exchange(
                members,
                members + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => members = now,
            }
        }
        false
    }

    /// One descriptor less; the last one ends the channel in this process.
    pub fn release(&self) {
        let mut members = self.members.load(Ordering::Relaxed);
        while members != 0 {
            match self.members.compare_exchange(
                members,
                members - 1,
                // Release, partner: the acquire of the one who retires: this one's last access came before.
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(1) => return self.retire(),
                Ok(_) => return,
                Err(now) => members = now,
            }
        }
    }

    fn retire(&self) {
        let mine = self
            .phase
            .compare_exchange(LIVE, RETIRING, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        let Some(parts) = self.parts.get() else {
            return;
        };
        if !mine {
            return;
        }
        if let Some(key) = KEYS.get(parts.index as usize) {
            key.store(0, Ordering::Relaxed);
        }
        if home::is_current(parts.home) {
            // Release, partner: the acquire in `far_home_left`.
            parts.own().word32(header::GONE).store(1, Ordering::Release);
        }
        parts.path.retire();
        parts.truth.retire();
        LIVE_COUNT.fetch_sub(1, Ordering::Relaxed);
        let serial = RETIRED.fetch_add(1, Ordering::Relaxed) + 1;
        self.retired_serial.store(serial, Ordering::Relaxed);
        self.phase.store(FREE, Ordering::Release);
    }

    /// Descriptors of this process bound to the channel.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }
}

/// Makes a channel of one end of a path, with one member: the connection whose handshake made it. Writes the header of
/// the own region. On error the path is still the caller's.
///
/// # Errors
/// [`Blame::Exhausted`] when the table is full, [`Blame::Unsupported`] or [`Blame::Os`] without family memory.
pub fn insert(
    role: Role,
    path: impl Into<Chosen>,
    far_side: FarSide,
) -> Result<&'static Channel, Blame> {
    let path = path.into();
    let home = home::token().ok_or(Blame::Unsupported)?;
    let (index, channel) = take_place().ok_or(Blame::Exhausted)?;
    if let Some(old) = channel.parts.get() {
        old.path.unmap();
        old.truth.unmap();
    }
    let parts = Truth::make(path.own().layout().slots).map(|truth| Parts {
        index,
        role,
        path,
        truth,
        far_side,
        home,
    });
    set_parts(channel, parts.ok());
    let parts = match parts {
        Ok(parts) => parts,
        Err(blame) => {
            channel.phase.store(FREE, Ordering::Release);
            return Err(blame);
        }
    };
    write_header(parts.own());
    channel.claims.reset();
    channel.rung.reset();
    channel.eviction.reset();
    channel.members.store(1, Ordering::Relaxed);
    LIVE_COUNT.fetch_add(1, Ordering::Relaxed);
    // Release, partner: the acquire in `get`.
    channel.phase.store(LIVE, Ordering::Release);
    if let Some(key) = KEYS.get(index as usize) {
        let known = key_of(role, &far_side.accept_address, far_side.accept_port);
        key.store(known, Ordering::Release);
    }
    Ok(channel)
}

/// What is the same in every region: written as soon as it is mapped, for people and tools; the peer trusts the offer.
pub fn write_header(own: &OwnRegion) {
    own.word32(header::MAGIC).store(MAGIC, Ordering::Relaxed);
    own.word32(header::VERSION)
        .store(VERSION, Ordering::Relaxed);
    own.word64(header::FEATURES)
        .store(FEATURES, Ordering::Relaxed);
    own.word32(header::CLASS)
        .store(own.class(), Ordering::Relaxed);
}

fn set_parts(channel: &'static Channel, parts: Option<Parts>) {
    #[expect(unsafe_code, reason = "the place is in phase MAKING")]
    // SAFETY: `take_place` gave the place to this thread alone.
    unsafe {
        channel.parts.set(parts);
    }
}

/// A free place: of those left, the one left first, if enough others were left since; else one never used; else any.
fn take_place() -> Option<(u32, &'static Channel)> {
    let take = |index: usize| {
        let channel = TABLE.get(index)?;
        channel
            .phase
            .compare_exchange(FREE, MAKING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some((index as u32, channel))
    };
    loop {
        let used = (USED.load(Ordering::Acquire) as usize).min(TABLE.len());
        let mut left = 0;
        let mut oldest: Option<(u64, usize)> = None;
        for (index, channel) in TABLE.iter().enumerate().take(used) {
            if channel.phase.load(Ordering::Relaxed) != FREE {
                continue;
            }
            left += 1;
            let serial = channel.retired_serial.load(Ordering::Relaxed);
            if oldest.is_none_or(|(other, _)| serial < other) {
                oldest = Some((serial, index));
            }
        }
        if used < TABLE.len() && left <= REUSE_AFTER {
            let grown = USED.compare_exchange(
                used as u32,
                used as u32 + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match grown {
                // Another thread, which finds it unused and so the oldest, may have been faster.
                Ok(_) => match take(used) {
                    None => continue,
                    taken => return taken,
                },
                Err(_) => continue,
            }
        }
        let (_, index) = oldest?;
        if let Some(taken) = take(index) {
            return Some(taken);
        }
    }
}

/// The live channel at an index.
#[must_use]
pub fn get(index: u32) -> Option<&'static Channel> {
    let channel = TABLE.get(index as usize)?;
    // Acquire, partner: the release in `insert`.
    (channel.phase.load(Ordering::Acquire) == LIVE).then_some(channel)
}

/// Every live channel. Not retained: whoever keeps one takes [`Channel::retain`] first.
pub fn live() -> impl Iterator<Item = &'static Channel> {
    let used = if LIVE_COUNT.load(Ordering::Relaxed) == 0 {
        0
    } else {
        USED.load(Ordering::Acquire) as usize
    };
    TABLE
        .iter()
        .take(used)
        .filter(|channel| channel.phase.load(Ordering::Acquire) == LIVE)
}

/// Live channels in which a connection to (C) or from (S) this accepting address may claim a slot.
pub fn claimable(
    role: Role,
    accept_address: [u8; 16],
    accept_port: u16,
) -> impl Iterator<Item = &'static Channel> {
    claimable_from(role, accept_address, accept_port, 0, CHANNELS_PER_PROCESS)
}

/// The same among `count` places from `first` on, going around: for looks that must stay cheap whatever the number.
pub fn claimable_from(
    role: Role,
    accept_address: [u8; 16],
    accept_port: u16,
    first: usize,
    count: usize,
) -> impl Iterator<Item = &'static Channel> {
    let used = if LIVE_COUNT.load(Ordering::Relaxed) == 0 {
        0
    } else {
        (USED.load(Ordering::Acquire) as usize).min(TABLE.len())
    };
    let wanted = key_of(role, &accept_address, accept_port);
    (0..used.min(count))
        .map(move |step| (first + step) % used.max(1))
        .filter(move |&index| {
            KEYS.get(index)
                .is_some_and(|key| key.load(Ordering::Acquire) == wanted)
        })
        .filter_map(|index| get(index as u32))
        .filter(move |channel| {
            channel.role() == role
                && channel.far_side().is_some_and(|far| {
                    far.accept_port == accept_port && far.accept_address == accept_address
                })
        })
}

/// Ends the channels of this process at whose index `is_needed` says no, whoever seems to be a member. Counts of members are
/// a process's own, so those of connections that a fork relative has ended are never taken away; that does no harm until
/// nobody here may reach the memory any more (TRUST.md row 17).
pub fn end_unless(is_needed: impl Fn(u32) -> bool) {
    for channel in live() {
        let Some(parts) = channel.parts.get() else {
            continue;
        };
        if !is_needed(parts.index) {
            channel.members.store(0, Ordering::Relaxed);
            channel.retire();
        }
    }
}

/// Number of live channels.
#[must_use]
pub fn live_count() -> u32 {
    LIVE_COUNT.load(Ordering::Relaxed)
}
