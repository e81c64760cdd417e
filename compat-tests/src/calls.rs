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
//! * [`readiness`]: poll, by one call or another.
//! * [`selects`]: select and pselect.
//! * [`epoll`]: epoll, and what sets are mixed with.
//! * [`signals`]: handlers that count, timers, masks.
//! * [`processes`]: naps, process ids, SIGKILL, thread cancellation.
//! * [`handlers`]: signal handlers that use the connection.
//! * [`confinement`]: seccomp and credentials.
//! * [`children`]: fork, vfork, ends of children.
//! * [`numbers`]: dup3 and ranges of numbers.
//! * [`programs`]: exec, posix_spawn, system, popen.
//! * [`rights`]: descriptors sent to other processes.
//! * [`second_names`]: names that the C library exports beside the usual ones.
//! * [`asynchronous`]: aio and lists of it.
//! * [`credentials`]: calls that change who a process is, and change nothing here.
//! * [`opened`]: calls that give a new file a number.
//! * [`stdio`]: streams of the C library on a descriptor.
//! * [`raw`]: system calls by instructions of our own, which no library sees.

pub mod answer;
pub mod asynchronous;
pub mod children;
pub mod confinement;
pub mod connection;
pub mod credentials;
pub mod epoll;
pub mod files;
pub mod handlers;
pub mod message;
pub mod numbers;
pub mod opened;
pub mod options;
pub mod processes;
pub mod programs;
pub mod raw;
pub mod readiness;
pub mod rights;
pub mod second_names;
pub mod selects;
pub mod signals;
pub mod stdio;
pub mod transfer;
