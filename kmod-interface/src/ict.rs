//! The I/O Connection Table entry: one per slot in each side's region, three cache lines, laid out by use.
//!
//! An entry is written by the side whose region it lies in and read by the other. Names are those of SWITCH.md.
//!
//! ```text
//!   line 0  as sender     tail koff kr | ep fin ringing | stamp cpu      (far side: data ready?)
//!   line 1  as receiver   head krx | rx_ep grant want gone | arm_rx arm_tx
//!   line 2  slow          generation state leaving | ring_offset ring_bytes | waiter watch | identity
//! ```
//!
//! The fields of the paper's entry: socket identity = `cookie`, owner = `owner_process`, direction = which line,
//! buffer = `ring_offset`/`ring_bytes`, write position = `tail`, read position = `head`; its state bits are derived,
//! never stored twice: accelerated = `ep` odd, suspended = epoch odd and not rung for, interrupt wanted = `watch`.

/// Size of an entry.
pub const ENTRY_BYTES: usize = 192;

/// Byte offsets of an entry's words. The comment names width and meaning; the writer is always the region's side.
pub mod offset {
    /// u64: bytes ever published into the ring of this side's sending direction.
    pub const TAIL: usize = 0;
    /// u64: every byte of the kernel stream from the upgrade up to here is a bell, sent or about to be.
    pub const KOFF: usize = 8;
    /// u64: kernel offset where the kernel carries again.
    pub const KR: usize = 16;
    /// u32: switches made: even = kernel carries, odd = ring carries.
    pub const EP: usize = 24;
    /// u32: after shutdown(WR) [`super::FIN_ON_RING`] or [`super::FIN_ON_KERNEL`].
    pub const FIN: usize = 28;
    /// u32: 1 while this side is about to bell, switch or end.
    pub const RINGING: usize = 32;
    /// u32: CPU this side ran on when it last rang for this connection's own epoch.
    pub const CPU: usize = 36;
    /// u64: time stamp counter when this side last rang for this connection's own epoch.
    pub const STAMP: usize = 40;

    /// u64: bytes ever taken from the ring of the opposite direction.
    pub const HEAD: usize = 64;
    /// u64: bytes taken from the kernel stream; exact while a grant is open.
    pub const KRX: usize = 72;
    /// u32: switches of the opposite direction that this side has passed.
    pub const RX_EP: usize = 80;
    /// u32: `rx_ep`+1 while the far side may upgrade.
    pub const GRANT: usize = 84;
    /// u32: the odd `ep` of the opposite direction that this side wants ended.
    pub const WANT: usize = 88;
    /// u32: 1 once this side has left the channel for good.
    pub const GONE: usize = 92;
    /// u32: odd while a reader of this side may be asleep; every arming is a new odd value.
    pub const ARM_RX: usize = 96;
    /// u32: odd while a writer of this side may be asleep.
    pub const ARM_TX: usize = 100;

    /// u32: which connection the slot belongs to; 0 = none. Counts up by one at each binding.
    pub const GENERATION: usize = 128;
    /// u32: 0 free, 1 bound, 2 settled: this side's sending direction is on the kernel, passed, and stays there.
    pub const STATE: usize = 132;
    /// u32: generation that this side is ready to give up.
    pub const LEAVING: usize = 136;
    /// u32: offset of this side's sending ring from the start of its own region.
    pub const RING_OFFSET: usize = 140;
    /// u32: length of that ring.
    pub const RING_BYTES: usize = 144;
    /// u32: index of the one epoll set that watches the connection; 0 = the connection's own epochs.
    pub const WAITER: usize = 148;
    /// u32: which kinds are worth a bell to `waiter`: bit 0 data, bit 1 space.
    pub const WATCH: usize = 152;
    /// u32: process id of the owner in its own pid namespace; for people only, never trusted.
    pub const OWNER_PROCESS: usize = 156;
    /// u64: socket cookie of this side's socket.
    pub const COOKIE: usize = 160;
}

/// Value of `state`: nobody has the slot.
pub const SLOT_FREE: u32 = 0;
/// Value of `state`: a connection has the slot.
pub const SLOT_BOUND: u32 = 1;
/// Value of `state`: the writer's sending direction is on the kernel, passed, and stays there till the slot is free.
pub const SLOT_SETTLED: u32 = 2;

/// Value of `fin`: shutdown(WR) while the ring carried; the stream ends behind the last ring byte.
pub const FIN_ON_RING: u32 = 1;
/// Value of `fin`: shutdown(WR) while the kernel carried. The kernel alone tells where the stream ends; this only tells
/// a shutdown from a death.
pub const FIN_ON_KERNEL: u32 = 2;

/// `watch` bit and ready-bit kind: bytes or an end may be there.
pub const KIND_DATA: u32 = 0;
/// `watch` bit and ready-bit kind: ring space may be there.
pub const KIND_SPACE: u32 = 1;

const _: () = {
    assert!(ENTRY_BYTES.is_multiple_of(crate::limits::CACHE_LINE_BYTES));
    assert!(offset::STAMP + 8 <= 64 && offset::HEAD == 64 && offset::ARM_TX + 4 <= 128);
    assert!(offset::GENERATION == 128 && offset::COOKIE + 8 <= ENTRY_BYTES);
};
