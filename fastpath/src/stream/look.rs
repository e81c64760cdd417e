//! Readiness as `poll` would show it, from the real indices (READINESS.md 6, SWITCH.md §9). Takes locks and asks the kernel;
//! what can be said without is in [`super::glance`].

use super::Stream;
use super::line;
use super::passing::Passed;
use super::switch::RetreatCause;
use crate::endpoint::{binding, kernel_end};
use crate::kernel_call::poll_one;
use crate::sync::Ordering;
use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP};

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

impl Stream {
    /// What holds now. `writable` is looked at only if asked for, since a full ring with a dead line must retreat
    /// before saying no. Takes each lock in turn.
    pub fn readiness(&self, ask_writable: bool) -> Readiness {
        loop {
            // Each turn more says that the binding ended or began meanwhile.
            match self.endpoint.binding.load(Ordering::Acquire) {
                binding::BOUND => {
                    if let Some(ready) = self.bound_readiness(ask_writable) {
                        return ready;
                    }
                }
                binding::CONDEMNED => return self.condemned_readiness(),
                _ => return self.kernel_readiness(ask_writable),
            }
        }
    }

    fn condemned_readiness(&self) -> Readiness {
        Readiness {
            readable: true,
            writable: true,
            read_ended: true,
            hung_up: true,
            failed: self.endpoint.error.load(Ordering::Acquire) != 0,
        }
    }

    /// `None`: bound no more. A sibling may have made the socket a plain one, which is as alive as before.
    fn bound_readiness(&self, ask_writable: bool) -> Option<Readiness> {
        if self.must_rewind() {
            let _ = self.rewind();
        }
        let mut ready = self.receiving_readiness()?;
        if ready.read_ended {
            self.guard_half_close();
        }
        if ask_writable {
            ready.writable = self.sending_readiness();
        }
        Some(ready)
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

    fn receiving_readiness(&self) -> Option<Readiness> {
        if self.lock_receiving().is_err() {
            return Some(Readiness::default());
        }
        let ready = self.receiving_readiness_locked(true);
        self.unlock_receiving();
        self.ask_back_if_released();
        ready
    }

    /// `looks_behind`: an end of the kernel stream is looked for also while the ring holds bytes. `None`: not bound.
    fn receiving_readiness_locked(&self, looks_behind: bool) -> Option<Readiness> {
        let endpoint = self.endpoint;
        let mut ready = Readiness::default();
        for _ in 0..4 {
            if endpoint.binding.load(Ordering::Acquire) != binding::BOUND {
                return None;
            }
            let far = self.far();
            let fin = self.has_far_fin();
            if endpoint.rx_ep.get() & 1 == 0 {
                let unread = line::unread_bytes(self.descriptor);
                let Ok(ep) = self.far_ep() else {
                    self.condemn_misbehaved();
                    return None;
                };
                let granted = endpoint.granted.get() == endpoint.rx_ep.get().wrapping_add(1);
                if granted && ep != endpoint.rx_ep.get() {
                    self.pass_upgrade();
                    continue;
                }
                let mut kernel = self.kernel_readiness(false);
                if kernel.read_ended && endpoint.tx_ep.get() != 0 {
                    self.look_for_death();
                    kernel = self.with_reset(self.kernel_readiness(false));
                }
                let enough = unread >= u64::from(endpoint.low_water.get().max(1));
                return Some(Readiness {
                    readable: kernel.read_ended
                        || kernel.failed
                        || (kernel.readable && (enough || unread == 0)),
                    ..kernel
                });
            }
            let Ok(ep) = self.far_ep() else {
                self.condemn_misbehaved();
                return None;
            };
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
                        return Some(self.with_reset(Readiness {
                            readable: true,
                            read_ended: true,
                            ..ready
                        }));
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
            return Some(self.with_reset(ready));
        }
        Some(ready)
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

    /// Bytes that a receive would find now (FIONREAD).
    pub fn readable_bytes(&self) -> u64 {
        if self.lock_receiving().is_err() {
            return 0;
        }
        let _ = self.receiving_readiness_locked(false);
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
}
