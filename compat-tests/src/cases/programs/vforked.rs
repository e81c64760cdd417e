//! Children of vfork, which live in their parent's memory (POSIX.md row 28).

use super::{closes_on_exec, ends, goes_on_in_a_program, no_library};
use crate::calls::answer::Answer;
use crate::calls::children::{self};
use crate::calls::{connection, files};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::Side;
use crate::stage::Stage;
use std::os::fd::RawFd;

/// The family.
pub const CASES: &[Case] = &[
    case!("vfork", a_vfork_child_leaves_the_connection_alone).rows(&[28]),
    case!(
        "__vfork",
        a_child_of_the_second_name_of_vfork_leaves_the_connection_alone
    )
    .rows(&[28])
    .kinds(TWO_KINDS),
    case!("vfork", a_vfork_child_that_moves_a_pipe_over_the_number).rows(&[28, 31]),
    case!("vfork", a_program_executed_by_vfork_inherits_the_connection)
        .rows(&[28, 29])
        .proof(Proof::AtLeast(3000)),
    case!("vfork", a_close_on_exec_socket_is_moved_by_a_vfork_child)
        .rows(&[28, 30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!(
        "vfork",
        a_program_executed_by_vfork_behind_the_end_of_the_stream
    )
    .rows(&[28, 29])
    .proof(Proof::AtLeast(6)),
];

fn a_vfork_child_leaves_the_connection_alone(stage: &mut Stage) {
    leaves_the_connection_alone(stage, false);
}

fn a_child_of_the_second_name_of_vfork_leaves_the_connection_alone(stage: &mut Stage) {
    leaves_the_connection_alone(stage, true);
}

fn leaves_the_connection_alone(stage: &mut Stage, second: bool) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        closes_on_exec(near);
        let process = near.must(children::vfork_close(near.fd, -1, second)) as i32;
        ends(near, process);
        near.receives(6);
    });
    talk(stage);
}

fn a_vfork_child_that_moves_a_pipe_over_the_number(stage: &mut Stage) {
    stage.near(|near| {
        closes_on_exec(near);
        let (hears, tells) = near.must(files::pipe(libc::O_CLOEXEC));
        let process = near.must(children::vfork_close(near.fd, hears, false)) as i32;
        ends(near, process);
        let _ = connection::close(hears);
        let _ = connection::close(tells);
    });
    talk(stage);
}

fn moved_by_vfork(near: &mut Side, pipe: RawFd) -> i32 {
    let answer: Answer = children::vfork_execute(
        "/bin/sh",
        &["sh", "-c", &format!("cat >&{pipe}")],
        &no_library(),
        near.fd,
        0,
    );
    let process = near.must(answer) as i32;
    // The shell, then the program it starts.
    near.nap_ms(30);
    near.process_asleep(process);
    process
}

fn a_program_executed_by_vfork_inherits_the_connection(stage: &mut Stage) {
    goes_on_in_a_program(stage, moved_by_vfork);
}

fn a_close_on_exec_socket_is_moved_by_a_vfork_child(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        closes_on_exec(near);
        moved_by_vfork(near, pipe)
    });
}

/// A program that is told no number: the parent reads on.
fn a_program_executed_by_vfork_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far_sends_and_ends(b"unread");
    stage.near(|near| {
        let answer = children::vfork_execute("/bin/true", &["true"], &no_library(), -1, 0);
        let process = near.must(answer) as i32;
        ends(near, process);
        near.receives(6);
        let _ = near.recv(1, 0);
        let _ = near.send(b"answer", 0);
    });
    stage.far(|far| far.receives(6));
}
