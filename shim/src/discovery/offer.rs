//! The offer with its two descriptors, sent by S and received by C (TRUST.md steps 5 and 6).
//!
//! C leaves room for exactly two descriptors, so that no more can ever be installed; one that did not fit ends the
//! handshake (TRUST.md row 15).
#![expect(unsafe_code, reason = "raw system calls with local buffers")]

use fastpath::kernel_call::system_call;
use fastpath::memory::descriptor::Descriptor;
use kmod_interface::handshake::{OFFER_BYTES, Offer, OfferError};
use kmod_interface::reason::Reason;
use libc::{c_int, iovec, msghdr};
use rustix::fd::{AsRawFd, BorrowedFd};

/// `struct cmsghdr` and two descriptors: CMSG_SPACE(2 * sizeof(int)) of cmsg(3).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptors: [c_int; 2],
}

const CONTROL_HEADER_BYTES: usize = 16;
const _: () = assert!(size_of::<Control>() == CONTROL_HEADER_BYTES + 8);

/// What became of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Done,
    /// C has not let us in yet; try again at the next call.
    NotYet,
    /// C has gone away.
    Gone,
    /// The kernel refused.
    Refused(i32),
}

fn message(part: &mut iovec, control: &mut Control) -> msghdr {
    // SAFETY: all zero is a message without any parts.
    let mut message: msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut *control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    message
}

/// Sends an offer and the two memories: the one S writes, then the one made for C.
pub fn send(dialer: BorrowedFd<'_>, offer: &Offer, memories: [BorrowedFd<'_>; 2]) -> Sent {
    let mut bytes = offer.to_bytes();
    let mut part = iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control {
        length: size_of::<Control>(),
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        descriptors: memories.map(|memory| memory.as_raw_fd()),
    };
    let message = message(&mut part, &mut control);
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let arguments = [
        dialer.as_raw_fd() as usize,
        &raw const message as usize,
        flags as usize,
        0,
        0,
        0,
    ];
    // SAFETY: sendmsg(2) with a message of local parts.
    let result = unsafe { system_call(libc::SYS_sendmsg, arguments) };
    match -result as i32 {
        _ if result >= 0 => Sent::Done,
        // C's end refuses descriptors until it knows us (SO_PASSRIGHTS), or its buffer is full.
        libc::EPERM | libc::EAGAIN | libc::EINTR => Sent::NotYet,
        libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN => Sent::Gone,
        errno => Sent::Refused(errno),
    }
}

/// What C received.
pub struct Received {
    /// The offer, every field in its range.
    pub offer: Offer,
    /// The accepting side's memory.
    pub far: Descriptor,
    /// The memory made for us.
    pub own: Descriptor,
}

/// Receives an offer; nothing yet is `Ok(None)`. Whatever else arrived is closed.
///
/// # Errors
/// [`Reason::BadOffer`], [`Reason::VersionMismatch`], [`Reason::PeerLeft`], [`Reason::OutOfDescriptors`].
pub fn receive(visitor: BorrowedFd<'_>) -> Result<Option<Received>, Reason> {
    // One more than an offer has, to notice a longer one.
    let mut bytes = [0_u8; OFFER_BYTES + 1];
    let mut part = iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control {
        length: 0,
        level: 0,
        kind: 0,
        descriptors: [-1; 2],
    };
    let mut message = message(&mut part, &mut control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let arguments = [
        visitor.as_raw_fd() as usize,
        &raw mut message as usize,
        flags as usize,
        0,
        0,
        0,
    ];
    // SAFETY: recvmsg(2) with a message of local parts, all writable.
    let result = unsafe { system_call(libc::SYS_recvmsg, arguments) };
    if result < 0 {
        return match -result as i32 {
            libc::EAGAIN | libc::EINTR => Ok(None),
            _ => Err(Reason::PeerLeft),
        };
    }
    let [far, own] = installed(&message, &control);
    if result == 0 {
        return Err(Reason::PeerLeft);
    }
    // unix(7): what does not fit is discarded. Fewer than there was room for means that this process is full.
    if message.msg_flags & libc::MSG_CTRUNC != 0 && (far.is_none() || own.is_none()) {
        return Err(Reason::OutOfDescriptors);
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(Reason::BadOffer);
    }
    let (Some(far), Some(own)) = (far, own) else {
        return Err(Reason::BadOffer);
    };
    let offer = Offer::from_bytes(bytes.get(..result as usize).unwrap_or_default());
    match offer {
        Ok(offer) => Ok(Some(Received { offer, far, own })),
        Err(OfferError::Version) => Err(Reason::VersionMismatch),
        Err(OfferError::Length | OfferError::Magic | OfferError::Range) => Err(Reason::BadOffer),
    }
}

/// The descriptors the kernel installed; from here on they are closed whatever happens.
fn installed(message: &msghdr, control: &Control) -> [Option<Descriptor>; 2] {
    let bytes = message.msg_controllen.min(control.length);
    if bytes < CONTROL_HEADER_BYTES
        || control.level != libc::SOL_SOCKET
        || control.kind != libc::SCM_RIGHTS
    {
        return [None, None];
    }
    let count = (bytes - CONTROL_HEADER_BYTES) / size_of::<c_int>();
    let [first, second] = control.descriptors;
    let take = |index: usize, number: c_int| {
        (index < count && number >= 0).then(|| Descriptor::from_number(number))
    };
    [take(0, first), take(1, second)]
}
