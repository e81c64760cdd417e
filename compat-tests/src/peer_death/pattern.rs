//! Traffic between a victim and a survivor: together the patterns lead the victim through every step of the switch.

/// What the two ends do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The victim writes, the survivor reads, now and then too slowly.
    Stream,
    /// The survivor is busy writing, the victim reads, now and then too slowly.
    Sink,
    /// The survivor has written more than the victim ever reads, and waits for what the victim writes meanwhile.
    Unread,
    /// Requests and answers in turn.
    PingPong,
    /// As before, and the victim waits in `poll` on a non-blocking descriptor.
    PingPongPolling,
    /// Both write and read all the time.
    Both,
    /// As before, and the victim asks for retreats and upgrades in turn.
    Toggle,
    /// As before, and the survivor asks.
    ToggledByPeer,
    /// Both write 2 MiB before they read.
    Spill,
    /// The victim ends its direction, then reads to the end.
    Shutdown,
    /// The survivor ends its direction first, the victim writes on against an ended line.
    PeerShutdown,
    /// The victim closes without any shutdown.
    Close,
    /// The survivor has written and ended its direction; the victim closes without reading that.
    CloseUnread,
    /// The victim execs a program without the shim, which goes on.
    Leave,
    /// The survivor execs a program without the shim while its ring holds unread bytes.
    PeerLeaves,
    /// As before, with kernel buffers too small for what the ring holds.
    PeerLeavesSmall,
    /// As before, and not the victim dies but its fork child, which waits for bytes that do not come: the victim goes on,
    /// and nothing is lost.
    ChildDies,
    /// More connections than slots, and the busy ones change: those that are quiet give their slots up, this one, too,
    /// and find others.
    Evicted,
    /// Both write and read all the time, in a channel whose ring space others have taken: the connection moves to a larger
    /// one.
    Outgrown,
    /// As before, and another process holds the survivor's end, too, which therefore cannot follow.
    OutgrownAlone,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 20] = [
        Pattern::PingPong,
        Pattern::Stream,
        Pattern::Sink,
        Pattern::Unread,
        Pattern::PingPongPolling,
        Pattern::Both,
        Pattern::Toggle,
        Pattern::ToggledByPeer,
        Pattern::Spill,
        Pattern::Shutdown,
        Pattern::PeerShutdown,
        Pattern::Close,
        Pattern::CloseUnread,
        Pattern::Leave,
        Pattern::PeerLeaves,
        Pattern::PeerLeavesSmall,
        Pattern::ChildDies,
        Pattern::Evicted,
        Pattern::Outgrown,
        Pattern::OutgrownAlone,
    ];

    /// The pattern of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Pattern> {
        Pattern::ALL
            .into_iter()
            .find(|pattern| format!("{pattern:?}") == name)
    }

    /// True when the survivor goes on without the shim: what the victim had not yet sent again when it died is lost,
    /// which SWITCH.md §4 names as a limit.
    #[must_use]
    pub fn survivor_leaves(self) -> bool {
        self == Pattern::PeerLeaves || self.has_small_buffers()
    }

    /// True with kernel buffers smaller than the ring.
    #[must_use]
    pub fn has_small_buffers(self) -> bool {
        matches!(self, Pattern::PeerLeavesSmall | Pattern::ChildDies)
    }

    /// Connections beside the one that is judged.
    #[must_use]
    pub fn companions(self) -> usize {
        match self {
            Pattern::Evicted => 24,
            // One would do.
            Pattern::Outgrown | Pattern::OutgrownAlone => 2,
            _ => 0,
        }
    }

    /// `AXIO_SLOTS`, where there are to be few.
    #[must_use]
    pub fn slots(self) -> Option<u32> {
        (self == Pattern::Evicted).then_some(16)
    }

    /// True when an orderly end of the victim may still reset the connection.
    #[must_use]
    pub fn may_reset(self) -> bool {
        matches!(
            self,
            Pattern::Close | Pattern::CloseUnread | Pattern::Leave | Pattern::Unread
        ) || self.survivor_leaves()
    }
}

/// How the survivor waits for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// In `recv`.
    Receive,
    /// In `poll`.
    Poll,
    /// In `epoll_wait`.
    Epoll,
}

impl Sleep {
    /// All of them.
    pub const ALL: [Sleep; 3] = [Sleep::Receive, Sleep::Poll, Sleep::Epoll];

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Sleep> {
        Sleep::ALL
            .into_iter()
            .find(|sleep| format!("{sleep:?}") == name)
    }
}
