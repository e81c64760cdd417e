//! One state of the whole model: two streams, two sides, up to six threads.
//!
//! Fields that are variables of SWITCH.md §1 carry its names. `stream[d]` is direction d, whose sender is side d and
//! whose receiver is side 1-d. Everything is small and counted from the start of the connection, so that equal states
//! are equal values.

use crate::kernel::KernelStream;
use crate::thread::Thread;

/// The byte that stands for every doorbell. Data bytes are numbered from 0 in the order they are written.
pub const BELL: u8 = 0xbe;
/// The longest ring of a configuration.
pub const RING_SLOTS: usize = 4;
/// The most threads of a configuration.
pub const THREADS: usize = 6;

/// Direction d with its two carriers: words of the channel, side state of its sender (S) and its receiver (R), and how
/// far the programs came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    /// K(d).
    pub kernel: KernelStream,
    /// ring(d); slot of byte n is n modulo the ring's length.
    pub ring: [u8; RING_SLOTS],
    /// Bytes published in the ring since the start. By S.
    pub tail: u8,
    /// Bytes read from the ring since the start. By R.
    pub head: u8,
    /// Switches made. By S.
    pub ep: u8,
    /// Offset in K(d) where the kernel carries again. By S.
    pub kr: u8,
    /// Up to here K(d) holds bells only, from the upgrade on. By S.
    pub koff: u8,
    /// Bytes written to K(d). S.
    pub ktx: u8,
    /// Threads inside a kernel send. S.
    pub itx: u8,
    /// shutdown(WR) while the ring carried. By S.
    pub fin: bool,
    /// S is about to bell, switch or end. By S.
    pub ringing: bool,
    /// REWIND is done: plain kernel for ever. S.
    pub over: bool,
    /// REWIND has begun and goes on with this byte of the ring. S.
    pub rewound: Option<u8>,
    /// Switches passed. By R.
    pub rx_ep: u8,
    /// `rx_ep+1`: S may upgrade. By R.
    pub grant: u8,
    /// Bytes taken from K(d). By R.
    pub krx: u8,
    /// Threads inside a consuming kernel recv. R.
    pub irx: u8,
    /// R saw K(d) end, or shut down reading. R.
    pub keof: bool,
    /// R wants the ring to end. By R.
    pub want: bool,

    /// Bytes that S's program has written; the next one's number.
    pub written: u8,
    /// Bytes that R's program has read; the number of the one that is due.
    pub read: u8,
    /// R's program was told the end of the stream.
    pub read_to_end: bool,
    /// S's program was told that nobody reads (EPIPE).
    pub write_failed: bool,
    /// S's program has called shutdown(WR).
    pub shut: bool,
    /// Upgrades that S may still make.
    pub upgrades_left: u8,
    /// Retreats on a whim that S may still make.
    pub retreats_left: u8,
}

impl Stream {
    /// A connection that was just made: nothing written, the kernel carries.
    pub const FRESH: Self = Self {
        kernel: KernelStream::EMPTY,
        ring: [0; RING_SLOTS],
        tail: 0,
        head: 0,
        ep: 0,
        kr: 0,
        koff: 0,
        ktx: 0,
        itx: 0,
        fin: false,
        ringing: false,
        over: false,
        rewound: None,
        rx_ep: 0,
        grant: 0,
        krx: 0,
        irx: 0,
        keof: false,
        want: false,
        written: 0,
        read: 0,
        read_to_end: false,
        write_failed: false,
        shut: false,
        upgrades_left: 0,
        retreats_left: 0,
    };
    /// `ep` is odd: the sender uses the ring.
    pub fn on_ring(&self) -> bool {
        self.ep % 2 == 1
    }
    /// `rx_ep` is odd: the receiver reads the ring.
    pub fn reads_ring(&self) -> bool {
        self.rx_ep % 2 == 1
    }
    /// A switch was made that the receiver has not passed.
    pub fn has_unpassed_switch(&self) -> bool {
        self.ep != self.rx_ep
    }
    /// The ring holds unread bytes.
    pub fn has_ring_data(&self) -> bool {
        self.head < self.tail
    }
    /// The direction is a pure line of bells for its receiver (§2.5).
    pub fn is_live_line(&self) -> bool {
        self.on_ring() && !self.has_unpassed_switch() && !self.fin && !self.keof
    }
    /// Counts one more bell, sent or about to be: `koff=++ktx`.
    pub fn count_bell(&mut self) {
        self.ktx += 1;
        self.koff = self.ktx;
    }
}

/// An epoch word `arm` together with what its ringer remembers of it in `rung`.
///
/// Loading `arm` and storing `rung` is one step of the model, since the ringers of one side compare under `tx_lock`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Epoch {
    /// Even, or odd and rung for: a ringer treats both alike.
    Quiet,
    /// Odd and not rung for.
    Armed,
    /// Odd and rung for, where a deliberate bug makes that differ from even.
    Rung,
}

/// How far a side is with giving its slot up. Behind `Settled` its `state` word stays as it is, whatever the side does,
/// until the half is zeroed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Giving {
    /// It does not; `state` is 1.
    No,
    /// `unbinding` is set.
    Begun,
    /// `state` is 2.
    Settled,
}

/// A side's half of the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Half {
    /// Generation g, the connection's.
    Bound,
    /// `leaving` is g.
    Left,
    /// Zeroed, generation g+1.
    Free,
    /// Another connection's.
    Taken,
    /// The other connection has used it.
    Used,
}

/// An endpoint: its locks, sleepers and marks, shared by the processes of one side.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Side {
    /// Somebody holds `tx_lock`.
    pub tx_lock: bool,
    /// Somebody holds `rx_lock`.
    pub rx_lock: bool,
    /// `asleep`, readers.
    pub readers_asleep: u8,
    /// `asleep`, writers.
    pub writers_asleep: u8,
    /// `arm.rx`, and the peer's `rung.rx` for it.
    pub arm_rx: Epoch,
    /// `arm.tx`, and the peer's `rung.tx` for it.
    pub arm_tx: Epoch,
    /// This side has left the channel for good.
    pub gone: bool,
    /// LEAVE is done, or the slot given up, and this side's threads go on with plain kernel calls.
    pub left: bool,
    /// Whether it gives its slot up.
    pub giving: Giving,
    /// Its half of the slot.
    pub half: Half,
    /// It has asked the far side to give the slot up, too.
    pub told: bool,
    /// Times that it may still begin to give the slot up because it pleases.
    pub gives_left: u8,
    /// The socket is closed.
    pub closed: bool,
    /// The process was killed.
    pub dead: bool,
    /// Retreats of the peer that this side may still ask for.
    pub asks_left: u8,
}

impl Side {
    /// At rest, asking for at most `asks_left` retreats, and giving its slot up of its own at most `gives_left` times.
    pub const fn fresh(asks_left: u8, gives_left: u8) -> Self {
        Self {
            tx_lock: false,
            rx_lock: false,
            readers_asleep: 0,
            writers_asleep: 0,
            arm_rx: Epoch::Quiet,
            arm_tx: Epoch::Quiet,
            gone: false,
            left: false,
            giving: Giving::No,
            half: Half::Bound,
            told: false,
            gives_left,
            closed: false,
            dead: false,
            asks_left,
        }
    }
    /// Readers and writers share a line, and so `asleep` (§2.4).
    pub fn anybody_asleep(&self) -> bool {
        self.readers_asleep + self.writers_asleep > 0
    }
    /// The words of the slot are no longer this connection's, which has cleared its own copies.
    pub fn has_given_up(&self) -> bool {
        self.half != Half::Bound
    }
    /// The socket can receive no more.
    pub fn is_out_of_reach(&self) -> bool {
        self.dead || self.closed
    }
}

/// A state of the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Both directions, by sender.
    pub stream: [Stream; 2],
    /// Both endpoints.
    pub side: [Side; 2],
    /// Time-outs and signals that may still come.
    pub interruptions_left: u8,
    /// The leaver has not begun yet.
    pub leave_ahead: bool,
    /// The threads, in ascending order: which of two alike is which does not matter.
    pub threads: [Thread; THREADS],
}

impl State {
    /// The same state with its threads in order.
    pub fn in_order(mut self) -> Self {
        self.threads.sort_unstable();
        self
    }
}
