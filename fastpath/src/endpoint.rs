//! The endpoint: one end of one connection, as this side's processes know it. Lives in family memory.
//!
//! Everything here is this side's own truth; what the far side may see is published from it into the ICT entry. Words
//! of the sending half change under `tx_lock`, words of the receiving half under `rx_lock`; counts of threads that are
//! inside the kernel change without a lock. Both locks are held only to end a binding, the receiving one taken first.
//!
//! Here are the fields; beside them:
//!
//! * [`holders`]: the processes that hold the endpoint, and their threads that sleep on it.
//! * [`inside`]: counts of threads inside a call.
//! * [`states`]: values of its words that say how far it has come.
//! * [`plain`]: words that change under a lock.
//! * [`waiting`]: what the socket says of calls that find nothing.

mod holders;
mod inside;
mod plain;
mod states;
pub mod waiting;

pub use holders::{HOLDERS, Holder};
pub use inside::{Sleepers, Threads};
pub use plain::{Plain32, Plain64};
pub use states::{binding, kernel_end, pestered, role};

use crate::in_kernel::InKernel;
use crate::lock::LockWord;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// One end of one connection.
#[repr(C, align(64))]
pub struct Endpoint {
    // ---- sending half, under tx_lock
    /// Guards the sending half.
    pub tx_lock: LockWord,
    /// Bytes ever published into the own ring.
    pub tx_tail: Plain64,
    /// Last checked far head.
    pub tx_head_seen: Plain64,
    /// Bytes written to the kernel stream, bells included; exact while `tx_ep` is odd.
    pub ktx: Plain64,
    /// Switches of the sending direction.
    pub tx_ep: Plain32,
    /// `arm.rx` of the far entry last rung for.
    pub rung_rx: Plain32,
    /// `arm.tx` of the far entry last rung for.
    pub rung_tx: Plain32,
    /// Plain kernel for ever in the sending direction, after a rewind.
    pub over: Plain32,
    /// A bell could not be sent: the connection is broken, the next send asks the kernel.
    pub broken: Plain32,
    /// Own shutdown(WR) has happened.
    pub write_shut: Plain32,
    /// Own shutdown(RD) has happened.
    pub read_shut: Plain32,
    /// The far process ended with bytes of ours unread: TCP would show a reset. Only ever set, under either lock.
    pub reset_due: Plain32,
    /// The reset that is due was handed to the socket, or to `error`. Only ever set, under either lock.
    pub reset_shown: Plain32,
    /// Length of the own ring; 0 = none allocated.
    pub tx_ring_bytes: Plain32,
    // ---- second line: sending half, colder
    /// Address of the own ring.
    pub tx_ring: Plain64,
    /// Rewind under way: position + 1, 0 = none.
    pub rewind_position: Plain64,
    /// Kernel offset where the kernel carries again, of the last retreat.
    pub kr: Plain64,
    /// This side leaves, or has left, the channel: `gone` is published, or about to be. Under both locks.
    pub gone: Plain32,
    /// Position of the far head when the ring was first found full, and when that was (ns); for the spill.
    pub full_head: Plain64,
    /// Monotonic time in ns when `full_head` was set; 0 = not full.
    pub full_since_ns: Plain64,
    /// Offset of the own ring in the own region.
    pub tx_ring_offset: Plain32,
    /// Last pause after a retreat for want of progress (see `stream::pace`), in µs.
    pub upgrade_pause_us: Plain32,
    /// Last pause after a send was held back in vain, in µs.
    pub hold_pause_us: Plain32,
    /// Times the ring was found full since the last upgrade.
    pub full_count: Plain32,
    /// Program's values of kernel options that are shadowed while on the ring: bit set = shadowed (see `stream::line`).
    pub shadowed: Plain32,
    /// Shadowed TCP_NODELAY.
    pub shadow_no_delay: Plain32,
    /// Shadowed TCP_CORK.
    pub shadow_cork: Plain32,
    /// 1 after the pool had no room for a larger ring.
    pub ring_growth_refused: Plain32,
    /// What the kernel stream was sent beside `kernel_bytes_out`, bells for the most part: a hint, which every look at an
    /// upgrade makes exact.
    pub kernel_sent_beside: Plain64,
    /// No upgrade before this monotonic time in ns; 0 = none is put off.
    pub upgrade_after_ns: Plain64,
    /// No send is held back before this time.
    pub hold_after_ns: Plain64,
    /// When the direction was last upgraded.
    pub upgraded_ns: Plain64,
    /// 1 once the direction needs more space than its channel has; another channel may have it.
    pub wants_space: Plain32,
    /// Smallest size class of a channel that is of use, after the connection has outgrown a smaller one.
    pub least_class: Plain32,
    /// Times that the connection has left a channel for a larger one.
    pub moves: Plain32,
    /// When it began to leave its channel, or last sought a larger one, in ms.
    pub sought_ms: Plain32,
    /// Turns at which it is still to seek one, beside its usual chances.
    pub seeks: Plain32,
    /// Own calls since this side settled, while it seeks a larger channel and the far side has not followed.
    pub calls_alone: Plain32,
    // ---- receiving half, under rx_lock
    /// Guards the receiving half.
    pub rx_lock: LockWord,
    /// Bytes ever taken from the far ring.
    pub rx_head: Plain64,
    /// Last checked far tail.
    pub rx_tail_seen: Plain64,
    /// Bytes taken from the kernel stream, bells included; exact while a grant is open.
    pub krx: Plain64,
    /// Switches of the receiving direction that were passed.
    pub rx_ep: Plain32,
    /// Last grant given (rx_ep + 1 while open).
    pub granted: Plain32,
    /// Own copy of the checked length of the far ring; 0 = none.
    pub rx_ring_bytes: Plain32,
    /// How the kernel stream has ended: see [`kernel_end`].
    pub keof: AtomicU32,
    /// An error taken from the kernel that the program has not seen, as errno.
    pub error: AtomicU32,
    /// Program's SO_RCVLOWAT, emulated while on the ring; 0 or 1 = none.
    pub low_water: Plain32,
    // ---- fourth line: identity, and threads inside the kernel
    /// Address of the far ring.
    pub rx_ring: Plain64,
    /// Threads inside a kernel send.
    pub itx: InKernel,
    /// Threads inside a consuming kernel receive.
    pub irx: InKernel,
    /// See [`binding`].
    pub binding: AtomicU32,
    /// 1 while the ring is wished for, as each life begins; 0 after a release by the program or a policy.
    pub wished: AtomicU32,
    /// Reason code shown for the endpoint.
    pub reason: AtomicU32,
    /// 1 while the endpoint gives its slot up (see `stream::unbind`).
    pub unbinding: AtomicU32,
    /// Address of this side's ICT entry.
    pub own_entry: Plain64,
    /// Address of the far side's ICT entry.
    pub far_entry: Plain64,
    /// Index of the channel in the process's table, plus one.
    pub channel: Plain32,
    /// Slot.
    pub slot: Plain32,
    /// Generation of the slot.
    pub slot_generation: Plain32,
    /// Raised when the endpoint is freed: a stale handle does not match.
    pub generation: AtomicU32,
    // ---- statistics and evidence
    /// Address of the row in the statistics page, see [`crate::statistics::Row`]; 0 = none.
    pub row: Plain64,
    /// Calls that received bytes by the ring, under `rx_lock`.
    pub ring_calls_in: Plain64,
    /// Calls that sent bytes by the ring, under `tx_lock`.
    pub ring_calls_out: Plain64,
    /// Bytes received by the ring, under `rx_lock`; [`Self::received_bytes`] knows the others, too.
    pub bytes_in: Plain64,
    /// Bytes sent by the ring, under `tx_lock`; [`Self::sent_bytes`] knows the others, too.
    pub bytes_out: Plain64,
    /// Bytes received by the kernel; the program's own calls hold no lock.
    pub kernel_bytes_in: AtomicU64,
    /// Bytes sent by the program's own kernel calls, which hold no lock.
    pub kernel_bytes_out: AtomicU64,
    /// Turns: sends that followed a receive (connecting end), receives that followed a send (accepting end).
    pub turns: Plain32,
    /// 1 after a receive, 2 after a send: what the last transfer was.
    pub last_transfer: Plain32,
    /// See [`role`].
    pub role: Plain32,
    /// Handle of the negotiation under way, 0 = none; only the process that began it acts on it.
    pub negotiation: AtomicU64,
    /// The address pair as nine words of its wire form, once it was asked for.
    pub pair: [Plain32; 9],
    /// Whether `pair` is known.
    pub pair_known: Plain32,
    /// Next chance for discovery, in turns; and in bytes for one-way streams.
    pub next_turn: Plain32,
    /// Boxes opened for this connection.
    pub boxes: Plain32,
    /// A number that connections of one kind have in common: to one address, or from one listener.
    pub kin: Plain32,
    /// 1 once nobody has heard its claims: its next chance is a box.
    pub unheard: Plain32,
    /// See `next_turn`, 0 = 256 KiB not reached yet.
    pub next_bytes: Plain64,
    /// Place of the process that negotiates, plus one.
    pub negotiator: Plain32,
    /// Upgrades made and passed since the binding.
    pub switches: Plain32,
    /// Link of the free list: index + 1.
    pub next_free: AtomicU32,
    /// Last look at the kernel from an empty ring without sleeping, ns (POSIX.md R4).
    pub last_kernel_look_ns: Plain64,
    /// See [`waiting`].
    pub waiting: waiting::WaitingModes,
    /// A descriptor number that meant the endpoint when it was bound, in the process that bound it.
    pub number: Plain32,
    /// Evidence: when the present window of turns began (ms, wrapping), and turns in it.
    pub window_ms: Plain32,
    /// See `window_ms`.
    pub window_turns: Plain32,
    /// Readiness: index + 1 of the epoll instance whose waiter watches this endpoint (process-private meaning of its owner).
    pub watching_instance: AtomicU32,
    /// Readiness: 1 after a send that found no room.
    pub out_blocked: AtomicU32,
    /// Bells that the far side may ring before they are useless, as a signed number (see `stream::storm`).
    pub bell_credit: Plain32,
    /// End of what was published when a bell was left for a far side that had shut its writing (see `stream::death`).
    pub guarded_tail: Plain64,
    /// What the far side had published when its bells were last weighed.
    pub bell_progress: Plain64,
    /// Rewind under way: what the kernel had accepted (see `stream::line::accepted`) less the position, when it began.
    pub rewind_base: Plain64,
    /// See [`pestered`].
    pub pestered: AtomicU32,
    /// 1 once it was said that the stream was condemned.
    pub said: AtomicU32,
    /// Rewind under way: 1 if `rewind_base` is known.
    pub rewind_counted: Plain32,
    /// How long waits of readers take here.
    pub wait_receive: crate::wait::WaitHistory,
    /// How long waits of writers take here.
    pub wait_send: crate::wait::WaitHistory,
    /// 1 once the endpoint had a channel in this life.
    pub had_channel: Plain32,
    /// Holder entries at and beyond this one were never used in this life.
    pub holders_used: AtomicU32,
    /// The processes that hold the endpoint.
    pub holders: [Holder; HOLDERS],
}

impl Endpoint {
    /// Back to the state of a socket nothing is known about. The generation and the locks stay: a thread that looked the
    /// endpoint up in its last life may still take them, to find that it is too late.
    pub fn reset(&self) {
        let had_channel =
            self.had_channel.get() != 0 || self.binding.load(Ordering::Relaxed) != binding::NONE;
        macro_rules! zero { ($($field:ident)*) => { $(self.$field.set(0);)* } }
        macro_rules! clear { ($($field:ident)*) => { $(self.$field.store(0, Ordering::Relaxed);)* } }
        // What any life may change.
        zero!(ktx krx low_water row bytes_in bytes_out turns last_transfer role next_turn boxes kin unheard next_bytes negotiator pair_known channel window_ms
            window_turns);
        clear!(keof error kernel_bytes_in kernel_bytes_out reason negotiation watching_instance out_blocked);
        self.wished.store(1, Ordering::Relaxed);
        self.waiting.changed();
        let life = self.generation.load(Ordering::Relaxed);
        self.itx.begin_life(life);
        self.irx.begin_life(life);
        // The one holder of most lives has left nothing but what the next one writes.
        let [first, ..] = &self.holders;
        if self.holders_used.load(Ordering::Relaxed) > 1
            || first.process.load(Ordering::Relaxed) != 0
        {
            self.forget_holders();
        }
        clear!(holders_used);
        if !had_channel {
            return;
        }
        // What changes only once there was a channel; most connections of one request never have one. The addresses of
        // the entries stay: a look without a lock may have seen the binding and be about to load them.
        zero!(read_shut reset_due reset_shown broken tx_tail tx_head_seen tx_ep rung_rx rung_tx over write_shut tx_ring_bytes tx_ring rewind_position rewind_base kr gone
            full_head full_since_ns tx_ring_offset upgrade_after_ns upgrade_pause_us hold_after_ns hold_pause_us upgraded_ns full_count shadowed
            kernel_sent_beside ring_calls_in ring_calls_out least_class moves seeks calls_alone sought_ms
            shadow_no_delay shadow_cork ring_growth_refused wants_space rx_head rx_tail_seen rx_ep granted rx_ring_bytes rx_ring
            slot slot_generation switches last_kernel_look_ns number bell_credit bell_progress guarded_tail rewind_counted had_channel);
        clear!(binding unbinding pestered said);
        self.wait_receive.reset();
        self.wait_send.reset();
    }

    /// Bytes received, by any carrier.
    #[inline]
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        let by_kernel = self.kernel_bytes_in.load(Ordering::Relaxed);
        self.bytes_in.get().wrapping_add(by_kernel)
    }

    /// Bytes sent, by any carrier.
    #[inline]
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        let by_kernel = self.kernel_bytes_out.load(Ordering::Relaxed);
        self.bytes_out.get().wrapping_add(by_kernel)
    }
}
