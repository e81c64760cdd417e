//! The endpoint: one end of one connection, as this side's processes know it. Lives in family memory.
//!
//! Everything here is this side's own truth; what the far side may see is published from it into the ICT entry. Words
//! of the sending half change under `tx_lock`, words of the receiving half under `rx_lock`; counts of threads that are
//! inside the kernel change without a lock. Both locks are held only to end a binding, the receiving one taken first.

use crate::lock::LockWord;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Processes that can hold one endpoint; with more the socket goes back to the kernel.
pub const HOLDERS: usize = 16;

/// A word that changes under a lock (or is private to one thread) and is atomic only because memory is shared.
#[repr(transparent)]
pub struct Plain32(AtomicU32);
/// As [`Plain32`], eight bytes.
#[repr(transparent)]
pub struct Plain64(AtomicU64);

macro_rules! plain {
    ($name:ident $int:ident) => {
        impl $name {
            /// The value.
            #[inline(always)]
            pub fn get(&self) -> $int {
                self.0.load(Ordering::Relaxed)
            }
            /// Sets the value.
            #[inline(always)]
            pub fn set(&self, value: $int) {
                self.0.store(value, Ordering::Relaxed);
            }
            /// Takes the value, leaving 0: of several threads one gets it.
            pub fn take(&self) -> $int {
                self.0.swap(0, Ordering::AcqRel)
            }
            /// Adds without a locked instruction: the caller holds the lock that guards the word.
            #[inline(always)]
            pub fn add(&self, amount: $int) -> $int {
                let value = self.get().wrapping_add(amount);
                self.set(value);
                value
            }
        }
    };
}
plain!(Plain32 u32);
plain!(Plain64 u64);

/// What is known of one process that holds the endpoint.
#[repr(C)]
pub struct Holder {
    /// Threads of that process asleep on the line, and what they armed: sums of [`sleeper`]s.
    pub sleepers: AtomicU64,
    /// Name of the process in the family (see `family`), plus one; 0 = free, `u32::MAX` = being cleared.
    pub process: AtomicU32,
    /// Descriptor numbers of that process that name the endpoint.
    pub numbers: AtomicU32,
    /// Threads of that process in a transfer call under one of its numbers, asleep.
    pub asleep_in_transfer: AtomicU32,
    /// Number of a duplicate that is kept for sleepers after the program closed its own, plus one; 0 = none.
    pub kept: AtomicU32,
}

const CLEARING: u32 = u32::MAX;

/// What one sleeping thread adds to `Holder::sleepers`: three counts in one word, so that none is lost when it is killed.
#[must_use]
pub const fn sleeper(armed_rx: bool, armed_tx: bool) -> u64 {
    1 | (armed_rx as u64) << SLEEPER_BITS | (armed_tx as u64) << (2 * SLEEPER_BITS)
}

/// No process has as many threads as such a count can say.
const SLEEPER_BITS: u32 = 21;

/// How far an endpoint has come.
pub mod binding {
    /// No channel (yet, or not any more): plain kernel socket.
    pub const NONE: u32 = 0;
    /// Has a slot in a channel.
    pub const BOUND: u32 = 1;
    /// Has left its channel for good: plain kernel socket for ever.
    pub const LEFT: u32 = 2;
    /// The far side lied, or somebody used the socket behind us: every call says ECONNRESET, end of stream or EPIPE.
    pub const CONDEMNED: u32 = 3;
}

/// Values of `Endpoint::keof`, which only ever grows.
pub mod kernel_end {
    /// The stream goes on, as far as anybody has seen.
    pub const OPEN: u32 = 0;
    /// It has ended.
    pub const ENDED: u32 = 1;
    /// It has ended, and nobody had announced that: the far process is dead.
    pub const DEATH: u32 = 2;
}

/// Values of `Endpoint::pestered`, which only ever grows.
pub mod pestered {
    /// No.
    pub const NO: u32 = 0;
    /// The far side wakes this one for nothing; the connection is to be given up.
    pub const NOTICED: u32 = 1;
    /// It was given up.
    pub const GIVEN_UP: u32 = 2;
}

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
    // ---- fourth line: sleepers and identity
    /// Address of the far ring.
    pub rx_ring: Plain64,
    /// Threads asleep on the line (inside the kernel, peeking or polling), all processes.
    pub asleep: AtomicU32,
    /// Of those, readers that armed `arm.rx`.
    pub armed_rx: AtomicU32,
    /// Of those, writers that armed `arm.tx`.
    pub armed_tx: AtomicU32,
    /// Threads inside a kernel send.
    pub itx: AtomicU32,
    /// Threads inside a consuming kernel receive.
    pub irx: AtomicU32,
    /// See [`binding`].
    pub binding: AtomicU32,
    /// 1 while the ring is wished for; 0 after a release by the program or a policy.
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
    /// Address of the row in the statistics page; 0 = none.
    pub row: Plain64,
    /// Socket cookie, to notice a number that means another socket.
    pub cookie: Plain64,
    /// Bytes received under `rx_lock`; [`Self::received_bytes`] knows the others, too.
    pub bytes_in: Plain64,
    /// Bytes sent by the ring, under `tx_lock`; [`Self::sent_bytes`] knows the others, too.
    pub bytes_out: Plain64,
    /// Bytes received by the program's own kernel calls, which hold no lock.
    pub kernel_bytes_in: AtomicU64,
    /// Bytes sent by the program's own kernel calls, which hold no lock.
    pub kernel_bytes_out: AtomicU64,
    /// Turns: sends that followed a receive (connecting end), receives that followed a send (accepting end).
    pub turns: Plain32,
    /// 1 after a receive, 2 after a send: what the last transfer was.
    pub last_transfer: Plain32,
    /// 1 connecting end, 2 accepting end.
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
    /// See [`pestered`].
    pub pestered: AtomicU32,
    /// 1 once it was said that the stream was condemned.
    pub said: AtomicU32,
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
        zero!(ktx krx low_water row bytes_in bytes_out turns last_transfer role next_turn boxes next_bytes negotiator pair_known channel window_ms
            window_turns);
        clear!(keof error kernel_bytes_in kernel_bytes_out asleep itx irx wished reason negotiation watching_instance out_blocked);
        for holder in self.used_holders() {
            holder.process.store(0, Ordering::Relaxed);
            holder.numbers.store(0, Ordering::Relaxed);
            holder.sleepers.store(0, Ordering::Relaxed);
            holder.asleep_in_transfer.store(0, Ordering::Relaxed);
            holder.kept.store(0, Ordering::Relaxed);
        }
        clear!(holders_used);
        if !had_channel {
            return;
        }
        // What changes only once there was a channel; most connections of one request never have one. The addresses of
        // the entries stay: a look without a lock may have seen the binding and be about to load them.
        zero!(read_shut reset_due reset_shown broken tx_tail tx_head_seen tx_ep rung_rx rung_tx over write_shut tx_ring_bytes tx_ring rewind_position
            full_head full_since_ns tx_ring_offset upgrade_after_ns upgrade_pause_us hold_after_ns hold_pause_us upgraded_ns full_count shadowed
            kernel_sent_beside least_class moves seeks sought_ms
            shadow_no_delay shadow_cork ring_growth_refused wants_space rx_head rx_tail_seen rx_ep granted rx_ring_bytes rx_ring
            slot slot_generation cookie switches last_kernel_look_ns number bell_credit bell_progress guarded_tail had_channel);
        clear!(armed_rx armed_tx binding unbinding pestered said);
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

    fn used_holders(&self) -> &[Holder] {
        // Acquire, partner: the release in `add_numbers`, before the entry is taken.
        let used = self.holders_used.load(Ordering::Acquire) as usize;
        self.holders.get(..used).unwrap_or(&self.holders)
    }

    /// The holder entry of a process (by its name in the family).
    #[must_use]
    pub fn holder(&self, process: u32) -> Option<&Holder> {
        self.used_holders()
            .iter()
            .find(|holder| holder.process.load(Ordering::Acquire) == process + 1)
    }

    /// Adds descriptor numbers of a process; false when all holder entries are taken by the living.
    pub fn add_numbers(&self, process: u32, numbers: u32) -> bool {
        if let Some(holder) = self.holder(process) {
            holder.numbers.fetch_add(numbers, Ordering::AcqRel);
            return true;
        }
        if self.take_holder(process, numbers) {
            return true;
        }
        self.clear_the_dead(process);
        self.take_holder(process, numbers)
    }

    fn take_holder(&self, process: u32, numbers: u32) -> bool {
        for (index, holder) in self.holders.iter().enumerate() {
            if self.holders_used.load(Ordering::Relaxed) <= index as u32 {
                self.holders_used
                    .fetch_max(index as u32 + 1, Ordering::AcqRel);
            }
            let taken = holder
                .process
                .compare_exchange(0, process + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if taken {
                holder.sleepers.store(0, Ordering::Relaxed);
                holder.asleep_in_transfer.store(0, Ordering::Relaxed);
                holder.kept.store(0, Ordering::Relaxed);
                holder.numbers.store(numbers, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Takes one descriptor number of a process away; true when the process holds none any more.
    pub fn remove_number(&self, process: u32) -> bool {
        let Some(holder) = self.holder(process) else {
            return true;
        };
        if holder.numbers.fetch_sub(1, Ordering::AcqRel) > 1 {
            return false;
        }
        holder.process.store(0, Ordering::Release);
        true
    }

    /// True when a living process other than the named one holds the endpoint; see [`crate::family::is_process_alive`].
    #[must_use]
    pub fn has_other_holder(&self, process: u32) -> bool {
        self.may_have_others(process)
            && self.looks_for_others(process, crate::family::is_process_alive)
    }

    /// False for the many that never had a second holder.
    #[inline(always)]
    fn may_have_others(&self, process: u32) -> bool {
        let [first, ..] = &self.holders;
        let seen = first.process.load(Ordering::Acquire);
        self.holders_used.load(Ordering::Acquire) > 1 || (seen != 0 && seen != process + 1)
    }

    /// Clears what dead processes other than the named one have left; true when a living one is left. As
    /// [`Self::has_other_holder`], but as of this moment.
    #[inline]
    pub fn clear_the_dead(&self, process: u32) -> bool {
        self.may_have_others(process)
            && self.looks_for_others(process, crate::family::is_process_alive_now)
    }

    /// Entries of dead processes are cleared, and their sleepers no longer counted. An epoch that they armed stays; it
    /// costs one bell.
    #[cold]
    fn looks_for_others(&self, process: u32, is_alive: fn(u32) -> bool) -> bool {
        let mut found = false;
        for holder in self.used_holders() {
            let seen = holder.process.load(Ordering::Acquire);
            if seen == 0 || seen == CLEARING || seen == process + 1 {
                continue;
            }
            if is_alive(seen - 1) {
                found = true;
            } else if holder
                .process
                .compare_exchange(seen, CLEARING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                self.free_holder(holder);
            }
        }
        found
    }

    /// Nobody's entry any more; who slept under it no longer counts.
    pub(crate) fn free_holder(&self, holder: &Holder) {
        self.forget_sleepers(holder.sleepers.swap(0, Ordering::AcqRel));
        holder.process.store(0, Ordering::Release);
    }

    fn forget_sleepers(&self, sum: u64) {
        let count = |place: u32| (sum >> (place * SLEEPER_BITS)) as u32 & ((1 << SLEEPER_BITS) - 1);
        self.armed_rx.fetch_sub(count(1), Ordering::AcqRel);
        self.armed_tx.fetch_sub(count(2), Ordering::AcqRel);
        self.asleep.fetch_sub(count(0), Ordering::AcqRel);
    }

    /// True while a thread may be asleep on the line, of this process or of a living relative.
    #[inline]
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        self.asleep.load(Ordering::Acquire) != 0 && self.has_living_sleepers()
    }

    #[cold]
    fn has_living_sleepers(&self) -> bool {
        if let Some(process) = crate::family::process_place() {
            let _ = self.has_other_holder(process);
        }
        self.asleep.load(Ordering::Acquire) != 0
    }
}
