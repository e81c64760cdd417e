//! Every bound of the protocol. A loop, table or retry that is not named here does not exist in the protocol.

/// `AXIO` read as a little-endian word: first field of every region and offer.
pub const MAGIC: u32 = 0x4f49_5841;
/// Protocol version: major in the upper half. Sides of different majors stay on the kernel path.
pub const VERSION: u32 = 0x0001_0000;
/// Feature bits this version knows; a peer's unknown bits are ignored, each is optional by definition.
pub const FEATURES: u64 = 0;

/// One CPU cache line; what two writers must not share.
pub const CACHE_LINE_BYTES: usize = 64;
/// Granularity of ring space in a pool.
pub const POOL_PAGE_BYTES: u32 = 4096;
/// Smallest ring: request and response traffic.
pub const RING_BYTES_SMALL: u32 = 4096;
/// Middle ring: connections that have carried some tens of kilobytes.
pub const RING_BYTES_MIDDLE: u32 = 64 * 1024;
/// Largest ring: streams.
pub const RING_BYTES_LARGE: u32 = 1024 * 1024;

/// Epoll sets of one side that may wait on one channel; waiter 0 is "the connection's own epoch".
pub const WAITERS: usize = 64;
/// Places in the claim table of a side.
pub const CLAIMS: usize = 16;
/// Records in the control event ring of a side; a power of two.
pub const CONTROL_EVENTS: usize = 32;
/// Kinds of readiness per slot: data, space.
pub const READY_KINDS: usize = 2;
/// Most slots a channel can have.
pub const SLOTS_MAX: u32 = 1024;
/// Unread doorbells for a connection's own epochs: opening, closing, one per class, one counted but unsent.
pub const UNREAD_BELLS_MAX: u64 = 5;
/// More unread doorbells than this are a lie: the above, and those for epoll sets that something else woke first, while
/// a thread that the first of them woke waits for a processor.
pub const UNREAD_BELLS_LIMIT: u64 = 4096;
/// Bits of the value shown in a knock (five harmless IP options).
pub const KNOCK_BITS: u32 = 5;
/// Longest time a handshake may take, and the calls it may take.
pub const HANDSHAKE_LIMIT_MS: u64 = 1000;
/// Calls on the descriptor after which an unfinished handshake is dropped.
pub const HANDSHAKE_LIMIT_CALLS: u32 = 64;
/// Boxes open in one process at a time.
pub const BOXES_PER_PROCESS: u32 = 256;
/// Boxes one connection may open in its life.
pub const BOXES_PER_CONNECTION: u32 = 3;
/// Handshakes in progress on the accepting side of one process.
pub const HANDSHAKES_PER_PROCESS: u32 = 64;
/// Channels a process keeps, whoever they join it to.
pub const CHANNELS_PER_PROCESS: usize = 1024;
/// Channels one foreign user may cause here.
pub const CHANNELS_PER_FOREIGN_USER: u32 = 64;
/// Memory one foreign user may cause here.
pub const FOREIGN_USER_BYTES: u64 = 64 << 20;
/// Failed proofs of a foreign user before it is refused for a time.
pub const FAILED_PROOFS: u32 = 8;
/// First refusal after [`FAILED_PROOFS`]; doubles.
pub const REFUSAL_MS: u64 = 60_000;

/// A writer that made no progress for this long on a live line spills to the kernel (SWITCH.md invariant 5).
pub const SPILL_AFTER_MS: u64 = 10;
/// How long a leaver waits for the peer's `ringing` to clear and for counted bells to arrive.
pub const LEAVE_WAIT_MS: u64 = 10;
/// How long a leaver waits for `ringing`, and for room for a rewind, when somebody goes on with the socket.
pub const LEAVE_PATIENCE_MS: u64 = 1000;
/// How long a bell is tried to be sent: longer than a delayed acknowledgement keeps the room of those before it.
pub const BELL_PATIENCE_MS: u32 = 250;
/// How long a send is held back for the last bytes in the kernel to be read, before an upgrade.
pub const UPGRADE_HOLD_MS: u64 = 1;
/// Bells beyond all that a connection has published, before it is given up; useless wakes of one wait, before it naps.
pub const SPURIOUS_WAKES: u32 = 64;
/// Marks of one connection in a row without anything published, before it is given up.
pub const USELESS_MARKS: u32 = 1000;
/// Switches of one call, before the connection is given up.
pub const SWITCHES_PER_CALL: u32 = 8;
/// Ready bits looked at per channel and wait.
pub const READY_CHECKS_PER_WAIT: u32 = 64;
