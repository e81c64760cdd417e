//! The closed list of reasons why a socket is not accelerated (or no longer is). Names are stable: they appear in
//! `axio stat`, `axio why`, `AXIO_REPORT` and the status ioctl.

/// How a reason is judged. `Failed` is an error of the socket under `AXIO_STRICT=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonClass {
    /// The socket is accelerated, or still on its way.
    None,
    /// The user, a rule or the program asked for it.
    Asked,
    /// Axio chose so: nothing to gain, or not possible for this kind of use.
    Policy,
    /// It should have worked.
    Failed,
}

macro_rules! reasons {
    ($($code:literal $variant:ident $name:literal $class:ident $sentence:literal)*) => {
        /// Why a socket is on the kernel path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $(#[doc = $sentence] $variant = $code,)* }
        impl Reason {
            /// Every reason, in the order of its code.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];
            /// Stable name.
            #[must_use] pub const fn name(self) -> &'static str { match self { $(Reason::$variant => $name,)* } }
            /// How it is judged.
            #[must_use] pub const fn class(self) -> ReasonClass { match self { $(Reason::$variant => ReasonClass::$class,)* } }
            /// One sentence for people: what happened, and what to do.
            #[must_use] pub const fn sentence(self) -> &'static str { match self { $(Reason::$variant => $sentence,)* } }
            /// The reason of a code, or nothing when there is none.
            #[must_use] pub const fn from_code(code: u32) -> Option<Reason> { match code { $($code => Some(Reason::$variant),)* _ => None } }
        }
    };
}

reasons! {
    0 None "none" None "The socket is accelerated."
    1 NotYet "not_yet" None "The connection has not exchanged enough yet; Axio upgrades at the second request (AXIO_UPGRADE=eager to do it at once)."
    2 Negotiating "negotiating" None "The two processes are proving to each other who they are; this takes a few exchanges."
    3 Rule "rule" Asked "A rule or AXIO=off keeps this socket on the kernel path; see AXIO_RULES."
    4 NotOptedIn "not_opted_in" Asked "AXIO=optin: the program has not asked for this socket with the AXIO_SIOCACCEL ioctl."
    5 Released "released" Asked "The program asked for the kernel path with the AXIO_SIOCACCEL ioctl."
    6 SecureExecution "secure_execution" Asked "The program is set-uid or has file capabilities; Axio stays off there."
    7 PeerHasNoAxio "peer_has_no_axio" Policy "The far process does not run under Axio; start it with axio run, too."
    8 AddressNotLocal "address_not_local" Policy "The far end is not on this host; the embedded path joins processes of one host only."
    9 AddressTranslated "address_translated" Policy "The two ends see different addresses (NAT or redirect), so they cannot find each other."
    10 NotStreamSocket "not_stream_socket" Policy "Only TCP sockets are accelerated."
    11 Shared "shared" Policy "Several processes hold the socket and not all of them have the channel."
    12 Inherited "inherited" Policy "The socket was handed to another program by exec, spawn or descriptor passing."
    13 StandardStream "standard_stream" Policy "The socket was moved onto descriptor 0, 1 or 2, or wrapped in stdio."
    14 IoUring "io_uring" Policy "The process uses io_uring, whose input and output Axio cannot see."
    15 KernelFeature "kernel_feature" Policy "The socket uses a kernel feature that a ring cannot imitate (urgent data, kernel TLS, SO_PEEK_OFF, async signals, zero-copy, time stamps, filters)."
    16 Confined "confined" Policy "The process confined itself (seccomp, namespaces or new credentials); Axio begins no discovery there."
    17 EpollShared "epoll_shared" Policy "The socket is in an epoll set that another process uses, too."
    18 SlotEvicted "slot_evicted" Policy "The connection was quiet and a busy one needed its slot."
    19 NoGain "no_gain" Policy "The connection always sleeps between messages, so the kernel path is as fast."
    20 PeerLeft "peer_left" Policy "The far process gave the socket to a program without Axio, or closed its side."
    21 StreamEnded "stream_ended" Policy "An end of stream was already under way when the upgrade was tried."
    22 TooManySockets "too_many_sockets" Policy "No slot, endpoint or waiter is free; the tables are full."
    23 Unsupported "unsupported" Policy "The kernel lacks something discovery needs (sock_diag with socket options, sealing of memfds: Linux 5.10)."
    24 NameTaken "name_taken" Failed "Another process holds the name on which the two ends would meet."
    25 ProofFailed "proof_failed" Failed "The process that answered could not prove that it holds the other end of this connection."
    26 ForbiddenByPolicy "forbidden" Failed "A limit or sandbox forbids memfds or unix sockets (seccomp, RestrictAddressFamilies, Landlock)."
    27 OutOfMemory "out_of_memory" Failed "No memory for a channel."
    28 OutOfDescriptors "out_of_descriptors" Failed "No free descriptor for the handshake; raise RLIMIT_NOFILE."
    29 VersionMismatch "version_mismatch" Failed "The two processes run different major versions of Axio."
    30 BadOffer "bad_offer" Failed "The far side's offer or memory was malformed."
    31 TimedOut "timed_out" Failed "The handshake did not finish within a second or 64 calls."
    32 UsedBehind "used_behind" Failed "The socket was read or written behind the shim (raw system calls, io_uring, Go); the connection was reset."
    33 LeftBehind "left_behind" Failed "The last managed holder left with bytes that could not be put in order any more; the connection was reset."
    34 PeerMisbehaved "peer_misbehaved" Failed "The far side wrote impossible values into shared memory; the connection was reset."
    35 Internal "internal" Failed "An error in Axio itself; acceleration is off in this process. Please report it."
    36 QuotaReached "quota_reached" Policy "The far user has reached its share of channels or memory here."
    37 ReaderStuck "reader_stuck" Policy "The reader did not drain its ring, so the stream went on through the kernel behind it."
    38 UselessWakes "useless_wakes" Policy "The far side woke this process again and again for nothing, so the stream went back to the kernel for good."
    39 PeerAsked "peer_asked" Policy "The far process wants this connection on the kernel path; the status of its own socket says why."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions_and_names_are_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::from_code(index as u32), Some(*reason));
            assert!(
                Reason::ALL
                    .iter()
                    .filter(|other| other.name() == reason.name())
                    .count()
                    == 1
            );
        }
        assert_eq!(Reason::from_code(Reason::ALL.len() as u32), None);
    }
}
