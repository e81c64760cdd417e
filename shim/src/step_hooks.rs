//! Test builds only (feature `step-hooks`): `STEP_HOOK=Label:nth[:pause_us],...` kills this process at the nth passage
//! of a labelled step of the switch (`fastpath::stream::labels`), or pauses the thread there for so many microseconds.
//! `nth` 0 means every passage. `STEP_HOOK_CHILDREN` does the same in children forked later, and not in this process. What is misspelt is said on standard error, for a test that plans nothing proves nothing.

use core::str;
use fastpath::stream::labels::{Label, StepAction, configure, configure_in_children};

/// The variable.
pub const NAME: &[u8] = b"STEP_HOOK";
/// The one for children.
pub const NAME_FOR_CHILDREN: &[u8] = b"STEP_HOOK_CHILDREN";

/// Carries out the plans of a variable, if it is one of the two.
pub fn plan(name: &[u8], value: &[u8]) {
    let configure = match name {
        NAME => configure,
        NAME_FOR_CHILDREN => configure_in_children,
        _ => return,
    };
    for part in value.split(|byte| *byte == b',') {
        if plan_one(part, configure).is_none() {
            crate::log::line(
                settings::LogLevel::Error,
                &[b"STEP_HOOK: no such step or number: ", part],
            );
        }
    }
}

fn plan_one(part: &[u8], configure: fn(Label, u32, StepAction)) -> Option<()> {
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
