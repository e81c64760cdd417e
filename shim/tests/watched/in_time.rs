//! A program that must come to an end.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Ends a program that hangs.
const WATCHDOG: Duration = Duration::from_secs(1200);

/// How a program has ended; nothing when it hung, and was killed.
pub fn ended(child: &mut Child) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            return Some(status);
        }
        if started.elapsed() > WATCHDOG {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
