//! Processes of a run: started on a CPU with an environment, read line by line, bounded in time, and ended and reaped
//! whatever happens.
//!
//! Each is started through `axio bench-end start`, which binds it to its CPU and to the life of this command and then
//! becomes the program, so that even a SIGKILL of this command leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use super::side::Variables;

/// Bytes of a program's complaints that are kept.
const COMPLAINT_BYTES: u64 = 4096;
/// Pause between two looks whether a program that closed its output has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A running program.
pub struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    is_reaped: bool,
}

/// What a program left.
pub struct Finished {
    /// Its last lines, those not read before.
    pub lines: Vec<String>,
    /// CPU time of its whole life.
    pub cpu_seconds: f64,
}

impl Child {
    /// Starts `program` on `cpu`.
    pub fn start(
        program: &OsStr,
        arguments: &[OsString],
        cpu: usize,
        variables: &Variables,
    ) -> Result<Child> {
        let name = program.to_string_lossy().into_owned();
        let mut command =
            Command::new(std::env::current_exe().context("cannot find out where this command is")?);
        command.args(["bench-end", "start"]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.args(["--cpu", &cpu.to_string()]);
        for (variable, value) in &variables.set {
            let mut setting = variable.clone();
            setting.push("=");
            setting.push(value);
            command.arg("--set").arg(setting);
        }
        command.arg("--").arg(program).args(arguments);
        for variable in &variables.removed {
            command.env_remove(variable);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let (sender, lines) = channel();
        if let Some(output) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let complaints = process
            .stderr
            .take()
            .map(|output| std::thread::spawn(move || first_bytes(output)));
        Ok(Child {
            name,
            process,
            lines,
            complaints,
            is_reaped: false,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// CPU time it has used so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let clock =
            nix::time::clock_getcpuclockid(self.pid()).with_context(|| self.name.clone())?;
        let time = nix::time::clock_gettime(clock).with_context(|| self.name.clone())?;
        Ok(Duration::from(time).as_secs_f64())
    }

    /// The next line of its output.
    pub fn line(&mut self, deadline: Instant) -> Result<String> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(self.late()),
            Err(RecvTimeoutError::Disconnected) => Err(self.failure("ended without an answer")),
        }
    }

    /// Waits for it to end by itself, successfully.
    pub fn finish(mut self, deadline: Instant) -> Result<Finished> {
        let mut lines = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(self.late()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let before = children_cpu_seconds();
        let status = loop {
            match self.process.try_wait().with_context(|| self.name.clone())? {
                Some(status) => break status,
                None if Instant::now() >= deadline => return Err(self.late()),
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        self.is_reaped = true;
        if !status.success() {
            return Err(self.failure(&format!("failed ({status})")));
        }
        Ok(Finished {
            lines,
            cpu_seconds: children_cpu_seconds() - before,
        })
    }

    /// Asks it to end as a service manager would, and waits for that.
    pub fn terminate(self, deadline: Instant) -> Result<Finished> {
        kill(self.pid(), Signal::SIGTERM)
            .with_context(|| format!("{} cannot be ended", self.name))?;
        self.finish(deadline)
    }

    fn late(&mut self) -> anyhow::Error {
        self.failure("did not end in time")
    }

    /// An error with what the program itself had to say. Ends it, for its complaints are complete only then.
    fn failure(&mut self, what: &str) -> anyhow::Error {
        self.end();
        let complaints = self
            .complaints
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        match complaints.trim() {
            "" => anyhow!("{} {what}", self.name),
            text => anyhow!("{} {what}; it says: {text}", self.name),
        }
    }

    fn end(&mut self) {
        if !self.is_reaped {
            let _ = self.process.kill();
            let _ = self.process.wait();
            self.is_reaped = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// The beginning of what a program says; the rest is read and dropped, or it would block.
fn first_bytes(mut output: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = output.by_ref().take(COMPLAINT_BYTES).read_to_end(&mut kept);
    let _ = std::io::copy(&mut output, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// CPU time of all children that have been reaped.
pub fn children_cpu_seconds() -> f64 {
    cpu_seconds(UsageWho::RUSAGE_CHILDREN)
}

/// CPU time of this process.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(UsageWho::RUSAGE_SELF)
}

fn cpu_seconds(who: UsageWho) -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(who).map_or(0.0, |usage| {
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

/// Where a program is, or how to get it.
pub fn installed(program: &str, package: &str) -> Result<OsString> {
    let path = std::env::var_os("PATH");
    match crate::run::program::Program::find(OsStr::new(program), path.as_deref()) {
        Ok(found) => Ok(found.path.into_os_string()),
        Err(_) => bail!("{program} is not installed: apt-get install {package}"),
    }
}
