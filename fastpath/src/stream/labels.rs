//! The closed list of labelled steps of the stream switch.
//!
//! A label names one atomic step of SWITCH.md §3 or §4, of giving a slot up (U1 to U9 of `unbind`), or of the life of a
//! slot (PROTOCOL.md §11). The code says [`reached`] as soon as the step is taken, so a
//! process that dies at a label has done that step and nothing behind it. Steps that wait or that end what comes before
//! them (SendLock, SendFull, ReceiveLock, SleepLock, SleepDrain, KernelSleep, RewindWait, LeaveReset, LeaveClose) are
//! announced right before they are taken. The explicit-state model (`fastpath/switch-model`) maps its program counters to the same labels, and a
//! test there compares the list with the model and with the code: a step that one of them lacks is a failing test.
//!
//! Without the cargo feature `step-hooks` [`reached`] is empty. With it, a label can kill or pause the process at its
//! n-th passage. A label without a plan then costs one relaxed load and store for its counter and one load of the
//! plan: no fence and no locked instruction, which would order the very stores and loads that a torture test is to
//! catch out of order. (For this reason, and because counters are not part of the protocol, atomics come from `core`
//! here and not from `sync`.)

macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident,)+) => {
        /// A step of the switch. Numbers in the descriptions are those of SWITCH.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Label { $($(#[$doc])* $label,)+ }

        impl Label {
            /// Every label, in the order of declaration: `ALL[label as usize] == label`.
            pub const ALL: &'static [Label] = &[$(Label::$label,)+];

            /// The label as it is written in the code.
            pub const fn name(self) -> &'static str {
                match self { $(Label::$label => stringify!($label),)+ }
            }
        }
    };
}

labels! {
    /// ANNOUNCE: `ringing=1`, before the fence and the look at the peer's `gone`.
    AnnounceRinging,

    /// BELL 1: load `arm`, compare it with `rung`, remember it as rung for.
    BellCompare,
    /// BELL 3: count the bell, `koff=++ktx`. Only after ANNOUNCE saw no `gone`.
    BellCount,
    /// BELL 4: send the byte; then `ringing=0`.
    BellSend,

    /// SEND 1: take `tx_lock`.
    SendLock,
    /// SEND, even, 3: `itx++` and unlock.
    SendKernelEnter,
    /// SEND, even, 4: the program's own kernel send.
    SendKernelCall,
    /// SEND, even, 5: `ktx+=n`, then `itx--`.
    SendKernelCount,
    /// SEND, odd, 3: room was seen; copy into the ring, behind `tail`.
    SendCopy,
    /// SEND, odd, 3: publish `tail`; the fence and BELL(rx) follow.
    SendPublish,
    /// SEND, odd, 4: the ring is full; the line decides between RETREAT, SLEEP(tx) and EAGAIN.
    SendFull,

    /// UPGRADE 1 with SEND, even, 2: the conditions of §2.2 are looked at, POLLOUT and the offsets of §7 confirmed.
    UpgradeVerify,
    /// UPGRADE 2, after ANNOUNCE saw no `gone`: count the opening bell, `koff=++ktx`.
    UpgradeCount,
    /// UPGRADE 3: `ep+1`, odd (release).
    UpgradeSwitch,
    /// UPGRADE 4: send the opening bell; then `ringing=0`.
    UpgradeBell,

    /// RETREAT 1, after ANNOUNCE saw no `gone`: `kr=koff=++ktx`.
    RetreatCount,
    /// RETREAT 2: `ep+1`, even (release).
    RetreatSwitch,
    /// RETREAT 3: send the closing bell; then `ringing=0`.
    RetreatBell,

    /// RECV 1: take `rx_lock`.
    ReceiveLock,
    /// RECV, even, no grant, 2: publish `krx`, then `grant`.
    ReceiveGrant,
    /// RECV, even, no grant, 2: `irx++` and unlock.
    ReceiveKernelEnter,
    /// RECV, even, no grant: the program's own kernel receive.
    ReceiveKernelCall,
    /// RECV, even, no grant: `krx+=n`, `irx--`.
    ReceiveKernelCount,
    /// RECV, even, grant, 2: count what the kernel holds (FIONREAD), before the look at `ep`.
    ReceiveGrantedCount,
    /// RECV, even, grant, 3 and 4: load `ep`; unchanged: take what was counted and publish `krx`.
    ReceiveGrantedTake,
    /// RECV, odd, 2: load `ep`, `fin`, `keof`, before `tail`.
    ReceiveLook,
    /// RECV, odd, 3: load `tail`; there is data: copy it out.
    ReceiveCopy,
    /// RECV, odd, 3: publish `head`; unlock, fence and BELL(tx) follow.
    ReceivePublish,
    /// RECV, odd, 4, and RECV, even, grant, 3: a switch is passed. Bells up to `kr` are consumed if it was a retreat,
    /// then `rx_ep+1`.
    ReceivePass,
    /// RETREAT asked for: R writes `want`; the fence and BELL(tx) follow.
    WantWrite,

    /// SLEEP 1: take `rx_lock`.
    SleepLock,
    /// SLEEP 2: look for unread bells below `koff`; nobody asleep: consume them.
    SleepDrain,
    /// SLEEP 3: `asleep++`, then `arm` to the next odd value; the fence follows.
    SleepArm,
    /// SLEEP 4: look again.
    SleepLook,
    /// KSLEEP: asleep in the kernel, no lock held, nothing consumed.
    KernelSleep,

    /// LEAVE 1: `gone=1` under `rx_lock`; the fence follows.
    LeaveGone,
    /// LEAVE 2: wait until the peer's `ringing` is 0.
    LeaveRingingWait,
    /// LEAVE 4: consume the bells below `koff`.
    LeaveDrain,
    /// LEAVE 3, or 4 out of time: reset the socket, reason `left_behind`.
    LeaveReset,
    /// LEAVE 5: own direction is odd without `fin`: RETREAT.
    LeaveRetreat,
    /// LEAVE 6: kernel close, or exec.
    LeaveClose,

    /// REWIND: the peer's `gone` was seen under `tx_lock`; fix where to start, at `head`.
    RewindStart,
    /// REWIND: send what the ring still holds into the kernel, a piece at a time.
    RewindSend,
    /// REWIND: note how far the kernel has taken it.
    RewindCount,
    /// REWIND: the kernel is full; give `tx_lock` back, and sleep for POLLOUT, say EAGAIN, or go on with the own call.
    RewindWait,
    /// REWIND: nothing is owed any more: `over`, plain kernel for ever.
    RewindOver,

    /// shutdown(WR), after ANNOUNCE saw no `gone`: `fin` if odd.
    FinPublish,
    /// shutdown(WR): the kernel's shutdown; then `ringing=0`.
    FinKernel,

    /// Giving up, U1: `unbinding=1` under `tx_lock`.
    GiveBegin,
    /// Giving up: the accepting side publishes a control event that asks the far side to begin, too. A hint.
    GiveTell,
    /// Giving up, U2: the own direction is on the kernel and passed by the far side; write `state=2`.
    GiveSettle,
    /// Giving up, U3: both have settled; the binding ends, under both locks.
    GiveConclude,
    /// Giving up, U9: the own promise is taken back, `state=1`; the fence and the look at the far side's follow.
    GiveTakeBack,
    /// Giving up, U9: the far side had not begun; `unbinding=0`, the connection keeps its slot.
    GiveKeep,

    /// A slot has a new connection: `state=1`, cookie, then `generation=g` in the own half.
    SlotBind,
    /// This side is done with a slot: `leaving=g`.
    SlotLeave,
    /// Both sides have left (the connecting one: the accepting one says so): the own half is zeroed, then
    /// `generation=g+1`.
    SlotFree,
}

impl Label {
    /// The label written so, if it is one.
    pub fn from_name(name: &str) -> Option<Label> {
        Label::ALL
            .iter()
            .copied()
            .find(|label| label.name() == name)
    }
}

/// The calling thread is at the step `label`.
#[cfg(not(feature = "step-hooks"))]
#[inline(always)]
pub fn reached(_label: Label) {}

#[cfg(feature = "step-hooks")]
pub use hooks::{
    EVERY_TIME, StepAction, clear, configure, configure_in_children, hits, on_fork_child, planned,
    reached,
};

/// What a test build can do to a process at a labelled step. State is per process and inherited by fork.
#[cfg(feature = "step-hooks")]
mod hooks {
    use super::Label;
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use core::time::Duration;
    use rustix::process::{Signal, getpid, kill_process};
    use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

    /// What happens to the process at a planned step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StepAction {
        /// SIGKILL to the own process, by a raw system call.
        Kill,
        /// The thread sleeps, its locks held as they are at that step; the rest of the process runs on.
        Pause {
            /// Length of the pause. `u32::MAX` stands for `u32::MAX - 1`.
            micros: u32,
        },
    }

    /// As `nth_time` of [`configure`]: at every passage.
    pub const EVERY_TIME: u32 = 0;

    const COUNT: usize = Label::ALL.len();
    static HITS: [AtomicU32; COUNT] = [const { AtomicU32::new(0) }; COUNT];
    /// A plan in one word, so that it is never seen half written: passages still to go in the upper half (0: act at
    /// each), microseconds to pause in the lower one, all ones there to kill.
    static PLANS: [AtomicU64; COUNT] = [const { AtomicU64::new(NO_PLAN) }; COUNT];
    /// Plans that only children carry out.
    static PLANS_OF_CHILDREN: [AtomicU64; COUNT] = [const { AtomicU64::new(NO_PLAN) }; COUNT];
    const NO_PLAN: u64 = u64::MAX;
    const KILL: u32 = u32::MAX;

    /// Plans `action` for the `nth_time` (from 1) that a thread of this process reaches `label` from here on. One plan
    /// a label, the last one counts; plans of different labels stand side by side. Done once, a plan is gone, unless it
    /// is for [`EVERY_TIME`]. `u32::MAX` passages count as one less.
    pub fn configure(label: Label, nth_time: u32, action: StepAction) {
        configure_in(&PLANS, label, nth_time, action);
    }

    /// The same for every child that calls [`on_fork_child`], and not for this process.
    pub fn configure_in_children(label: Label, nth_time: u32, action: StepAction) {
        configure_in(&PLANS_OF_CHILDREN, label, nth_time, action);
    }

    /// In a child that was just forked: what was planned for children is its own plan now.
    pub fn on_fork_child() {
        for (own, planned) in PLANS.iter().zip(&PLANS_OF_CHILDREN) {
            let planned = planned.swap(NO_PLAN, Ordering::AcqRel);
            if planned != NO_PLAN {
                own.store(planned, Ordering::Release);
            }
        }
    }

    fn configure_in(plans: &[AtomicU64], label: Label, nth_time: u32, action: StepAction) {
        let action = match action {
            StepAction::Kill => KILL,
            StepAction::Pause { micros } => micros.min(KILL - 1),
        };
        let passages = nth_time.min(u32::MAX - 1);
        if let Some(plan) = plans.get(label as usize) {
            // Release, so that what the test wrote before is there when the plan is found.
            plan.store(
                u64::from(passages) << 32 | u64::from(action),
                Ordering::Release,
            );
        }
    }

    /// Whether something is still planned for `label`: false says that the plan was carried out, or that there was none.
    pub fn planned(label: Label) -> bool {
        PLANS
            .get(label as usize)
            .is_some_and(|plan| plan.load(Ordering::Acquire) != NO_PLAN)
    }

    /// Forgets every plan and every count.
    pub fn clear() {
        for plan in PLANS.iter().chain(&PLANS_OF_CHILDREN) {
            plan.store(NO_PLAN, Ordering::Relaxed);
        }
        for hits in &HITS {
            hits.store(0, Ordering::Relaxed);
        }
    }

    /// How often `label` was reached in this process (and, before its fork, in its parent). Threads that reach a label
    /// in the same instant may be counted as one; a label that was reached never shows 0.
    pub fn hits(label: Label) -> u32 {
        HITS.get(label as usize)
            .map_or(0, |hits| hits.load(Ordering::Relaxed))
    }

    /// The calling thread is at the step `label`: counts it and does what was planned for it.
    pub fn reached(label: Label) {
        if let Some(hits) = HITS.get(label as usize) {
            // Not `fetch_add`: see the module's description. Saturating, for a count that reached once stays reached.
            let before = hits.load(Ordering::Relaxed);
            hits.store(before.saturating_add(1), Ordering::Relaxed);
        }
        if let Some(plan) = PLANS.get(label as usize)
            && plan.load(Ordering::Relaxed) != NO_PLAN
        {
            count_down(plan);
        }
    }

    #[cold]
    fn count_down(plan: &AtomicU64) {
        let found = plan.fetch_update(Ordering::AcqRel, Ordering::Acquire, |planned| {
            match planned >> 32 {
                _ if planned == NO_PLAN => None,
                0 => Some(planned),
                1 => Some(NO_PLAN),
                _ => Some(planned - (1 << 32)),
            }
        });
        if let Ok(planned) = found
            && planned >> 32 <= 1
        {
            act(planned as u32);
        }
    }

    fn act(action: u32) {
        if action == KILL {
            // Nothing to do about an error; the test sees that nobody died.
            let _ = kill_process(getpid(), Signal::KILL);
            return;
        }
        let pause = Duration::from_micros(u64::from(action));
        let mut rest = Timespec {
            tv_sec: pause.as_secs() as _,
            tv_nsec: pause.subsec_nanos() as _,
        };
        // Each interruption by a signal leaves less to sleep.
        while let NanosleepRelativeResult::Interrupted(remaining) = nanosleep(&rest) {
            rest = remaining;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Label;

    #[test]
    fn names_and_positions_lead_back_to_their_label() {
        for (position, &label) in Label::ALL.iter().enumerate() {
            assert_eq!(label as usize, position);
            assert_eq!(Label::from_name(label.name()), Some(label));
        }
        assert_eq!(Label::from_name("SendPublished"), None);
    }
}

// Plans and counts belong to the whole process: only one test here uses them in the process of the tests.
#[cfg(all(test, feature = "step-hooks"))]
mod hook_tests {
    use super::{
        EVERY_TIME, Label, StepAction, clear, configure, configure_in_children, hits,
        on_fork_child, planned, reached,
    };
    use std::time::{Duration, Instant};

    fn time_of(step: impl FnOnce()) -> Duration {
        let start = Instant::now();
        step();
        start.elapsed()
    }

    #[test]
    fn a_plan_acts_at_its_passage_only_and_counts_go_on() {
        clear();
        let pause = StepAction::Pause { micros: 20_000 };
        let paused = Duration::from_micros(20_000);

        configure(Label::SleepArm, 3, pause);
        reached(Label::SleepArm);
        reached(Label::SleepArm);
        reached(Label::SleepLook);
        assert!(time_of(|| reached(Label::SleepArm)) >= paused);
        assert_eq!((hits(Label::SleepArm), hits(Label::SleepLook)), (3, 1));
        assert!(!planned(Label::SleepArm));

        configure(Label::BellSend, EVERY_TIME, pause);
        for _ in 0..2 {
            assert!(time_of(|| reached(Label::BellSend)) >= paused);
        }
        assert!(planned(Label::BellSend));
        clear();
        assert_eq!(
            (hits(Label::BellSend), planned(Label::BellSend)),
            (0, false)
        );

        configure_in_children(Label::BellSend, EVERY_TIME, pause);
        assert!(!planned(Label::BellSend));
        on_fork_child();
        assert!(planned(Label::BellSend));
        clear();
    }

    /// Set in the process that is to die.
    const VICTIM: &str = "AXIO_LABELS_TEST_VICTIM";

    #[test]
    fn a_planned_kill_ends_the_process_at_that_passage() {
        use std::os::unix::process::ExitStatusExt;
        if std::env::var_os(VICTIM).is_some() {
            configure(Label::RetreatSwitch, 2, StepAction::Kill);
            reached(Label::RetreatSwitch);
            eprintln!("first passage");
            reached(Label::RetreatSwitch);
            eprintln!("second passage");
            return;
        }
        let (_crate_name, module) = module_path!().split_once("::").unwrap();
        let own_name = format!("{module}::a_planned_kill_ends_the_process_at_that_passage");
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &own_name, "--nocapture"])
            .env(VICTIM, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{said}");
        assert!(said.contains("first passage") && !said.contains("second passage"));
    }
}
