//! S's side of a negotiation: answers a claim, or dials a box and offers memory; advanced at each call on the
//! connection.
//!
//! ```text
//!   claim found ─▶ answered, knocking                                      ─▶ C's knock seen: bound
//!   box dialled ─▶ memory made ─▶ offered ─▶ C's knock seen: known, knocking ─▶ C says bound
//! ```

use super::dial::{self, Dialled};
use super::look::FarEnd;
use super::offer::{self, Sent};
use super::patience::{Knocker, Patience};
use super::places::{Entered, Handle, Leave, Places};
use super::private::PrivateDescriptor;
use super::{Bound, Progress, confined, failure, knock, look, quota};
use fastpath::channel::claims::{Acknowledgement, ClaimTicket, FoundClaim};
use fastpath::channel::{Channel, FarSide, Role, table};
use fastpath::memory::region::{self, FarRegion, OwnRegion};
use fastpath::sync::Ordering;
use kmod_interface::channel_layout::{CLASSES, RegionLayout, header};
use kmod_interface::handshake::{AddressPair, End, Offer};
use kmod_interface::limits::{
    CHANNELS_PER_PROCESS, FEATURES, HANDSHAKES_PER_PROCESS, KNOCK_BITS, MAGIC, VERSION,
};
use kmod_interface::reason::Reason;
use rustix::fd::{AsFd, BorrowedFd};

/// Negotiations of the accepting side at one time: handshakes, and claims that were answered.
const NEGOTIATIONS_MAX: usize = 256;
/// Claims of one connection that are looked at: as many as C writes.
const CLAIMS_FOUND: usize = 8;
/// The one slot that is bound by a handshake.
const FIRST_SLOT: (u32, u32) = (0, 1);

/// What S is prepared to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Size class that the connection calls for, were it the first.
    pub class: u32,
    /// Largest class to be made; a far process that has as many slots as this class gets no more.
    pub class_max: u32,
    /// Whether to dial a box when no claim is found: at the chances of TRUST.md only.
    pub may_dial: bool,
}

/// A negotiation of an accepting side; a handle, and the owner's to advance or abandon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptor(Handle);

/// A claim that was answered.
#[derive(Clone, Copy)]
struct Answered {
    /// Retained.
    channel: &'static Channel,
    ticket: ClaimTicket,
    slot: u32,
    generation: u32,
    far: FarEnd,
    /// What C is asked to show.
    asked: u32,
}

/// A handshake.
#[derive(Clone, Copy)]
struct Handshake {
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

#[derive(Clone, Copy)]
enum Stage {
    Answered(Answered),
    Handshake(Handshake),
    Ended,
}

#[derive(Clone, Copy)]
struct Negotiation {
    pair: AddressPair,
    patience: Patience,
    knocker: Knocker,
    stage: Stage,
}

static NEGOTIATIONS: Places<Negotiation, NEGOTIATIONS_MAX> = Places::vacant();

/// Tag of a handshake: user of the far end and class of the memory. 0: an answered claim.
fn handshake_tag(user: u32, class: u32) -> u64 {
    1 << 63 | u64::from(class) << 32 | u64::from(user)
}

impl Acceptor {
    /// True when a claim may be waiting for one of this process's connections to `pair`'s accepting address: a load or
    /// two per channel, for use before [`Acceptor::probe`] at every receive.
    pub fn may_have_claims(pair: &AddressPair) -> bool {
        table::claimable(Role::Accepting, pair.accept_address, pair.accept_port)
            .any(Channel::claims_are_waiting)
    }

    /// Seeks the far end of a connection, after a receive (TRUST.md step 2): a claim in a channel that exists, else, if
    /// wanted, one probe for its box. Nothing: the peer has no Axio, or has not come so far yet.
    ///
    /// # Errors
    /// The reason why nothing came of this chance.
    pub fn probe(
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        wanted: Wanted,
    ) -> Result<Option<Acceptor>, Reason> {
        confined()?;
        let found = Found::search(pair);
        if found.is_empty() {
            return if wanted.may_dial {
                dial(tcp, pair, wanted)
            } else {
                Ok(None)
            };
        }
        found.answer(tcp, pair, wanted).map(Some)
    }

    /// One step, as [`super::Connector::advance`].
    pub fn advance(&mut self, tcp: BorrowedFd<'_>) -> Progress {
        let entered = NEGOTIATIONS.enter(self.0, |negotiation| {
            let progress = match negotiation.step(tcp) {
                Ok(progress) => progress,
                Err(reason) => Progress::Failed(reason),
            };
            match progress {
                Progress::Pending => (progress, Leave::Keep),
                Progress::Bound(_) | Progress::Failed(_) => {
                    negotiation.knocker.restore(tcp);
                    negotiation.end();
                    (progress, Leave::Free)
                }
            }
        });
        match entered {
            Entered::Inside(progress) => progress,
            Entered::Busy => Progress::Pending,
            Entered::Gone => Progress::Failed(Reason::TimedOut),
        }
    }

    /// Gives up: the socket's options are as they were, all descriptors closed.
    pub fn abandon(self, tcp: BorrowedFd<'_>) {
        NEGOTIATIONS.enter(self.0, |negotiation| {
            negotiation.knocker.restore(tcp);
            negotiation.end();
            ((), Leave::Free)
        });
    }

    /// As a number for an atomic word; never 0.
    pub fn to_number(self) -> u64 {
        self.0.to_number()
    }
    /// The handle of [`Self::to_number`].
    pub fn from_number(number: u64) -> Acceptor {
        Acceptor(Handle::from_number(number))
    }
}

/// Claims of one connection, each taken, in channels that are retained for it. All lead to the same far process.
struct Found {
    claims: [Option<(&'static Channel, FoundClaim)>; CLAIMS_FOUND],
}

impl Found {
    fn search(pair: &AddressPair) -> Found {
        let mut found = table::claimable(Role::Accepting, pair.accept_address, pair.accept_port)
            .filter_map(|channel| {
                let claim = channel.claim_find(pair)?;
                if !channel.retain() {
                    return None;
                }
                if !channel.claim_take(claim.ticket) {
                    channel.release();
                    return None;
                }
                Some((channel, claim))
            });
        Found {
            claims: core::array::from_fn(|_| found.next()),
        }
    }

    fn is_empty(&self) -> bool {
        self.claims.iter().all(Option::is_none)
    }

    /// Answers the first claim for which there is a slot. When there is none C has a box, too (a summons), and gets a
    /// larger channel, if it may have one.
    fn answer(
        self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        wanted: Wanted,
    ) -> Result<Acceptor, Reason> {
        let mut result = Err(Reason::TooManySockets);
        let (mut slots, mut class) = (0, wanted.class);
        let mut answered = None;
        for (channel, claim) in self.claims.iter().flatten() {
            result = try_answer(tcp, pair, channel, *claim);
            match result {
                Ok(_) => answered = Some(channel.index()),
                Err(Reason::TooManySockets) => {
                    slots += channel.layout().slots;
                    class = class.max(channel.class() + 1);
                    continue;
                }
                Err(Reason::ProofFailed) => channel.claim_failed(),
                Err(_) => {}
            }
            break;
        }
        let is_full = result.is_err() && slots > 0;
        if is_full && slots < slots_max(wanted) {
            let larger = Wanted { class, ..wanted };
            result = dial(tcp, pair, larger).and_then(|begun| begun.ok_or(Reason::TooManySockets));
        }
        for (channel, claim) in self.claims.iter().flatten() {
            if answered == Some(channel.index()) {
                continue; // the negotiation has it
            }
            // A claim that comes to nothing in favour of another, or of the box, C withdraws itself.
            if result.is_err() {
                channel.claim_refuse(claim.ticket);
            }
            channel.release();
        }
        result
    }
}

/// Dials the box once.
fn dial(
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

fn try_answer(
    tcp: BorrowedFd<'_>,
    pair: &AddressPair,
    channel: &'static Channel,
    claim: FoundClaim,
) -> Result<Acceptor, Reason> {
    let far = look::far_end(tcp, pair, End::Accepting)?;
    let user = channel.far_side().map(|side| side.user);
    if Some(far.user) != user || far.cookie != claim.cookie || !far.is_accepted {
        return Err(Reason::ProofFailed);
    }
    let mut knocker = Knocker::new(tcp)?;
    let (slot, generation) = channel.allocate_slot().ok_or(Reason::TooManySockets)?;
    let asked = knock::other_than(far.shown);
    let shown = knocker.show(tcp, claim.knock_value);
    let negotiation = Negotiation {
        pair: *pair,
        patience: Patience::new(),
        knocker,
        stage: Stage::Answered(Answered {
            channel,
            ticket: claim.ticket,
            slot,
            generation,
            far,
            asked,
        }),
    };
    let begun = shown.and_then(|()| put(0, negotiation));
    match begun {
        // After the knock is there: C looks as soon as it reads this.
        Ok(_) => channel.claim_give(claim.ticket, slot, generation, asked),
        Err(_) => {
            knocker.restore(tcp);
            channel.cancel_slot(slot, generation);
        }
    }
    begun
}

fn put(tag: u64, negotiation: Negotiation) -> Result<Acceptor, Reason> {
    let handle = NEGOTIATIONS.put(tag, negotiation).or_else(|| {
        reap();
        NEGOTIATIONS.put(tag, negotiation)
    });
    handle.map(Acceptor).ok_or(Reason::TooManySockets)
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
    if table::live_count() as usize >= CHANNELS_PER_PROCESS {
        return Err(Reason::TooManySockets);
    }
    let class = choose_class(far.user, far_process, wanted)?;
    let (class, memory) = match make_memory(far.user, class) {
        // A smaller one is better than none.
        Err(Reason::OutOfMemory) if class > 0 => (0, make_memory(far.user, 0)?),
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

/// Slots one far process may have here.
fn slots_max(wanted: Wanted) -> u32 {
    let class_max = wanted.class_max.min(CLASSES.len() as u32 - 1);
    RegionLayout::of_class(class_max).map_or(0, |layout| layout.slots)
}

/// The class that is wanted, or one up for each channel with the same far process that has no slot left. A process that
/// lies in a pid namespace we cannot see into is nobody in particular: what it has here only its claims can say.
///
/// # Errors
/// [`Reason::TooManySockets`]: that process has as many slots here as it may have.
fn choose_class(user: u32, process: u32, wanted: Wanted) -> Result<u32, Reason> {
    // Handshakes under way count, too: a burst must not get past the limit.
    let mut slots: u32 = (0_u32..)
        .zip(CLASSES)
        .map(|(class, layout)| {
            let tag = handshake_tag(user, class);
            NEGOTIATIONS.count(|other| other == tag) as u32 * layout.slots
        })
        .sum();
    let mut full = 0;
    for channel in table::live() {
        let same = channel
            .far_side()
            .is_some_and(|side| process != 0 && side.user == user && side.process == process);
        if same && channel.role() == Role::Accepting {
            slots += channel.layout().slots;
            full += u32::from(!channel.may_have_free_slot());
        }
    }
    if slots >= slots_max(wanted) {
        return Err(Reason::TooManySockets);
    }
    Ok(full
        .max(wanted.class)
        .min(wanted.class_max)
        .min(CLASSES.len() as u32 - 1))
}

struct Memory {
    own: OwnRegion,
    own_memory: PrivateDescriptor,
    given_memory: PrivateDescriptor,
}

fn make_memory(user: u32, class: u32) -> Result<Memory, Reason> {
    let tagged = |class: u32| NEGOTIATIONS.count(|tag| tag == handshake_tag(user, class));
    let (mut channels, mut bytes) = (0, 0);
    for (other, layout) in (0_u32..).zip(CLASSES) {
        let count = tagged(other);
        channels += count as u32;
        bytes += count as u64 * u64::from(layout.region_bytes) * 2;
    }
    quota::may_make(user, class, (channels, bytes))?;
    let own_memory = region::make_memfd(class).map_err(failure::of_blame)?;
    let given_memory = region::make_memfd(class).map_err(failure::of_blame)?;
    region::seal_size(given_memory.as_fd()).map_err(failure::of_blame)?;
    let own = OwnRegion::map_and_seal(own_memory.as_fd(), class).map_err(failure::of_blame)?;
    table::write_header(&own);
    let kept = PrivateDescriptor::keep(own_memory).and_then(|mut own_memory| {
        PrivateDescriptor::keep(given_memory)
            .map(|given_memory| Memory {
                own,
                own_memory,
                given_memory,
            })
            .inspect_err(|_| own_memory.close())
    });
    kept.inspect_err(|_| own.unmap())
}

impl Negotiation {
    fn step(&mut self, tcp: BorrowedFd<'_>) -> Result<Progress, Reason> {
        confined()?;
        let in_time = self.patience.call();
        let bound = match &mut self.stage {
            Stage::Answered(answered) => answered.step(tcp, &self.pair, &self.knocker)?,
            Stage::Handshake(handshake) => handshake.step(tcp, &self.pair, &mut self.knocker)?,
            Stage::Ended => return Err(Reason::Internal),
        };
        match bound {
            Some(bound) => {
                // The channel is the connection's.
                if let Stage::Handshake(handshake) = &mut self.stage {
                    self.knocker.restore(tcp);
                    handshake.close();
                }
                self.stage = Stage::Ended;
                Ok(Progress::Bound(bound))
            }
            None if in_time => Ok(Progress::Pending),
            None => Err(Reason::TimedOut),
        }
    }

    /// Everything of the negotiation goes; the options were restored before.
    fn end(&mut self) {
        match core::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Answered(answered) => {
                let channel = answered.channel;
                channel.claim_refuse(answered.ticket);
                channel.cancel_slot(answered.slot, answered.generation);
                channel.release();
            }
            Stage::Handshake(mut handshake) => {
                handshake.close();
                handshake.drop_memory();
            }
            Stage::Ended => {}
        }
    }
}

impl Answered {
    fn step(
        &self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
        knocker: &Knocker,
    ) -> Result<Option<Bound>, Reason> {
        match self.channel.claim_acknowledged(self.ticket) {
            Acknowledgement::None => return Ok(None),
            Acknowledgement::Withdrawn => return Err(Reason::PeerLeft),
            Acknowledgement::Given => {}
        }
        let seen = look::far_end(tcp, pair, End::Accepting)?;
        if seen.cookie != self.far.cookie
            || seen.user != self.far.user
            || !knock::is_seen(seen.shown, self.asked)
        {
            self.channel.claim_failed();
            quota::proof_failed(self.far.user);
            return Err(Reason::ProofFailed);
        }
        let process = fastpath::kernel_call::process_id();
        let (slot, generation) = (self.slot, self.generation);
        if !self
            .channel
            .bind_slot(slot, generation, knocker.cookie(), process)
        {
            return Err(Reason::Internal);
        }
        self.channel.claim_bound(self.ticket);
        Ok(Some(Bound {
            channel: self.channel,
            slot,
            generation,
        }))
    }
}

impl Handshake {
    fn step(
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
        if region::peek_word(given, header::MAPPED).map_err(failure::of_blame)? != 1 {
            return Ok(());
        }
        let checked = self.check(tcp, pair, given);
        if matches!(checked, Err(Reason::BadOffer | Reason::ProofFailed)) {
            quota::proof_failed(self.far.user);
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
        let channel =
            table::insert(Role::Accepting, self.own, far_region, far_side).map_err(|blame| {
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
        let value = region::peek_word(given, header::KNOCK_VALUE).map_err(failure::of_blame)?;
        if value >> KNOCK_BITS != 0 {
            return Err(Reason::BadOffer);
        }
        Ok(value)
    }

    /// Descriptors. The name is free again.
    fn close(&mut self) {
        self.dialer.close();
        self.own_memory.close();
        self.given_memory.close();
    }

    /// Mappings: the channel's, or ours.
    fn drop_memory(&mut self) {
        self.own_memory.close();
        self.given_memory.close();
        match self.channel.take() {
            Some(channel) => channel.release(),
            None => self.own.unmap(),
        }
    }
}

/// Ends negotiations whose connection nobody uses any more.
fn reap() {
    NEGOTIATIONS.for_each_idle(|negotiation| {
        if !negotiation.patience.is_over() {
            return Leave::Keep;
        }
        negotiation.knocker.restore_unasked();
        negotiation.end();
        Leave::Free
    });
}

/// Fork child: closes and unmaps its copies; options, claims and slots are the parent's.
pub fn on_fork_child() {
    NEGOTIATIONS.drain_in_child(|negotiation| match &mut negotiation.stage {
        Stage::Answered(answered) => answered.channel.release(),
        Stage::Handshake(handshake) => {
            handshake.close();
            handshake.drop_memory();
        }
        Stage::Ended => {}
    });
}
