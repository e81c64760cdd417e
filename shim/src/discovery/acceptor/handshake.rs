//! S dials a box, makes the memory, offers it, and recognises C (TRUST.md steps 2, 3, 5, 7).

use super::size::{self, choose_class};
use super::{Acceptor, NEGOTIATIONS, Negotiation, Stage, Wanted, handshake_tag, put, reap};
use crate::discovery::dial::{self, Dialled};
use crate::discovery::look::FarEnd;
use crate::discovery::offer::{self, Sent};
use crate::discovery::patience::{Knocker, Patience};
use crate::discovery::private::PrivateDescriptor;
use crate::discovery::{Bound, failure, knock, look, quota};
use fastpath::channel::{Channel, FarSide, Role, table};
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::shm::{self, Shm};
use fastpath::statistics::count;
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::header;
use kmod_interface::handshake::{AddressPair, End, Offer};
use kmod_interface::limits::{
    CHANNELS_PER_PROCESS, FEATURES, HANDSHAKES_PER_PROCESS, KNOCK_BITS, MAGIC, VERSION,
};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::BorrowedFd;

/// The one slot that is bound by a handshake.
const FIRST_SLOT: (u32, u32) = (0, 1);

/// A handshake.
#[derive(Clone, Copy)]
pub(super) struct Handshake {
    dialer: PrivateDescriptor,
    far: FarEnd,
    far_process: u32,
    offer: Offer,
    own: OwnRegion,
    /// The own memory, until it is sent.
    own_memory: PrivateDescriptor,
    /// The memory made for C.
    given_memory: PrivateDescriptor,
    /// Retained, once C is known.
    channel: Option<&'static Channel>,
    /// C's *bound* is read here, once C is known.
    far_region: Option<FarRegion>,
}

/// Dials the box once.
pub(super) fn dial(
    tcp: BorrowedFd<'_>,
    pair: &AddressPair,
    wanted: Wanted,
) -> Result<Option<Acceptor>, Reason> {
    let is_full = || NEGOTIATIONS.count(|tag| tag != 0) >= HANDSHAKES_PER_PROCESS as usize;
    if is_full() {
        reap();
        if is_full() {
            return Err(Reason::TooManySockets);
        }
    }
    let Some(mut dialled) = dial::probe(tcp, pair)? else {
        return Ok(None);
    };
    let begun = begin(tcp, pair, &dialled, wanted);
    if begun.is_err() {
        dialled.dialer.close();
    }
    begun.map(Some)
}

/// Step 3 of TRUST.md, after the dialling: memory, and what will be offered.
fn begin(
    tcp: BorrowedFd<'_>,
    pair: &AddressPair,
    dialled: &Dialled,
    wanted: Wanted,
) -> Result<Acceptor, Reason> {
    let Dialled {
        dialer,
        far,
        far_process,
    } = *dialled;
    let knocker = Knocker::new(tcp)?;
    if is_distrusted(far.user, far_process) {
        return Err(Reason::QuotaReached);
    }
    if table::live_count() as usize >= CHANNELS_PER_PROCESS {
        return Err(Reason::TooManySockets);
    }
    let class = choose_class(far.user, far_process, wanted)?;
    let (class, memory) = match size::make_memory(far.user, class) {
        // A smaller one is better than none.
        Err(Reason::OutOfMemory) if class > 0 => (0, size::make_memory(far.user, 0)?),
        made => (class, made?),
    };
    let mut handshake = Handshake {
        dialer,
        far,
        far_process,
        offer: Offer {
            features: FEATURES,
            connect_cookie: far.cookie,
            accept_cookie: knocker.cookie(),
            class,
            knock_value: knock::other_than(far.shown),
            slot: FIRST_SLOT.0,
            generation: FIRST_SLOT.1,
        },
        own: memory.own,
        own_memory: memory.own_memory,
        given_memory: memory.given_memory,
        channel: None,
        far_region: None,
    };
    let negotiation = Negotiation {
        pair: *pair,
        patience: Patience::new(),
        knocker,
        stage: Stage::Handshake(handshake),
    };
    put(handshake_tag(far.user, class), negotiation).inspect_err(|_| {
        // The caller closes the dialer.
        handshake.dialer = PrivateDescriptor::NONE;
        handshake.drop_memory();
    })
}

/// A process whose channel takes no more claims gets no other channel beside it, to go on there. One that we cannot see (0)
/// is known by its user's quota only.
fn is_distrusted(user: u32, process: u32) -> bool {
    let is_its = |channel: &Channel| {
        channel
            .far_side()
            .is_some_and(|side| side.user == user && side.process == process)
    };
    process != 0
        && table::live().any(|channel| {
            channel.role() == Role::Accepting && channel.is_distrusted() && is_its(channel)
        })
}

impl Handshake {
    pub(super) fn step(
        &mut self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &mut Knocker,
    ) -> Result<Option<Bound>, Reason> {
        if self.own_memory.is_some() {
            self.send_offer()?;
            return Ok(None);
        }
        if self.channel.is_none() {
            self.recognise(tcp, pair, knocker)?;
        }
        let (Some(channel), Some(far)) = (self.channel, self.far_region) else {
            return Ok(None);
        };
        // Acquire, partner: the release in C's step 8.
        if far.word32(header::BOUND).load(Ordering::Acquire) != 1 {
            return Ok(None);
        }
        self.channel = None;
        count(Counter::ChannelsMade, 1);
        Ok(Some(Bound {
            channel,
            slot: self.offer.slot,
            generation: self.offer.generation,
        }))
    }

    /// Step 5.
    fn send_offer(&mut self) -> Result<(), Reason> {
        let (Some(dialer), Some(own), Some(given)) = (
            self.dialer.get(),
            self.own_memory.get(),
            self.given_memory.get(),
        ) else {
            return Err(Reason::Internal);
        };
        match offer::send(dialer, &self.offer, [own, given]) {
            Sent::Done => self.own_memory.close(),
            Sent::NotYet => {}
            Sent::Gone => return Err(Reason::PeerLeft),
            Sent::Refused(errno) => return Err(failure::of_errno(errno)),
        }
        Ok(())
    }

    /// Step 7: C says that it has mapped the memory; its seals, its knock, and then ours.
    fn recognise(
        &mut self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &mut Knocker,
    ) -> Result<(), Reason> {
        let given = self.given_memory.get().ok_or(Reason::Internal)?;
        if shm::peek_word(given, header::MAPPED).map_err(failure::of_blame)? != 1 {
            return Ok(());
        }
        let checked = self.check(tcp, pair, given);
        if matches!(checked, Err(Reason::BadOffer | Reason::ProofFailed)) {
            quota::proof_failed(self.far.user);
        }
        if checked == Err(Reason::ProofFailed)
            && shm::peek_word(given, header::MAPPED).map_err(failure::of_blame)? != 1
        {
            // Who gives up takes the word back before the knock (the connecting side's `forget_mapped`). It counts as a
            // failed proof all the same: a liar could do so, too.
            return Err(Reason::TimedOut);
        }
        knocker.show(tcp, checked?)?;
        let far_region =
            FarRegion::map_checked(given, self.offer.class).map_err(failure::of_blame)?;
        if !self.is_header_right(&far_region) {
            far_region.unmap();
            quota::proof_failed(self.far.user);
            return Err(Reason::BadOffer);
        }
        let far_side = FarSide {
            user: self.far.user,
            process: self.far_process,
            accept_address: pair.accept_address,
            accept_port: pair.accept_port,
        };
        let channel = table::insert(Role::Accepting, Shm::new(self.own, far_region), far_side)
            .map_err(|blame| {
                far_region.unmap();
                failure::of_blame(blame)
            })?;
        // From here the regions are the channel's.
        self.channel = Some(channel);
        self.far_region = Some(far_region);
        let process = fastpath::kernel_call::process_id();
        let (slot, generation) = FIRST_SLOT;
        if channel.allocate_slot() != Some(FIRST_SLOT)
            || !channel.bind_slot(slot, generation, knocker.cookie(), process)
        {
            return Err(Reason::BadOffer);
        }
        // Release, partner: the acquire in C's step 8.
        self.own.word32(header::KNOWN).store(1, Ordering::Release);
        Ok(())
    }

    /// C has written the header that was agreed on, before it said *mapped*.
    fn is_header_right(&self, far: &FarRegion) -> bool {
        let word = |offset: usize| far.word32(offset).load(Ordering::Relaxed);
        let features = far.word64(header::FEATURES).load(Ordering::Relaxed);
        word(header::MAGIC) == MAGIC
            && word(header::VERSION) >> 16 == VERSION >> 16
            && word(header::CLASS) == self.offer.class
            && features & !self.offer.features == 0
    }

    /// The memory as it came back, and the proof; the value that we are asked to show.
    fn check(
        &self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        given: BorrowedFd<'_>,
    ) -> Result<u32, Reason> {
        FarRegion::check_returned(given, self.offer.class).map_err(failure::of_blame)?;
        let seen = look::far_end(tcp, pair, End::Accepting)?;
        if seen.cookie != self.far.cookie
            || seen.user != self.far.user
            || !knock::is_seen(seen.shown, self.offer.knock_value)
        {
            return Err(Reason::ProofFailed);
        }
        let value = shm::peek_word(given, header::KNOCK_VALUE).map_err(failure::of_blame)?;
        if value >> KNOCK_BITS != 0 {
            return Err(Reason::BadOffer);
        }
        Ok(value)
    }

    /// Before the knock goes: C is not to look for it any more. The memory is the channel's, and so still there.
    pub(super) fn forget_known(&self) {
        if self.channel.is_some() {
            // Release, partner: C's second load, behind its look.
            self.own.word32(header::KNOWN).store(0, Ordering::Release);
        }
    }

    /// Descriptors. The name is free again.
    pub(super) fn close(&mut self) {
        self.dialer.close();
        self.own_memory.close();
        self.given_memory.close();
    }

    /// Mappings: the channel's, or ours.
    pub(super) fn drop_memory(&mut self) {
        self.own_memory.close();
        self.given_memory.close();
        match self.channel.take() {
            Some(channel) => channel.release(),
            None => self.own.unmap(),
        }
    }
}
