//! Ways of waiting, of sharing work with a child, and of being interrupted.

/// How a thread waits for its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In the data call itself.
    Block,
    /// `poll` or `ppoll`.
    Poll,
    /// `select` or `pselect`.
    Select,
    /// `epoll`, level-triggered.
    EpollLevel,
    /// `epoll`, edge-triggered.
    EpollEdge,
    /// `epoll`, one-shot, armed again before each wait.
    EpollOneShot,
}

impl Wait {
    /// All that do not block in the data call.
    pub const READINESS: [Wait; 5] = [
        Wait::Poll,
        Wait::Select,
        Wait::EpollLevel,
        Wait::EpollEdge,
        Wait::EpollOneShot,
    ];

    /// True for the epoll kinds.
    #[must_use]
    pub fn is_epoll(self) -> bool {
        matches!(
            self,
            Wait::EpollLevel | Wait::EpollEdge | Wait::EpollOneShot
        )
    }
}

/// Which part of a side's work a forked child takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The child reads, the parent goes on writing.
    Reading,
    /// The child writes, the parent goes on reading.
    Writing,
    /// The child does everything; the parent closes its descriptor.
    Everything,
}

/// When a side forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkAt {
    /// Never.
    Never,
    /// Before the first byte, so before any upgrade.
    Start(Share),
    /// After the warm-up, so after the first upgrade, before other threads exist.
    WarmedUp(Share),
    /// In the middle of the stream, so many thousandths into the share's direction, while other threads go on.
    Position(Share, u64),
}

/// Signals without meaning that interrupt the side's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// None.
    Off,
    /// A handler installed with `SA_RESTART`.
    Restarting,
    /// A handler installed without.
    Plain,
}
