//! Other programs: the exec family, posix_spawn, system and popen.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer_int, last_errno};
use super::children::Strings;

unsafe extern "C" {
    fn execveat(
        folder: c_int,
        path: *const c_char,
        arguments: *const *const c_char,
        environment: *const *const c_char,
        flags: c_int,
    ) -> c_int;
}

/// Which call of the exec family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exec {
    /// execve(2)
    Execve,
    /// execv(3)
    Execv,
    /// execvp(3)
    Execvp,
    /// execvpe(3)
    Execvpe,
    /// fexecve(3)
    Fexecve,
    /// execveat(2)
    Execveat,
    /// execl(3)
    Execl,
    /// execlp(3)
    Execlp,
    /// execle(3)
    Execle,
    /// execve by `syscall()`.
    SystemCall,
}

/// Executes a program: the path is also its first argument, up to four more follow. Returns only on failure. Forms
/// without an environment of their own pass this process's on.
pub fn execute(form: Exec, path: &str, arguments: &[&str], environment: &Strings) -> Errno {
    let path = Strings::of(&[path]);
    let words: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
    let words = Strings::of(&words);
    let mut all = vec![path.at(0)];
    all.extend((0..arguments.len()).map(|index| words.at(index)));
    all.push(std::ptr::null());
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| words.at(index));
    let name = path.at(0);
    let end = std::ptr::null::<c_char>();
    // SAFETY: C strings and null-terminated arrays, alive until the call returns; the variadic forms read up to the
    // first null pointer.
    unsafe {
        match form {
            Exec::Execve => libc::execve(name, all.as_ptr(), environment.pointer()),
            Exec::Execv => libc::execv(name, all.as_ptr()),
            Exec::Execvp => libc::execvp(name, all.as_ptr()),
            Exec::Execvpe => libc::execvpe(name, all.as_ptr(), environment.pointer()),
            Exec::Fexecve => {
                let file = libc::open(name, libc::O_PATH | libc::O_CLOEXEC);
                libc::fexecve(file, all.as_ptr(), environment.pointer())
            }
            Exec::Execveat => {
                execveat(libc::AT_FDCWD, name, all.as_ptr(), environment.pointer(), 0)
            }
            Exec::Execl => libc::execl(name, name, a, b, c, d, end),
            Exec::Execlp => libc::execlp(name, name, a, b, c, d, end),
            Exec::Execle => libc::execle(name, name, a, b, c, d, end, environment.pointer()),
            Exec::SystemCall => {
                libc::syscall(libc::SYS_execve, name, all.as_ptr(), environment.pointer()) as c_int
            }
        };
    }
    last_errno()
}

/// What posix_spawn does to descriptors in the child.
#[derive(Clone, Copy, Debug)]
pub enum FileAction {
    /// posix_spawn_file_actions_adddup2
    Dup2(RawFd, RawFd),
    /// posix_spawn_file_actions_addclose
    Close(RawFd),
}

/// posix_spawn(3), or posix_spawnp(3): the child's id.
pub fn spawn(
    searching: bool,
    path: &str,
    arguments: &[&str],
    environment: &Strings,
    actions: &[FileAction],
) -> Answer {
    let path = Strings::of(&[path]);
    let words: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
    let words = Strings::of(&words);
    let mut all = vec![path.at(0).cast_mut()];
    all.extend((0..arguments.len()).map(|index| words.at(index).cast_mut()));
    all.push(std::ptr::null_mut());
    let mut process = 0;
    // SAFETY: the actions are initialised before and destroyed after their use; strings and arrays outlive the call.
    let error = unsafe {
        let mut list: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut list);
        for action in actions {
            match *action {
                FileAction::Dup2(from, to) => {
                    libc::posix_spawn_file_actions_adddup2(&raw mut list, from, to)
                }
                FileAction::Close(fd) => libc::posix_spawn_file_actions_addclose(&raw mut list, fd),
            };
        }
        let spawn = if searching {
            libc::posix_spawnp
        } else {
            libc::posix_spawn
        };
        let error = spawn(
            &raw mut process,
            path.at(0),
            &raw const list,
            std::ptr::null(),
            all.as_ptr(),
            environment.pointer().cast::<*mut c_char>(),
        );
        libc::posix_spawn_file_actions_destroy(&raw mut list);
        error
    };
    match error {
        0 => Ok(process as usize),
        error => Err(Errno(error)),
    }
}

/// system(3): the wait status.
pub fn system(command: &str) -> Answer {
    let command = Strings::of(&[command]);
    // SAFETY: a C string.
    answer_int(unsafe { libc::system(command.at(0)) })
}

/// popen(3) for reading: what the command wrote, and what pclose(3) answered.
pub fn popen_reads(command: &str) -> Result<(Vec<u8>, Answer), Errno> {
    let command = Strings::of(&[command]);
    let mut bytes = Vec::new();
    // SAFETY: C strings; the stream is used until pclose only; the buffer has the room given.
    unsafe {
        let stream = libc::popen(command.at(0), c"r".as_ptr());
        if stream.is_null() {
            return Err(last_errno());
        }
        let mut buffer = [0u8; 256];
        loop {
            let count = libc::fread(buffer.as_mut_ptr().cast(), 1, buffer.len(), stream);
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
        Ok((bytes, answer_int(libc::pclose(stream))))
    }
}

/// daemon(3) that changes neither folder nor standard streams: it forks inside the C library and the caller ends.
pub fn daemon() -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::daemon(1, 1) })
}
