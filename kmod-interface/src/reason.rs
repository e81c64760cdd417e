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
    ($($code:literal $variant:ident $name:literal $class:ident $sentence:literal $advice:literal)*) => {
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
            /// One sentence for people: what happened.
            #[must_use] pub const fn sentence(self) -> &'static str { match self { $(Reason::$variant => $sentence,)* } }
            /// The next one: what to do about it.
            #[must_use] pub const fn advice(self) -> &'static str { match self { $(Reason::$variant => $advice,)* } }
            /// The reason of a code, or nothing when there is none.
            #[must_use] pub const fn from_code(code: u32) -> Option<Reason> { match code { $($code => Some(Reason::$variant),)* _ => None } }
        }
    };
}

reasons! {
    0 None "none" None "The socket is accelerated."
        "Nothing to do."
    1 NotYet "not_yet" None "The connection has not exchanged enough yet; Axio upgrades at the second request (AXIO_UPGRADE=eager to do it at once)."
        "Nothing to do: it moves when it has exchanged more."
    2 Negotiating "negotiating" None "The two processes are proving to each other who they are; this takes a few exchanges."
        "Nothing to do: look again in a moment."
    3 Rule "rule" Asked "A rule or AXIO=off keeps this socket on the kernel path; see AXIO_RULES."
        "To accelerate it, change AXIO_RULES, AXIO_RULES_FILE or AXIO and start the program again; axio run --show-options shows them."
    4 NotOptedIn "not_opted_in" Asked "AXIO=optin: the program has not asked for this socket with the AXIO_SIOCACCEL ioctl."
        "To accelerate it, let the program ask (axio.h), or start it with AXIO=on."
    5 Released "released" Asked "The program asked for the kernel path with the AXIO_SIOCACCEL ioctl."
        "Only the program can ask for the ring again."
    6 SecureExecution "secure_execution" Asked "The program is set-uid or has file capabilities; Axio stays off there."
        "If it should be fast, start a copy without these rights as the user it needs to be."
    7 PeerHasNoAxio "peer_has_no_axio" Policy "The far process does not run under Axio; start it with axio run, too."
        "If it should be fast, start that program with axio run and connect anew."
    8 AddressNotLocal "address_not_local" Policy "The far end is not on this host; the embedded path joins processes of one host only."
        "Nothing to do, unless both ends can run on one host."
    9 AddressTranslated "address_translated" Policy "The two ends see different addresses (NAT or redirect), so they cannot find each other."
        "If it should be fast, connect to the address at which the server itself listens."
    10 NotStreamSocket "not_stream_socket" Policy "Only TCP sockets are accelerated."
        "Nothing to do."
    11 Shared "shared" Policy "Several processes hold the socket and not all of them have the channel."
        "If it should be fast, let every process that holds it run under Axio and get it by fork."
    12 Inherited "inherited" Policy "The socket was handed to another program by exec, spawn or descriptor passing."
        "If it should be fast, open the connection in the program that uses it, and mark others close-on-exec."
    13 StandardStream "standard_stream" Policy "The socket was moved onto descriptor 0, 1 or 2, or wrapped in stdio."
        "If it should be fast, let the program use the socket under the number it got."
    14 IoUring "io_uring" Policy "The process uses io_uring, whose input and output Axio cannot see."
        "If it should be fast, switch io_uring off in the program; most can use epoll instead."
    15 KernelFeature "kernel_feature" Policy "The socket uses a kernel feature that a ring cannot imitate (urgent data, kernel TLS, SO_PEEK_OFF, async signals, zero-copy, time stamps, filters)."
        "If it should be fast, switch that feature off in the program's configuration."
    16 Confined "confined" Policy "The process confined itself (seccomp, namespaces or new credentials); Axio begins no discovery there."
        "If it should be fast, let connections begin before the program confines itself, or switch the confinement off."
    17 EpollShared "epoll_shared" Policy "The socket is in an epoll set that another process uses, too."
        "If it should be fast, let each process make an epoll set of its own."
    18 SlotEvicted "slot_evicted" Policy "The connection was quiet and a busy one needed its slot."
        "If quiet connections should keep theirs, raise AXIO_SLOTS."
    19 NoGain "no_gain" Policy "The connection always sleeps between messages, so the kernel path is as fast. (Reserved: this version never gives it.)"
        "Nothing to do."
    20 PeerLeft "peer_left" Policy "The far process gave the socket to a program without Axio, or closed its side."
        "Nothing to do on this side; if the far program was handed the socket, start that with axio run, too."
    21 StreamEnded "stream_ended" Policy "An end of stream was already under way when the upgrade was tried."
        "Nothing to do."
    22 TooManySockets "too_many_sockets" Policy "No slot, endpoint or waiter is free; the tables are full."
        "If it should be fast, raise AXIO_SLOTS or spread the connections over more processes."
    23 Unsupported "unsupported" Policy "The kernel lacks something discovery needs (sock_diag with socket options, sealing of memfds: Linux 5.10)."
        "If it should be fast, use Linux 5.10 or newer."
    24 NameTaken "name_taken" Failed "Another process holds the name on which the two ends would meet."
        "Find out who holds it: ss -xlp lists unix sockets and their processes."
    25 ProofFailed "proof_failed" Failed "The process that answered could not prove that it holds the other end of this connection."
        "Find out who answers there: ss -xlp lists unix sockets and their processes; if it is nobody's doing, please report it."
    26 ForbiddenByPolicy "forbidden" Failed "A limit or sandbox forbids memfds or unix sockets (seccomp, RestrictAddressFamilies, Landlock)."
        "Allow memfd_create and AF_UNIX sockets to the program (systemd: RestrictAddressFamilies, SystemCallFilter)."
    27 OutOfMemory "out_of_memory" Failed "No memory for a channel."
        "Raise the memory limit of the program or of its control group."
    28 OutOfDescriptors "out_of_descriptors" Failed "No free descriptor for the handshake; raise RLIMIT_NOFILE."
        "Raise it with ulimit -n, or LimitNOFILE in systemd."
    29 VersionMismatch "version_mismatch" Failed "The two processes run different major versions of Axio."
        "Give both ends the same libaxio.so and start them again."
    30 BadOffer "bad_offer" Failed "The far side's offer or memory was malformed."
        "Give both ends the same libaxio.so; if they have it, please report this."
    31 TimedOut "timed_out" Failed "The handshake did not finish within a second or 64 calls."
        "If the machine was very busy, nothing; the next connection tries again. Else please report it."
    32 UsedBehind "used_behind" Failed "The socket was read or written behind the shim (raw system calls, io_uring, Go); the connection was reset."
        "Keep such connections on the kernel path: AXIO_RULES='kernel * * *:PORT; fast * * *:*'."
    33 LeftBehind "left_behind" Failed "The last managed holder left with bytes that could not be put in order any more; the connection was reset."
        "Mark the descriptor close-on-exec, or read the stream to its end before it is handed on."
    34 PeerMisbehaved "peer_misbehaved" Failed "The far side wrote impossible values into shared memory; the connection was reset."
        "Update the far program's libaxio.so; if you do not trust that program, AXIO_RULES can keep its address on the kernel path."
    35 Internal "internal" Failed "An error in Axio itself, or one of the kernel that Axio does not expect; please report it."
        "AXIO_LOG=info at the next start tells more."
    36 QuotaReached "quota_reached" Policy "The far user has reached its share of channels or memory here."
        "Nothing to do, unless that user's processes should hold fewer connections."
    37 ReaderStuck "reader_stuck" Policy "The reader did not drain its ring, so the stream went on through the kernel behind it."
        "Nothing to do: it moves back when the reader keeps up."
    38 UselessWakes "useless_wakes" Policy "The far side woke this process again and again for nothing, so the stream went back to the kernel for good."
        "Update the far program's libaxio.so; if it has this one, please report it."
    39 PeerAsked "peer_asked" Policy "The far process wants this connection on the kernel path; the status of its own socket says why."
        "Look there: axio why with the far program's process id and descriptor."
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
