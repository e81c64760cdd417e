//! posix_spawn and its file actions, of which the library sees nothing in the child (POSIX.md row 30).

use super::{closes_on_exec, ends, goes_on_in_a_program, helper, no_library};
use crate::calls::children::Strings;
use crate::calls::programs::{self, FileAction};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "posix_spawn",
        a_spawned_program_uses_the_connection_as_its_standard_input
    )
    .rows(&[29, 30])
    .proof(Proof::AtLeast(3000)),
    case!(
        "posix_spawn",
        a_close_on_exec_socket_is_moved_for_a_spawned_program
    )
    .rows(&[30])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(3000)),
    case!("posix_spawn", a_move_onto_itself_clears_close_on_exec)
        .rows(&[30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!(
        "posix_spawnp",
        a_program_found_by_its_name_inherits_the_connection
    )
    .rows(&[30])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(3000)),
    case!(
        "posix_spawn",
        a_spawned_program_that_closes_the_number_harms_nothing
    )
    .rows(&[30])
    .proof(Proof::AtLeast(6)),
    case!(
        "posix_spawn",
        a_spawned_program_does_not_get_a_close_on_exec_socket
    )
    .rows(&[30]),
];

/// A program that posix_spawn starts with these actions, words and environment.
fn spawned(
    near: &mut Side,
    searching: bool,
    path: &str,
    words: &[&str],
    environment: &Strings,
    actions: &[FileAction],
) -> i32 {
    let answer = programs::spawn(searching, path, words, environment, actions);
    match answer {
        Ok(process) => process as i32,
        Err(errno) => near.fail(&format!("posix_spawn: {errno}")),
    }
}

fn a_spawned_program_uses_the_connection_as_its_standard_input(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        let actions = [FileAction::Dup2(near.fd, 0), FileAction::Dup2(pipe, 1)];
        let process = spawned(near, false, "/bin/cat", &[], &no_library(), &actions);
        near.close();
        near.process_asleep(process);
        process
    });
}

fn a_close_on_exec_socket_is_moved_for_a_spawned_program(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        closes_on_exec(near);
        let actions = [FileAction::Dup2(near.fd, 0), FileAction::Dup2(pipe, 1)];
        let process = spawned(near, false, "/bin/cat", &[], &no_library(), &actions);
        near.process_asleep(process);
        process
    });
}

fn a_move_onto_itself_clears_close_on_exec(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        closes_on_exec(near);
        let actions = [FileAction::Dup2(near.fd, near.fd)];
        let (from, to) = (near.fd.to_string(), pipe.to_string());
        let words = ["take", "all", &from, &to];
        let process = spawned(near, false, &helper(), &words, &no_library(), &actions);
        near.process_asleep(process);
        process
    });
}

fn a_program_found_by_its_name_inherits_the_connection(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        let actions = [FileAction::Dup2(near.fd, 0), FileAction::Dup2(pipe, 1)];
        let process = spawned(near, true, "cat", &[], &Strings::environment(), &actions);
        near.process_asleep(process);
        process
    });
}

fn a_spawned_program_that_closes_the_number_harms_nothing(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let actions = [FileAction::Close(near.fd)];
        let process = spawned(near, false, "/bin/true", &[], &no_library(), &actions);
        ends(near, process);
        let _ = near.send(b"ran", 0);
    });
    stage.far(|far| far.receives(3));
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn a_spawned_program_does_not_get_a_close_on_exec_socket(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        closes_on_exec(near);
        let process = spawned(near, false, "/bin/true", &[], &no_library(), &[]);
        ends(near, process);
        near.receives(6);
    });
    talk(stage);
}
