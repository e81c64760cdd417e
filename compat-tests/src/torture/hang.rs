//! What a process that makes no progress is doing, as the kernel sees it.

use super::calls;

/// One piece of text for each thread: name, kernel function it waits in, system call with its arguments.
#[must_use]
pub fn describe_threads(process: i32) -> String {
    let mut text = format!("process {process}:");
    let directory = format!("/proc/{process}/task");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let read = |name: &str| {
            std::fs::read_to_string(entry.path().join(name))
                .map(|content| content.trim().to_owned())
                .unwrap_or_default()
        };
        text.push_str(&format!(
            " [{} {} waits in '{}' syscall {}]",
            entry.file_name().to_string_lossy(),
            read("comm"),
            read("wchan"),
            read("syscall"),
        ));
    }
    text
}

/// Ends a process group; its members may have gone already.
pub fn end_group(leader: u32) {
    let _ = calls::signal_process(-(leader as i32), libc::SIGKILL);
}
