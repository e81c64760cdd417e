//! Every run that `check.sh` makes, and what it must come to.
//!
//! The numbers of states are part of the expectation: one that changes says that the model's meaning has changed, which
//! is to be meant. They are those of the model that SWITCH.md was designed with.

use crate::configuration::Rules;
use crate::configurations;
use crate::deliberate_bugs::DeliberateBug::{self, *};
use crate::search::{Report, Verdict, search};
use crate::state::State;
use crate::switch::{Switch, describe};
use crate::violation::Violation::{self, *};
use crate::waiter::{Waiter, WaiterBug};
use std::mem::discriminant;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is explored.
    pub subject: Subject,
    /// What it must come to.
    pub expected: Expected,
    /// Too long for `--quick`.
    pub is_long: bool,
}

/// What a run explores.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// A configuration of the switch, by name.
    Switch(&'static str, Option<DeliberateBug>),
    /// The set that several connections wake.
    Waiter(Waiter),
}

/// What a run comes to.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// Nothing is wrong.
    Holds {
        /// Size of the state graph.
        states: usize,
        /// The most bells that are unread in one kernel stream. SWITCH.md §5 allows five.
        most_bells: u8,
    },
    /// This kind of violation is found.
    Fails(Violation),
}

const OUT_OF_ORDER: Violation = OutOfOrder {
    delivered: 0,
    due: 0,
};
const DATA_DISCARDED: Violation = DataDiscarded(0);
const BYTES_MISSING: Violation = BytesMissing {
    written: 0,
    read: 0,
};

/// The protocol as it is, in every configuration.
#[rustfmt::skip]
pub const SOUND: &[Case] = &[
    holds("one-way", 8_961, 3),
    holds("one-way-two-readers", 44_648, 4),
    holds("one-way-both-serve", 100_113, 3),
    holds("upgrade-three-times", 493_656, 4),
    holds("upgrade-twice-two-readers", 325_420, 4),
    holds("two-writers", 748_884, 3),
    holds("base", 3_534_353, 3),
    holds("early-fin", 2_015_354, 3),
    holds("interrupted", 3_863_253, 3),
    holds("two-readers", 6_314_846, 3),
    holds("two-readers-retreat", 8_488_290, 4).long(),
    holds("two-readers-interrupted", 573_556, 3),
    holds("two-writers-two-readers", 28_090_059, 3).long(),
    holds("upgrade-twice", 10_073_036, 3).long(),
    holds("retreat-and-upgrade", 8_712_808, 3).long(),
    holds("retreat-idle", 7_504_484, 3),
    holds("retreat-asked-for", 6_420_477, 3),
    holds("retreat-both", 13_843_470, 3).long(),
    holds("write-first", 26_237, 3),
    holds("write-first-longer", 98_331, 4),
    holds("spill", 12_634_767, 3).long(),
    holds("shutdown-read", 1_266_670, 3),
    holds("kill-writer", 21_725_318, 3).long(),
    holds("kill-reader", 9_390_679, 3).long(),
    holds("kill-writer-two-readers", 3_524_486, 4),
    holds("close", 387_550, 3),
    holds("close-while-reading", 8_769_014, 3),
    holds("leave", 904_195, 3),
    holds("leave-early-fin", 552_811, 2),
    holds("leave-mixed", 30_798, 2),
    holds("leave-upgrading", 1_844_280, 3),
    holds("leave-retreating", 6_029_694, 4),
    holds("leave-kernel-full", 1_488_145, 3),
    holds("leave-rewinder-dies", 1_822_039, 3),
    holds("leave-siblings", 729_322, 2),
    holds("leave-siblings-retreating", 4_503_254, 3),
    holds("leave-siblings-upgrading", 2_369_883, 3),
    holds("give-up", 702_235, 3),
    holds("give-up-quiet", 8_744, 1),
    holds("give-up-follower-sends", 635_603, 3),
    holds("give-up-two-readers", 326_260, 2),
    holds("give-up-both-ways", 19_980_172, 2).long(),
    holds("give-up-taken-back", 677_028, 3),
    holds("give-up-killed-writer", 1_158_372, 3),
    holds("give-up-killed-reader", 1_033_377, 3),
];

/// Every deliberate bug, where it shows.
#[rustfmt::skip]
pub const BUGS: &[Case] = &[
    fails("base", NoSecondLookReading, DeadEnd),
    fails("retreat-asked-for", NoSecondLookWriting, DeadEnd),
    fails("base", CompareBeforePublish, DeadEnd),
    fails("base", RungAfterBell, DeadEnd),
    fails("base", RearmSameValue, DeadEnd),
    fails("retreat-and-upgrade", ClosingBellNotCounted, BellDelivered),
    fails("retreat-idle", NoClosingBell, DeadEnd),
    fails("base", NoOpeningBell, DeadEnd),
    fails("one-way-two-readers", ClassifyOnReturn, OUT_OF_ORDER),
    fails("one-way-two-readers", GrantWithReceiveInFlight, BellDelivered),
    fails("base", RetreatWithoutDrain, OUT_OF_ORDER),
    fails("early-fin", EndsLookedAtAfterData, OUT_OF_ORDER),
    fails("base", DrainWhileOthersSleep, DeadEnd),
    fails("two-readers-interrupted", InterruptedDisarms, DeadEnd),
    fails("base", SleepOnDeadLine, DeadEnd),
    fails("retreat-idle", BellInKernelMode, BellDelivered),
    fails("retreat-and-upgrade", UpgradeWithoutGrant, BellDelivered),
    fails("two-readers", LookBeforeCount, BellDelivered),
    fails("kill-writer", EndWithoutLastLook, BYTES_MISSING),
    fails("two-writers", UpgradeWithSendInFlight, DATA_DISCARDED),
    fails("retreat-idle", PassRetreatOverSleeper, DeadEnd),
    fails("leave", NoRingingWait, BellDelivered),
    fails("close-while-reading", NoRingingWait, BellAtClosedSocket),
    fails("leave", BellIgnoresGone, BellDelivered),
    fails("close-while-reading", BellIgnoresGone, BellAtClosedSocket),
    fails("close-while-reading", RetreatIgnoresGone, BellAtClosedSocket),
    fails("leave-retreating", RetreatIgnoresGone, BellDelivered),
    fails("close", LeaveWithoutDrain, ClosedOverBell),
    fails("leave", LeaveWithoutDrain, BellDelivered),
    fails("leave", NoRewind, OUT_OF_ORDER),
    fails("leave-rewinder-dies", RewindNotRecounted, OUT_OF_ORDER),
    fails("leave", RewindLate, NoWayOut),
    fails("leave", FinAtLeave, DeadEnd),
    fails("leave", ReaderDoesNotRewind, NoWayOut),
    fails("leave-upgrading", UpgradeIgnoresGone, BellDelivered),
    fails("leave-upgrading", UpgradeOverUnread, DATA_DISCARDED),
    fails("leave-retreating", LeaveOverSpilled, OUT_OF_ORDER),
    fails("leave-early-fin", LeaveOverFin, BYTES_MISSING),
    fails("leave-early-fin", FinIgnoresGone, BYTES_MISSING),
    fails("leave-mixed", UnboundedMixedSleep, DeadEnd),
    fails("leave-siblings", LeaveLocksInTurn, OUT_OF_ORDER),
    fails("leave-siblings-upgrading", LeaveLocksInTurn, OUT_OF_ORDER),
    fails("write-first", NoSpill, DeadEnd),
    fails("give-up", UpgradeWhileGiving, BellDelivered),
    fails("give-up-follower-sends", UpgradeWhileGiving, BellDelivered),
    fails("give-up", GiveWithoutDrain, OUT_OF_ORDER),
    fails("give-up", GiveOverSleeper, DeadEnd),
    fails("give-up-taken-back", ConcludeUnsettled, BellDelivered),
    fails("give-up-taken-back", TakeBackWithoutLook, BellDelivered),
    fails("give-up", FreeBeforeBothLeft, NoWayOut),
    fails("give-up", BindBeforeEcho, SlotNotClean),
    fails("give-up-quiet", BindBeforeEcho, SlotNotClean),
];

/// Changes that turned out to be harmless.
#[rustfmt::skip]
pub const HARMLESS: &[Case] = &[
    holds("close-while-reading", 9_045_731, 3).with(BellSentBeforeCounted).long(),
    holds("leave", 970_601, 3).with(BellSentBeforeCounted),
    holds("close", 394_026, 3).with(BellSentBeforeCounted),
    holds("leave-upgrading", 1_961_819, 3).with(BellSentBeforeCounted),
    holds("close-while-reading", 8_773_661, 3).with(RingingClearedEarly).long(),
    holds("leave", 906_211, 3).with(RingingClearedEarly),
    holds("close", 387_656, 3).with(RingingClearedEarly),
    holds("leave-upgrading", 1_847_834, 3).with(RingingClearedEarly),
    holds("give-up", 815_942, 3).with(SettleBeforePassed),
    holds("give-up-killed-reader", 1_369_184, 3).with(SettleBeforePassed).long(),
];

const TWICE: [u8; 3] = [2, 1, 1];
const ONCE: [u8; 3] = [1, 1, 1];

/// The waiter of several connections.
#[rustfmt::skip]
pub const WAITER: &[Case] = &[
    waiter(1, TWICE, None, sound(875_094, 2)),
    waiter(2, TWICE, None, sound(6_588_419, 2)),
    waiter(3, ONCE, None, sound(3_312_993, 1)),
    waiter(1, TWICE, Some(WaiterBug::RearmSameValue), Expected::Fails(DeadEnd)),
    waiter(2, TWICE, Some(WaiterBug::RearmSameValue), Expected::Fails(DeadEnd)),
    waiter(3, ONCE, Some(WaiterBug::RearmSameValue), Expected::Fails(DeadEnd)),
    waiter(1, TWICE, Some(WaiterBug::NoSecondLook), Expected::Fails(DeadEnd)),
    waiter(2, TWICE, Some(WaiterBug::NoSecondLook), Expected::Fails(DeadEnd)),
    waiter(3, ONCE, Some(WaiterBug::NoSecondLook), Expected::Fails(DeadEnd)),
    waiter(1, TWICE, Some(WaiterBug::DifferentIsEnough), sound(994_093, 2)),
    waiter(2, TWICE, Some(WaiterBug::DifferentIsEnough), sound(7_607_967, 2)),
    waiter(3, ONCE, Some(WaiterBug::DifferentIsEnough), sound(3_629_044, 1)),
    waiter(1, TWICE, Some(WaiterBug::RungIsPresentArm), sound(1_808_188, 2)),
    waiter(2, TWICE, Some(WaiterBug::RungIsPresentArm), sound(13_112_934, 2)).long(),
    waiter(1, TWICE, Some(WaiterBug::LostExchangeGivesUp), sound(879_231, 2)),
    waiter(2, TWICE, Some(WaiterBug::LostExchangeGivesUp), sound(6_624_090, 2)),
    waiter(1, TWICE, None, sound(3_753_505, 2)).closing(),
    waiter(1, TWICE, Some(WaiterBug::NotedBeforeAnnounce), Expected::Fails(DeadEnd)).closing(),
    waiter(1, TWICE, Some(WaiterBug::CloserDoesNotKick), Expected::Fails(DeadEnd)).closing(),
];

const fn holds(configuration: &'static str, states: usize, most_bells: u8) -> Case {
    Case {
        subject: Subject::Switch(configuration, None),
        expected: sound(states, most_bells),
        is_long: false,
    }
}

const fn fails(configuration: &'static str, bug: DeliberateBug, violation: Violation) -> Case {
    Case {
        subject: Subject::Switch(configuration, Some(bug)),
        expected: Expected::Fails(violation),
        is_long: false,
    }
}

const fn waiter(
    threads: usize,
    publications: [u8; 3],
    bug: Option<WaiterBug>,
    expected: Expected,
) -> Case {
    Case {
        subject: Subject::Waiter(Waiter {
            threads,
            publications,
            closes: false,
            bug,
        }),
        expected,
        is_long: false,
    }
}

const fn sound(states: usize, most_bells: u8) -> Expected {
    Expected::Holds { states, most_bells }
}

impl Case {
    const fn with(self, bug: DeliberateBug) -> Case {
        match self.subject {
            Subject::Switch(configuration, _) => Case {
                subject: Subject::Switch(configuration, Some(bug)),
                ..self
            },
            Subject::Waiter(_) => self,
        }
    }

    const fn closing(self) -> Case {
        match self.subject {
            Subject::Waiter(waiter) => Case {
                subject: Subject::Waiter(Waiter {
                    closes: true,
                    ..waiter
                }),
                ..self
            },
            Subject::Switch(..) => self,
        }
    }

    const fn long(self) -> Case {
        Case {
            is_long: true,
            ..self
        }
    }

    /// Every case, the sound protocol first.
    pub fn all() -> impl Iterator<Item = &'static Case> {
        [SOUND, BUGS, HARMLESS, WAITER].into_iter().flatten()
    }
}

/// What a run has come to.
pub struct Result {
    /// How the search ended.
    pub verdict: Verdict,
    /// States seen.
    pub states: usize,
    /// The most bells unread in one kernel stream.
    pub most_bells: u8,
    /// The states from the first to the broken one, a line each.
    pub path: Vec<String>,
}

impl Result {
    /// It is what was expected.
    pub fn meets(&self, expected: Expected) -> bool {
        match (expected, self.verdict) {
            (Expected::Holds { states, most_bells }, Verdict::Holds) => {
                (states, most_bells) == (self.states, self.most_bells)
            }
            (Expected::Fails(expected), Verdict::Fails(found)) => {
                discriminant(&expected) == discriminant(&found)
            }
            _ => false,
        }
    }
}

impl Subject {
    /// What is explored, and what is done differently there.
    pub fn names(&self) -> (String, &'static str) {
        match self {
            Subject::Switch(configuration, bug) => (
                (*configuration).to_owned(),
                bug.map_or("", DeliberateBug::name),
            ),
            Subject::Waiter(waiter) => {
                let [first, second, third] = waiter.publications;
                let closes = if waiter.closes { ", one closes" } else { "" };
                let name = format!(
                    "waiter {}, {first}+{second}+{third}{closes}",
                    waiter.threads
                );
                (name, waiter.bug.map_or("", WaiterBug::name))
            }
        }
    }

    /// Explores it; `visit` is shown each state of a switch.
    ///
    /// # Panics
    /// If no configuration has the name.
    pub fn run(&self, most_states: usize, mut visit: impl FnMut(&State)) -> Result {
        let mut most_bells = 0;
        match *self {
            Subject::Switch(name, bug) => {
                let configuration =
                    configurations::find(name).expect("a configuration of that name");
                let model = Switch(Rules { configuration, bug });
                let report = search(&model, most_states, |state| {
                    visit(state);
                    for stream in &state.stream {
                        most_bells = most_bells.max(stream.kernel.bells());
                    }
                });
                result(report, most_bells, describe)
            }
            Subject::Waiter(waiter) => {
                let report = search(&waiter, most_states, |state| {
                    most_bells = most_bells.max(state.most_bells())
                });
                result(report, most_bells, |state| format!("{state:?}"))
            }
        }
    }
}

fn result<S>(report: Report<S>, most_bells: u8, describe: impl Fn(&S) -> String) -> Result {
    Result {
        verdict: report.verdict,
        states: report.states,
        most_bells,
        path: report.path.iter().map(describe).collect(),
    }
}
