//! What a process that makes no progress is doing, as the kernel sees it.

use super::calls;

/// One piece of text for each thread: name, kernel function it waits in, system call with its arguments, and the kernel's
/// stack where we may see it.
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
            " [{} {} waits in '{}' syscall {} stack {}]",
            entry.file_name().to_string_lossy(),
            read("comm"),
            read("wchan"),
            read("syscall"),
            read("stack").replace('\n', " "),
        ));
    }
    text
}

/// What the kernel's queues of a TCP socket hold, as /proc/net/tcp shows them: found by the socket's inode.
#[must_use]
pub fn describe_queues(descriptor: i32) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
    let link = link.to_string_lossy().into_owned();
    let inode = link
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or("?");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(9) == Some(&inode) {
                return format!(
                    "kernel state {} queues (to send:to read, hexadecimal) {}",
                    fields[3], fields[4]
                );
            }
        }
    }
    format!("no TCP socket behind {link}")
}

/// Ends a process group; its members may have gone already.
pub fn end_group(leader: u32) {
    let _ = calls::signal_process(-(leader as i32), libc::SIGKILL);
}
