//! system and popen beside an open connection.

use super::{behind_a_full_ring, closes_on_exec};
use crate::calls::answer::shown;
use crate::calls::programs::{self};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("system", system_with_an_open_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("system", system_behind_the_end_of_the_stream)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("system", system_with_bytes_waiting_behind_a_full_ring)
        .rows(&[10, 30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("system", system_does_not_touch_a_close_on_exec_socket).rows(&[30]),
    case!("popen", popen_with_an_open_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("popen", popen_does_not_touch_a_close_on_exec_socket).rows(&[30]),
];

/// Runs commands while bytes wait; the far end then goes on, and so does the near one.
fn while_bytes_wait(stage: &mut Stage, command: impl FnOnce(&mut Side)) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        command(near);
        let _ = near.send(b"ran", 0);
    });
    stage.far(|far| far.receives(3));
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn run_system(near: &mut Side) {
    for command in ["true", "exit 3", "kill -9 $$"] {
        let line = format!("system {command} = {}", shown(programs::system(command)));
        near.say(&line);
    }
}

fn run_popen(near: &mut Side) {
    match programs::popen_reads("echo from the command; exit 4") {
        Ok((bytes, answer)) => {
            let line = format!("{}, pclose = {}", content::shown(&bytes), shown(answer));
            near.say(&line);
        }
        Err(errno) => near.say(&format!("popen: {errno}")),
    }
}

fn system_with_an_open_connection(stage: &mut Stage) {
    while_bytes_wait(stage, run_system);
}

fn system_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.arrived(6);
        near.end_arrived();
        run_system(near);
        near.receives(6);
        let _ = near.recv(1, 0);
        let _ = near.send(b"answer", 0);
    });
    stage.far(|far| far.receives(6));
}

fn system_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    behind_a_full_ring(stage, run_system);
}

fn system_does_not_touch_a_close_on_exec_socket(stage: &mut Stage) {
    while_bytes_wait(stage, |near| {
        closes_on_exec(near);
        run_system(near);
    });
}

fn popen_with_an_open_connection(stage: &mut Stage) {
    while_bytes_wait(stage, run_popen);
}

fn popen_does_not_touch_a_close_on_exec_socket(stage: &mut Stage) {
    while_bytes_wait(stage, |near| {
        closes_on_exec(near);
        run_popen(near);
    });
}
