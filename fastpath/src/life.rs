//! Does a process or a thread live? Asked about fork relatives that may have died holding something.
//!
//! A signal of number 0 tells too little: a zombie takes it, and so does whoever got the id of a dead process later. Who
//! waits for a zombie's lock may be the very process that would reap it, so a zombie is dead here. In order of price:
//!
//! * kill(2): nobody of that id;
//! * waitid(2) without reaping: of an own child it says both, that it lives or that it is a zombie;
//! * `/proc/ID/stat`: state, and the time of start, which tells a process from a later one of its id;
//! * a pidfd that is readable: a zombie, where `/proc` is not to be seen.
//!
//! What cannot be found out (no descriptor number left, say) counts as alive: a lock that is taken from the living breaks
//! more than one that is waited for.

use crate::kernel_call;
use crate::text::Text;
use rustix::fs::{Mode, OFlags};

/// Longer than the paths of /proc that are asked for here.
const PATH_BYTES: usize = 64;

/// What `/proc/ID/stat` says, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
    /// In clock ticks since the machine was started.
    start: u64,
}

impl Stat {
    fn has_ended(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// The second field is the program's name in parentheses, which may hold any character.
    fn parse(text: &[u8]) -> Option<Stat> {
        const STATE: usize = 3;
        const THREADS: usize = 20;
        const START: usize = 22;
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text
            .get(name_end + 2..)?
            .split(|byte| byte.is_ascii_whitespace());
        let state = *fields.next()?.first()?;
        let mut number = |skipped: usize| -> Option<u64> {
            let digits = fields.nth(skipped)?;
            core::str::from_utf8(digits).ok()?.parse().ok()
        };
        let threads = number(THREADS - STATE - 1)?;
        let start = number(START - THREADS - 1)?;
        Some(Stat {
            state,
            threads,
            start,
        })
    }

    fn read(path: &[u8]) -> Option<Stat> {
        // A line is some 200 bytes long; what is cut off stands behind what is looked at.
        let mut text = [0u8; 512];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let bytes = rustix::io::read(&file, &mut text).ok()?;
        Stat::parse(text.get(..bytes)?)
    }

    fn of_process(process: u32) -> Option<Stat> {
        let mut path = Text::<PATH_BYTES>::new();
        path.add(b"/proc/").add_number(process.into()).add(b"/stat");
        Stat::read(path.bytes())
    }

    fn of_thread(process: u32, thread: u32) -> Option<Stat> {
        let mut path = Text::<PATH_BYTES>::new();
        path.add(b"/proc/").add_number(process.into());
        path.add(b"/task/").add_number(thread.into()).add(b"/stat");
        Stat::read(path.bytes())
    }
}

/// When this process was started, in clock ticks since the machine was; 0 = not to be found out. Readers see that time as
/// of their own time namespace (time_namespaces(7)), so it serves in the first one only.
#[must_use]
pub fn own_start() -> u64 {
    let mut name = [0u8; 32];
    let link = rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self/ns/time", &mut name[..]);
    match link {
        Ok(bytes) if name.get(..bytes) != Some(FIRST_TIME_NAMESPACE) => 0,
        // Before Linux 5.6 there is but one.
        Ok(_) | Err(_) => own_start_seen_here(),
    }
}

/// The same as this process sees it in its own time namespace.
#[must_use]
pub fn own_start_seen_here() -> u64 {
    Stat::read(b"/proc/self/stat").map_or(0, |stat| stat.start)
}

/// True when children of the calling thread get process ids of another namespace than its own, so that neither finds the
/// other by its id: behind unshare(2) or setns(2) of CLONE_NEWPID (pid_namespaces(7)). Without /proc nobody can say: false.
#[must_use]
pub fn children_have_other_ids() -> bool {
    let [mut own, mut childrens] = [[0u8; 32]; 2];
    let read = |path: &core::ffi::CStr, name: &mut [u8]| {
        rustix::fs::readlinkat_raw(rustix::fs::CWD, path, name).is_ok()
    };
    // One that has no process yet has no name either.
    read(c"/proc/thread-self/ns/pid", &mut own)
        && !(read(c"/proc/thread-self/ns/pid_for_children", &mut childrens) && own == childrens)
}

/// PROC_TIME_INIT_INO of include/linux/proc_ns.h.
const FIRST_TIME_NAMESPACE: &[u8] = b"time:[4026531834]";

/// True unless the process is known to have ended; `start` is what [`own_start`] said in it, 0 = not known. Some system
/// calls, one of them 30 µs long on a busy machine.
#[must_use]
pub fn process_lives(process: u32, start: u64) -> bool {
    if !kernel_call::process_exists(process) {
        return false;
    }
    if let Some(ended) = kernel_call::child_has_ended(process) {
        // While it is not reaped nobody else gets its id.
        return !ended;
    }
    match Stat::of_process(process) {
        // A first thread that has ended alone shows the same state, but is not the only one.
        Some(stat) if stat.has_ended() && stat.threads <= 1 => false,
        Some(stat) => start == 0 || stat.start == start,
        None => !kernel_call::process_has_ended(process),
    }
}

/// True unless a thread of a process, which lives, is known to have ended.
#[must_use]
pub fn thread_lives(process: u32, thread: u32) -> bool {
    kernel_call::thread_exists(process, thread)
        && !Stat::of_thread(process, thread).is_some_and(Stat::has_ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_field() {
        let text =
            b"16638 (a) Z (b c) S 1 2 310 0 -1 4227084 93 0 0 0 0 0 0 0 20 0 7 0 2534171 0 0 1";
        let stat = Stat {
            state: b'S',
            threads: 7,
            start: 2_534_171,
        };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse(b"16638 (cut"), None);
        assert_eq!(Stat::parse(b"16638 (cut) S 1 2 3"), None);
    }

    #[test]
    fn this_process_lives_and_under_another_start_does_not() {
        let process = kernel_call::process_id();
        let start = own_start();
        assert_ne!(start, 0);
        let stat = std::fs::read_to_string("/proc/self/stat").expect("own");
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let field = rest.split_whitespace().nth(22 - 3).expect("field 22");
        assert_eq!(own_start_seen_here(), field.parse().expect("a number"));
        assert!(process_lives(process, start));
        assert!(process_lives(process, 0));
        assert!(!process_lives(process, start + 1));
        assert!(thread_lives(process, kernel_call::thread_id()));
    }

    #[test]
    fn a_zombie_is_dead_to_its_parent_and_to_others() {
        let mut child = std::process::Command::new("/bin/sh")
            // The inner one ends once the outer one is a program that never waits for it.
            .args([
                "-c",
                "sh -c 'until grep -q sleep /proc/$PPID/comm; do :; done; kill -KILL $$' & echo $!; exec sleep 60",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
        let grandchild: u32 = line.trim().parse().expect("an id");
        assert!(process_lives(child.id(), 0));
        while Stat::of_process(grandchild).is_some_and(|stat| !stat.has_ended()) {
            std::thread::yield_now();
        }
        assert!(kernel_call::process_exists(grandchild));
        assert_eq!(kernel_call::child_has_ended(grandchild), None);
        assert!(!process_lives(grandchild, 0));
        assert!(kernel_call::process_has_ended(grandchild));
        assert!(!thread_lives(grandchild, grandchild));

        child.kill().expect("a signal");
        while kernel_call::child_has_ended(child.id()) == Some(false) {
            std::thread::yield_now();
        }
        assert!(kernel_call::process_exists(child.id()));
        assert!(!process_lives(child.id(), 0));
        child.wait().expect("the child");
        assert!(!process_lives(child.id(), 0));
    }
}
