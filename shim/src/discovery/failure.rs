//! From what went wrong to the reason the user reads.

use fastpath::error::Blame;
use kmod_interface::reason::Reason;
use libc::{
    EACCES, EAFNOSUPPORT, EDQUOT, EFBIG, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOPROTOOPT,
    ENOSPC, ENOSYS, EPERM, EPROTONOSUPPORT,
};

/// The reason for an errno of a call that discovery makes on descriptors and memory of its own.
pub fn of_errno(errno: i32) -> Reason {
    match errno {
        EMFILE | ENFILE => Reason::OutOfDescriptors,
        ENOMEM | ENOBUFS | ENOSPC | EDQUOT => Reason::OutOfMemory,
        EPERM | EACCES | EAFNOSUPPORT | EFBIG => Reason::ForbiddenByPolicy,
        ENOSYS | EINVAL | ENOPROTOOPT | EPROTONOSUPPORT => Reason::Unsupported,
        _ => Reason::Internal,
    }
}

/// The reason for an error of `fastpath`'s memory and channels.
pub fn of_blame(blame: Blame) -> Reason {
    match blame {
        Blame::PeerMisbehaved(_) => Reason::BadOffer,
        Blame::PeerGone => Reason::PeerLeft,
        Blame::Unsupported => Reason::Unsupported,
        Blame::Exhausted => Reason::TooManySockets,
        Blame::Os(errno) => of_errno(errno),
    }
}
