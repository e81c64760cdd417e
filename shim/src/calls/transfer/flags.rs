//! Flags of a transfer call that the trampolines add to Linux's own MSG_ flags.

use core::ffi::c_int;

/// Set by the trampoline: read(2) or readv(2), for which nothing is nothing.
pub(super) const IS_READ: c_int = 0x0080_0000;
/// Set by the trampoline: an earlier part of the program's call has moved bytes, so that every handler ends this one.
pub(super) const GOES_ON: c_int = 0x0040_0000;
/// Set by the trampoline: the message has ancillary data.
pub(super) const HAS_CONTROL: c_int = c_int::MIN;
