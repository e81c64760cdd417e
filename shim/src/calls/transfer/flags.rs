//! Flags of a transfer call: Linux's own, and two of the trampolines.

use core::ffi::c_int;

pub(super) const MSG_OOB: c_int = 1;
pub(super) const MSG_PEEK: c_int = 2;
pub(super) const MSG_TRUNC: c_int = 0x20;
pub(super) const MSG_DONTWAIT: c_int = 0x40;
pub(super) const MSG_WAITALL: c_int = 0x100;
pub(super) const MSG_ERRQUEUE: c_int = 0x2000;
pub(super) const MSG_NOSIGNAL: c_int = 0x4000;
pub(super) const MSG_FASTOPEN: c_int = 0x2000_0000;
/// Set by the trampoline: read(2) or readv(2), for which nothing is nothing.
pub(super) const IS_READ: c_int = 0x0080_0000;
/// Set by the trampoline: the message has ancillary data.
pub(super) const HAS_CONTROL: c_int = c_int::MIN;
