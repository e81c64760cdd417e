//! epoll, poll, select over two carriers (READINESS.md).
//!
//! The kernel holds every registration of an epoll set, with the program's own data, and says every error. What is kept
//! here is a copy of the registrations of managed sockets: as soon as a ring carries one of them, its readiness is
//! computed from the ring's indices, and the kernel's registration is only the line that a bell comes in by.
//!
//! * [`tables`]: where it is all kept.
//! * [`links`]: lists and chains of it.
//! * [`instance`]: one epoll file of this process.
//! * [`registration`]: one descriptor in one of them.
//! * [`watchers`]: the registrations of one endpoint.
//! * [`control`]: what epoll_ctl does.
//! * [`members`]: what a registration is while a ring carries: kernel mask, waiter, watch bits.
//! * [`harvest`]: ready bits to the list, the list to the program.
//! * [`decide`]: which bits are reported, and when.
//! * [`arming`]: epochs, kicks, the second look.
//! * [`wait`]: one epoll_wait from beginning to end.
//! * [`changes`]: what other calls tell the sets.
//! * [`departed`]: events of what has left a ring while they were under way.
//! * [`exposed`]: sets that other waiters see through the kernel: nested, polled.
//! * [`sharing`]: sets of two processes.
//! * [`descriptor_sets`]: poll and select.
//! * [`fault`]: deliberate bugs, for tests of the tests.
//! * [`ordinary`]: data of descriptors that are in no book of ours.
//! * [`kernel_set`]: the system calls behind it.
//! * [`trampolines`]: words shared with the trampolines.

pub mod arming;
pub mod changes;
pub mod control;
pub mod decide;
pub mod departed;
pub mod descriptor_sets;
pub mod exposed;
pub mod fault;
pub mod harvest;
pub mod instance;
pub mod kernel_set;
pub mod links;
pub mod members;
pub mod ordinary;
pub mod registration;
pub mod sharing;
pub mod tables;
pub mod trampolines;
pub mod wait;
pub mod watchers;
