//! C takes an offer, shows that it holds the connection, and recognises S (TRUST.md steps 6 and 8).

use super::Negotiation;
use crate::discovery::look::FarEnd;
use crate::discovery::offer::Received;
use crate::discovery::{Bound, failure, knock, look, quota};
use fastpath::channel::{FarSide, Role, table};
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::shm::{self, Shm};
use fastpath::statistics::count;
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::header;
use kmod_interface::handshake::End;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::{AsFd, BorrowedFd};

/// The offer was taken: memory is mapped, we knock and wait to be known.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    own: OwnRegion,
    far: FarRegion,
    far_end: FarEnd,
    far_process: u32,
    /// What S is asked to show.
    asked: u32,
    slot: u32,
    generation: u32,
}

impl Negotiation {
    /// Step 6: checks, maps, knocks, and says so.
    pub(super) fn take(
        &mut self,
        tcp: BorrowedFd<'_>,
        received: Received,
        admitted: FarEnd,
        far_process: u32,
    ) -> Result<(), Reason> {
        let Received { offer, far, own } = received;
        if offer.connect_cookie != self.knocker.cookie() || offer.accept_cookie != admitted.cookie {
            quota::proof_failed(admitted.user);
            return Err(Reason::BadOffer);
        }
        let (own, far) =
            shm::take_offered(far.as_fd(), own.as_fd(), offer.class).map_err(|blame| {
                if matches!(blame, fastpath::error::Blame::PeerMisbehaved(_)) {
                    quota::proof_failed(admitted.user);
                }
                failure::of_blame(blame)
            })?;
        table::write_header(&own);
        // From here `end` unmaps.
        self.taken = Some(Taken {
            own,
            far,
            far_end: admitted,
            far_process,
            asked: 0,
            slot: offer.slot,
            generation: offer.generation,
        });
        self.knocker.show(tcp, offer.knock_value)?;
        let far_end = look::far_end(tcp, &self.pair, End::Connecting)?;
        let asked = knock::other_than(far_end.shown);
        if let Some(taken) = &mut self.taken {
            taken.asked = asked;
        }
        own.word32(header::KNOCK_VALUE)
            .store(asked, Ordering::Relaxed);
        // Release, partner: S's pread of the word, and of the value in a later call.
        own.word32(header::MAPPED).store(1, Ordering::Release);
        Ok(())
    }

    /// Step 8: S says that it knows us; its own knock is there or it is a lie.
    pub(super) fn conclude(&mut self, tcp: BorrowedFd<'_>) -> Result<Option<Bound>, Reason> {
        let Some(taken) = self.taken else {
            return Ok(None);
        };
        // Acquire, partner: the release in S's step 7.
        if taken.far.word32(header::KNOWN).load(Ordering::Acquire) != 1 {
            return Ok(None);
        }
        let far_end = look::far_end(tcp, &self.pair, End::Connecting)?;
        if far_end.cookie != taken.far_end.cookie
            || far_end.user != taken.far_end.user
            || !knock::is_seen(far_end.shown, taken.asked)
        {
            quota::proof_failed(taken.far_end.user);
            // A side that gives up takes its word back, and then its knock; a liar's word is not believed the next time,
            // either. Acquire, partner: the release in S's `forget_known`.
            let was_taken_back = taken.far.word32(header::KNOWN).load(Ordering::Acquire) != 1;
            return Err(if was_taken_back {
                Reason::TimedOut
            } else {
                Reason::ProofFailed
            });
        }
        let far_side = FarSide {
            user: far_end.user,
            process: taken.far_process,
            accept_address: self.pair.accept_address,
            accept_port: self.pair.accept_port,
        };
        let channel = table::insert(Role::Connecting, Shm::new(taken.own, taken.far), far_side)
            .map_err(failure::of_blame)?;
        // The regions are the channel's.
        self.taken = None;
        let process = fastpath::kernel_call::process_id();
        let (slot, generation) = (taken.slot, taken.generation);
        if !channel.bind_slot(slot, generation, self.knocker.cookie(), process) {
            channel.release();
            return Err(Reason::BadOffer);
        }
        self.knocker.restore(tcp);
        count(Counter::ChannelsMade, 1);
        // Release, partner: S's acquire; after it nothing of the handshake is looked at any more.
        taken.own.word32(header::BOUND).store(1, Ordering::Release);
        Ok(Some(Bound {
            channel,
            slot,
            generation,
        }))
    }

    /// Before the knock goes: S is not to look for it any more.
    pub(super) fn forget_mapped(&self) {
        if let Some(taken) = &self.taken {
            // Release, partner: S's second pread of the word.
            taken.own.word32(header::MAPPED).store(0, Ordering::Release);
        }
    }

    pub(super) fn unmap(&mut self) {
        if let Some(taken) = self.taken.take() {
            taken.own.unmap();
            taken.far.unmap();
        }
    }
}
