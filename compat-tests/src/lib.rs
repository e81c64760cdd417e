//! The oracle: the same program on bare Linux and under the shim must give the same answer.
//!
//! A *case* is a short script about two connected ends that live in two processes. It is run on the bare kernel, under
//! the shim in eager mode and under the shim in evidence mode, and what the script saw (return values, errno names,
//! bytes, flags, events) is written down as a transcript. Linux is the oracle: the transcripts must be equal, and a
//! transcript that was earned on the kernel path proves nothing, so the bytes of the case must be counted on the ring.
//!
//! What is playing:
//! * [`case`]: what a case declares: its call, its row of POSIX.md, the kinds of connection, what must be proven.
//! * [`stage`]: both processes run one script in lock-step; `near` is the end under test, `far` the other one.
//! * [`side`]: one end, with methods that call, count and write the answer down.
//! * [`control`]: the line between the two processes that keeps them in step.
//! * [`settle`]: eight warm-up exchanges, after which the fast path carries both directions.
//! * [`content`]: bytes that are a function of their position, and how a transcript shows bytes.
//! * [`calls`]: libc wrappers; the only unsafe code.
//! * [`cases`]: the cases, one file per family of calls.
//!
//! What is judging:
//! * [`actor`]: the process that plays one side.
//! * [`director`]: starts the two sides, gathers what they wrote, ends a hang.
//! * [`verdict`]: compares transcripts and checks the proof.
//! * [`prove`]: plays every case without a ring, where each must fail.
//! * [`rows`]: every row of POSIX.md and the cases that cover it.
//! * [`known_gaps`]: accepted differences with their reasons.
//! * [`library`]: builds and finds `libaxio.so`.
//! * [`report`]: the table on the terminal and COMPATIBILITY.md.
//! * [`command`]: the command line, shared by the test and the `compat-tests` program.
//!
//! Programs of their own, on real sockets:
//! * [`app_check`]: real programs, the same answers bare and under the shim.
//! * [`torture`]: what the torture programs have in common.
//! * [`many_connections`]: thousands of connections, the busy ones on rings.
//! * [`peer_death`]: SIGKILL at every step of the switch.
//! * [`stream_integrity`]: no byte lost, doubled, re-ordered or foreign, whatever happens.

pub mod actor;
pub mod app_check;
pub mod calls;
pub mod case;
pub mod cases;
pub mod command;
pub mod content;
pub mod control;
pub mod director;
pub mod known_gaps;
pub mod library;
pub mod many_connections;
pub mod peer_death;
pub mod prove;
pub mod report;
pub mod rows;
pub mod settle;
pub mod side;
pub mod stage;
pub mod stream_integrity;
pub mod torture;
pub mod verdict;
