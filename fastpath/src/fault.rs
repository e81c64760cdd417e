//! Deliberate bugs, one per edge: the model tests switch each on and must then see the model fail.
//!
//! A test that cannot fail proves nothing. Shipped code asks [`sound`] at each edge; outside the model checker the answer
//! is a constant, and nothing remains of the question.

/// One edge or rule that a model test can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// An index is published without the full fence that orders it before the look at the far epoch.
    PublishWithoutFence = 1,
    /// An index is published without release: the far side may see it before the bytes.
    PublishWithoutRelease,
    /// A far index is loaded without acquire.
    FarIndexWithoutAcquire,
    /// A far index is believed.
    FarIndexUnchecked,
    /// An epoch is armed without the full fence before the second look.
    ArmWithoutFence,
    /// Arming re-uses the odd value of the arming before.
    ArmWithOldEpoch,
    /// A bell is due although this epoch was rung for already.
    DueForgetsRung,
    /// The summary is toggled before the ready bit.
    SummaryBeforeBit,
    /// A toggle is not looked at again, so two wakers can undo each other.
    ToggleNotConfirmed,
    /// The waiter looks at the indices before it answers the bit.
    AnswerAfterLook,
    /// The waiter reads the ready words before it answers the summary.
    SummaryAnsweredLast,
    /// A lock is released without release order.
    UnlockWithoutRelease,
    /// A dead owner's lock is taken by a plain store.
    RecoveryByStore,
    /// A thread looks whether the endpoint is unbound, and is counted in another step.
    EntersBehindTheLook,
    /// A thread that comes out of the kernel takes its count from whoever has the block now.
    LeavesAnyLife,
}

#[cfg(loom)]
static ACTIVE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Switches one deliberate bug on (or all off) for the whole process; a model test runs alone in its process.
#[cfg(loom)]
pub fn activate(fault: Option<Fault>) {
    ACTIVE.store(
        fault.map_or(0, |fault| fault as u32),
        std::sync::atomic::Ordering::SeqCst,
    );
}

/// True unless a model test has taken this edge away.
#[inline(always)]
#[must_use]
pub fn sound(fault: Fault) -> bool {
    #[cfg(loom)]
    return ACTIVE.load(std::sync::atomic::Ordering::SeqCst) != fault as u32;
    #[cfg(not(loom))]
    {
        let _ = fault;
        true
    }
}
