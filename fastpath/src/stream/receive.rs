//! RECV (SWITCH.md §3): data from the ring, from the kernel under a grant, or by the program's own kernel call.

use super::ends::End;
use super::labels::{Label, reached};
use super::line;
use super::passing::Passed;
use super::pieces::Pieces;
use super::{NotLocked, Stream};
use crate::endpoint::binding;
use crate::error::Blame;
use crate::sync::Ordering;
use kmod_interface::limits::SWITCHES_PER_CALL;

/// What a receive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes were taken (or looked at).
    Bytes(usize),
    /// The kernel carries and no grant is open: the thread is counted in `irx`; make the program's own call, then
    /// [`Stream::kernel_received`].
    Kernel,
    /// As `Kernel`, but a blocking call must not sleep longer than 10 ms at a time: no bell can tell that the far side
    /// leaves while our own ring holds bytes it has not read.
    KernelBounded,
    /// Nothing yet: sleep ([`Stream::prepare_sleep_receive`]) or say EAGAIN.
    Empty,
    /// The stream has ended.
    End,
    /// The connection failed with this errno, shown once.
    Failed(i32),
    /// Bells must be consumed, but others sleep on the line: give them time, then call again.
    Crowded,
    /// The calling thread holds the lock already (a signal handler interrupted the shim).
    Reentered,
    /// Another thread has closed the last number meanwhile.
    Stale,
}

/// How bytes are taken.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// MSG_PEEK: leave them where they are.
    pub peek: bool,
    /// MSG_TRUNC on a stream: count and discard without copying.
    pub discard: bool,
    /// The call has taken bytes from a ring already and goes on in the kernel.
    pub behind: bool,
    /// Length of the buffers.
    pub wanted: usize,
    /// Fewer than this are "nothing yet", unless the stream has ended (SO_RCVLOWAT, WAITALL with peek).
    pub minimum: usize,
}

impl Stream {
    /// Takes what is there into `pieces`, or says where to look instead.
    #[inline]
    pub fn receive(&self, pieces: &mut Pieces, taking: Taking) -> Received {
        self.receive_by(|ring_writers| self.receive_locked(pieces, taking, ring_writers))
    }

    /// What comes before and behind taking bytes under the lock; `take` says whether the far side's writers must be rung.
    #[inline(always)]
    pub(super) fn receive_by(&self, take: impl FnOnce(&mut bool) -> Received) -> Received {
        if self.must_rewind() {
            // Before anything newer of ours, and with `tx_lock` alone; what does not fit now goes on at the next call.
            let _ = self.rewind();
        }
        reached(Label::ReceiveLock);
        match self.lock_receiving() {
            Ok(()) => {}
            Err(NotLocked::Reentered) => return Received::Reentered,
            Err(NotLocked::Stale) => return Received::Stale,
        }
        let mut ring_writers = false;
        let received = take(&mut ring_writers);
        self.unlock_receiving();
        if ring_writers {
            self.ring_writers();
        }
        self.ask_back_if_released();
        if self.switched.get() || !matches!(received, Received::Bytes(_)) {
            self.upgrade_idle_direction();
        }
        if matches!(received, Received::End) {
            self.guard_half_close();
        }
        received
    }

    #[inline]
    fn receive_locked(
        &self,
        pieces: &mut Pieces,
        taking: Taking,
        ring_writers: &mut bool,
    ) -> Received {
        let received = self.receive_segment(pieces, taking, ring_writers);
        match received {
            Received::Bytes(bytes) if bytes > 0 && !taking.peek && self.goes_on_in_kernel() => {
                Received::Bytes(bytes + self.receive_behind(pieces, taking, ring_writers))
            }
            other => other,
        }
    }

    /// Bytes were taken from a ring behind which the stream goes on in the kernel: one receive sees both, as it would in
    /// the kernel's one queue, and under one lock, so that no other reader comes between. Never waits.
    #[cold]
    fn receive_behind(
        &self,
        pieces: &mut Pieces,
        taking: Taking,
        ring_writers: &mut bool,
    ) -> usize {
        let endpoint = self.endpoint;
        let more = Taking {
            minimum: 1,
            behind: true,
            ..taking
        };
        let mut total = 0;
        while pieces.present().is_some()
            && endpoint.binding.load(Ordering::Acquire) == binding::BOUND
        {
            match self.receive_segment_apart(pieces, more, ring_writers) {
                Received::Bytes(bytes) if bytes > 0 => {
                    total += bytes;
                    // One kernel receive ends at an urgent byte; so does this one.
                    if endpoint.rx_ep.get() & 1 == 0 {
                        break;
                    }
                }
                Received::Failed(errno) => {
                    // Shown to the next call, as the kernel does.
                    endpoint.error.store(errno as u32, Ordering::Release);
                    break;
                }
                _ => break,
            }
        }
        total
    }

    /// [`Self::receive_segment`] for who is not on the hot path: a body of its own, so that the one there is in line.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_segment_apart(
        &self,
        pieces: &mut Pieces,
        taking: Taking,
        ring_writers: &mut bool,
    ) -> Received {
        self.receive_segment(pieces, taking, ring_writers)
    }

    #[inline(always)]
    fn receive_segment(
        &self,
        pieces: &mut Pieces,
        taking: Taking,
        ring_writers: &mut bool,
    ) -> Received {
        let endpoint = self.endpoint;
        let mut switches = 0;
        loop {
            match endpoint.binding.load(Ordering::Acquire) {
                binding::BOUND => {}
                binding::CONDEMNED => return self.show_end(End::Condemned),
                _ => return self.enter_kernel_receive(),
            }
            let rx_ep = endpoint.rx_ep.get();
            if rx_ep & 1 == 0 {
                let shown_first = endpoint.error.load(Ordering::Relaxed) != 0
                    || (endpoint.reset_due.get() != 0 && endpoint.reset_shown.get() == 0);
                if shown_first && line::unread_bytes(self.descriptor) == 0 {
                    if taking.behind {
                        return Received::Empty;
                    }
                    line::take_error(self.descriptor);
                    return self.show_end(End::Kernel);
                }
                if endpoint.granted.get() != rx_ep.wrapping_add(1) && !self.try_grant() {
                    // A call that has bytes already ends with them; only one that has none goes into the kernel.
                    return if taking.behind || self.waits_for_grant() {
                        Received::Empty
                    } else {
                        self.enter_kernel_receive()
                    };
                }
                match self.receive_granted(pieces, taking) {
                    Some(received) => return received,
                    None => continue,
                }
            }
            match self.receive_odd(pieces, taking, ring_writers) {
                Ok(Some(received)) => return received,
                Ok(None) => {
                    switches += 1;
                    if switches == SWITCHES_PER_CALL {
                        self.pestered_by_switches();
                    }
                }
                Err(_) => self.condemn_misbehaved(),
            }
        }
    }

    /// The ring carries. `None`: a switch was passed, look again.
    #[inline]
    fn receive_odd(
        &self,
        pieces: &mut Pieces,
        taking: Taking,
        ring_writers: &mut bool,
    ) -> Result<Option<Received>, Blame> {
        let endpoint = self.endpoint;
        // Invariant 7: ep, fin and keof before tail; they count only if the ring is then empty.
        let ep = self.far_ep()?;
        let fin = self.has_far_fin();
        let keof = endpoint.keof.load(Ordering::Acquire);
        let switched = ep != endpoint.rx_ep.get();
        let mut ring = self.far_ring()?;
        // A switch or an end is only believed behind the last tail, so the cached one is not enough then.
        let look_again = if switched || fin || keof != 0 {
            u64::MAX
        } else {
            // As much as was asked for: what was published meanwhile belongs to this call, too.
            (taking.wanted.max(taking.minimum).max(1)) as u64
        };
        let mut available = ring.available(look_again)?;
        endpoint.rx_tail_seen.set(ring.tail_seen());
        reached(Label::ReceiveLook);
        let ended = fin || keof != 0 || switched;
        if available == 0 || (available < taking.minimum as u64 && !ended) {
            if available > 0 {
                return Ok(Some(Received::Empty));
            }
            if switched {
                return Ok(match self.pass_retreat() {
                    Passed::Behind | Passed::Condemned => None,
                    Passed::NotThere => Some(Received::Empty),
                    Passed::OthersAsleep => Some(Received::Crowded),
                    Passed::End => Some(self.show_end(End::Kernel)),
                });
            }
            if fin {
                return Ok(Some(self.show_end(End::Shutdown)));
            }
            if keof != 0 {
                return Ok(Some(self.show_end(End::Kernel)));
            }
            return Ok(Some(Received::Empty));
        }
        let mut total: usize = 0;
        while available > 0 {
            let Some((target, length)) = pieces.present() else {
                break;
            };
            let part = (length as u64).min(available) as usize;
            #[expect(unsafe_code, reason = "copies into the program's buffer")]
            // SAFETY: `available` was checked against the far tail; the program's buffer is writable (else it faults,
            // a documented limit).
            unsafe {
                if taking.discard {
                    ring.skip(part as u64);
                } else if taking.peek {
                    ring.peek(total as u64, target, part);
                } else {
                    ring.copy_out(target, part);
                }
            }
            pieces.advance(part);
            available -= part as u64;
            total += part;
        }
        reached(Label::ReceiveCopy);
        if taking.peek {
            return Ok(Some(Received::Bytes(total)));
        }
        endpoint.rx_head.publish(ring.head());
        // Full fence: head before arm.tx (partner: SLEEP(tx) step 3).
        ring.publish_and_fence();
        reached(Label::ReceivePublish);
        crate::statistics::count_ring_in(endpoint, total as u64);
        if endpoint.write_shut.get() != 0 && available == 0 {
            // A bell that was left for the case of our death has done its work.
            self.consume_arrived();
        }
        // A blocked writer is woken when a quarter of its ring is free (WAITING.md "Ring geometry").
        let ring_bytes = u64::from(endpoint.rx_ring_bytes.get());
        if ring_bytes.saturating_sub(available) >= ring_bytes / 4 {
            *ring_writers = self.wants_writers_rung();
        }
        Ok(Some(Received::Bytes(total)))
    }

    /// True when the far side has left and our ring may hold bytes that it has not read.
    #[inline]
    pub(super) fn must_rewind(&self) -> bool {
        self.is_bound()
            && self.endpoint.over.get() == 0
            && self.far().gone().load(Ordering::Acquire) != 0
    }

    /// A first look at whether the far side's writers sleep, to spare the sending lock.
    #[inline]
    pub(super) fn wants_writers_rung(&self) -> bool {
        let far = self.far();
        let arm = far.arm_tx().load(Ordering::Acquire);
        (arm & 1 == 1 && arm != self.endpoint.rung_tx.get())
            || (far.watch().load(Ordering::Acquire) & (1 << kmod_interface::ict::KIND_SPACE) != 0
                && far.waiter().load(Ordering::Acquire) != 0)
    }

    /// True when the ring is drained and the stream goes on in the kernel behind it: more may be there at once.
    #[must_use]
    pub fn goes_on_in_kernel(&self) -> bool {
        self.is_bound()
            && self.endpoint.rx_ep.get() & 1 == 1
            && self.far().ep().load(Ordering::Acquire) != self.endpoint.rx_ep.get()
    }
}
