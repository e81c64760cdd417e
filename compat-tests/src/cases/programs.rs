//! A connection that another program goes on with: exec, posix_spawn, vfork, system and popen (POSIX.md rows 28, 29 and
//! 30). What was not read yet must reach the program, which knows nothing of rings; descriptors that it does not
//! inherit must be left alone.

use std::os::fd::RawFd;

use crate::calls::answer::{Answer, shown};
use crate::calls::children::{self, Forked, Leaving, Strings};
use crate::calls::programs::{self, Exec, FileAction};
use crate::calls::{connection, files, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
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
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
    case!("execve", an_executed_program_answers)
        .rows(&[29])
        .proof(Proof::AtLeast(4)),
    case!("execve", a_program_takes_some_and_its_parent_the_rest)
        .rows(&[9, 29])
        .proof(Proof::AtLeast(3000)),
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
    case!("vfork", a_vfork_child_leaves_the_connection_alone).rows(&[28]),
    case!("vfork", a_vfork_child_that_moves_a_pipe_over_the_number).rows(&[28, 31]),
    case!("vfork", a_program_executed_by_vfork_inherits_the_connection)
        .rows(&[28, 29])
        .proof(Proof::AtLeast(3000)),
    case!("vfork", a_close_on_exec_socket_is_moved_by_a_vfork_child)
        .rows(&[28, 30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(3000)),
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
    case!(
        "execve",
        an_executed_program_inherits_with_bytes_waiting_behind_a_full_ring
    )
    .rows(&[10, 29])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("system", system_does_not_touch_a_close_on_exec_socket).rows(&[30]),
    case!("popen", popen_with_an_open_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("popen", popen_does_not_touch_a_close_on_exec_socket).rows(&[30]),
    case!("daemon", a_process_becomes_a_daemon_and_goes_on)
        .rows(&[28])
        .proof(Proof::AtLeast(16)),
];

/// Bytes that are queued when the program starts, of which some are read before.
const QUEUED: usize = 3000;
const READ_BEFORE: usize = 1000;
/// Bytes that follow.
const LATER: usize = 2000;
const SEED: u64 = 211;

/// The program that does plain things with descriptors.
#[must_use]
pub fn helper() -> String {
    std::env::current_exe()
        .map(|own| own.with_file_name("compat-helper"))
        .map_or_else(
            |_| "compat-helper".into(),
            |path| path.to_string_lossy().into_owned(),
        )
}

/// An environment without the library.
#[must_use]
pub fn no_library() -> Strings {
    Strings::of(&["PATH=/usr/bin:/bin"])
}

/// Executes a program in a child that has waited for its turn.
fn exec_in_child(
    near: &mut Side,
    form: Exec,
    path: &str,
    arguments: &[&str],
    environment: Strings,
) -> crate::side::children::Child {
    near.fork(|_, _| {
        let _ = programs::execute(form, path, arguments, &environment);
        children::leave(Leaving::AtOnce, 127)
    })
}

/// Writes down how a program ended.
fn ends(side: &mut Side, process: i32) {
    match children::reap(process) {
        Ok(how) => side.say(&format!("the program {how}")),
        Err(errno) => side.say(&format!("waitpid = -1 {errno}")),
    }
}

/// Everything that comes out of a pipe until its end, compared with the stream from `position` on.
fn comes_out(side: &mut Side, pipe: RawFd, position: usize) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = transfer::read(pipe, &mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    side.say(&format!(
        "{} bytes came out of the program, wrong at {:?}",
        bytes.len(),
        content::first_difference(SEED, position as u64, &bytes)
    ));
    let _ = connection::close(pipe);
}

/// A program is started that moves the connection's bytes to a pipe, while some have arrived and are unread; then more
/// come.
fn goes_on_in_a_program(stage: &mut Stage, start: impl FnOnce(&mut Side, RawFd) -> i32) {
    stage.far(|far| far.send_all(&content::bytes_from(SEED, 0, QUEUED)));
    let mut program = (-1, -1);
    stage.near(|near| {
        near.arrived(QUEUED as i32);
        let bytes = near.receive_all(READ_BEFORE);
        near.say(&format!(
            "wrong at {:?}",
            content::first_difference(SEED, 0, &bytes)
        ));
        let (comes, goes) = near.must(files::pipe(0));
        near.must(files::fcntl(comes, libc::F_SETFD, libc::FD_CLOEXEC));
        let process = start(near, goes);
        near.must(connection::close(goes));
        program = (process, comes);
    });
    stage.far(|far| {
        far.send_all(&content::bytes_from(SEED, QUEUED as u64, LATER));
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        comes_out(near, program.1, READ_BEFORE);
        ends(near, program.0);
        if near.fd >= 0 {
            let _ = near.recv(10, 0);
            near.close();
        }
    });
    stage.far(|far| {
        let _ = far.recv(10, 0);
    });
}

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
        let bytes = near.receive_all(QUEUED + LATER - 3500);
        near.say(&format!(
            "wrong at {:?}",
            content::first_difference(SEED, 3500, &bytes)
        ));
    });
    talk(stage);
}

/// Sets the descriptor under test to close-on-exec and says so.
fn closes_on_exec(near: &mut Side) {
    let answer = files::fcntl(near.fd, libc::F_SETFD, libc::FD_CLOEXEC);
    let _ = near.observe("close-on-exec", answer);
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
        let (hears, tells) = near.must(files::pipe(0));
        near.must(files::fcntl(tells, libc::F_SETFD, libc::FD_CLOEXEC));
        let gate = hears.to_string();
        let mut child = exec_in_child(
            near,
            Exec::Execve,
            &helper(),
            &["idle", &gate],
            no_library(),
        );
        child.begin(near);
        near.must(connection::close(hears));
        child.has_executed(near);
        near.receives(6);
        program = Some(child);
        held = tells;
    });
    talk(stage);
    stage.near(|near| near.close());
    // The program lives and holds nothing.
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
    stage.near(|near| {
        near.must(connection::close(held));
        if let Some(child) = program.take() {
            child.reap(near);
        }
    });
}

fn an_executed_program_that_only_inherits_harms_nothing(stage: &mut Stage) {
    let mut program = None;
    let mut held = -1;
    stage.near(|near| {
        let (hears, tells) = near.must(files::pipe(0));
        near.must(files::fcntl(tells, libc::F_SETFD, libc::FD_CLOEXEC));
        let gate = hears.to_string();
        let mut child = exec_in_child(
            near,
            Exec::Execve,
            &helper(),
            &["idle", &gate],
            no_library(),
        );
        child.begin(near);
        near.must(connection::close(hears));
        child.has_executed(near);
        program = Some(child);
        held = tells;
    });
    talk(stage);
    stage.near(|near| near.close());
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        near.must(connection::close(held));
        if let Some(child) = program.take() {
            child.reap(near);
        }
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

fn a_vfork_child_leaves_the_connection_alone(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        closes_on_exec(near);
        let process = near.must(children::vfork_close(near.fd, -1)) as i32;
        ends(near, process);
        near.receives(6);
    });
    talk(stage);
}

fn a_vfork_child_that_moves_a_pipe_over_the_number(stage: &mut Stage) {
    stage.near(|near| {
        closes_on_exec(near);
        let (hears, tells) = near.must(files::pipe(libc::O_CLOEXEC));
        let process = near.must(children::vfork_close(near.fd, hears)) as i32;
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

/// More than any ring holds is sent while nobody reads, so that its rest waits in the kernel; then this happens.
fn behind_a_full_ring(stage: &mut Stage, act: impl FnOnce(&mut Side)) {
    const BYTES: usize = 400_000;
    stage.far(|far| far.send_all(&content::bytes_from(SEED, 0, BYTES)));
    stage.near(|near| {
        act(near);
        let bytes = near.receive_all(BYTES);
        near.say(&format!(
            "wrong at {:?}",
            content::first_difference(SEED, 0, &bytes)
        ));
    });
    talk(stage);
}

fn system_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    behind_a_full_ring(stage, run_system);
}

fn an_executed_program_inherits_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    behind_a_full_ring(stage, |near| {
        let mut child = exec_in_child(near, Exec::Execve, "/bin/true", &[], no_library());
        child.begin(near);
        child.reap(near);
    });
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

fn a_process_becomes_a_daemon_and_goes_on(stage: &mut Stage) {
    stage.near(|near| {
        let (hears, tells) = near.must(files::pipe(0));
        // daemon() ends its caller, so a child calls it; what goes on is nobody's child.
        let mut child = near.fork_by(Forked::Fork, Leaving::AtOnce, |child, turns| {
            let _ = child.send(b"before, ", 0);
            turns.over();
            let answer = programs::daemon();
            let _ = transfer::read(hears, &mut [0; 1]);
            let _ = child.send(format!("daemon {}", shown(answer)).as_bytes(), 0);
            let _ = child.recv(4, libc::MSG_WAITALL);
            child.close();
        });
        child.turn(near);
        child.reap(near);
        near.close();
        near.must(transfer::write(tells, b"g"));
    });
    stage.far(|far| {
        far.receives(16);
        let _ = far.send(b"ends", 0);
        let _ = far.recv(1, 0);
    });
}
