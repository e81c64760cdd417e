//! The page of a process's counters: a memfd named `axio`, sealed against shrinking and against writers other than
//! its maker, read with `pread` by `axio stat`. Rows belong to sockets; counters to the process.
//!
//! ```text
//!   0      header 256:  magic version process start_time program[32] rows row_offset counter_count reason_count
//!   256    counters     64 x u64      (see Counter)
//!   768    reasons      64 x u64      sockets that ended or stand with each reason
//!   4096   rows         ROWS x 192
//! ```

/// First word of the page: `AXST`.
pub const MAGIC: u32 = 0x5453_5841;
/// Version of the page's layout.
pub const VERSION: u32 = 1;
/// Rows in a page.
pub const ROWS: usize = 16384;
/// Offset of the counters.
pub const COUNTERS_OFFSET: usize = 256;
/// Offset of the reasons' counters.
pub const REASONS_OFFSET: usize = 768;
/// Offset of the rows.
pub const ROWS_OFFSET: usize = 4096;
/// Size of a row.
pub const ROW_BYTES: usize = 192;
/// Size of the page.
pub const PAGE_BYTES: usize = ROWS_OFFSET + ROWS * ROW_BYTES;

/// Byte offsets of the header.
pub mod header {
    /// u32: [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// u32: [`super::VERSION`].
    pub const VERSION: usize = 4;
    /// u32: process id in its own pid namespace.
    pub const PROCESS: usize = 8;
    /// u32: rows ever used; no row beyond is in use.
    pub const ROWS_USED: usize = 12;
    /// u64: start time of the process in clock ticks since boot (/proc/PID/stat field 22).
    pub const START_TIME: usize = 16;
    /// 32 bytes: program name, zero padded.
    pub const PROGRAM: usize = 32;
}

/// Values of [`row::ROLE`]; 0 before it is known.
pub mod role {
    /// Called connect().
    pub const CONNECTING: u32 = 1;
    /// Came from accept().
    pub const ACCEPTING: u32 = 2;
}

/// Byte offsets of a row. All words are written by the process itself, relaxed; a reader may see a row in change.
pub mod row {
    /// u32: 0 free, 1 in use.
    pub const IN_USE: usize = 0;
    /// i32: descriptor number last seen.
    pub const DESCRIPTOR: usize = 4;
    /// u32: path, as in the status ioctl.
    pub const PATH: usize = 8;
    /// u32: state, as in the status ioctl.
    pub const STATE: usize = 12;
    /// u32: reason code.
    pub const REASON: usize = 16;
    /// u32: 1 connecting end, 2 accepting end.
    pub const ROLE: usize = 20;
    /// 36 bytes: the address pair, connecting side first.
    pub const PAIR: usize = 24;
    /// u64: bytes received through the kernel.
    pub const KERNEL_BYTES_IN: usize = 64;
    /// u64: bytes sent through the kernel.
    pub const KERNEL_BYTES_OUT: usize = 72;
    /// u64: bytes received through the ring.
    pub const RING_BYTES_IN: usize = 80;
    /// u64: bytes sent through the ring.
    pub const RING_BYTES_OUT: usize = 88;
    /// u64: receive calls served by the kernel.
    pub const KERNEL_CALLS_IN: usize = 96;
    /// u64: send calls served by the kernel.
    pub const KERNEL_CALLS_OUT: usize = 104;
    /// u64: receive calls served by the ring.
    pub const RING_CALLS_IN: usize = 112;
    /// u64: send calls served by the ring.
    pub const RING_CALLS_OUT: usize = 120;
    /// u32: upgrades of the sending direction.
    pub const UPGRADES_OUT: usize = 128;
    /// u32: retreats of the sending direction.
    pub const RETREATS_OUT: usize = 132;
    /// u32: upgrades of the receiving direction.
    pub const UPGRADES_IN: usize = 136;
    /// u32: retreats of the receiving direction.
    pub const RETREATS_IN: usize = 140;
    /// u32: doorbell bytes sent.
    pub const BELLS_SENT: usize = 144;
    /// u32: doorbell bytes consumed.
    pub const BELLS_RECEIVED: usize = 148;
    /// u32: send and receive calls whose wait ended while spinning.
    pub const SPINS_WON: usize = 152;
    /// u32: send and receive calls whose wait spun in vain.
    pub const SPINS_LOST: usize = 156;
    /// u32: times a send or receive call slept in the kernel.
    pub const KERNEL_SLEEPS: usize = 160;
    /// u32: of `retreats_out`, those that the far side asked for.
    pub const RETREATS_ASKED: usize = 164;
    /// u32: of `retreats_out`, those because the reader made no progress.
    pub const RETREATS_SPILL: usize = 168;
    /// u32: of `retreats_out`, those because nobody could have been woken any more.
    pub const RETREATS_DEAD_LINE: usize = 172;
    /// u32: of `retreats_out`, those for a cause of this process.
    pub const RETREATS_LOCAL: usize = 176;
}

macro_rules! counters {
    ($($index:literal $variant:ident $name:literal $sentence:literal)*) => {
        /// A counter of the process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter { $(#[doc = $sentence] $variant = $index,)* }
        impl Counter {
            /// Every counter, in the order of its place.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];
            /// Stable name, used in JSON.
            #[must_use] pub const fn name(self) -> &'static str { match self { $(Counter::$variant => $name,)* } }
            /// One sentence for people.
            #[must_use] pub const fn sentence(self) -> &'static str { match self { $(Counter::$variant => $sentence,)* } }
        }
    };
}

counters! {
    0 SocketsSeen "sockets_seen" "sockets that matched a rule"
    1 KernelBytesIn "kernel_bytes_in" "bytes received through the kernel by matching sockets that are closed"
    2 KernelBytesOut "kernel_bytes_out" "bytes sent through the kernel by matching sockets that are closed"
    3 RingBytesIn "ring_bytes_in" "bytes received through rings by sockets that are closed"
    4 RingBytesOut "ring_bytes_out" "bytes sent through rings by sockets that are closed"
    5 KernelCalls "kernel_calls" "input and output calls served by the kernel, of closed sockets"
    6 RingCalls "ring_calls" "input and output calls served by rings, of closed sockets"
    7 Upgrades "upgrades" "directions moved from the kernel to a ring"
    8 Retreats "retreats" "directions moved back to the kernel, for any cause"
    9 RetreatsAsked "retreats_asked" "retreats the far side asked for"
    10 RetreatsSpill "retreats_spill" "retreats because the reader made no progress"
    11 RetreatsDeadLine "retreats_dead_line" "retreats because nobody could have been woken any more"
    12 RetreatsLocal "retreats_local" "retreats for a cause of this process (ioctl, dup, exec, eviction)"
    13 Rewinds "rewinds" "rings sent again through the kernel because the far side left"
    14 RewoundBytes "rewound_bytes" "bytes sent again by rewinds"
    15 Leaves "leaves" "times this side left a channel for good"
    16 BellsSent "bells_sent" "doorbell bytes sent"
    17 BellsReceived "bells_received" "doorbell bytes consumed"
    18 SpinsWon "spins_won" "waits that ended while spinning"
    19 SpinsLost "spins_lost" "waits that spun in vain"
    20 KernelSleeps "kernel_sleeps" "times a wait for a ring slept in the kernel"
    21 ChannelsMade "channels_made" "channels made by handshake"
    22 ClaimsBound "claims_bound" "connections bound through an existing channel"
    23 Evictions "evictions" "connections that gave their slot to a busier one"
    24 BoxesOpened "boxes_opened" "boxes opened for discovery"
    25 Probes "probes" "boxes dialled"
    26 ProofsFailed "proofs_failed" "handshakes refused because a proof was missing"
    27 PeersMisbehaved "peers_misbehaved" "connections reset because the far side lied"
    28 SpuriousWakes "spurious_wakes" "wakes that found nothing"
    29 LocksRecovered "locks_recovered" "locks taken over from a dead process or thread"
    30 HandlerConflicts "handler_conflicts" "calls from a signal handler that found their own lock held"
    31 InternalErrors "internal_errors" "errors in Axio itself"
}

const _: () = {
    assert!(Counter::ALL.len() <= 64 && COUNTERS_OFFSET + 64 * 8 <= REASONS_OFFSET);
    assert!(crate::reason::Reason::ALL.len() <= 64 && REASONS_OFFSET + 64 * 8 <= ROWS_OFFSET);
    assert!(row::RETREATS_LOCAL + 4 <= ROW_BYTES && row::PAIR + 36 <= row::KERNEL_BYTES_IN);
};
