//! Accepted differences between the shim and the kernel: one list, each with its reason. A gap that has closed must
//! be taken off the list, or the oracle fails.

use crate::case::Mode;

/// One accepted difference.
pub struct KnownGap {
    /// Name of the case.
    pub case: &'static str,
    /// In which mode it differs.
    pub mode: Mode,
    /// Why it is accepted, in a sentence for users.
    pub reason: &'static str,
}

/// The list.
pub const KNOWN_GAPS: &[KnownGap] = &[
    gap(
        "a_program_executed_behind_the_end_of_the_stream",
        Mode::Eager,
        BEHIND_THE_END,
    ),
    gap(
        "a_program_executed_behind_the_end_of_the_stream",
        Mode::Evidence,
        BEHIND_THE_END,
    ),
];

const BEHIND_THE_END: &str = "A connection whose end has arrived, with bytes unread in the ring, is reset when its last \
holder executes another program: nothing can be put before an end that the kernel has queued.";

const fn gap(case: &'static str, mode: Mode, reason: &'static str) -> KnownGap {
    KnownGap { case, mode, reason }
}

/// The accepted difference of a case in a mode.
#[must_use]
pub fn find(case: &str, mode: Mode) -> Option<&'static KnownGap> {
    KNOWN_GAPS
        .iter()
        .find(|gap| gap.case == case && gap.mode == mode)
}
