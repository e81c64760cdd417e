//! What an executed program does not get, or does not use, is left alone.

use super::{closes_on_exec, exec_in_child, helper, no_library};
use crate::calls::programs::{self, Exec};
use crate::calls::{connection, files};
use crate::case;
use crate::case::{Case, Proof};
use crate::cases::forks::{reap, talk};
use crate::side::Side;
use crate::side::children::Child;
use crate::stage::Stage;
use std::os::fd::RawFd;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "execve",
        an_executed_program_does_not_get_a_close_on_exec_socket
    )
    .rows(&[29, 30]),
    case!(
        "execve",
        an_executed_program_that_only_inherits_harms_nothing
    )
    .rows(&[9, 29])
    .proof(Proof::BeganOnRing(
        "what another program inherits is the kernel's",
    )),
    case!("execve", a_failed_exec_leaves_the_connection_alone)
        .rows(&[29])
        .proof(Proof::AtLeast(6)),
];

/// Executes a program that holds what it inherits until the number that comes with it is closed.
fn idle_program(near: &mut Side) -> (Child, RawFd) {
    let (hears, tells) = near.must(files::pipe(0));
    near.must(files::fcntl(tells, libc::F_SETFD, libc::FD_CLOEXEC));
    let gate = hears.to_string();
    let arguments = ["idle", &gate];
    let mut child = exec_in_child(near, Exec::Execve, &helper(), &arguments, no_library());
    child.begin(near);
    near.must(connection::close(hears));
    child.has_executed(near);
    (child, tells)
}

fn an_executed_program_does_not_get_a_close_on_exec_socket(stage: &mut Stage) {
    let mut program = None;
    let mut held = -1;
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        closes_on_exec(near);
        let idle = idle_program(near);
        near.receives(6);
        (program, held) = (Some(idle.0), idle.1);
    });
    talk(stage);
    stage.near(|near| near.close());
    // The program lives and holds nothing.
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
    stage.near(|near| {
        near.must(connection::close(held));
        reap(near, &mut program);
    });
}

fn an_executed_program_that_only_inherits_harms_nothing(stage: &mut Stage) {
    let mut program = None;
    let mut held = -1;
    stage.near(|near| {
        let idle = idle_program(near);
        (program, held) = (Some(idle.0), idle.1);
    });
    talk(stage);
    stage.near(|near| near.close());
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        near.must(connection::close(held));
        reap(near, &mut program);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn a_failed_exec_leaves_the_connection_alone(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        for form in [Exec::Execve, Exec::Execvp, Exec::Execl] {
            let errno = programs::execute(form, "/nowhere/at all", &[], &no_library());
            near.say(&format!("{form:?} = -1 {errno}"));
        }
        let _ = near.send(b"failed", 0);
    });
    stage.far(|far| far.receives(6));
    stage.near(|near| {
        near.receives(6);
        // And a child that fails and uses the connection itself.
        let mut child = near.fork(|child, _| {
            let errno = programs::execute(Exec::Execv, "/nowhere", &[], &no_library());
            child.say(&format!("execv = -1 {errno}"));
            let _ = child.send(b"child", 0);
        });
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| far.receives(5));
    talk(stage);
}
