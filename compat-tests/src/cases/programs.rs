//! A connection that another program goes on with: exec, posix_spawn, vfork, system and popen (POSIX.md rows 28, 29 and
//! 30). What was not read yet must reach the program, which knows nothing of rings; descriptors that it does not
//! inherit must be left alone.
//!
//! * [`executed`]: a program that reads what was left unread, by exec.
//! * [`not_inherited`]: close-on-exec, programs that only inherit, a failed exec.
//! * [`spawned`]: posix_spawn and its file actions.
//! * [`vforked`]: children of vfork.
//! * [`commands`]: system and popen.
//! * [`daemons`]: a process that becomes a daemon.

pub mod commands;
pub mod daemons;
pub mod executed;
pub mod not_inherited;
pub mod spawned;
pub mod vforked;

use crate::calls::children::{self, Leaving, Strings};
use crate::calls::programs::{self, Exec};
use crate::calls::{connection, files, transfer};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;
use std::os::fd::RawFd;

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
        near.receives_stream(SEED, 0, READ_BEFORE);
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

/// Sets the descriptor under test to close-on-exec and says so.
fn closes_on_exec(near: &mut Side) {
    let answer = files::fcntl(near.fd, libc::F_SETFD, libc::FD_CLOEXEC);
    let _ = near.observe("close-on-exec", answer);
}

/// More than any ring holds is sent while nobody reads, so that its rest waits in the kernel; then this happens.
fn behind_a_full_ring(stage: &mut Stage, act: impl FnOnce(&mut Side)) {
    const BYTES: usize = 400_000;
    stage.far(|far| far.send_all(&content::bytes_from(SEED, 0, BYTES)));
    stage.near(|near| {
        act(near);
        near.receives_stream(SEED, 0, BYTES);
    });
    talk(stage);
}
