//! SEND (SWITCH.md §3): data into the ring, or the program's own kernel call.

use super::labels::{Label, reached};
use super::pieces::Pieces;
use super::rewind::Rewound;
use super::switch::RetreatCause;
use super::{NotLocked, Stream};
use crate::clock::monotonic_ns;
use crate::endpoint::binding;
use crate::error::Blame;
use crate::ring::Producer;
use crate::sync::{Ordering, full_fence};
use kmod_interface::limits::{SPILL_AFTER_MS, SWITCHES_PER_CALL};

/// Bytes copied before a long write shows them to the reader (WAITING.md "Ring geometry").
const PUBLISH_EVERY_BYTES: usize = 16 * 1024;

/// What a send came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes went into the ring.
    Bytes(usize),
    /// The kernel carries: the thread is counted in `itx`; make the program's own call, then [`Stream::kernel_sent`].
    Kernel,
    /// The ring is full and its reader can be woken: sleep ([`Stream::prepare_sleep_send`]) or say EAGAIN.
    Full,
    /// A rewind waits for room in the kernel's buffer: sleep for POLLOUT or say EAGAIN, then call again.
    Rewinding,
    /// The connection failed with this errno, shown once; no SIGPIPE.
    Failed(i32),
    /// The connection was condemned: SIGPIPE and EPIPE (ECONNRESET is shown to the first receive).
    Broken,
    /// The calling thread holds the lock already (a signal handler interrupted the shim).
    Reentered,
    /// Another thread has closed the last number meanwhile.
    Stale,
}

/// Where the bytes of a send come from.
#[expect(unsafe_code, reason = "whoever fills a ring must know its room")]
pub trait Source {
    /// Where the next bytes lie.
    type Span: Copy;

    /// The next bytes and how many there may be; `None`: nothing, or nothing more.
    fn present(&mut self) -> Option<(Self::Span, usize)>;

    /// Puts at most `bytes` of what [`present`](Self::present) showed behind the ring's tail, and says how many.
    ///
    /// # Safety
    /// There is room for so many, and no more than shown.
    unsafe fn fill(&mut self, ring: &mut Producer, span: Self::Span, bytes: usize) -> usize;
}

#[expect(unsafe_code, reason = "copies the program's bytes")]
impl Source for Pieces {
    type Span = *const u8;

    #[inline(always)]
    fn present(&mut self) -> Option<(*const u8, usize)> {
        Pieces::present(self).map(|(base, bytes)| (base.cast_const(), bytes))
    }

    #[inline(always)]
    unsafe fn fill(&mut self, ring: &mut Producer, span: *const u8, bytes: usize) -> usize {
        // SAFETY: the program's piece is readable (else it faults, a documented limit); the caller checked the room.
        unsafe { ring.copy_in(span, bytes) };
        self.advance(bytes);
        bytes
    }
}

impl Stream {
    /// Puts as much of `pieces` into the ring as fits, or says where the bytes must go instead.
    #[inline]
    pub fn send(&self, pieces: &mut Pieces) -> Sent {
        self.send_from(pieces)
    }

    /// As [`send`](Self::send), from any source. `Bytes(0)`: it had nothing.
    #[inline]
    pub fn send_from(&self, source: &mut impl Source) -> Sent {
        self.open_line();
        let sent = self.send_once(source);
        if sent == Sent::Full && self.is_line_switched() {
            // The line comes to life by passing that switch, which takes the other lock.
            self.open_line();
            return self.send_once(source);
        }
        sent
    }

    #[inline]
    fn send_once(&self, source: &mut impl Source) -> Sent {
        reached(Label::SendLock);
        match self.lock_sending() {
            Ok(()) => {}
            Err(NotLocked::Reentered) => return Sent::Reentered,
            Err(NotLocked::Stale) => return Sent::Stale,
        }
        let sent = self.send_locked(source);
        self.unlock_sending();
        sent
    }

    #[inline]
    fn send_locked(&self, source: &mut impl Source) -> Sent {
        let endpoint = self.endpoint;
        let mut switches = 0;
        loop {
            match endpoint.binding.load(Ordering::Acquire) {
                binding::BOUND => {}
                binding::CONDEMNED => return Sent::Broken,
                _ => return self.enter_kernel_send(),
            }
            let far = self.far();
            if endpoint.over.get() != 0 || endpoint.write_shut.get() != 0 {
                // An error that was taken from the kernel is shown to whoever calls first, as there.
                let error = endpoint.error.swap(0, Ordering::AcqRel);
                return if error == 0 {
                    self.enter_kernel_send()
                } else {
                    Sent::Failed(error as i32)
                };
            }
            if far.gone().load(Ordering::Acquire) != 0 {
                match self.rewind_locked() {
                    Rewound::Over => continue,
                    Rewound::Blocked => return Sent::Rewinding,
                    Rewound::Condemned => return Sent::Broken,
                }
            }
            let ep = endpoint.tx_ep.get();
            if ep & 1 == 0 {
                if self.try_upgrade(true) {
                    switches += 1;
                    if switches == SWITCHES_PER_CALL {
                        self.pestered_by_switches();
                    }
                    continue;
                }
                return self.enter_kernel_send();
            }
            if far.want().load(Ordering::Acquire) == ep {
                self.retreat(RetreatCause::Asked);
                continue;
            }
            if endpoint.wished.load(Ordering::Relaxed) == 0 {
                self.retreat(RetreatCause::Local);
                continue;
            }
            if self.is_far_dead() || endpoint.broken.get() != 0 {
                self.send_to_the_dead();
                continue;
            }
            match self.send_odd(source) {
                Ok(Some(sent)) => return sent,
                Ok(None) => {}
                Err(_) => {
                    self.condemn_misbehaved();
                    return Sent::Broken;
                }
            }
        }
    }

    /// The ring carries. `None`: a retreat was made, look again.
    #[inline]
    fn send_odd(&self, source: &mut impl Source) -> Result<Option<Sent>, Blame> {
        let endpoint = self.endpoint;
        let mut ring = self.own_ring()?;
        let mut total: usize = 0;
        let mut unpublished: usize = 0;
        while let Some((span, length)) = source.present() {
            let room = ring.room(length as u64)? as usize;
            if room == 0 {
                break;
            }
            let part = length.min(room).min(PUBLISH_EVERY_BYTES);
            #[expect(unsafe_code, reason = "fills the free part of the ring")]
            // SAFETY: room was checked, and the source has shown as much.
            let part = unsafe { source.fill(&mut ring, span, part) };
            total += part;
            unpublished += part;
            if unpublished >= PUBLISH_EVERY_BYTES {
                self.show_part(&mut ring);
                unpublished = 0;
            }
        }
        if total == 0 {
            endpoint.tx_head_seen.set(ring.head_seen());
            if source.present().is_none() {
                return Ok(Some(Sent::Bytes(0)));
            }
            return Ok(self.full(ring.head_seen()));
        }
        self.show_sent(&mut ring, total);
        Ok(Some(Sent::Bytes(total)))
    }

    /// No room. `None`: the direction was moved back to the kernel.
    #[cold]
    fn full(&self, head: u64) -> Option<Sent> {
        reached(Label::SendFull);
        let endpoint = self.endpoint;
        if self.is_far_dead() {
            self.send_to_the_dead();
            return None;
        }
        if !self.is_line_live() {
            if self.hold_for_line(head) {
                // Of a switch of the far side's, passed before the next look, or of room.
                return Some(Sent::Full);
            }
            self.retreat(RetreatCause::DeadLine);
            return None;
        }
        let now = monotonic_ns();
        if endpoint.full_since_ns.get() == 0 || endpoint.full_head.get() != head {
            endpoint.full_head.set(head);
            endpoint.full_since_ns.set(now);
            endpoint.full_count.add(1);
            if self.outgrow_ring() {
                return None;
            }
        } else if now.wrapping_sub(endpoint.full_since_ns.get()) > SPILL_AFTER_MS * 1_000_000 {
            endpoint.full_since_ns.set(0);
            self.retreat(RetreatCause::Spill);
            return None;
        }
        Some(Sent::Full)
    }

    fn enter_kernel_send(&self) -> Sent {
        self.endpoint.itx.enter();
        reached(Label::SendKernelEnter);
        Sent::Kernel
    }

    /// Counts the thread as inside a kernel send if the kernel carries; [`Self::kernel_sent`] must follow then.
    pub fn enter_kernel_send_if_even(&self) -> bool {
        match self.send(&mut Pieces::NONE.clone()) {
            Sent::Kernel => true,
            Sent::Failed(errno) => {
                // The send that moves the bytes is the one to be told.
                self.endpoint.error.store(errno as u32, Ordering::Release);
                false
            }
            Sent::Bytes(_)
            | Sent::Full
            | Sent::Rewinding
            | Sent::Broken
            | Sent::Reentered
            | Sent::Stale => false,
        }
    }

    /// Room in the ring as a sleeper looks at it, without lock.
    pub(super) fn has_room(&self) -> bool {
        let endpoint = self.endpoint;
        let used = endpoint
            .tx_tail
            .get()
            .wrapping_sub(self.far().head().load(Ordering::Acquire));
        used < u64::from(endpoint.tx_ring_bytes.get())
    }

    /// Tries to give up a stuck ring: called when a wait for room was bounded and ended without progress.
    pub fn spill_if_stuck(&self) {
        if self.lock_sending().is_err() {
            return;
        }
        if self.is_bound()
            && self.endpoint.tx_ep.get() & 1 == 1
            && self.endpoint.over.get() == 0
            && !self.has_room()
        {
            let _ = self.full(self.far().head().load(Ordering::Acquire));
        }
        self.unlock_sending();
        full_fence();
    }
}
