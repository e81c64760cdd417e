//! SLEEP (SWITCH.md §3): arming, the second look, and how the caller must sleep.
//!
//! The sleep itself happens in the caller, in a frame that has nothing to drop: a peeking receive when no time-out is
//! set (so that SA_RESTART, cancellation, FIN and RST are the kernel's), `ppoll` otherwise and where it is bounded.

use super::bells::Drained;
use super::labels::{Label, reached};
use super::{NotLocked, Stream};
use crate::bell::Epoch;
use crate::endpoint::{Holder, binding, kernel_end};
use crate::sync::Ordering;

/// How the caller must sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// On the line, as long as the program wants; then [`Stream::finish_sleep`].
    Line(Armed),
    /// On the line, but at most this long at a time, and also for writability if `writable`; then
    /// [`Stream::finish_sleep`].
    Bounded {
        /// What was armed.
        armed: Armed,
        /// Longest sleep.
        limit_ms: u32,
        /// POLLOUT wakes, too (a rewind waits for room in the kernel).
        writable: bool,
    },
    /// Something has happened meanwhile: call again.
    Retry,
    /// Others sleep on bells that should be consumed: yield, then call again.
    Crowded,
    /// The lock is the calling thread's own.
    Reentered,
}

/// What a sleeper has armed, to be handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// Counted as asleep, but no epoch: the kernel carries, its bytes wake.
    Counted,
    /// `arm.rx`.
    Readers,
    /// `arm.tx`.
    Writers,
    /// Both.
    Both,
}

impl Armed {
    fn readers(self) -> bool {
        matches!(self, Armed::Readers | Armed::Both)
    }
    fn writers(self) -> bool {
        matches!(self, Armed::Writers | Armed::Both)
    }
}

const SLEEP_LIMIT_MS: u32 = 10;

impl Stream {
    /// SLEEP(rx): for a reader that found less than `minimum` bytes.
    pub fn prepare_sleep_receive(&self, minimum: usize) -> Sleep {
        self.prepare(Armed::Readers, minimum)
    }

    /// SLEEP(tx): for a writer that found no room.
    pub fn prepare_sleep_send(&self) -> Sleep {
        self.prepare(Armed::Writers, 1)
    }

    /// SLEEP for the classes in `wanted`, readers by the socket's low water mark.
    pub fn prepare_sleep(&self, wanted: Armed) -> Sleep {
        self.prepare(wanted, self.endpoint.low_water.get().max(1) as usize)
    }

    fn prepare(&self, wanted: Armed, minimum: usize) -> Sleep {
        reached(Label::SleepLock);
        match self.lock_receiving() {
            Ok(()) => {}
            Err(NotLocked::Reentered) => return Sleep::Reentered,
            // The next step of the call finds it out.
            Err(NotLocked::Stale) => return Sleep::Retry,
        }
        let sleep = self.prepare_locked(wanted, minimum);
        self.unlock_receiving();
        sleep
    }

    fn prepare_locked(&self, wanted: Armed, minimum: usize) -> Sleep {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return Sleep::Retry;
        }
        let far = self.far();
        if wanted.writers() && (!self.is_line_live() || self.can_send()) {
            return Sleep::Retry;
        }
        if endpoint.rx_ep.get() & 1 == 0 {
            // The kernel carries what we read: its bytes, its end or the opening bell wake a sleeper.
            self.enter_sleep(Armed::Counted);
            reached(Label::KernelSleep);
            return self.bounded_if_needed(Armed::Counted);
        }
        let ep = far.ep().load(Ordering::Acquire);
        let is_switched = ep != endpoint.rx_ep.get();
        let end = if is_switched {
            far.kr().load(Ordering::Acquire)
        } else {
            far.koff().load(Ordering::Acquire)
        };
        if endpoint.krx.get() != end {
            if endpoint.has_sleepers() {
                return Sleep::Crowded;
            }
            if self.consume_to(end) != Drained::Bells {
                return Sleep::Retry;
            }
        }
        if is_switched && endpoint.krx.get() == end {
            // All bells up to the switch are here: it can be passed. Else the closing one will wake us.
            return Sleep::Retry;
        }
        self.enter_sleep(wanted);
        if wanted.readers() {
            Epoch::new(self.own().arm_rx()).arm();
        }
        if wanted.writers() {
            Epoch::new(self.own().arm_tx()).arm();
        }
        reached(Label::SleepArm);
        // Second look, behind the full fence of `arm` (partners: SEND publishes tail, RECV publishes head, UPGRADE and
        // RETREAT publish ep, each with a fence before it reads `arm`).
        let readable = wanted.readers() && self.sees_something_to_read(minimum, ep);
        let sendable = wanted.writers() && (self.can_send() || !self.is_line_live());
        let rewind = far.gone().load(Ordering::Acquire) != 0 && endpoint.over.get() == 0;
        if readable || sendable || (rewind && endpoint.rewind_position.get() == 0) {
            self.leave_sleep(wanted);
            return Sleep::Retry;
        }
        reached(Label::SleepLook);
        reached(Label::KernelSleep);
        if wanted.writers() {
            return Sleep::Bounded {
                armed: wanted,
                limit_ms: SLEEP_LIMIT_MS,
                writable: rewind,
            };
        }
        self.bounded_if_needed(wanted)
    }

    fn bounded_if_needed(&self, armed: Armed) -> Sleep {
        let endpoint = self.endpoint;
        let far = self.far();
        let rewind = far.gone().load(Ordering::Acquire) != 0 && endpoint.over.get() == 0;
        let unread_on_ring = endpoint.over.get() == 0
            && endpoint.tx_ep.get() & 1 == 1
            && far.head().load(Ordering::Acquire) != endpoint.tx_tail.get();
        if rewind || (armed == Armed::Counted && unread_on_ring) {
            return Sleep::Bounded {
                armed,
                limit_ms: SLEEP_LIMIT_MS,
                writable: rewind,
            };
        }
        Sleep::Line(armed)
    }

    /// `ep` is what is known of the far side's switches.
    fn sees_something_to_read(&self, minimum: usize, ep: u32) -> bool {
        let endpoint = self.endpoint;
        let far = self.far();
        let available = far
            .tail()
            .load(Ordering::Acquire)
            .wrapping_sub(endpoint.rx_head.get());
        available >= minimum.max(1) as u64
            || far.ep().load(Ordering::Acquire) != ep
            || self.has_far_fin()
            || endpoint.keof.load(Ordering::Acquire) != 0
    }

    /// What lets a writer go on: room, a switch, a wish for one, its own shutdown.
    fn can_send(&self) -> bool {
        let endpoint = self.endpoint;
        let ep = endpoint.tx_ep.get();
        ep & 1 == 0
            || self.has_room()
            || self.far().want().load(Ordering::Acquire) == ep
            || endpoint.write_shut.get() != 0
            || endpoint.over.get() != 0
            || endpoint.broken.get() != 0
            || endpoint.wished.load(Ordering::Relaxed) == 0
    }

    fn enter_sleep(&self, armed: Armed) {
        if let Some(holder) = self.own_holder() {
            holder
                .sleepers
                .enter(self.generation, armed.readers(), armed.writers());
        }
    }

    /// Counts a thread that sleeps on a socket without a slot yet: should another thread bind it meanwhile, the opening
    /// bell stays until this one has seen it. Ends with [`Self::finish_sleep`] of [`Armed::Counted`].
    pub fn count_sleeper(&self) {
        self.enter_sleep(Armed::Counted);
    }

    fn own_holder(&self) -> Option<&'static Holder> {
        crate::family::process_place().and_then(|place| self.endpoint.holder(place))
    }

    /// The sleeper is awake (or never slept): its marks are withdrawn. Takes no lock, so a cancelled thread may call it.
    pub fn finish_sleep(&self, armed: Armed) {
        if let Some(holder) = self.own_holder() {
            holder
                .sleepers
                .leave(self.generation, armed.readers(), armed.writers());
        }
    }

    /// Withdraws marks under `rx_lock`; the last one out disarms. A stale epoch costs one bell.
    fn leave_sleep(&self, armed: Armed) {
        let own = self.own();
        self.finish_sleep(armed);
        if armed.readers() && !self.endpoint.has_armed_readers() {
            Epoch::new(own.arm_rx()).disarm();
        }
        if armed.writers() && !self.endpoint.has_armed_writers() {
            Epoch::new(own.arm_tx()).disarm();
        }
    }

    /// Awake again: the bell that did it is consumed now rather than before the next sleep, so that unread bells do not
    /// turn a death of this process into a reset. A writer is told of its far side's death here.
    pub fn after_sleep(&self) {
        if self.lock_receiving().is_err() {
            return;
        }
        let endpoint = self.endpoint;
        if self.is_bound() && endpoint.rx_ep.get() & 1 == 1 {
            let before = endpoint.krx.get();
            self.consume_arrived();
            if endpoint.krx.get() == before {
                self.woke_without_bell();
            }
        }
        self.unlock_receiving();
    }

    /// A time-out, a signal, or the end of the line. Under `rx_lock`, `rx_ep` odd.
    fn woke_without_bell(&self) {
        let endpoint = self.endpoint;
        let own = self.own();
        // Nobody of that class sleeps: a bell that still came would lie unread, perhaps till this process dies, which
        // would then be told as a reset and destroy what the kernel has not delivered.
        if !endpoint.has_armed_readers() {
            Epoch::new(own.arm_rx()).disarm();
        }
        if !endpoint.has_armed_writers() {
            Epoch::new(own.arm_tx()).disarm();
        }
        if endpoint.keof.load(Ordering::Acquire) == kernel_end::OPEN && !endpoint.has_sleepers() {
            self.look_at_line();
        }
    }

    /// Before a kernel send, which may last: takes bells that came when nobody waited for them any more.
    #[inline]
    pub fn take_stray_bells(&self) {
        let endpoint = self.endpoint;
        if self.is_bound()
            && endpoint.rx_ep.get() & 1 == 1
            && self.far().koff().load(Ordering::Acquire) != endpoint.krx.get()
            && self.lock_receiving().is_ok()
        {
            if self.is_bound() && endpoint.rx_ep.get() & 1 == 1 {
                self.consume_arrived();
            }
            self.unlock_receiving();
        }
    }

    /// A sleeping receive took an error from the socket: kept, shown once, unless it is a reset under a ring.
    pub fn sleeper_saw(&self, errno: i32) {
        if self.lock_receiving().is_err() {
            return;
        }
        if self.is_bound() && (self.endpoint.rx_ep.get() & 1 == 1 || !self.has_announced_an_end()) {
            self.kernel_ended(Some(errno));
        } else {
            self.endpoint.error.store(errno as u32, Ordering::Release);
            self.endpoint
                .keof
                .fetch_max(kernel_end::ENDED, Ordering::AcqRel);
        }
        self.unlock_receiving();
    }

    /// What a spinning reader looks at: no lock, no system call.
    #[inline]
    #[must_use]
    pub fn may_receive(&self, minimum: usize) -> bool {
        if !self.is_bound() {
            return true;
        }
        if self.endpoint.rx_ep.get() & 1 == 0 {
            return false;
        }
        self.sees_something_to_read(minimum, self.endpoint.rx_ep.get())
            || self.far().gone().load(Ordering::Relaxed) != 0
    }

    /// What a spinning writer looks at.
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        !self.is_bound() || self.can_send() || !self.is_line_live()
    }

    /// CPU on which the far side last ran when it rang, and the time stamp of that bell: untrusted hints for waiting.
    #[must_use]
    pub fn far_bell_hint(&self) -> (u32, u64) {
        if !self.is_bound() {
            return (u32::MAX, 0);
        }
        (
            self.far().cpu().load(Ordering::Relaxed),
            self.far().stamp().load(Ordering::Relaxed),
        )
    }
}
