//! Where a thread stands between two atomic steps: the model's program counters, and the labels of the code they stand for.
//!
//! A thread rests *before* the step its place is named after. Numbers are those of SWITCH.md §3 and §4. A place has
//! several labels where the model runs several steps of the code as one, because nobody else can tell the difference
//! (they all happen under a lock, and only one of them is seen by others), or where it decides which step is next.

use crate::labels::Label;

/// What a place of the model is in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It stands before these labelled steps.
    Steps(&'static [Label]),
    /// It is bookkeeping of the model; why no label belongs to it.
    Bookkeeping(&'static str),
}

macro_rules! places {
    ($($(#[$doc:meta])* $place:ident => $meaning:expr,)+) => {
        /// Program counter of one thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Place { $($(#[$doc])* $place,)+ }

        impl Place {
            /// Every place, in the order of declaration.
            pub const ALL: &'static [Place] = &[$(Place::$place,)+];

            /// The thread takes no further step.
            pub fn is_final(self) -> bool {
                matches!(self, Place::Ended | Place::Killed)
            }
        }

        /// What `place` is in the code.
        pub fn meaning_of(place: Place) -> Meaning {
            use Label::*;
            use Meaning::*;
            match place { $(Place::$place => $meaning,)+ }
        }
    };
}

places! {
    /// The thread returned from its last call.
    Ended => Bookkeeping("no step is left"),
    /// The thread's process was killed.
    Killed => Bookkeeping("SIGKILL may come at every place; torture tests aim it by label"),

    /// A writer between two calls: send, shut down, or retreat on a whim.
    SendIdle => Bookkeeping("the program decides what it calls"),
    /// SEND 1: wait for `tx_lock`.
    SendLock => Steps(&[SendLock]),
    /// SEND 2 and what follows at once, under `tx_lock`.
    SendLocked => Steps(&[UpgradeVerify, SendKernelEnter, SendCopy, SendPublish, SendFull]),
    /// SEND, even, 4: inside the program's own kernel send.
    SendInKernel => Steps(&[SendKernelCall]),
    /// SEND, even, 5: out of the kernel, not counted yet.
    SendCount => Steps(&[SendKernelCount]),
    /// BELL(rx) 1, after publishing, under `tx_lock`.
    SendBellCompare => Steps(&[BellCompare, AnnounceRinging]),
    /// BELL(rx) 2 and 3.
    SendBellCount => Steps(&[BellCount]),
    /// BELL(rx) 3 apart from the look at `gone`; only where a deliberate bug separates them.
    SendBellCountAlone => Steps(&[BellCount]),
    /// BELL(rx) 4.
    SendBellSend => Steps(&[BellSend]),

    /// UPGRADE 2: ANNOUNCE.
    UpgradeAnnounce => Steps(&[AnnounceRinging]),
    /// UPGRADE 2 and 3: look at `gone`, count, switch.
    UpgradeSwitch => Steps(&[UpgradeCount, UpgradeSwitch]),
    /// UPGRADE 4: the opening bell.
    UpgradeBell => Steps(&[UpgradeBell]),
    /// RETREAT 1: ANNOUNCE.
    RetreatAnnounce => Steps(&[AnnounceRinging]),
    /// RETREAT 1 and 2: look at `gone`, count, switch.
    RetreatSwitch => Steps(&[RetreatCount, RetreatSwitch]),
    /// RETREAT 3: the closing bell.
    RetreatBell => Steps(&[RetreatBell]),

    /// SLEEP(tx) 1: wait for `rx_lock`.
    WriterSleepLock => Steps(&[SleepLock]),
    /// SLEEP(tx) 2, and `asleep++` of 3.
    WriterSleepDrain => Steps(&[SleepDrain]),
    /// SLEEP(tx) 3: arm.
    WriterSleepArm => Steps(&[SleepArm]),
    /// SLEEP(tx) 4: look again.
    WriterSleepLook => Steps(&[SleepLook]),
    /// SLEEP(tx) 2: bells are unread and others sleep on them.
    WriterBackOff => Bookkeeping("nothing is held or changed while backing off: what can happen here can happen at SendLock"),
    /// KSLEEP of a writer.
    WriterAsleep => Steps(&[KernelSleep]),

    /// shutdown(WR): wait for `tx_lock`, ANNOUNCE.
    ShutdownAnnounce => Steps(&[AnnounceRinging]),
    /// shutdown(WR): look at `gone`, publish `fin`.
    ShutdownPublish => Steps(&[FinPublish]),
    /// shutdown(WR): the kernel's part.
    ShutdownKernel => Steps(&[FinKernel]),

    /// REWIND: fix where to start.
    RewindStart => Steps(&[RewindStart, RewindOver]),
    /// REWIND: one byte from the ring into the kernel, or the end.
    RewindSend => Steps(&[RewindSend, RewindOver]),
    /// REWIND: the byte was sent, and is not counted yet; only where somebody may die there.
    RewindCount => Steps(&[RewindCount]),
    /// REWIND: the kernel is full, `tx_lock` given back.
    RewindWait => Steps(&[RewindWait]),

    /// LEAVE 1.
    LeaveGone => Steps(&[LeaveGone]),
    /// LEAVE 2.
    LeaveRingingWait => Steps(&[LeaveRingingWait]),
    /// LEAVE 3 and 4.
    LeaveDrain => Steps(&[LeaveDrain, LeaveReset]),
    /// LEAVE 5: RETREAT without ANNOUNCE, for nobody else of this side runs.
    LeaveRetreat => Steps(&[LeaveRetreat, RetreatCount, RetreatSwitch]),
    /// LEAVE 5: the closing bell.
    LeaveBell => Steps(&[RetreatBell]),
    /// LEAVE 6.
    LeaveClose => Steps(&[LeaveClose]),
    /// A thread whose side has begun to leave.
    LeftBehind => Bookkeeping("the leaver ended its calls; its thread runs no step any more"),
    /// A stranger that holds the socket after LEAVE and writes: knows nothing of rings and bells.
    StrangerWrites => Bookkeeping("a stranger runs none of our code"),
    /// The same, reading.
    StrangerReads => Bookkeeping("a stranger runs none of our code"),

    /// Between two steps of giving the slot up, or never.
    GiveIdle => Bookkeeping("the calls that give a slot up are made when others please, or never"),
    /// U1.
    GiveBegin => Steps(&[GiveBegin]),
    /// The far side is asked to begin, too; or not.
    GiveTell => Steps(&[GiveTell]),
    /// Wait for `tx_lock`; RETREAT, if the own direction is odd.
    GiveSend => Steps(&[RetreatCount, RetreatSwitch]),
    /// RETREAT 3 of the same.
    GiveRetreatBell => Steps(&[RetreatBell]),
    /// U2, under `tx_lock`: has the far side passed all?
    GiveSettle => Steps(&[GiveSettle]),
    /// Wait for `rx_lock`; look at the far `ep`.
    GiveReceive => Bookkeeping("a look under the own lock; what it finds is done behind it"),
    /// Under `rx_lock`: pass the switch that was seen.
    GivePass => Steps(&[ReceivePass]),
    /// The far side must retreat first: ask it.
    GiveWant => Steps(&[WantWrite]),
    /// U3, under `rx_lock`, waiting for `tx_lock`.
    GiveConclude => Steps(&[GiveConclude]),
    /// U9: wait for both locks; has the far side begun?
    GiveBackLook => Bookkeeping("the first look is a shortcut: the one behind the fence decides"),
    /// U9: the promise is taken back.
    GiveTakeBack => Steps(&[GiveTakeBack]),
    /// U9: look again.
    GiveKeep => Steps(&[GiveKeep, GiveSettle]),
    /// The binding has ended: leave the slot.
    SlotLeave => Steps(&[SlotLeave]),
    /// Zero the own half.
    SlotFree => Steps(&[SlotFree]),
    /// Another connection takes the slot.
    SlotBind => Steps(&[SlotBind]),
    /// The other connection sends on the ring, or receives.
    SlotUse => Bookkeeping("the steps of another connection, for which it has configurations of its own"),

    /// A reader between two calls: receive, ask for a retreat, or shut down reading.
    ReceiveIdle => Steps(&[WantWrite]),
    /// RECV 1: wait for `rx_lock`.
    ReceiveLock => Steps(&[ReceiveLock]),
    /// RECV 1 and 2, under `rx_lock`.
    ReceiveLocked => Steps(&[ReceiveGrant, ReceiveKernelEnter]),
    /// RECV, even, no grant: inside the program's own recv.
    ReceiveInKernel => Steps(&[ReceiveKernelCall]),
    /// RECV, even, no grant: out of the kernel, not counted yet.
    ReceiveCount => Steps(&[ReceiveKernelCount]),
    /// RECV, even, grant, 2: count what the kernel holds.
    GrantedCount => Steps(&[ReceiveGrantedCount]),
    /// RECV, even, grant, 3 to 5: look at `ep`, take what was counted.
    GrantedTake => Steps(&[ReceiveGrantedTake, ReceivePass]),
    /// RECV, odd, 2.
    RingLook => Steps(&[ReceiveLook]),
    /// RECV, odd, 3 to 5.
    RingTake => Steps(&[ReceiveCopy, ReceivePublish]),
    /// RECV, odd, 4: pass a retreat.
    RetreatPass => Steps(&[ReceivePass]),

    /// SLEEP(rx) 2, and `asleep++` of 3.
    ReaderSleepDrain => Steps(&[SleepDrain]),
    /// SLEEP(rx) 3: arm.
    ReaderSleepArm => Steps(&[SleepArm]),
    /// SLEEP(rx) 4: look again.
    ReaderSleepLook => Steps(&[SleepLook]),
    /// SLEEP(rx) 2: bells are unread and others sleep on them.
    ReaderBackOff => Bookkeeping("nothing is held or changed while backing off: what can happen here can happen at ReceiveLock"),
    /// KSLEEP of a reader.
    ReaderAsleep => Steps(&[KernelSleep]),

    /// RECV, odd, 3: `head` is published (or `want` written); is `arm.tx` new? No lock is held.
    RoomBellLook => Steps(&[BellCompare]),
    /// BELL(tx) 1, under `tx_lock`.
    RoomBellCompare => Steps(&[BellCompare, AnnounceRinging]),
    /// BELL(tx) 2 and 3.
    RoomBellCount => Steps(&[BellCount]),
    /// BELL(tx) 3 apart from the look at `gone`; only where a deliberate bug separates them.
    RoomBellCountAlone => Steps(&[BellCount]),
    /// BELL(tx) 4.
    RoomBellSend => Steps(&[BellSend]),
}

/// The labelled steps that `place` stands before; none if it is bookkeeping.
pub fn labels_of(place: Place) -> &'static [Label] {
    match meaning_of(place) {
        Meaning::Steps(labels) => labels,
        Meaning::Bookkeeping(_reason) => &[],
    }
}
