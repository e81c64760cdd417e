//! The calls under test, as thin wrappers: the one room with unsafe code.
//!
//! Every wrapper goes through the exported libc symbol of its name, so that a preloaded library sees exactly the call
//! that a program would make. Nothing here retries, rounds or hides: an answer is the return value or errno.
//!
//! * [`answer`]: return values and errno names.
//! * [`connection`]: socket, bind, listen, accept, connect, names, shutdown, close.
//! * [`transfer`]: the read and write families over one buffer or several.
//! * [`message`]: sendmsg, recvmsg and their multiple forms.
//! * [`files`]: sendfile, splice, pipes, memory files, descriptor flags.
//! * [`options`]: socket options and ioctls.
//! * [`readiness`]: poll and select.
//! * [`signals`]: handlers that count, timers, masks.
//! * [`processes`]: naps, process ids, SIGKILL, thread cancellation.
//! * [`children`]: fork, vfork, ends of children.
//! * [`programs`]: exec, posix_spawn, system, popen.
//! * [`rights`]: descriptors sent to other processes.
//! * [`raw`]: system calls by instructions of our own, which no library sees.

pub mod answer;
pub mod children;
pub mod connection;
pub mod files;
pub mod message;
pub mod options;
pub mod processes;
pub mod programs;
pub mod raw;
pub mod readiness;
pub mod rights;
pub mod signals;
pub mod transfer;
