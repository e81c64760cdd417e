//! Test builds only (feature `step-hooks`): `STEP_HOOK=Label:nth[:pause_us],...` kills this process at the nth passage
//! of a labelled step of the switch (`fastpath::stream::labels`), or pauses the thread there for so many microseconds.
//! `nth` 0 means every passage. What is misspelt is said on standard error, for a test that plans nothing proves nothing.

use core::str;
use fastpath::stream::labels::{Label, StepAction, configure};

/// The variable.
pub const NAME: &[u8] = b"STEP_HOOK";

/// Carries out the plans of the variable's value.
pub fn plan(value: &[u8]) {
    for part in value.split(|byte| *byte == b',') {
        if plan_one(part).is_none() {
            crate::log::line(
                settings::LogLevel::Error,
                &[b"STEP_HOOK: no such step or number: ", part],
            );
        }
    }
}

fn plan_one(part: &[u8]) -> Option<()> {
    let mut words = part.split(|byte| *byte == b':');
    let label = Label::from_name(str::from_utf8(words.next()?).ok()?)?;
    let nth: u32 = number(words.next()?)?;
    let action = match words.next() {
        None => StepAction::Kill,
        Some(micros) => StepAction::Pause {
            micros: number(micros)?,
        },
    };
    if words.next().is_some() {
        return None;
    }
    configure(label, nth, action);
    Some(())
}

fn number(word: &[u8]) -> Option<u32> {
    str::from_utf8(word).ok()?.parse().ok()
}
