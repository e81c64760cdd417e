//! The process that plays one side of one case.
//!
//! It writes marked lines to standard output for the director: `=` transcript (with the number of the step), `#` note,
//! `!` failure, `@` counts, `%` exchanges of a warm-up. Standard input is the control line.

use crate::calls::{processes, signals};
use crate::case::Proof;
use crate::cases;
use crate::control::Control;
use crate::stage::{Role, Stage};

/// Exit code of a side that played to the end.
pub const PLAYED: i32 = 0;
/// Exit code of a side that could not begin.
pub const NOT_PLAYED: i32 = 2;

/// Plays a side; `words` are the case's name, the kind's name and the role.
#[must_use]
pub fn play(words: &[String]) -> i32 {
    let [name, kind, role] = words else {
        println!("! usage: side CASE KIND near|far");
        return NOT_PLAYED;
    };
    let Some(case) = cases::all().find(|case| case.name == name) else {
        println!("! no case is named {name}");
        return NOT_PLAYED;
    };
    let Some(kind) = crate::case::ALL_KINDS
        .iter()
        .find(|known| known.name == kind)
    else {
        println!("! no kind is named {kind}");
        return NOT_PLAYED;
    };
    let role = if role == "near" {
        Role::Near
    } else {
        Role::Far
    };
    let _ = processes::die_with_parent();
    // The Rust runtime ignores SIGPIPE; a program in C starts with its default effect.
    let _ = signals::default_effect(libc::SIGPIPE);
    let stage =
        Control::from_standard_input().and_then(|control| Stage::open(*kind, role, control));
    match stage {
        Ok(mut stage) => {
            stage.prepare(case.start, matches!(case.proof, Proof::StaysOnKernel(_)));
            (case.body)(&mut stage);
            stage.finish();
            PLAYED
        }
        Err(error) => {
            println!("! {error}");
            NOT_PLAYED
        }
    }
}
