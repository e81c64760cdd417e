//! The look: what the kernel says about the other end of one of our TCP connections (TRUST.md "Look").
//!
//! An exact sock_diag(7) query of the reversed address pair in our network namespace, without extensions: those would
//! lock the other process's socket, and a hostile owner can make that hang (TRUST.md row 11).
//!
//! An IPv4 connection is asked for as IPv4 even where one end is an IPv6 socket with mapped addresses: the kernel files
//! both under their IPv4 addresses.
#![expect(unsafe_code, reason = "raw system calls with local buffers")]

use super::private::{Kept, PrivateDescriptor};
use super::{failure, knock};
use fastpath::kernel_call::{send, socket_option, system_call};
use fastpath::memory::descriptor::Descriptor;
use fastpath::sync::{AtomicU32, Ordering};
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use libc::SO_BINDTOIFINDEX;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The other end of a connection, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarEnd {
    /// User id of the socket's owner; [`UNKNOWN_USER`] when it has none in our user namespace.
    pub user: u32,
    /// The socket's cookie: no secret, but never used twice.
    pub cookie: u64,
    /// The knock value it shows.
    pub shown: u32,
    /// True once a process has it; a connection that waits to be accepted belongs to nobody.
    pub is_accepted: bool,
}

/// What every user reads as who is not mapped into our user namespace: strangers compare equal (TRUST.md row 5).
pub const UNKNOWN_USER: u32 = 65534;

const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// `struct inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const INET_DIAG_SOCKOPT: u16 = 22;
const TCP_ESTABLISHED: u8 = 1;
/// Answers to others' questions that are read over before giving up.
const ANSWERS_READ: u32 = 4;

static KEPT: Kept = Kept::empty();
static SEQUENCE: AtomicU32 = AtomicU32::new(1);

/// True when both ids are known and differ: the uid filter of TRUST.md. It saves work, it decides nothing.
pub fn users_differ(one: u32, other: u32) -> bool {
    one != other && one != UNKNOWN_USER && other != UNKNOWN_USER
}

/// Looks at the far end of the connection whose end `own` is `tcp`.
///
/// # Errors
/// The reason why there is nothing to see: not local, translated, ended, or no such kernel feature.
pub fn far_end(tcp: BorrowedFd<'_>, pair: &AddressPair, own: End) -> Result<FarEnd, Reason> {
    let mut netlink = KEPT.take();
    let socket = match netlink.get() {
        Some(socket) => socket,
        None => {
            netlink = open()?;
            netlink.get().ok_or(Reason::Internal)?
        }
    };
    let mut found = ask(socket, pair, own, 0);
    if matches!(found, Err(Refusal::Errno(libc::ENOENT))) {
        // A socket that is bound to an interface (link-local addresses are) is found only with it.
        let interface: i32 =
            socket_option(tcp.as_raw_fd(), libc::SOL_SOCKET, SO_BINDTOIFINDEX).unwrap_or(0);
        if interface > 0 {
            found = ask(socket, pair, own, interface as u32);
        }
    }
    KEPT.put(netlink);
    found.map_err(|refusal| match refusal {
        Refusal::Reason(reason) => reason,
        Refusal::Errno(libc::ENOENT) => not_found(pair),
        Refusal::Errno(errno) => failure::of_errno(errno),
    })
}

/// Fork child: the parent's socket must not be asked through, answers would cross.
pub fn on_fork_child() {
    KEPT.close_in_child();
}

enum Refusal {
    Errno(i32),
    Reason(Reason),
}

fn open() -> Result<PrivateDescriptor, Reason> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(rustix::net::netlink::SOCK_DIAG),
    )
    .map_err(|errno| failure::of_errno(errno.raw_os_error()))?;
    PrivateDescriptor::keep(Descriptor::from(socket))
}

/// Both ends of a connection of this host that meet at no common pair are translated in between; otherwise the far end
/// is simply elsewhere.
fn not_found(pair: &AddressPair) -> Reason {
    let is_loopback = |address: &[u8; 16]| match as_ipv4(address) {
        Some(four) => four[0] == 127,
        None => address[..15] == [0; 15] && address[15] == 1,
    };
    if pair.connect_address == pair.accept_address
        || is_loopback(&pair.connect_address)
        || is_loopback(&pair.accept_address)
    {
        Reason::AddressTranslated
    } else {
        Reason::AddressNotLocal
    }
}

fn as_ipv4(address: &[u8; 16]) -> Option<[u8; 4]> {
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let four: [u8; 4] = address[12..].try_into().ok()?;
    (address[..12] == MAPPED).then_some(four)
}

/// The `struct inet_diag_sockid` of the far end, addresses and ports only: what is asked for, and what must come back.
fn socket_id(pair: &AddressPair, own: End) -> (AddressFamily, [u8; 36]) {
    let ((source, source_port), (target, target_port)) = match own {
        End::Connecting => (
            (&pair.accept_address, pair.accept_port),
            (&pair.connect_address, pair.connect_port),
        ),
        End::Accepting => (
            (&pair.connect_address, pair.connect_port),
            (&pair.accept_address, pair.accept_port),
        ),
    };
    let mut id = [0_u8; 36];
    id[0..2].copy_from_slice(&source_port.to_be_bytes());
    id[2..4].copy_from_slice(&target_port.to_be_bytes());
    match (as_ipv4(source), as_ipv4(target)) {
        (Some(source), Some(target)) => {
            id[4..8].copy_from_slice(&source);
            id[20..24].copy_from_slice(&target);
            (AddressFamily::INET, id)
        }
        _ => {
            id[4..20].copy_from_slice(source);
            id[20..36].copy_from_slice(target);
            (AddressFamily::INET6, id)
        }
    }
}

fn ask(
    netlink: BorrowedFd<'_>,
    pair: &AddressPair,
    own: End,
    interface: u32,
) -> Result<FarEnd, Refusal> {
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let (family, id) = socket_id(pair, own);
    let mut request = [0_u8; REQUEST_BYTES];
    request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request[16] = family.as_raw() as u8;
    request[17] = libc::IPPROTO_TCP as u8;
    request[20..24].fill(0xff); // any state; it is checked below
    request[24..60].copy_from_slice(&id);
    request[60..64].copy_from_slice(&interface.to_ne_bytes());
    request[64..72].fill(0xff); // any cookie
    // SAFETY: a local buffer of the stated length.
    let sent = unsafe {
        send(
            netlink.as_raw_fd(),
            request.as_ptr(),
            REQUEST_BYTES,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    sent.map_err(Refusal::Errno)?;
    for _ in 0..ANSWERS_READ {
        let mut answer = [0_u8; 1024];
        let bytes = receive_from_kernel(netlink, &mut answer).map_err(Refusal::Errno)?;
        let Some(answer) = answer.get(..bytes) else {
            break;
        };
        if word(answer, 8) == Some(sequence) {
            return read_answer(answer, family, &id);
        }
    }
    Err(Refusal::Reason(Reason::Internal))
}

/// recvfrom(2): 0 bytes for a message that some process sent, of which nothing is believed.
fn receive_from_kernel(netlink: BorrowedFd<'_>, answer: &mut [u8]) -> Result<usize, i32> {
    // struct sockaddr_nl: family, padding, port id (0 = the kernel), groups.
    let mut sender = [u32::MAX; 3];
    let mut sender_bytes = size_of_val(&sender) as u32;
    let arguments = [
        netlink.as_raw_fd() as usize,
        answer.as_mut_ptr() as usize,
        answer.len(),
        libc::MSG_DONTWAIT as usize,
        sender.as_mut_ptr() as usize,
        &raw mut sender_bytes as usize,
    ];
    // SAFETY: both buffers are local or borrowed mutably, with their lengths.
    let result = unsafe { system_call(libc::SYS_recvfrom, arguments) };
    match result {
        errno if errno < 0 => Err(-errno as i32),
        _ if sender[1] != 0 => Ok(0),
        bytes => Ok(bytes as usize),
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    let two = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

fn read_answer(answer: &[u8], family: AddressFamily, id: &[u8; 36]) -> Result<FarEnd, Refusal> {
    let odd = || Refusal::Reason(Reason::Unsupported);
    if half(answer, 4).ok_or_else(odd)? == NLMSG_ERROR {
        let negative = word(answer, HEADER_BYTES).ok_or_else(odd)? as i32;
        return Err(Refusal::Errno(negative.wrapping_neg()));
    }
    let message = answer
        .get(HEADER_BYTES..)
        .and_then(|rest| rest.first_chunk::<MESSAGE_BYTES>())
        .ok_or_else(odd)?;
    // A listener answers for addresses that no connection has. An IPv6 socket may answer for an IPv4 pair, then with
    // mapped addresses; its ports are compared like any others.
    let same_family = message[0] == family.as_raw() as u8;
    if message[4..8] != id[0..4] || (same_family && message[8..40] != id[4..36]) {
        return Err(Refusal::Errno(libc::ENOENT));
    }
    if message[1] != TCP_ESTABLISHED {
        return Err(Refusal::Reason(Reason::StreamEnded));
    }
    let cookie = u64::from(word(message, 44).ok_or_else(odd)?)
        | u64::from(word(message, 48).ok_or_else(odd)?) << 32;
    let options = attribute(answer, INET_DIAG_SOCKOPT).ok_or_else(odd)?;
    Ok(FarEnd {
        user: word(message, 64).ok_or_else(odd)?,
        cookie,
        shown: knock::value_in_diagnostics(half(options, 0).ok_or_else(odd)?),
        is_accepted: word(message, 68).ok_or_else(odd)? != 0,
    })
}

/// The value of one attribute behind the message.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(HEADER_BYTES + MESSAGE_BYTES..)?;
    loop {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        if half(rest, 2)? == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
