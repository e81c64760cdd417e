//! Readiness as `poll` would show it, from the real indices (READINESS.md 6, SWITCH.md §9).

use super::Stream;
use super::line::{self, Peeked};
use super::switch::{Passed, RetreatCause};
use crate::endpoint::{binding, kernel_end};
use crate::kernel_call::poll_one;
use crate::sync::Ordering;
use kmod_interface::reason::Reason;

/// What holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, an end or an error can be received (POLLIN).
    pub readable: bool,
    /// A send would find room (POLLOUT).
    pub writable: bool,
    /// The far side has shut its sending direction (POLLRDHUP).
    pub read_ended: bool,
    /// Both directions have ended (POLLHUP).
    pub hung_up: bool,
    /// An error waits to be shown (POLLERR).
    pub failed: bool,
}

/// Who carries the two directions of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carriers {
    /// The ring carries what we receive, or the far side has switched to it and we have not passed the switch.
    pub receives_by_ring: bool,
    /// The ring carries what we send.
    pub sends_by_ring: bool,
}

const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;
const POLLERR: i16 = 8;
const POLLHUP: i16 = 16;
const POLLRDHUP: i16 = 0x2000;

impl Stream {
    /// What holds now. `writable` is looked at only if asked for, since a full ring with a dead line must retreat
    /// before saying no. Takes each lock in turn.
    pub fn readiness(&self, ask_writable: bool) -> Readiness {
        let endpoint = self.endpoint;
        match endpoint.binding.load(Ordering::Acquire) {
            binding::BOUND => {}
            binding::CONDEMNED => {
                return Readiness {
                    readable: true,
                    writable: true,
                    read_ended: true,
                    hung_up: true,
                    failed: endpoint.error.load(Ordering::Acquire) != 0,
                };
            }
            _ => return self.kernel_readiness(ask_writable),
        }
        if self.must_rewind() {
            let _ = self.rewind();
        }
        let mut ready = self.receiving_readiness();
        if ready.read_ended {
            self.guard_half_close();
        }
        if ask_writable {
            ready.writable = self.sending_readiness();
        }
        ready
    }

    fn kernel_readiness(&self, ask_writable: bool) -> Readiness {
        let events = POLLIN | POLLRDHUP | if ask_writable { POLLOUT } else { 0 };
        let returned = poll_one(self.descriptor, events, 0);
        Readiness {
            readable: returned & POLLIN != 0,
            writable: returned & POLLOUT != 0,
            read_ended: returned & POLLRDHUP != 0,
            hung_up: returned & POLLHUP != 0,
            failed: returned & POLLERR != 0,
        }
    }

    fn receiving_readiness(&self) -> Readiness {
        if self.lock_receiving().is_err() {
            return Readiness::default();
        }
        let ready = self.receiving_readiness_locked(true);
        self.unlock_receiving();
        self.ask_back_if_released();
        ready
    }

    /// `looks_behind`: an end of the kernel stream is looked for also while the ring holds bytes.
    fn receiving_readiness_locked(&self, looks_behind: bool) -> Readiness {
        let endpoint = self.endpoint;
        let mut ready = Readiness::default();
        for _ in 0..4 {
            if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
                return Readiness {
                    readable: true,
                    read_ended: true,
                    hung_up: true,
                    ..ready
                };
            }
            let far = self.far();
            let fin = self.has_far_fin();
            if endpoint.rx_ep.get() & 1 == 0 {
                let unread = line::unread_bytes(self.descriptor);
                let ep = far.ep().load(Ordering::Acquire);
                let granted = endpoint.granted.get() == endpoint.rx_ep.get().wrapping_add(1);
                if granted && ep != endpoint.rx_ep.get() {
                    if ep.wrapping_sub(endpoint.rx_ep.get()) > 2 {
                        self.condemn_misbehaved();
                    } else {
                        self.pass_upgrade();
                    }
                    continue;
                }
                let mut kernel = self.kernel_readiness(false);
                if kernel.read_ended && endpoint.tx_ep.get() != 0 {
                    self.look_for_death();
                    kernel = self.with_reset(self.kernel_readiness(false));
                }
                let enough = unread >= u64::from(endpoint.low_water.get().max(1));
                return Readiness {
                    readable: kernel.read_ended
                        || kernel.failed
                        || (kernel.readable && (enough || unread == 0)),
                    ..kernel
                };
            }
            let ep = far.ep().load(Ordering::Acquire);
            let ended = fin || endpoint.keof.load(Ordering::Acquire) != 0;
            let tail = far.tail().load(Ordering::Acquire);
            let available = tail.wrapping_sub(endpoint.rx_head.get());
            if looks_behind && available != 0 && !ended {
                self.look_for_death();
                if endpoint.keof.load(Ordering::Acquire) != kernel_end::OPEN {
                    continue;
                }
            }
            ready.read_ended = ended;
            ready.failed = endpoint.error.load(Ordering::Acquire) != 0;
            // Behind a switch back the ring gets no more, and a receive takes what it holds whatever the mark is.
            let is_last = available != 0 && ep != endpoint.rx_ep.get();
            ready.readable = available >= u64::from(endpoint.low_water.get().max(1))
                || is_last
                || ended
                || ready.failed;
            if available == 0 && ended {
                let kernel = self.kernel_readiness(false);
                ready.hung_up = kernel.hung_up;
                if kernel.failed && fin && self.is_half_closed_and_unread() {
                    // It has died meanwhile; the kernel says the rest, to a writer, too.
                    ready.failed = true;
                    endpoint.broken.set(1);
                }
            }
            if available != 0 && far.gone().load(Ordering::Acquire) != 0 {
                // The far side has left in order, so no bell of its own can have turned its end into a reset: the kernel
                // shows one at once, also before what lies in front of it was read.
                let kernel = poll_one(self.descriptor, 0, 0);
                if kernel & POLLERR != 0 {
                    ready.failed = true;
                    ready.read_ended = true;
                    ready.hung_up = kernel & POLLHUP != 0;
                }
            }
            if available == 0 && ep != endpoint.rx_ep.get() {
                match self.pass_retreat() {
                    Passed::Behind | Passed::Condemned => continue,
                    Passed::End => {
                        return self.with_reset(Readiness {
                            readable: true,
                            read_ended: true,
                            ..ready
                        });
                    }
                    Passed::NotThere | Passed::OthersAsleep => {}
                }
            }
            if available == 0 && !ended && !endpoint.has_sleepers() {
                self.look_at_line();
                if endpoint.keof.load(Ordering::Acquire) != 0 {
                    continue;
                }
            }
            return self.with_reset(ready);
        }
        ready
    }

    /// What a reset adds that is due, or was shown and whose error has not been taken yet.
    fn with_reset(&self, ready: Readiness) -> Readiness {
        let endpoint = self.endpoint;
        if endpoint.reset_due.get() == 0 {
            return ready;
        }
        Readiness {
            readable: true,
            read_ended: true,
            hung_up: true,
            failed: endpoint.reset_shown.get() == 0
                || endpoint.error.load(Ordering::Acquire) != 0
                || poll_one(self.descriptor, 0, 0) & POLLERR != 0,
            ..ready
        }
    }

    /// An empty ring: has the kernel stream ended meanwhile? Bells that have arrived are consumed on the way.
    pub(super) fn look_at_line(&self) {
        let endpoint = self.endpoint;
        let events = poll_one(self.descriptor, POLLIN | POLLRDHUP, 0);
        if events == 0 {
            return;
        }
        let end = self.far().koff().load(Ordering::Acquire);
        if endpoint.krx.get() != end {
            self.consume_to(end);
        } else if events & POLLIN != 0 && self.holds_foreign_bytes() {
            return self.condemn(Reason::UsedBehind);
        }
        if events & (POLLRDHUP | POLLHUP | POLLERR) != 0
            && endpoint.krx.get() == self.far().koff().load(Ordering::Acquire)
        {
            match line::peek(self.descriptor) {
                Peeked::End => self.kernel_ended(None),
                Peeked::Failed(errno) => self.kernel_ended(Some(errno)),
                Peeked::Byte | Peeked::Nothing => {}
            }
        }
    }

    /// True when a byte lies on the line that the far side has not counted: no bell (a bell is counted before it is sent),
    /// and nothing would ever take it away. Somebody writes behind the far side, or it lies. Under `rx_lock`.
    fn holds_foreign_bytes(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || endpoint.rx_ep.get() & 1 == 0
        {
            return false;
        }
        match line::peek(self.descriptor) {
            Peeked::Byte => {}
            Peeked::Failed(errno) => {
                // The socket shows it once, and that was now.
                self.kernel_ended(Some(errno));
                return false;
            }
            Peeked::End | Peeked::Nothing => return false,
        }
        // Behind the peek: whatever counted the byte, or switched before it was sent, is seen.
        let far = self.far();
        far.koff().load(Ordering::Acquire) == endpoint.krx.get()
            && far.ep().load(Ordering::Acquire) == endpoint.rx_ep.get()
    }

    /// For a sleeper that the line has woken again and again although nothing had happened.
    pub fn distrust_line(&self) {
        if self.lock_receiving().is_err() {
            return;
        }
        if self.holds_foreign_bytes() {
            self.condemn(Reason::UsedBehind);
        }
        self.unlock_receiving();
    }

    fn sending_readiness(&self) -> bool {
        let endpoint = self.endpoint;
        if endpoint.write_shut.get() != 0 {
            // As tcp_poll has it: a send after shutdown does not block, it fails.
            return true;
        }
        if endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0 {
            if self.has_room() {
                return true;
            }
            let head = self.far().head().load(Ordering::Acquire);
            if !self.is_line_live() && self.hold_for_line(head) {
                self.open_line();
            }
            if self.has_room() {
                return true;
            }
            if !self.is_line_live() {
                if self.lock_sending().is_err() {
                    return false;
                }
                if self.is_bound()
                    && endpoint.tx_ep.get() & 1 == 1
                    && endpoint.over.get() == 0
                    && !self.has_room()
                {
                    if self.is_far_dead() {
                        self.send_to_the_dead();
                    } else {
                        self.retreat(RetreatCause::DeadLine);
                    }
                }
                self.unlock_sending();
            } else {
                self.spill_if_stuck();
            }
            if endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0 {
                return self.has_room();
            }
        }
        poll_one(self.descriptor, POLLOUT, 0) & (POLLOUT | POLLERR | POLLHUP) != 0
    }

    /// Who carries the two directions.
    #[inline]
    #[must_use]
    pub fn carriers(&self) -> Carriers {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return Carriers::default();
        }
        let rx_ep = endpoint.rx_ep.get();
        let far_ep = self.far().ep().load(Ordering::Acquire);
        Carriers {
            receives_by_ring: rx_ep & 1 == 1
                || (far_ep != rx_ep && endpoint.granted.get() == rx_ep.wrapping_add(1)),
            sends_by_ring: endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0,
        }
    }

    /// True while the kernel carries what the far side sends next, whether we have passed its switch or not.
    #[inline]
    #[must_use]
    pub fn is_far_on_kernel(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) != binding::BOUND
            || self.far().ep().load(Ordering::Acquire) & 1 == 0
    }

    /// What can be said without a lock or a system call, for a look at every connection of a set. Ends that only the
    /// kernel knows of are not seen: the line's own events tell of them. `None`: only [`Self::readiness`] can tell.
    #[inline]
    #[must_use]
    pub fn glance(&self, ask_writable: bool) -> Option<Readiness> {
        let endpoint = self.endpoint;
        if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return None;
        }
        let far = self.far();
        let rx_ep = endpoint.rx_ep.get();
        if rx_ep & 1 == 0 || far.ep().load(Ordering::Acquire) != rx_ep {
            return None;
        }
        let ended = self.has_far_fin() || endpoint.keof.load(Ordering::Acquire) != 0;
        // Head before tail: another thread's receive in between makes less available, never a negative amount.
        let head = endpoint.rx_head.get();
        let available = far.tail().load(Ordering::Acquire).wrapping_sub(head);
        if ended && (available == 0 || endpoint.reset_due.get() != 0) {
            return None;
        }
        if ask_writable
            && endpoint.write_shut.get() == 0
            && !(endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0 && self.has_room())
        {
            return None;
        }
        let failed = endpoint.error.load(Ordering::Acquire) != 0;
        Some(Readiness {
            readable: available >= u64::from(endpoint.low_water.get().max(1)) || ended || failed,
            writable: ask_writable,
            read_ended: ended,
            hung_up: false,
            failed,
        })
    }

    /// True once the far side has left the channel: an end may be near that the ring does not show.
    #[inline]
    #[must_use]
    pub fn has_far_left(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && self.far().gone().load(Ordering::Acquire) != 0
    }

    /// Bytes the far side ever published here: an edge-triggered watcher compares it with what it saw last.
    #[inline]
    #[must_use]
    pub fn receive_position(&self) -> u64 {
        if self.endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
            return 0;
        }
        self.far().tail().load(Ordering::Acquire)
    }

    /// Bytes published that the far side has not taken, while nothing of its own could wake us when it leaves: the
    /// direction we receive is on the kernel, so its leaving rings no bell (SWITCH.md §3, bounded sleeps).
    #[must_use]
    pub fn may_be_left_unnoticed(&self) -> bool {
        self.is_bound() && self.endpoint.rx_ep.get() & 1 == 0 && self.unsent_ring_bytes() != 0
    }

    /// After an event of the line: takes the bells that have arrived, unless somebody sleeps on them. Says how many.
    pub fn drain_line(&self) -> u64 {
        if self.lock_receiving().is_err() {
            return 0;
        }
        let endpoint = self.endpoint;
        let before = endpoint.krx.get();
        if endpoint.binding.load(Ordering::Acquire) == binding::BOUND
            && endpoint.rx_ep.get() & 1 == 1
            && !endpoint.has_sleepers()
        {
            let far = self.far();
            let end = if far.ep().load(Ordering::Acquire) == endpoint.rx_ep.get() {
                far.koff().load(Ordering::Acquire)
            } else {
                far.kr().load(Ordering::Acquire)
            };
            if before != end {
                self.consume_to(end);
            } else if self.holds_foreign_bytes() {
                self.condemn(Reason::UsedBehind);
            }
        }
        let taken = endpoint.krx.get().wrapping_sub(before);
        self.unlock_receiving();
        taken
    }

    /// Bytes that a receive would find now (FIONREAD).
    pub fn readable_bytes(&self) -> u64 {
        if self.lock_receiving().is_err() {
            return 0;
        }
        let _ = if self.is_bound() {
            self.receiving_readiness_locked(false)
        } else {
            Readiness::default()
        };
        let bytes = if self.is_bound() && self.endpoint.rx_ep.get() & 1 == 1 {
            let tail = self.far().tail().load(Ordering::Acquire);
            let available = tail
                .wrapping_sub(self.endpoint.rx_head.get())
                .min(u64::from(self.endpoint.rx_ring_bytes.get()));
            // Behind a switch back the stream goes on in the kernel, after the bells.
            let behind = if self.goes_on_in_kernel() {
                let bells = self
                    .far()
                    .kr()
                    .load(Ordering::Acquire)
                    .wrapping_sub(self.endpoint.krx.get());
                line::unread_bytes(self.descriptor).saturating_sub(bells)
            } else {
                0
            };
            available + behind
        } else {
            line::unread_bytes(self.descriptor)
        };
        self.unlock_receiving();
        self.ask_back_if_released();
        bytes
    }

    /// Bytes published and not taken by the far side (what SIOCOUTQ shows beside the kernel's own queue).
    #[must_use]
    pub fn unsent_ring_bytes(&self) -> u64 {
        if !self.is_bound() || self.endpoint.over.get() != 0 {
            return 0;
        }
        let used = self
            .endpoint
            .tx_tail
            .get()
            .wrapping_sub(self.far().head().load(Ordering::Acquire));
        used.min(u64::from(self.endpoint.tx_ring_bytes.get()))
    }
}
