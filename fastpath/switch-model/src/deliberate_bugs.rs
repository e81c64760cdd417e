//! Each rule of SWITCH.md that can be left out one at a time, to see that the model notices.

macro_rules! changes {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $doc:literal])+ $change:ident $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $change,)+ }

        impl $name {
            /// Every one, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$change,)+];

            /// Its name on the command line and in tables.
            pub const fn name(self) -> &'static str {
                match self { $($name::$change => $text,)+ }
            }

            /// The one of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|change| change.name() == name)
            }

            /// What it does, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $($name::$change => concat!($($doc),+),)+ }
            }
        }
    };
}
pub(crate) use changes;

changes! {
    /// A change to the protocol. Nearly all break it; the last two are known not to, and are kept because the reasons
    /// are instructive (README.md).
    DeliberateBug {
        /// A reader goes to sleep without looking again after arming (SLEEP 4).
        NoSecondLookReading "no-second-look-reading",
        /// A writer goes to sleep without looking again after arming (SLEEP 4).
        NoSecondLookWriting "no-second-look-writing",
        /// BELL compares the epoch before `tail` is published.
        CompareBeforePublish "compare-before-publish",
        /// BELL remembers `rung` after sending the byte.
        RungAfterBell "rung-after-bell",
        /// Arming takes the odd value that was there already.
        RearmSameValue "rearm-same-value",
        /// `kr` does not count the closing bell.
        ClosingBellNotCounted "closing-bell-not-counted",
        /// RETREAT sends no closing bell.
        NoClosingBell "no-closing-bell",
        /// UPGRADE sends no opening bell.
        NoOpeningBell "no-opening-bell",
        /// Bytes are told from bells after recv has returned, by offsets.
        ClassifyOnReturn "classify-on-return",
        /// The grant is given while a thread is inside a consuming recv.
        GrantWithReceiveInFlight "grant-with-receive-in-flight",
        /// A retreat is passed with bytes left in the ring.
        RetreatWithoutDrain "retreat-without-drain",
        /// `ep`, `fin` and `keof` are loaded after `tail` (§2.7).
        EndsLookedAtAfterData "ends-looked-at-after-data",
        /// Bells are consumed while other threads sleep on them (§2.4).
        DrainWhileOthersSleep "drain-while-others-sleep",
        /// A sleeper that is interrupted disarms for all.
        InterruptedDisarms "interrupted-disarms",
        /// A writer sleeps on a line that is not live (§2.5).
        SleepOnDeadLine "sleep-on-dead-line",
        /// A bell is rung while the own direction is on the kernel (§2.6).
        BellInKernelMode "bell-in-kernel-mode",
        /// An upgrade does not wait for a grant of its own, nor for the last retreat to be passed.
        UpgradeWithoutGrant "upgrade-without-grant",
        /// With a grant, the look at `ep` comes before counting what the kernel holds.
        LookBeforeCount "look-before-count",
        /// `keof` ends the stream without another look at the ring.
        EndWithoutLastLook "end-without-last-look",
        /// An upgrade does not wait for sends inside the kernel.
        UpgradeWithSendInFlight "upgrade-with-send-in-flight",
        /// A retreat is passed, and its bells consumed, while others sleep.
        PassRetreatOverSleeper "pass-retreat-over-sleeper",
        /// The leaver does not wait for `ringing` to clear.
        NoRingingWait "no-ringing-wait",
        /// BELL does not look at the peer's `gone`.
        BellIgnoresGone "bell-ignores-gone",
        /// RETREAT does not look at the peer's `gone`.
        RetreatIgnoresGone "retreat-ignores-gone",
        /// The leaver does not consume its bells.
        LeaveWithoutDrain "leave-without-drain",
        /// The ring's bytes are not sent again after the peer's `gone`.
        NoRewind "no-rewind",
        /// The relatives of a killed rewinder believe its note of how far it came.
        RewindNotRecounted "rewind-not-recounted",
        /// SEND does not look at the peer's `gone` before it begins.
        RewindLate "rewind-late",
        /// The leaver publishes `fin` instead of retreating.
        FinAtLeave "fin-at-leave",
        /// RECV does not rewind for a peer that is gone.
        ReaderDoesNotRewind "reader-does-not-rewind",
        /// UPGRADE does not look at the peer's `gone`.
        UpgradeIgnoresGone "upgrade-ignores-gone",
        /// An upgrade does not wait until the kernel stream was read.
        UpgradeOverUnread "upgrade-over-unread",
        /// A leaver with siblings takes its locks in turn: they find the binding as it was when the peer has begun to rewind.
        LeaveLocksInTurn "leave-locks-in-turn",
        /// The leaver ignores unread ring bytes behind a retreat.
        LeaveOverSpilled "leave-over-spilled",
        /// The leaver ignores unread ring bytes behind a `fin`.
        LeaveOverFin "leave-over-fin",
        /// shutdown(WR) does not look at the peer's `gone`.
        FinIgnoresGone "fin-ignores-gone",
        /// A reader whose own ring is unread and whose line is on the kernel sleeps without bound.
        UnboundedMixedSleep "unbounded-mixed-sleep",
        /// A writer on a full ring never gives up waiting.
        NoSpill "no-spill",
        /// Giving up: UPGRADE does not look at `unbinding` (U1).
        UpgradeWhileGiving "upgrade-while-giving",
        /// Giving up: the far side's retreat is passed with bytes left in the ring.
        GiveWithoutDrain "give-without-drain",
        /// Giving up: the far side's retreat is passed, and its bells consumed, while others sleep.
        GiveOverSleeper "give-over-sleeper",
        /// Giving up: the binding ends without a look at whether the far side has settled (U3).
        ConcludeUnsettled "conclude-unsettled",
        /// Giving up: the promise is taken back without another look at the far side (U9).
        TakeBackWithoutLook "take-back-without-look",
        /// The accepting side zeroes its half, and counts the slot free, before the far side has left.
        FreeBeforeBothLeft "free-before-both-left",
        /// The accepting side hands a slot out before the far side has zeroed its half.
        BindBeforeEcho "bind-before-echo",

        /// Harmless to giving up: settled before the far side has passed the retreat (U2).
        SettleBeforePassed "settle-before-passed",
        /// Harmless to leaving: a bell is counted after it was sent. (Needed still to detect strangers and to recover locks.)
        BellSentBeforeCounted "bell-sent-before-counted",
        /// Harmless: `ringing` is cleared once the bell is counted, for the leaver waits for what is counted.
        RingingClearedEarly "ringing-cleared-early",
    }
}
