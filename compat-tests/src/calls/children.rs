//! Child processes: fork in its ways, waiting for their end, and the stories only C can tell (vfork, a jump out of a
//! signal handler).
#![expect(unsafe_code, reason = "calls libc and the C file of this crate")]

use std::ffi::{CString, c_char, c_int, c_long};
use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer, answer_int};

unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
    fn compat_clone(second: c_int) -> c_int;
    fn __fork() -> libc::pid_t;
    fn _Exit(code: c_int) -> !;
    fn quick_exit(code: c_int) -> !;
    fn compat_clone3() -> c_int;
    fn compat_forkpty() -> c_int;
    fn compat_vfork_execute(
        path: *const c_char,
        arguments: *const *const c_char,
        environment: *const *const c_char,
        from: c_int,
        to: c_int,
    ) -> c_int;
    fn compat_vfork_close(fd: c_int, other: c_int, second: c_int) -> c_int;
    fn compat_jump_out(call: c_int, fd: c_int, apart: c_int, by: c_int) -> c_int;
}

/// How a child is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// fork(3)
    Fork,
    /// _Fork(3): the handlers of pthread_atfork do not run, and no hook of `fork` sees it.
    UnderscoreFork,
    /// `__fork`, the second name of fork.
    SecondFork,
    /// The system call by `syscall()`.
    SystemCall,
    /// clone(2) with a function to begin at, without CLONE_VM.
    Clone,
    /// `__clone`, its second name.
    SecondClone,
    /// clone3(2) by `syscall()`, without CLONE_VM.
    Clone3,
    /// forkpty(3): the child's standard streams become a terminal.
    Forkpty,
}

/// Forks: 0 in the child, its id in the parent.
pub fn fork(how: Forked) -> Answer {
    // SAFETY: the harness forks while it has one thread; the child goes on in a copy of everything.
    answer_int(unsafe {
        match how {
            Forked::Fork => libc::fork(),
            Forked::UnderscoreFork => _Fork(),
            Forked::SecondFork => __fork(),
            Forked::Clone => compat_clone(0),
            Forked::SecondClone => compat_clone(1),
            Forked::Clone3 => compat_clone3(),
            Forked::Forkpty => compat_forkpty(),
            Forked::SystemCall => libc::syscall(
                libc::SYS_clone,
                libc::SIGCHLD as c_long,
                0 as c_long,
                0 as c_long,
                0 as c_long,
                0 as c_long,
            ) as c_int,
        }
    })
}

/// How a child ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// _exit(2): nothing runs.
    AtOnce,
    /// exit(3): handlers and destructors of a copied process run.
    InOrder,
    /// _Exit(3), the same by the name of the C standard.
    AtOnceByStandard,
    /// quick_exit(3): the handlers of at_quick_exit run.
    Quickly,
    /// exit_group by `syscall()`.
    SystemCall,
    /// SIGKILL to itself.
    Killed,
    /// The system call `exit`, all that SECCOMP_MODE_STRICT allows; by an instruction of its own.
    Strictly,
}

/// Ends this process.
pub fn leave(how: Leaving, code: i32) -> ! {
    // SAFETY: no pointers; none of these returns, and the loop is for the one that might take its time.
    unsafe {
        match how {
            Leaving::AtOnce => libc::_exit(code),
            Leaving::AtOnceByStandard => _Exit(code),
            Leaving::Quickly => quick_exit(code),
            Leaving::InOrder => libc::exit(code),
            Leaving::SystemCall => {
                libc::syscall(libc::SYS_exit_group, c_long::from(code));
            }
            Leaving::Killed => {
                libc::kill(libc::getpid(), libc::SIGKILL);
            }
            Leaving::Strictly => {
                super::raw::exit_thread(code);
            }
        }
        loop {
            libc::pause();
        }
    }
}

/// How a child has ended, in words.
pub fn reap(process: i32) -> Result<String, Errno> {
    let mut status = 0;
    // SAFETY: room for one status.
    answer_int(unsafe { libc::waitpid(process, &raw mut status, 0) })?;
    Ok(if libc::WIFEXITED(status) {
        format!("exited with {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        format!("ended by signal {}", libc::WTERMSIG(status))
    } else {
        format!("status {status:#x}")
    })
}

/// Has a child of this process ended?
#[must_use]
pub fn has_ended(process: i32) -> bool {
    // SAFETY: a siginfo of zeros, writable.
    unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let answer = libc::waitid(
            libc::P_PID,
            process as libc::id_t,
            &raw mut found,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        );
        answer != 0 || found.si_pid() != 0
    }
}

/// This process's id, by the system call.
#[must_use]
pub fn own_process() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// C strings and the null-terminated array of their addresses.
pub struct Strings {
    strings: Vec<CString>,
    addresses: Vec<*const c_char>,
}

impl Strings {
    /// Copies of these texts; what has a zero inside is cut there.
    #[must_use]
    pub fn of<Text: AsRef<[u8]>>(texts: &[Text]) -> Strings {
        let strings: Vec<CString> = texts
            .iter()
            .map(|text| {
                let text: Vec<u8> = text
                    .as_ref()
                    .iter()
                    .copied()
                    .take_while(|byte| *byte != 0)
                    .collect();
                CString::new(text).unwrap_or_default()
            })
            .collect();
        let addresses = strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Strings { strings, addresses }
    }

    /// This process's environment.
    #[must_use]
    pub fn environment() -> Strings {
        use std::os::unix::ffi::OsStrExt;
        let texts: Vec<Vec<u8>> = std::env::vars_os()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect();
        Strings::of(&texts)
    }

    /// The array.
    #[must_use]
    pub fn pointer(&self) -> *const *const c_char {
        self.addresses.as_ptr()
    }

    /// One of the strings.
    #[must_use]
    pub fn at(&self, index: usize) -> *const c_char {
        self.strings
            .get(index)
            .map_or(std::ptr::null(), |text| text.as_ptr())
    }
}

/// vfork, in the child `dup2(from, to)` unless `from` is negative, then execve: the child's id.
pub fn vfork_execute(
    path: &str,
    arguments: &[&str],
    environment: &Strings,
    from: RawFd,
    to: RawFd,
) -> Answer {
    let path = Strings::of(&[path]);
    let arguments = Strings::of(arguments);
    // SAFETY: C strings and null-terminated arrays that live until the parent goes on, which vfork delays to the exec.
    answer_int(unsafe {
        compat_vfork_execute(
            path.at(0),
            arguments.pointer(),
            environment.pointer(),
            from,
            to,
        )
    })
}

/// vfork; the child closes `fd`, moves `other` over it unless that is negative, and ends at once: the child's id.
/// `second`: by the name `__vfork`.
pub fn vfork_close(fd: RawFd, other: RawFd, second: bool) -> Answer {
    // SAFETY: the child only makes system calls.
    answer_int(unsafe { compat_vfork_close(fd, other, c_int::from(second)) })
}

/// A call that sleeps until a handler jumps out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Jumped {
    /// recv(2) of one byte.
    Recv = 0,
    /// poll(2) for POLLIN.
    Poll = 1,
    /// select(2) for reading.
    Select = 2,
    /// epoll_wait(2); the descriptor is the set's.
    EpollWait = 3,
    /// send(2), as often as it takes to fill the connection.
    Send = 4,
    /// splice(2) into a pipe without a reader: the handler is that of SIGPIPE.
    Splice = 5,
}

/// How the handler jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum JumpedBy {
    /// siglongjmp(3)
    Siglongjmp = 0,
    /// longjmp(3)
    Longjmp = 1,
    /// `_longjmp`
    OldLongjmp = 2,
    /// `__longjmp_chk`, which `_FORTIFY_SOURCE` makes of all of them
    FortifiedLongjmp = 3,
}

/// Leaves a sleeping call by a jump out of the handler of SIGALRM, which somebody else sends, or SIGPIPE: 1 when it went that
/// way, 0 when it returned. `apart`: the handler runs on a stack of its own.
pub fn jump_out_of(call: Jumped, fd: RawFd, apart: bool, by: JumpedBy) -> Answer {
    let (call, apart, by) = (call as c_int, c_int::from(apart), by as c_int);
    // SAFETY: the C function owns what it jumps over.
    answer(unsafe { compat_jump_out(call, fd, apart, by) } as isize)
}
