//! How long a process's threads have waited for a CPU: what a busy machine adds to every survivor's time.

use std::collections::BTreeMap;
use std::time::Duration;

/// Nanoseconds that each thread has been ready to run without running, by its number.
type Waited = BTreeMap<String, u64>;

/// Looks at one process from a moment on.
pub struct Watch {
    process: u32,
    first: Waited,
    latest: Waited,
}

impl Watch {
    /// Begins now.
    #[must_use]
    pub fn begin(process: u32) -> Watch {
        Watch {
            process,
            first: waited(process),
            latest: Waited::new(),
        }
    }

    /// Looks again: what a thread tells goes with it.
    pub fn look(&mut self) {
        self.latest.extend(waited(self.process));
    }

    /// The longest that one of the threads has waited since the beginning: several wait at the same time.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let since = |(thread, time): (&String, &u64)| {
            time.saturating_sub(self.first.get(thread).copied().unwrap_or(0))
        };
        Duration::from_nanos(self.latest.iter().map(since).max().unwrap_or(0))
    }
}

/// The second word of each thread's `schedstat` (Documentation/scheduler/sched-stats.rst); nothing where the kernel does
/// not count, and then nothing is taken off.
fn waited(process: u32) -> Waited {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let time = text.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), time))
    };
    let threads = threads.into_iter().flatten().flatten();
    threads.filter_map(of_thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_gone_still_counts_and_what_was_before_does_not() {
        let of = |words: &[(&str, u64)]| -> Waited {
            let own = words.iter().map(|(name, time)| ((*name).to_owned(), *time));
            own.collect()
        };
        let mut watch = Watch {
            process: 0,
            first: of(&[("1", 500), ("2", 10)]),
            latest: of(&[("1", 600), ("2", 260)]),
        };
        assert_eq!(watch.longest(), Duration::from_nanos(250));
        // Nobody has this number: nothing is forgotten.
        watch.look();
        assert_eq!(watch.longest(), Duration::from_nanos(250));
        // One that has begun since.
        watch.latest.insert("3".to_owned(), 300);
        assert_eq!(watch.longest(), Duration::from_nanos(300));
    }
}
