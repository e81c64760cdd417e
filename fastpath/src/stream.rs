//! One stream, two carriers: each direction is a row of segments, carried in turn by the kernel socket and by a ring.
//!
//! The normative text is SWITCH.md; its step names are the [`labels::Label`]s reached here, and the explicit-state model
//! carries the same names. A [`Stream`] is a call's view of an endpoint: built on the stack, thrown away at the end. No
//! function here sleeps in the kernel; what must sleep is returned to the caller as an outcome, so that no frame with
//! anything to drop lies under a cancellable sleep.
//!
//! Invariants (SWITCH.md §2): bells lie on a kernel stream only between an upgrade and its `kr`; upgrade is granted,
//! retreat never waits; bells are consumed only under `rx_lock`, below `koff`, with nobody asleep on the line; the end
//! is the kernel's; no thread holds two locks, but for the steps that end a binding ([`Stream::retire`], [`leave`],
//! [`unbind`]), which take the receiving one first.
//!
//! * [`pieces`]: the program's buffers.
//! * [`labels`]: the labelled steps.
//! * [`line`]: bells, offsets and options of the kernel socket underneath.
//! * [`switch`]: upgrade and retreat, by the sender. [`passing`]: grant and pass, by the receiver.
//! * [`bells`]: announce, ring, take bells. [`space`]: ring space and growth.
//! * [`pace`]: when an upgrade is tried.
//! * [`rings`]: where the rings lie, and how bytes in them are shown.
//! * [`send`], [`receive`]: the data calls. [`granted`]: receiving while the kernel carries.
//! * [`pipe`]: bytes from a pipe and into one.
//! * [`plain`]: the program's own kernel calls.
//! * [`repair`]: a thread that held a lock has died.
//! * [`quick`]: the same for one plain buffer and nothing but the ring.
//! * [`sleep`]: arming and what a sleeper looks at. [`storm`]: wakes that told nothing.
//! * [`ends`]: shutdown, what the far side's end looks like.
//! * [`leave`]: this side gives the channel up for good.
//! * [`death`]: the far process has died without a word.
//! * [`rewind`]: the far side has left: its unread bytes go through the kernel.
//! * [`unbind`]: a living connection gives its slot up.
//! * [`look`]: readiness without side effects on the program's bytes. [`glance`]: what can be said of it without a lock.
//! * [`line_events`]: what an event of the line means.

pub mod bells;
pub mod death;
pub mod ends;
pub mod glance;
pub mod granted;
pub mod labels;
pub mod leave;
pub mod line;
mod line_events;
pub mod look;
mod pace;
mod passing;
pub mod pieces;
pub mod pipe;
mod plain;
pub mod quick;
pub mod receive;
pub mod repair;
pub mod rewind;
mod rings;
pub mod send;
pub mod sleep;
pub mod space;
pub mod storm;
pub mod switch;
pub mod unbind;

use crate::channel::Channel;
use crate::endpoint::{Endpoint, binding, kernel_end, pestered};
use crate::family;
use crate::ict::{FarEntry, OwnEntry};
use crate::lock::{Locked, Owner};
use crate::sync::Ordering;
use core::cell::Cell;
use core::ffi::c_int;
use libc::ECONNRESET;

/// A call's view of an endpoint.
pub struct Stream {
    /// The truth, in family memory.
    pub endpoint: &'static Endpoint,
    /// The descriptor the program used.
    pub descriptor: c_int,
    /// The endpoint's generation when its number was looked up.
    pub generation: u32,
    /// Who is calling.
    pub me: Owner,
    /// Bells were consumed: an epoll set that watches the line may have lost its wake and must be kicked.
    pub drained: Cell<bool>,
    /// A direction changed its carrier: readiness registrations must be brought up to date.
    pub switched: Cell<bool>,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLocked {
    /// The calling thread holds it already (a signal handler interrupted the shim).
    Reentered,
    /// The endpoint has ended meanwhile: another thread closed its last number.
    Stale,
}

impl Stream {
    /// A view of `endpoint` for one call.
    #[inline(always)]
    #[must_use]
    pub fn new(
        endpoint: &'static Endpoint,
        generation: u32,
        descriptor: c_int,
        me: Owner,
    ) -> Stream {
        Stream {
            endpoint,
            generation,
            descriptor,
            me,
            drained: Cell::new(false),
            switched: Cell::new(false),
        }
    }

    /// True while the endpoint has a slot: readiness must be asked here, not in the kernel.
    #[inline(always)]
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::BOUND
    }

    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "the addresses were stored at binding, and memory stays mapped behind it"
    )]
    pub(crate) fn own(&self) -> OwnEntry {
        // SAFETY: callers have seen the endpoint bound (acquire, partner: the release in `bind`), and the address stored
        // before that is replaced by other entries' only, never taken away (`Endpoint::reset`). Under a lock it is this
        // binding's. Without one the binding may have ended meanwhile: then it leads to zeros that stay mapped until many
        // other channels came and went (C4), or to another entry, and what is read there is a hint.
        unsafe { OwnEntry::at(self.endpoint.own_entry.get() as *mut u8) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "as for `own`")]
    pub(crate) fn far(&self) -> FarEntry {
        // SAFETY: as for `own`.
        unsafe { FarEntry::at(self.endpoint.far_entry.get() as *mut u8) }
    }

    /// The channel of a bound endpoint.
    #[inline]
    #[must_use]
    pub fn channel(&self) -> Option<&'static Channel> {
        crate::channel::table::get(self.endpoint.channel.get().checked_sub(1)?)
    }

    #[inline(always)]
    pub(crate) fn lock_sending(&self) -> Result<(), NotLocked> {
        let lock = &self.endpoint.tx_lock;
        if !lock.try_lock(self.me) {
            match lock.lock(self.me, family::is_owner_alive) {
                Locked::Taken => {}
                Locked::Recovered => self.repair_sending(),
                Locked::OwnThread => return Err(NotLocked::Reentered),
            }
        }
        if self.is_stale() {
            lock.unlock(self.me);
            return Err(NotLocked::Stale);
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn unlock_sending(&self) {
        self.endpoint.tx_lock.unlock(self.me);
    }

    #[inline(always)]
    pub(crate) fn lock_receiving(&self) -> Result<(), NotLocked> {
        let lock = &self.endpoint.rx_lock;
        if !lock.try_lock(self.me) {
            match self.wait_to_receive() {
                Locked::Taken => {}
                Locked::Recovered => self.repair_receiving(),
                Locked::OwnThread => return Err(NotLocked::Reentered),
            }
        }
        if self.is_stale() {
            lock.unlock(self.me);
            return Err(NotLocked::Stale);
        }
        Ok(())
    }

    /// Who takes both locks takes this one first. So a thread that holds the other already is a signal handler above its own
    /// interrupted send; one above a receive elsewhere may wait for that send (SWITCH.md §6).
    #[cold]
    fn wait_to_receive(&self) -> Locked {
        let (lock, is_alive) = (&self.endpoint.rx_lock, family::is_owner_alive);
        if self.endpoint.tx_lock.owner() == Some(self.me) {
            lock.lock_or_give_way(self.me, is_alive)
        } else {
            lock.lock(self.me, is_alive)
        }
    }

    /// Checked under a lock: the generation changes only while both are held.
    #[inline(always)]
    fn is_stale(&self) -> bool {
        self.endpoint.generation.load(Ordering::Relaxed) != self.generation
    }

    /// Ends the endpoint's life: no call that looked it up before finds it any more. The caller is its last holder and
    /// frees the block. This, [`leave`] and [`unbind`] hold both locks, the receiving one taken first; nobody else holds
    /// two, so that cannot dead-lock.
    /// False: somebody else was faster.
    pub fn retire(&self) -> bool {
        if self.lock_receiving().is_err() {
            return false;
        }
        let retired = self.lock_sending().is_ok();
        if retired {
            self.endpoint
                .generation
                .store(self.generation.wrapping_add(1), Ordering::Release);
            self.unlock_sending();
        }
        self.unlock_receiving();
        retired
    }

    /// Does what must not fall behind the end of the endpoint's life, which does not end meanwhile: under `rx_lock`. False, and
    /// it was not done: it has ended, or the calling thread is a signal handler above its own call.
    pub fn while_it_lives(&self, act: impl FnOnce()) -> bool {
        let lives = self.lock_receiving().is_ok();
        if lives {
            act();
            self.unlock_receiving();
        }
        lives
    }

    #[inline(always)]
    pub(crate) fn unlock_receiving(&self) {
        self.endpoint.rx_lock.unlock(self.me);
    }

    /// Binds the endpoint to a slot of a channel; both directions start on the kernel. Under both locks, as every change of
    /// a binding. False, and nothing was done, when the endpoint is not this stream's any more, is bound, or must not be: it
    /// was closed, given up or handed over while the slot was negotiated. The slot is the caller's to leave then.
    pub fn bind(&self, channel: &'static Channel, slot: u32, generation: u32) -> bool {
        // Refused in any other life of the endpoint.
        if self.lock_receiving().is_err() {
            return false;
        }
        let bound = self.lock_sending().is_ok() && {
            let endpoint = self.endpoint;
            let bound = endpoint.binding.load(Ordering::Acquire) == binding::NONE
                && endpoint.wished.load(Ordering::Acquire) != 0
                && self.bind_locked(channel, slot, generation);
            self.unlock_sending();
            bound
        };
        self.unlock_receiving();
        bound
    }

    fn bind_locked(&self, channel: &'static Channel, slot: u32, generation: u32) -> bool {
        let (Some(own), Some(far)) = (channel.own_entry(slot), channel.far_entry(slot)) else {
            return false;
        };
        let endpoint = self.endpoint;
        endpoint.own_entry.set(own.address() as u64);
        endpoint.far_entry.set(far.address() as u64);
        endpoint.had_channel.set(1);
        endpoint.channel.set(channel.index() + 1);
        endpoint.slot.set(slot);
        endpoint.slot_generation.set(generation);
        endpoint.tx_tail.set(0);
        endpoint.tx_head_seen.set(0);
        endpoint.tx_ep.set(0);
        endpoint.rx_head.set(0);
        endpoint.rx_tail_seen.set(0);
        endpoint.rx_ep.set(0);
        endpoint.granted.set(0);
        endpoint.tx_ring_bytes.set(0);
        endpoint.rx_ring_bytes.set(0);
        endpoint.rung_rx.set(0);
        endpoint.rung_tx.set(0);
        endpoint.tx_ring.set(0);
        endpoint.rx_ring.set(0);
        endpoint.kr.set(0);
        endpoint.gone.set(0);
        endpoint.full_since_ns.set(0);
        endpoint.full_count.set(0);
        // This channel's pool may have what the last one's had not.
        endpoint.ring_growth_refused.set(0);
        endpoint.bell_credit.set(0);
        endpoint.bell_progress.set(0);
        endpoint.pestered.store(pestered::NO, Ordering::Relaxed);
        endpoint.wants_space.set(0);
        endpoint.upgrade_after_ns.set(0);
        endpoint.upgrade_pause_us.set(0);
        endpoint.hold_after_ns.set(0);
        endpoint.hold_pause_us.set(0);
        endpoint.switches.set(0);
        endpoint.number.set(self.descriptor as u32);
        endpoint.unbinding.store(0, Ordering::Relaxed);
        if let Some(index) = crate::family::index_of(endpoint) {
            channel.slot_taken_by(slot, generation, index);
        }
        // Before anybody sees the binding: from here on nobody goes into the kernel without being asked for (N1).
        endpoint.itx.bind();
        endpoint.irx.bind();
        endpoint.binding.store(binding::BOUND, Ordering::Release);
        true
    }

    /// Something impossible was read from the far side, or somebody used the socket behind us: the connection ends with
    /// ECONNRESET, nothing else notices (TRUST.md; POSIX.md row 35). Called with a lock of the endpoint held, under which
    /// the binding was looked at. A plain kernel socket is nobody's to condemn: what was seen does not concern it.
    pub(crate) fn condemn(&self, reason: kmod_interface::reason::Reason) {
        if !mark_condemned(self.endpoint, reason) {
            return;
        }
        crate::kernel_call::reset_connection(self.descriptor);
        self.switched.set(true);
    }
}

/// Ends a bound endpoint by ECONNRESET. The error comes before the binding: whoever finds that it has ended so is told
/// the error, and does not take what is cut off for an orderly end. False: it is not bound (any more).
pub(crate) fn mark_condemned(endpoint: &Endpoint, reason: kmod_interface::reason::Reason) -> bool {
    if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
        return false;
    }
    endpoint.reason.store(reason as u32, Ordering::Relaxed);
    endpoint.error.store(ECONNRESET as u32, Ordering::Release);
    endpoint.keof.fetch_max(kernel_end::ENDED, Ordering::AcqRel);
    endpoint
        .binding
        .compare_exchange(
            binding::BOUND,
            binding::CONDEMNED,
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .is_ok()
}
