/* SPDX-License-Identifier: Apache-2.0 */
/*
 * axio_layout.h: where every shared byte of Axio lies, for C: the kernel module, devices, tools in other languages.
 * PROTOCOL.md says what the bytes mean and who may write them; a test keeps this file, PROTOCOL.md and the Rust crate
 * equal, constant by constant. Includes nothing and declares nothing, so it serves kernel and user code alike.
 *
 * Offsets are in bytes from the start of the thing they belong to. All words are little-endian and aligned to their
 * size, unless "network order" is said. Widths are given as u32, u64, i32.
 */
#ifndef AXIO_LAYOUT_H
#define AXIO_LAYOUT_H

/* ---- Versions and limits ---------------------------------------------------------------------------------------- */

/* `AXIO` read as a little-endian word: first field of every region and offer */
#define AXIO_MAGIC                     0x4f495841
/* Protocol version: major in the upper half. Sides of different majors stay on the kernel path */
#define AXIO_VERSION                   0x00010000
/* Feature bits this version knows; a peer's unknown bits are ignored, each is optional by definition */
#define AXIO_FEATURES                  0
#define AXIO_CACHE_LINE_BYTES          64            /* One CPU cache line; what two writers must not share */
#define AXIO_POOL_PAGE_BYTES           4096          /* Granularity of ring space in a pool */
#define AXIO_RING_BYTES_SMALL          4096          /* Smallest ring: request and response traffic */
/* Middle ring: connections that have carried some tens of kilobytes */
#define AXIO_RING_BYTES_MIDDLE         (64 * 1024)
#define AXIO_RING_BYTES_LARGE          (1024 * 1024) /* Largest ring: streams */
/* Epoll sets of one side that may wait on one channel; waiter 0 is "the connection's own epoch" */
#define AXIO_WAITERS                   64
#define AXIO_CLAIMS                    16            /* Places in the claim table of a side */
#define AXIO_CONTROL_EVENTS            32            /* Records in the control event ring of a side; a power of two */
#define AXIO_READY_KINDS               2             /* Kinds of readiness per slot: data, space */
#define AXIO_SLOTS_MAX                 1024          /* Most slots a channel can have */
/* Unread doorbells for a connection's own epochs: opening, closing, one per class, one counted but unsent */
#define AXIO_UNREAD_BELLS_MAX          5
/* More unread doorbells than this are a lie: the above, and those for epoll sets that something else woke first */
#define AXIO_UNREAD_BELLS_LIMIT        4096
#define AXIO_KNOCK_BITS                5             /* Bits of the value shown in a knock (five harmless IP options) */
#define AXIO_HANDSHAKE_LIMIT_MS        1000          /* Longest time a handshake may take */
/* Calls on the descriptor after which an unfinished handshake is dropped */
#define AXIO_HANDSHAKE_LIMIT_CALLS     64
#define AXIO_BOXES_PER_PROCESS         256           /* Boxes open in one process at a time */
#define AXIO_BOXES_PER_CONNECTION      3             /* Boxes one connection may open in its life */
#define AXIO_HANDSHAKES_PER_PROCESS    64            /* Handshakes in progress on the accepting side of one process */
#define AXIO_CHANNELS_PER_PROCESS      1024          /* Channels a process keeps, whoever they join it to */
#define AXIO_CHANNELS_PER_FOREIGN_USER 64            /* Channels one foreign user may cause here */
#define AXIO_FOREIGN_USER_BYTES        (64 << 20)    /* Memory one foreign user may cause here */
/* Failed proofs of a foreign user before it is refused for a time */
#define AXIO_FAILED_PROOFS             8
#define AXIO_REFUSAL_MS                60000         /* First refusal after AXIO_FAILED_PROOFS; doubles */
/* A writer that made no progress for this long on a live line spills to the kernel (SWITCH.md invariant 5) */
#define AXIO_SPILL_AFTER_MS            10
/* How long a leaver waits for the peer's `ringing` to clear and for counted bells to arrive */
#define AXIO_LEAVE_WAIT_MS             10
/* How long a leaver waits for `ringing`, and for room for a rewind, when somebody goes on with the socket */
#define AXIO_LEAVE_PATIENCE_MS         1000
/* How long a bell is tried to be sent: longer than a delayed acknowledgement keeps the room of those before it */
#define AXIO_BELL_PATIENCE_MS          250
/* How long a send is held back for the last bytes in the kernel to be read, before an upgrade */
#define AXIO_UPGRADE_HOLD_MS           1
/* Bells beyond all that a connection has published, before it is given up */
#define AXIO_SPURIOUS_WAKES            64
/* Marks of one connection in a row without anything published, before it is given up */
#define AXIO_USELESS_MARKS             1000
/* Switches of one call, before the connection is given up */
#define AXIO_SWITCHES_PER_CALL         8
#define AXIO_READY_CHECKS_PER_WAIT     64            /* Ready bits looked at per channel and wait */

/* ---- Region: header --------------------------------------------------------------------------------------------- */

#define AXIO_HEADER_MAGIC          0   /* u32: AXIO_MAGIC */
#define AXIO_HEADER_VERSION        4   /* u32: AXIO_VERSION */
#define AXIO_HEADER_FEATURES       8   /* u64: feature bits in force */
#define AXIO_HEADER_CLASS          16  /* u32: size class, below AXIO_CLASSES */
/* u32: handshake word, connecting side: 1 = both regions are mapped and sealed */
#define AXIO_HEADER_MAPPED         20
/* u32: handshake word, connecting side: the value it asks the accepting side to show */
#define AXIO_HEADER_KNOCK_VALUE    24
/* u32: handshake word, accepting side: 1 = the connecting side's knock was seen */
#define AXIO_HEADER_KNOWN          28
/* u32: handshake word, connecting side: 1 = the accepting side's knock was seen, the channel is in use */
#define AXIO_HEADER_BOUND          32
/* u32: counts up with every claim written here; a reader looks at claims only when it moved */
#define AXIO_HEADER_CLAIM_COUNTER  36
#define AXIO_HEADER_ANSWER_COUNTER 40  /* u32: counts up with every answer written here */
#define AXIO_HEADER_CONTROL_TAIL   44  /* u32: control events ever written here */
/* u32: 1 once the home of this side has left the channel: it reads no claims and answers none any more */
#define AXIO_HEADER_GONE           48
#define AXIO_HEADER_BYTES          256 /* Size of the header */

/* ---- Region: claims (connecting side) and answers (accepting side) ---------------------------------------------- */

#define AXIO_CLAIM_SEQUENCE     0  /* u32: 0 = free; else the claim's sequence number, written last */
#define AXIO_CLAIM_KNOCK_VALUE  4  /* u32: value the accepting side is asked to show */
#define AXIO_CLAIM_COOKIE       8  /* u64: cookie of the connecting side's socket */
#define AXIO_CLAIM_PAIR         16 /* 36 bytes: the address pair, AXIO_PAIR_* */
#define AXIO_CLAIM_ACKNOWLEDGED 56 /* u32: sequence number of the claim whose answer's knock was seen and returned */
#define AXIO_CLAIM_BYTES        96 /* Size of a claim */

#define AXIO_ANSWER_SEQUENCE    0  /* u32: sequence number of the claim answered, written last */
#define AXIO_ANSWER_SLOT        4  /* u32: slot given */
#define AXIO_ANSWER_GENERATION  8  /* u32: generation of the slot */
#define AXIO_ANSWER_KNOCK_VALUE 12 /* u32: value the connecting side is asked to show */
#define AXIO_ANSWER_BOUND       16 /* u32: sequence number of the claim that is bound: both knocks were seen */
#define AXIO_ANSWER_REFUSED     20 /* u32: sequence number of a claim that was refused (no slot, quota) */
#define AXIO_ANSWER_BYTES       32 /* Size of an answer */

/* ---- Region: control events ------------------------------------------------------------------------------------- */

#define AXIO_CONTROL_EVENT_BYTES      32 /* Size of a record */
#define AXIO_CONTROL_EVENT_KIND       0  /* u32: AXIO_CONTROL_EVENT_KIND_* */
#define AXIO_CONTROL_EVENT_SLOT       4  /* u32: the slot */
#define AXIO_CONTROL_EVENT_GENERATION 8  /* u32: the slot's generation */
#define AXIO_CONTROL_EVENT_CAUSE      12 /* u32: the cause, enum axio_reason of axio.h */
#define AXIO_CONTROL_EVENT_STAMP      16 /* u64: time stamp counter */

/* What a record says. */
#define AXIO_CONTROL_EVENT_KIND_REVERT_ONE 1 /* the slot's connection should go back to the kernel */
#define AXIO_CONTROL_EVENT_KIND_REVERT_ALL 2 /* every connection of the channel should go back to the kernel */
#define AXIO_CONTROL_EVENT_KIND_ERROR      3 /* something failed on the slot; the cause says what */
#define AXIO_CONTROL_EVENT_KIND_QUOTA      4 /* a quota was reached; no further claims are taken */

/* ---- Region: waiters -------------------------------------------------------------------------------------------- */

#define AXIO_OWN_WAITER_EPOCH          0  /* u32: the epoll set's epoch; odd = armed */
#define AXIO_OWN_WAITER_ANSWER_SUMMARY 8  /* u64: answers to the far side's summary word */
#define AXIO_OWN_WAITER_ANSWER_WORDS   16 /* u64 each: answers to the far side's ready words */

#define AXIO_FAR_WAITER_STAMP       0  /* u64: time stamp counter of the last bell */
#define AXIO_FAR_WAITER_CPU         8  /* u32: CPU of the last ringer */
#define AXIO_FAR_WAITER_SUMMARY     16 /* u64: one bit for each ready word; ready = differs from the answer */
#define AXIO_FAR_WAITER_READY_WORDS 24 /* u64 each: ready bits, two kinds a slot (bit = slot * 2 + kind) */

/* ---- Region: I/O Connection Table entries ----------------------------------------------------------------------- */

#define AXIO_ENTRY_BYTES         192 /* Size of an entry */
#define AXIO_ENTRY_TAIL          0   /* u64: bytes ever published into the ring of this side's sending direction */
/* u64: every byte of the kernel stream from the upgrade up to here is a bell, sent or about to be */
#define AXIO_ENTRY_KOFF          8
#define AXIO_ENTRY_KR            16  /* u64: kernel offset where the kernel carries again */
#define AXIO_ENTRY_EP            24  /* u32: switches made: even = kernel carries, odd = ring carries */
#define AXIO_ENTRY_FIN           28  /* u32: 1 after shutdown(WR) on the ring */
#define AXIO_ENTRY_RINGING       32  /* u32: 1 while this side is about to bell, switch or end */
#define AXIO_ENTRY_CPU           36  /* u32: CPU this side ran on when it last rang for this connection's own epoch */
/* u64: time stamp counter when this side last rang for this connection's own epoch */
#define AXIO_ENTRY_STAMP         40
#define AXIO_ENTRY_HEAD          64  /* u64: bytes ever taken from the ring of the opposite direction */
#define AXIO_ENTRY_KRX           72  /* u64: bytes taken from the kernel stream; exact while a grant is open */
#define AXIO_ENTRY_RX_EP         80  /* u32: switches of the opposite direction that this side has passed */
#define AXIO_ENTRY_GRANT         84  /* u32: `rx_ep`+1 while the far side may upgrade */
#define AXIO_ENTRY_WANT          88  /* u32: the odd `ep` of the opposite direction that this side wants ended */
#define AXIO_ENTRY_GONE          92  /* u32: 1 once this side has left the channel for good */
/* u32: odd while a reader of this side may be asleep; every arming is a new odd value */
#define AXIO_ENTRY_ARM_RX        96
#define AXIO_ENTRY_ARM_TX        100 /* u32: odd while a writer of this side may be asleep */
/* u32: which connection the slot belongs to; 0 = none. Counts up by one at each binding */
#define AXIO_ENTRY_GENERATION    128
#define AXIO_ENTRY_STATE         132 /* u32: 0 free, 1 bound, 2 settled */
#define AXIO_ENTRY_LEAVING       136 /* u32: generation that this side is ready to give up */
#define AXIO_ENTRY_RING_OFFSET   140 /* u32: offset of this side's sending ring from the start of its own region */
#define AXIO_ENTRY_RING_BYTES    144 /* u32: length of that ring */
/* u32: index of the one epoll set that watches the connection; 0 = the connection's own epochs */
#define AXIO_ENTRY_WAITER        148
#define AXIO_ENTRY_WATCH         152 /* u32: which kinds are worth a bell to `waiter`: bit 0 data, bit 1 space */
/* u32: process id of the owner in its own pid namespace; for people only, never trusted */
#define AXIO_ENTRY_OWNER_PROCESS 156
#define AXIO_ENTRY_COOKIE        160 /* u64: socket cookie of this side's socket */
#define AXIO_KIND_DATA           0   /* `watch` bit and ready-bit kind: bytes or an end may be there */
#define AXIO_KIND_SPACE          1   /* `watch` bit and ready-bit kind: ring space may be there */
#define AXIO_FIN_ON_RING         1   /* `fin`: shutdown(WR) while the ring carried */
#define AXIO_FIN_ON_KERNEL       2   /* `fin`: shutdown(WR) while the kernel carried, which tells where the end is */
#define AXIO_SLOT_FREE           0   /* `state`: the slot holds no connection */
#define AXIO_SLOT_BOUND          1   /* `state`: a connection is bound */
#define AXIO_SLOT_SETTLED        2   /* `state`: bound, and on its way out: this side is on the kernel and passed */

/* ---- Region: sizes and places ----------------------------------------------------------------------------------- */

/* Size classes of a region. */
#define AXIO_CLASSES              3
#define AXIO_CLASS_0_SLOTS        16
#define AXIO_CLASS_0_REGION_BYTES (128 << 10)
#define AXIO_CLASS_1_SLOTS        128
#define AXIO_CLASS_1_REGION_BYTES (2 << 20)
#define AXIO_CLASS_2_SLOTS        1024
#define AXIO_CLASS_2_REGION_BYTES (8 << 20)

#define AXIO_LINES(bytes) (((bytes) + AXIO_CACHE_LINE_BYTES - 1) / AXIO_CACHE_LINE_BYTES * AXIO_CACHE_LINE_BYTES)

/* Sizes that depend on the number of slots. */
#define AXIO_READY_WORDS(slots) (((slots) * AXIO_READY_KINDS + 63) / 64)
#define AXIO_OWN_WAITER_BYTES(slots) AXIO_LINES(AXIO_OWN_WAITER_ANSWER_WORDS + AXIO_READY_WORDS(slots) * 8)
#define AXIO_FAR_WAITER_BYTES(slots) AXIO_LINES(AXIO_FAR_WAITER_READY_WORDS + AXIO_READY_WORDS(slots) * 8)

/* Places within a region; the part that follows starts where the one before ends. */
#define AXIO_CONTROL_EVENT_PLACE(index) (AXIO_HEADER_BYTES + (index) * AXIO_CONTROL_EVENT_BYTES)
#define AXIO_CLAIM_PLACE(index) (AXIO_CONTROL_EVENT_PLACE(AXIO_CONTROL_EVENTS) + (index) * AXIO_CLAIM_BYTES)
#define AXIO_ANSWER_PLACE(index) (AXIO_CLAIM_PLACE(AXIO_CLAIMS) + (index) * AXIO_ANSWER_BYTES)
#define AXIO_OWN_WAITER_PLACE(slots, index) (AXIO_ANSWER_PLACE(AXIO_CLAIMS) + (index) * AXIO_OWN_WAITER_BYTES(slots))
#define AXIO_FAR_WAITER_PLACE(slots, index) \
	(AXIO_OWN_WAITER_PLACE(slots, AXIO_WAITERS) + (index) * AXIO_FAR_WAITER_BYTES(slots))
#define AXIO_ENTRY_PLACE(slots, slot) (AXIO_FAR_WAITER_PLACE(slots, AXIO_WAITERS) + (slot) * AXIO_ENTRY_BYTES)
#define AXIO_POOL_PLACE(slots) \
	((AXIO_ENTRY_PLACE(slots, slots) + AXIO_POOL_PAGE_BYTES - 1) / AXIO_POOL_PAGE_BYTES * AXIO_POOL_PAGE_BYTES)

/* Ready bit of a slot and kind: which word, which bit of it. */
#define AXIO_READY_WORD(slot, kind) (((slot) * AXIO_READY_KINDS + (kind)) / 64)
#define AXIO_READY_SHIFT(slot, kind) (((slot) * AXIO_READY_KINDS + (kind)) % 64)

/* ---- Discovery: address pair, names, offer ---------------------------------------------------------------------- */

/* The pair: connecting side first, IPv4 as mapped IPv6, everything in network order. */
#define AXIO_PAIR_CONNECT_ADDRESS 0  /* 16 bytes */
#define AXIO_PAIR_ACCEPT_ADDRESS  16 /* 16 bytes */
#define AXIO_PAIR_CONNECT_PORT    32 /* u16 */
#define AXIO_PAIR_ACCEPT_PORT     34 /* u16 */
#define AXIO_PAIR_BYTES           36

/* Length of an abstract socket name without its leading zero byte. */
#define AXIO_NAME_BYTES 81

/* The offer, sent with two descriptors. */
#define AXIO_OFFER_MAGIC          0  /* u32: AXIO_MAGIC */
#define AXIO_OFFER_VERSION        4  /* u32: AXIO_VERSION */
#define AXIO_OFFER_FEATURES       8  /* u64: feature bits the accepting side knows */
/* u64: cookie of the connecting side's socket, as the accepting side's look saw it */
#define AXIO_OFFER_CONNECT_COOKIE 16
#define AXIO_OFFER_ACCEPT_COOKIE  24 /* u64: cookie of the accepting side's socket */
#define AXIO_OFFER_CLASS          32 /* u32: size class of both regions */
#define AXIO_OFFER_KNOCK_VALUE    36 /* u32: value the connecting side is asked to show */
#define AXIO_OFFER_SLOT           40 /* u32: slot of the connection that carried the handshake */
#define AXIO_OFFER_GENERATION     44 /* u32: generation of that slot */
#define AXIO_OFFER_BYTES          48

/* ---- Statistics page -------------------------------------------------------------------------------------------- */

#define AXIO_STATISTICS_MAGIC           0x54535841     /* First word of the page: `AXST` */
#define AXIO_STATISTICS_VERSION         1              /* Version of the page's layout */
#define AXIO_STATISTICS_ROWS            16384          /* Rows in a page */
#define AXIO_STATISTICS_COUNTERS_OFFSET 256            /* Offset of the counters */
#define AXIO_STATISTICS_REASONS_OFFSET  768            /* Offset of the reasons' counters */
#define AXIO_STATISTICS_ROWS_OFFSET     4096           /* Offset of the rows */
#define AXIO_STATISTICS_ROW_BYTES       192            /* Size of a row */
/* Size of the page */
#define AXIO_STATISTICS_PAGE_BYTES      (AXIO_STATISTICS_ROWS_OFFSET + AXIO_STATISTICS_ROWS * AXIO_STATISTICS_ROW_BYTES)

#define AXIO_STATISTICS_HEADER_MAGIC      0  /* u32: AXIO_STATISTICS_MAGIC */
#define AXIO_STATISTICS_HEADER_VERSION    4  /* u32: AXIO_STATISTICS_VERSION */
#define AXIO_STATISTICS_HEADER_PROCESS    8  /* u32: process id in its own pid namespace */
#define AXIO_STATISTICS_HEADER_ROWS_USED  12 /* u32: rows ever used; no row beyond is in use */
/* u64: start time of the process in clock ticks since boot (/proc/PID/stat field 22) */
#define AXIO_STATISTICS_HEADER_START_TIME 16
#define AXIO_STATISTICS_HEADER_PROGRAM    32 /* 32 bytes: program name, zero padded */

#define AXIO_STATISTICS_ROLE_CONNECTING 1 /* called connect() */
#define AXIO_STATISTICS_ROLE_ACCEPTING  2 /* came from accept() */

#define AXIO_STATISTICS_ROW_IN_USE           0   /* u32: 0 free, 1 in use */
#define AXIO_STATISTICS_ROW_DESCRIPTOR       4   /* i32: descriptor number last seen */
#define AXIO_STATISTICS_ROW_PATH             8   /* u32: path, as in the status ioctl */
#define AXIO_STATISTICS_ROW_STATE            12  /* u32: state, as in the status ioctl */
#define AXIO_STATISTICS_ROW_REASON           16  /* u32: reason code */
#define AXIO_STATISTICS_ROW_ROLE             20  /* u32: 1 connecting end, 2 accepting end */
#define AXIO_STATISTICS_ROW_PAIR             24  /* 36 bytes: the address pair, connecting side first */
#define AXIO_STATISTICS_ROW_KERNEL_BYTES_IN  64  /* u64: bytes received through the kernel */
#define AXIO_STATISTICS_ROW_KERNEL_BYTES_OUT 72  /* u64: bytes sent through the kernel */
#define AXIO_STATISTICS_ROW_RING_BYTES_IN    80  /* u64: bytes received through the ring */
#define AXIO_STATISTICS_ROW_RING_BYTES_OUT   88  /* u64: bytes sent through the ring */
#define AXIO_STATISTICS_ROW_KERNEL_CALLS_IN  96  /* u64: receive calls served by the kernel */
#define AXIO_STATISTICS_ROW_KERNEL_CALLS_OUT 104 /* u64: send calls served by the kernel */
#define AXIO_STATISTICS_ROW_RING_CALLS_IN    112 /* u64: receive calls served by the ring */
#define AXIO_STATISTICS_ROW_RING_CALLS_OUT   120 /* u64: send calls served by the ring */
#define AXIO_STATISTICS_ROW_UPGRADES_OUT     128 /* u32: upgrades of the sending direction */
#define AXIO_STATISTICS_ROW_RETREATS_OUT     132 /* u32: retreats of the sending direction */
#define AXIO_STATISTICS_ROW_UPGRADES_IN      136 /* u32: upgrades of the receiving direction */
#define AXIO_STATISTICS_ROW_RETREATS_IN      140 /* u32: retreats of the receiving direction */
#define AXIO_STATISTICS_ROW_BELLS_SENT       144 /* u32: doorbell bytes sent */
#define AXIO_STATISTICS_ROW_BELLS_RECEIVED   148 /* u32: doorbell bytes consumed */
#define AXIO_STATISTICS_ROW_SPINS_WON        152 /* u32: send and receive calls whose wait ended while spinning */
#define AXIO_STATISTICS_ROW_SPINS_LOST       156 /* u32: send and receive calls whose wait spun in vain */
#define AXIO_STATISTICS_ROW_KERNEL_SLEEPS    160 /* u32: times a send or receive call slept in the kernel */
#define AXIO_STATISTICS_ROW_RETREATS_ASKED   164 /* u32: of `retreats_out`, those that the far side asked for */
#define AXIO_STATISTICS_ROW_RETREATS_SPILL   168 /* u32: of `retreats_out`, those because the reader made no progress */
#define AXIO_STATISTICS_ROW_RETREATS_DEAD_LINE 172 /* u32: of `retreats_out`, those because nobody could have been woken any more */
#define AXIO_STATISTICS_ROW_RETREATS_LOCAL   176 /* u32: of `retreats_out`, those for a cause of this process */

/* Places of the counters: u64 each, from AXIO_STATISTICS_COUNTERS_OFFSET on. */
#define AXIO_COUNTER_SOCKETS_SEEN       0  /* sockets that matched a rule */
#define AXIO_COUNTER_KERNEL_BYTES_IN    1  /* bytes received through the kernel by matching sockets that are closed */
#define AXIO_COUNTER_KERNEL_BYTES_OUT   2  /* bytes sent through the kernel by matching sockets that are closed */
#define AXIO_COUNTER_RING_BYTES_IN      3  /* bytes received through rings by sockets that are closed */
#define AXIO_COUNTER_RING_BYTES_OUT     4  /* bytes sent through rings by sockets that are closed */
#define AXIO_COUNTER_KERNEL_CALLS       5  /* input and output calls served by the kernel, of closed sockets */
#define AXIO_COUNTER_RING_CALLS         6  /* input and output calls served by rings, of closed sockets */
#define AXIO_COUNTER_UPGRADES           7  /* directions moved from the kernel to a ring */
#define AXIO_COUNTER_RETREATS           8  /* directions moved back to the kernel, for any cause */
#define AXIO_COUNTER_RETREATS_ASKED     9  /* retreats the far side asked for */
#define AXIO_COUNTER_RETREATS_SPILL     10 /* retreats because the reader made no progress */
#define AXIO_COUNTER_RETREATS_DEAD_LINE 11 /* retreats because nobody could have been woken any more */
#define AXIO_COUNTER_RETREATS_LOCAL     12 /* retreats for a cause of this process (ioctl, dup, exec, eviction) */
#define AXIO_COUNTER_REWINDS            13 /* rings sent again through the kernel because the far side left */
#define AXIO_COUNTER_REWOUND_BYTES      14 /* bytes sent again by rewinds */
#define AXIO_COUNTER_LEAVES             15 /* times this side left a channel for good */
#define AXIO_COUNTER_BELLS_SENT         16 /* doorbell bytes sent */
#define AXIO_COUNTER_BELLS_RECEIVED     17 /* doorbell bytes consumed */
#define AXIO_COUNTER_SPINS_WON          18 /* waits that ended while spinning */
#define AXIO_COUNTER_SPINS_LOST         19 /* waits that spun in vain */
#define AXIO_COUNTER_KERNEL_SLEEPS      20 /* times a wait for a ring slept in the kernel */
#define AXIO_COUNTER_CHANNELS_MADE      21 /* channels made by handshake */
#define AXIO_COUNTER_CLAIMS_BOUND       22 /* connections bound through an existing channel */
#define AXIO_COUNTER_EVICTIONS          23 /* connections that gave their slot to a busier one */
#define AXIO_COUNTER_BOXES_OPENED       24 /* boxes opened for discovery */
#define AXIO_COUNTER_PROBES             25 /* boxes dialled */
#define AXIO_COUNTER_PROOFS_FAILED      26 /* handshakes refused because a proof was missing */
#define AXIO_COUNTER_PEERS_MISBEHAVED   27 /* connections reset because the far side lied */
#define AXIO_COUNTER_SPURIOUS_WAKES     28 /* wakes that found nothing */
#define AXIO_COUNTER_LOCKS_RECOVERED    29 /* locks taken over from a dead process or thread */
#define AXIO_COUNTER_HANDLER_CONFLICTS  30 /* calls from a signal handler that found their own lock held */
#define AXIO_COUNTER_INTERNAL_ERRORS    31 /* errors in Axio itself */

#endif /* AXIO_LAYOUT_H */
