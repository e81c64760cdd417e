//! Processes of a test: this very program again, with or without a preloaded shim, and their ends.

use super::calls;
use super::hang;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a child process of a test runs under.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The shim; none on the bare kernel.
    pub library: Option<PathBuf>,
    /// Further variables.
    pub variables: Vec<(String, String)>,
    /// Where orderly ends are reported.
    pub report: Option<PathBuf>,
}

impl Environment {
    /// The shim (or none) in its eager mode.
    #[must_use]
    pub fn eager(library: Option<&Path>, report: &Path) -> Environment {
        Environment {
            library: library.map(Path::to_path_buf),
            variables: vec![("AXIO_UPGRADE".to_owned(), "eager".to_owned())],
            report: Some(report.to_path_buf()),
        }
    }

    /// Sets the environment of a command; nothing of Axio's is inherited from the caller.
    pub fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AXIO") {
                command.env_remove(name);
            }
        }
        command.env_remove("LD_PRELOAD");
        if let Some(library) = &self.library {
            command.env("LD_PRELOAD", library);
            if let Some(report) = &self.report {
                command.env("AXIO_REPORT", report);
            }
            for (name, value) in &self.variables {
                command.env(name, value);
            }
        }
    }
}

/// This very program, to be started again with other arguments.
#[must_use]
pub fn own_program() -> Command {
    Command::new("/proc/self/exe")
}

/// Replaces this process by this very program with one environment variable taken away. Returns the errno.
#[must_use]
pub fn exec_self_without(arguments: &[String], variable: &str) -> i32 {
    let error = own_program().args(arguments).env_remove(variable).exec();
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// A started process, the leader of a group of its own; the group is ended with it.
pub struct Process {
    child: Child,
    group: u32,
    /// For texts.
    pub name: String,
}

impl Process {
    /// Starts a command in a process group of its own, standard output and error to files or pipes as set before.
    pub fn start(name: &str, command: &mut Command) -> std::io::Result<Process> {
        let child = command.process_group(0).stdin(Stdio::null()).spawn()?;
        Ok(Process {
            group: child.id(),
            child,
            name: name.to_owned(),
        })
    }

    /// Starts a command with a file as its input and hands over the pipes of its output and errors, which the
    /// command must have been told to make.
    pub fn start_client(
        name: &str,
        command: &mut Command,
        input: std::fs::File,
    ) -> std::io::Result<(Process, ChildStdout, ChildStderr)> {
        let mut child = command.process_group(0).stdin(input).spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let process = Process {
            group: child.id(),
            child,
            name: name.to_owned(),
        };
        match pipes {
            Some((output, error)) => Ok((process, output, error)),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes the read end of its standard output.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Exit code, or 128 + signal; nothing while it runs.
    pub fn try_end(&mut self) -> Option<i32> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(code_of(status)),
            _ => None,
        }
    }

    /// Waits until it ends, at most until the deadline.
    pub fn wait_until(&mut self, deadline: Instant) -> Option<i32> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(code) = self.try_end() {
                return Some(code);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: i32) {
        let _ = calls::signal_process(self.child.id() as i32, signal);
    }

    /// Asks it to end, insists after `patience`, and returns how it ended.
    pub fn end(&mut self, patience: Duration) -> i32 {
        self.signal(libc::SIGTERM);
        match self.wait_until(Instant::now() + patience) {
            Some(code) => code,
            None => {
                hang::end_group(self.group);
                self.child.wait().map_or(-1, code_of)
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        hang::end_group(self.group);
        let _ = self.child.wait();
    }
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Hands over a pipe's lines as they come; the channel ends with the pipe.
pub fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Reads a pipe to its end in a thread of its own.
pub fn collect_bytes(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// A directory that is removed with its content when the value goes.
pub struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    /// A new directory under the system's temporary one.
    pub fn new(name: &str) -> std::io::Result<ScratchDirectory> {
        // One that was killed, or has the same number in a namespace of its own, may have left or hold a directory.
        let own = format!("axio-{name}-{}", std::process::id());
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("{own}-{number}"));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                outcome => return outcome.map(|()| ScratchDirectory(path)),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
