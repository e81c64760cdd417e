//! What a call answers: a count, or an errno with its name.

use std::fmt;

/// An error number of the system, shown by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a call returned.
pub type Answer = Result<usize, Errno>;

macro_rules! names {
    ($($name:ident)*) => {
        const NAMES: &[(i32, &str)] = &[$((libc::$name, stringify!($name)),)*];
    };
}

names! {
    EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR
    EISDIR EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC ESPIPE EROFS EPIPE EDOM ERANGE EDEADLK ENOSYS ELOOP EOVERFLOW
    EBADFD ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
    ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS ECANCELED ENOTEMPTY ENAMETOOLONG
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => out.write_str(name),
            None => write!(out, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The errno of the last failed call of this thread.
pub(super) fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Turns a C return value into an answer: any negative value means that errno is set.
pub(super) fn answer(value: isize) -> Answer {
    usize::try_from(value).map_err(|_| last_errno())
}

/// The same for calls that return an `int`.
pub(super) fn answer_int(value: libc::c_int) -> Answer {
    answer(value as isize)
}

/// An answer as a transcript shows it: `5`, or `-1 EAGAIN`.
#[must_use]
pub fn shown(answer: Answer) -> String {
    match answer {
        Ok(value) => value.to_string(),
        Err(errno) => format!("-1 {errno}"),
    }
}
