//! What a case declares about itself.

use crate::stage::Stage;

/// A small program about two connected ends.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence of behaviour, unique.
    pub name: &'static str,
    /// The call it is about, as COMPATIBILITY.md lists it.
    pub call: &'static str,
    /// Rows of POSIX.md's table of hazards that it covers.
    pub rows: &'static [u8],
    /// The kinds of connection it is played on.
    pub kinds: &'static [Kind],
    /// What stands when the script begins.
    pub start: Start,
    /// What must be counted on the ring.
    pub proof: Proof,
    /// Environment of both sides beside the mode's own.
    pub environment: &'static [(&'static str, &'static str)],
    /// The far side is killed by the script.
    pub far_dies: bool,
    /// Words one of which each line holds that the library may write to standard error; without any it writes none.
    pub complaints: &'static [&'static str],
    /// The script.
    pub body: fn(&mut Stage),
}

impl Case {
    /// A case with the usual setting: a settled connection of four kinds, every byte of the script on the ring.
    #[must_use]
    pub const fn new(name: &'static str, call: &'static str, body: fn(&mut Stage)) -> Case {
        Case {
            name,
            call,
            rows: &[],
            kinds: USUAL_KINDS,
            start: Start::Settled,
            proof: Proof::OwnBytes,
            environment: &[],
            far_dies: false,
            complaints: &[],
            body,
        }
    }

    /// Covers these rows of POSIX.md.
    #[must_use]
    pub const fn rows(mut self, rows: &'static [u8]) -> Case {
        self.rows = rows;
        self
    }

    /// Is played on these kinds of connection.
    #[must_use]
    pub const fn kinds(mut self, kinds: &'static [Kind]) -> Case {
        self.kinds = kinds;
        self
    }

    /// Begins with this.
    #[must_use]
    pub const fn start(mut self, start: Start) -> Case {
        self.start = start;
        self
    }

    /// Proves this instead of [`Proof::OwnBytes`].
    #[must_use]
    pub const fn proof(mut self, proof: Proof) -> Case {
        self.proof = proof;
        self
    }

    /// Runs with these variables, too.
    #[must_use]
    pub const fn environment(mut self, variables: &'static [(&'static str, &'static str)]) -> Case {
        self.environment = variables;
        self
    }

    /// The library may say something with one of these words on standard error.
    #[must_use]
    pub const fn complaints(mut self, words: &'static [&'static str]) -> Case {
        self.complaints = words;
        self
    }

    /// The script kills the far side.
    #[must_use]
    pub const fn far_dies(mut self) -> Case {
        self.far_dies = true;
        self
    }
}

/// A case whose name is the name of its function.
#[macro_export]
macro_rules! case {
    ($call:literal, $body:ident) => {
        $crate::case::Case::new(stringify!($body), $call, $body)
    };
}

/// What stands when the script begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing: the script makes its sockets.
    Empty,
    /// A connection that has not carried a byte.
    Connected,
    /// A connection after the warm-up exchanges, accelerated in both directions where there is a shim.
    Settled,
}

/// What a run under the shim must show beside the right transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Every byte that the script's own calls sent on the connection travelled by ring.
    OwnBytes,
    /// At least this many bytes, both directions together, travelled by ring; 0 would prove nothing and is refused.
    AtLeast(u64),
    /// Both ends were on the ring when the script began, or when it settled a connection last; of what it did from there
    /// on nothing can be counted, for this reason.
    BeganOnRing(&'static str),
    /// The connection stays on (or goes back to) the kernel with the reason of this name, and no byte of the script travels by ring.
    StaysOnKernel(&'static str),
    /// Nothing can be asked, for this reason.
    Unproven(&'static str),
}

/// Addresses of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both ends AF_INET.
    Ipv4,
    /// Both ends AF_INET6.
    Ipv6,
    /// The near end AF_INET6 with a mapped IPv4 address, the far end AF_INET: two spellings of one pair.
    Mapped,
}

/// How the two ends came to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Name in tables and on the command line.
    pub name: &'static str,
    /// Addresses.
    pub family: Family,
    /// True: the near end connects and the far end accepts.
    pub near_connects: bool,
}

const fn kind(name: &'static str, family: Family, near_connects: bool) -> Kind {
    Kind {
        name,
        family,
        near_connects,
    }
}

/// The near end connects, IPv4.
pub const TCP4_CLIENT: Kind = kind("tcp4-client", Family::Ipv4, true);
/// The near end accepts, IPv4.
pub const TCP4_SERVER: Kind = kind("tcp4-server", Family::Ipv4, false);
/// The near end connects, IPv6.
pub const TCP6_CLIENT: Kind = kind("tcp6-client", Family::Ipv6, true);
/// The near end accepts, IPv6.
pub const TCP6_SERVER: Kind = kind("tcp6-server", Family::Ipv6, false);
/// The near end connects by a mapped address.
pub const MAPPED_CLIENT: Kind = kind("mapped-client", Family::Mapped, true);
/// The near end accepts at a mapped address.
pub const MAPPED_SERVER: Kind = kind("mapped-server", Family::Mapped, false);

/// All kinds.
pub const ALL_KINDS: &[Kind] = &[
    TCP4_CLIENT,
    TCP4_SERVER,
    TCP6_CLIENT,
    TCP6_SERVER,
    MAPPED_CLIENT,
    MAPPED_SERVER,
];
/// Each family and each end at least once.
pub const USUAL_KINDS: &[Kind] = &[TCP4_CLIENT, TCP4_SERVER, TCP6_CLIENT, MAPPED_SERVER];
/// For slow cases, and those where the address cannot matter.
pub const TWO_KINDS: &[Kind] = &[TCP4_CLIENT, TCP4_SERVER];
/// For cases in which the script decides who connects.
pub const ONE_OF_EACH_FAMILY: &[Kind] = &[TCP4_CLIENT, TCP6_CLIENT, MAPPED_CLIENT, MAPPED_SERVER];

/// How a run is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No library: what Linux does.
    Bare,
    /// Preloaded, `AXIO_UPGRADE=eager`.
    Eager,
    /// Preloaded, upgrade on evidence.
    Evidence,
}

impl Mode {
    /// In the order they are run.
    pub const ALL: [Mode; 3] = [Mode::Bare, Mode::Eager, Mode::Evidence];

    /// Name in tables and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Bare => "bare",
            Mode::Eager => "eager",
            Mode::Evidence => "evidence",
        }
    }
}
