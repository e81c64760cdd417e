//! A program started by exec reads what was left unread, answers, and shares with its parent (POSIX.md row 29).

use super::{
    LATER, QUEUED, SEED, behind_a_full_ring, comes_out, ends, exec_in_child, goes_on_in_a_program,
    helper, no_library,
};
use crate::calls::children::{self, Leaving, Strings};
use crate::calls::programs::{self, Exec};
use crate::calls::{connection, files};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("execve", an_executed_program_reads_what_was_left_unread)
        .rows(&[29])
        .proof(Proof::AtLeast(3000)),
    case!(
        "execve",
        an_executed_program_with_the_library_reads_what_was_left_unread
    )
    .rows(&[29])
    .proof(Proof::AtLeast(3000)),
    case!(
        "execve",
        an_executed_program_reads_by_instructions_of_its_own
    )
    .rows(&[29, 35])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(3000)),
    case!("execve", a_program_executed_behind_the_end_of_the_stream)
        .rows(&[29])
        .complaints(&["left_behind"])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execve", an_executed_program_answers)
        .rows(&[29])
        .proof(Proof::AtLeast(4)),
    case!("execve", a_program_takes_some_and_its_parent_the_rest)
        .rows(&[9, 29])
        .proof(Proof::AtLeast(3000)),
    case!("execv", execv_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execvp", execvp_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execvpe", execvpe_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("fexecve", fexecve_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execveat", execveat_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execl", execl_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execlp", execlp_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execle", execle_hands_the_connection_over)
        .rows(&[29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!(
        "syscall",
        execve_by_the_syscall_function_hands_the_connection_over
    )
    .rows(&[29, 31])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(3000)),
    case!(
        "execve",
        an_executed_program_inherits_with_bytes_waiting_behind_a_full_ring
    )
    .rows(&[10, 29])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
];

fn executed(stage: &mut Stage, form: Exec, by_instruction: bool, with_library: bool) {
    goes_on_in_a_program(stage, |near, pipe| {
        let (from, to) = (near.fd.to_string(), pipe.to_string());
        let mut words = vec!["take", "all", &from, &to];
        let environment = if with_library {
            Strings::environment()
        } else {
            no_library()
        };
        if by_instruction {
            words.insert(0, "raw");
        }
        let mut child = exec_in_child(near, form, &helper(), &words, environment);
        near.close();
        child.begin(near);
        child.has_executed(near);
        child.process
    });
}

fn an_executed_program_reads_what_was_left_unread(stage: &mut Stage) {
    goes_on_in_a_program(stage, |near, pipe| {
        let socket = near.fd;
        let mut child = near.fork(|child, _| {
            child.must(files::dup2(socket, 0));
            child.must(files::dup2(pipe, 1));
            child.must(connection::close(socket));
            let _ = programs::execute(Exec::Execve, "/bin/cat", &[], &no_library());
            children::leave(Leaving::AtOnce, 127)
        });
        near.close();
        child.begin(near);
        child.has_executed(near);
        child.process
    });
}

fn a_program_executed_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far(|far| {
        far.send_all(&content::bytes_from(SEED, 0, QUEUED));
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.arrived(QUEUED as i32);
        near.end_arrived();
        let (comes, goes) = near.must(files::pipe(0));
        let (from, to) = (near.fd.to_string(), goes.to_string());
        let words = ["take", "all", &from, &to];
        let mut child = exec_in_child(near, Exec::Execve, &helper(), &words, no_library());
        near.close();
        child.begin(near);
        near.must(connection::close(goes));
        comes_out(near, comes, 0);
        child.reap(near);
    });
}

fn an_executed_program_with_the_library_reads_what_was_left_unread(stage: &mut Stage) {
    executed(stage, Exec::Execve, false, true);
}

fn an_executed_program_reads_by_instructions_of_its_own(stage: &mut Stage) {
    executed(stage, Exec::Execve, true, false);
}

macro_rules! forms {
    ($($name:ident $form:ident)*) => {
        $(fn $name(stage: &mut Stage) {
            executed(stage, Exec::$form, false, false);
        })*
    };
}

forms! {
    execv_hands_the_connection_over Execv
    execvp_hands_the_connection_over Execvp
    execvpe_hands_the_connection_over Execvpe
    fexecve_hands_the_connection_over Fexecve
    execveat_hands_the_connection_over Execveat
    execl_hands_the_connection_over Execl
    execlp_hands_the_connection_over Execlp
    execle_hands_the_connection_over Execle
    execve_by_the_syscall_function_hands_the_connection_over SystemCall
}

fn an_executed_program_answers(stage: &mut Stage) {
    let mut program = None;
    stage.near(|near| {
        let _ = near.send(b"me, ", 0);
        let socket = near.fd.to_string();
        let mut child = exec_in_child(
            near,
            Exec::Execve,
            &helper(),
            &["echo", &socket],
            no_library(),
        );
        near.close();
        child.begin(near);
        child.has_executed(near);
        program = Some(child);
    });
    stage.far(|far| {
        far.receives(4);
        let _ = far.send(b"who is there?", 0);
        far.receives(13);
        let _ = far.send(b"nobody else", 0);
        far.receives(11);
        let _ = far.shutdown(libc::SHUT_WR);
        let _ = far.recv(10, 0);
    });
    stage.near(|near| {
        if let Some(child) = program.take() {
            child.reap(near);
        }
    });
}

fn a_program_takes_some_and_its_parent_the_rest(stage: &mut Stage) {
    stage.far(|far| far.send_all(&content::bytes_from(SEED, 0, QUEUED)));
    let mut program = (-1, -1);
    stage.near(|near| {
        near.arrived(QUEUED as i32);
        let (comes, goes) = near.must(files::pipe(0));
        let (from, to) = (near.fd.to_string(), goes.to_string());
        let mut child = exec_in_child(
            near,
            Exec::Execve,
            &helper(),
            &["take", "3500", &from, &to],
            no_library(),
        );
        child.begin(near);
        child.has_executed(near);
        near.must(connection::close(goes));
        program = (child.process, comes);
    });
    stage.far(|far| far.send_all(&content::bytes_from(SEED, QUEUED as u64, LATER)));
    stage.near(|near| {
        comes_out(near, program.1, 0);
        ends(near, program.0);
        near.receives_stream(SEED, 3500, QUEUED + LATER - 3500);
    });
    talk(stage);
}

fn an_executed_program_inherits_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    behind_a_full_ring(stage, |near| {
        let mut child = exec_in_child(near, Exec::Execve, "/bin/true", &[], no_library());
        child.begin(near);
        child.reap(near);
    });
}
