//! What a configuration of the model fixes: who runs, how much is written, what may happen on the way.

use crate::deliberate_bugs::DeliberateBug;
use crate::place::Place;
use crate::state::{Side, State, Stream, THREADS};
use crate::thread::{Carried, Role, Thread};

/// How side 0 may end before its streams do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It stays.
    Stays,
    /// LEAVE, then kernel close, once its bytes are written.
    Close,
    /// LEAVE at any time, then strangers carry on with plain kernel reads and writes.
    Stranger,
    /// LEAVE by one thread at any time, wherever the others stand: they go on, behind it with plain kernel calls.
    Siblings,
}

/// One connection to explore. Arrays are indexed by direction (that is, by its sender).
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Name on the command line and in tables.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The threads: side and duty.
    pub threads: &'static [(u8, Role)],
    /// Bytes that each side's program writes.
    pub bytes: [u8; 2],
    /// Length of each ring.
    pub ring_bytes: u8,
    /// Data bytes a kernel stream holds; bells come on top.
    pub kernel_bytes: u8,
    /// Upgrades allowed.
    pub upgrades: [u8; 2],
    /// Retreats allowed that have no reason.
    pub retreats: [u8; 2],
    /// Retreats of the *other* direction that a side may ask for.
    pub asks: [u8; 2],
    /// Times that a side may begin to give the slot up because it pleases. The far side follows.
    pub gives: [u8; 2],
    /// Who has begun may think better of it.
    pub takes_back: bool,
    /// The direction starts on the ring, its upgrade passed.
    pub starts_on_ring: [bool; 2],
    /// Time-outs and signals that may hit sleepers.
    pub interruptions: u8,
    /// This side may be killed at any moment.
    pub killed: Option<u8>,
    /// A writer may be killed, once, between a byte that it has sent again and its note of that; its relatives go on.
    pub rewinder_dies: bool,
    /// Whether side 0 leaves.
    pub departure: Departure,
    /// Writers give up waiting on a full ring (the 10 ms of §2.5).
    pub spill: bool,
    /// Side 0 may shut down reading.
    pub shutdown_read: bool,
    /// shutdown(WR) comes as soon as all is written. Otherwise it waits until both streams arrived, so that a FIN never
    /// hides a lost wake-up.
    pub early_fin: bool,
}

/// A configuration, and what is left out of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who runs.
    pub configuration: Configuration,
    /// What is left out.
    pub bug: Option<DeliberateBug>,
}

impl Rules {
    /// `bug` is to be acted out.
    pub fn has(&self, bug: DeliberateBug) -> bool {
        self.bug == Some(bug)
    }

    /// Somebody may leave. Only there is `ringing` modelled: nobody else looks at it.
    pub fn somebody_leaves(&self) -> bool {
        self.configuration.departure != Departure::Stays
    }

    /// The leaver's socket is used behind LEAVE.
    pub fn socket_lives_on(&self) -> bool {
        matches!(
            self.configuration.departure,
            Departure::Stranger | Departure::Siblings
        )
    }

    /// The state in which everything begins.
    pub fn initial(&self) -> State {
        let configuration = &self.configuration;
        let mut threads = [Thread::NOBODY; THREADS];
        for (thread, &(side, role)) in threads.iter_mut().zip(configuration.threads) {
            let place = match role {
                Role::Reader => Place::ReceiveIdle,
                Role::Leaver => Place::LeaveGone,
                Role::Giver => Place::GiveIdle,
                _ => Place::SendIdle,
            };
            *thread = Thread {
                side,
                role,
                place,
                carried: Carried::Nothing,
            };
        }
        let stream = |direction: usize| {
            let mut stream = Stream {
                upgrades_left: configuration.upgrades[direction],
                retreats_left: configuration.retreats[direction],
                ..Stream::FRESH
            };
            if configuration.starts_on_ring[direction] {
                // The opening bell is written and taken.
                stream.ep = 1;
                stream.rx_ep = 1;
                stream.grant = 1;
                stream.koff = 1;
                stream.ktx = 1;
                stream.krx = 1;
            }
            stream
        };
        State {
            stream: [stream(0), stream(1)],
            side: [0, 1]
                .map(|side| Side::fresh(configuration.asks[side], configuration.gives[side])),
            interruptions_left: configuration.interruptions,
            leave_ahead: self.somebody_leaves(),
            threads,
        }
        .in_order()
    }
}
