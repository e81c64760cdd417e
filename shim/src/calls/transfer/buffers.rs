//! The program's buffers: what the kernel would say of them before anything else (POSIX.md row 32).
#![expect(unsafe_code, reason = "reads the program's vector")]

use crate::boundary::Kind;
use core::ffi::c_int;
use fastpath::stream::pieces::{Piece, Pieces};
use libc::{EFAULT, EINVAL};

const IOV_MAX: usize = 1024;

/// Length of a vector, with the checks the kernel makes before anything else (POSIX.md row 32).
#[inline(always)]
pub(super) fn checked_total(
    kind: Kind,
    single: bool,
    first: *const Piece,
    count: usize,
) -> Result<usize, c_int> {
    if count > IOV_MAX {
        return Err(EINVAL);
    }
    if count != 0 && !is_user_address(first.cast()) {
        return Err(EFAULT);
    }
    let mut total: usize = 0;
    for index in 0..count {
        // SAFETY: a plausible user address; the program vouches for the rest.
        let piece = unsafe { first.add(index).read() };
        if piece.bytes > isize::MAX as usize && !single {
            return Err(EINVAL);
        }
        let end = (piece.base as usize).checked_add(piece.bytes);
        if end.is_none_or(|end| end >> 47 != 0) {
            return Err(EFAULT);
        }
        // A receive into page 0 faults only when there is something to copy.
        if kind == Kind::Send && piece.bytes != 0 && !is_user_address(piece.base) {
            return Err(EFAULT);
        }
        total = total.saturating_add(piece.bytes);
    }
    if total > isize::MAX as usize {
        Err(EINVAL)
    } else {
        Ok(total)
    }
}

/// False for a buffer no part of which can lie where user mappings are.
#[inline(always)]
pub(super) fn is_user_span(base: *const u8, bytes: usize) -> bool {
    let end = (base as usize).checked_add(bytes);
    base as usize >= 4096 && end.is_some_and(|end| end >> 47 == 0)
}

/// True when the next byte would be written to page 0.
#[inline(always)]
pub(super) fn leads_nowhere(pieces: &mut Pieces) -> bool {
    pieces
        .present()
        .is_some_and(|(target, _)| (target as usize) < 4096)
}

/// False for page 0 and addresses no user mapping can have.
#[inline(always)]
fn is_user_address(address: *const u8) -> bool {
    let address = address as usize;
    address >= 4096 && address >> 47 == 0
}
