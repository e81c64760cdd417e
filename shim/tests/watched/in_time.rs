//! A program that must come to an end, with everything that it has started.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends a program that hangs.
const WATCHDOG: Duration = Duration::from_secs(1200);
/// Ends what still holds the standard streams of a program that has succeeded.
const LEFT_BEHIND: Duration = Duration::from_secs(120);
/// The same of one that has failed: what it has left behind waits for it, perhaps for ever.
const LEFT_BEHIND_BY_A_FAILURE: Duration = Duration::from_secs(5);

/// Has a program run in a process group of its own, by which [`ended`] finds what it has started.
pub fn in_a_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// How a program has ended that was started [`in_a_group`]; nothing when it hung, or something did that it had left
/// behind, and all of it was killed. And what was said on its standard output and its standard error, as far as they
/// are pipes.
pub fn ended(child: &mut Child) -> (Option<ExitStatus>, String, String) {
    let (said, complained) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let mut status = None;
    is_in_time(WATCHDOG, || {
        status = child.try_wait().expect("the program can be waited for");
        status.is_some()
    });
    let limit = match status {
        None => Duration::ZERO,
        Some(status) if status.success() => LEFT_BEHIND,
        Some(_) => LEFT_BEHIND_BY_A_FAILURE,
    };
    if !is_in_time(limit, || said.is_finished() && complained.is_finished()) {
        // The group's number is nobody else's while somebody is in it.
        let group = Pid::from_raw(child.id().cast_signed()).expect("a process group");
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        status = status.filter(|status| !status.success());
    }
    let [said, complained] = [said, complained].map(|text| text.join().expect("a text"));
    (status, said, complained)
}

/// Whether it has happened within so long.
fn is_in_time(limit: Duration, mut has_happened: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if has_happened() {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a pipe to its end, which comes when nobody holds the other one any more.
fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
