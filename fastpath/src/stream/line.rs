//! The line: what the kernel socket does for a stream while a ring carries it.
//!
//! Bells and their values, exact offsets of the kernel stream (SWITCH.md §7), and the socket options a line needs
//! (SWITCH.md §5, POSIX.md R1), whose program-visible values are shadowed meanwhile.
#![expect(unsafe_code, reason = "raw buffers of one system call each")]

use crate::endpoint::Endpoint;
use crate::kernel_call::{self, Errno};
use core::ffi::c_int;
use libc::{
    EAGAIN, ECONNRESET, EINTR, FIONREAD, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK,
    MSG_TRUNC, POLLERR, POLLHUP, POLLOUT, SIOCOUTQNSD, SO_ERROR, SO_RCVLOWAT, SOL_SOCKET, TCP_CORK,
    TCP_INFO, TCP_NODELAY, TCP_QUICKACK, TIOCOUTQ as SIOCOUTQ,
};

const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE_WAIT: u8 = 8;
const TCPI_OPTION_SYN_DATA: u8 = 32;

/// Sends one bell: the low byte of its own offset in the kernel stream.
pub fn send_bell(descriptor: c_int, offset: u64) -> Result<(), Errno> {
    let value = offset as u8;
    loop {
        // SAFETY: one local byte.
        match unsafe {
            kernel_call::send(descriptor, &raw const value, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
        } {
            Ok(_) => return Ok(()),
            Err(EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What consuming bells came to.
pub enum Consumed {
    /// So many were taken; fewer than asked for means that the rest has not arrived.
    Bells(u64),
    /// The kernel stream ended behind those taken.
    End(u64, Option<Errno>),
    /// A byte was no bell: somebody else uses the socket.
    Foreign,
}

/// Takes up to `wanted` bells that have arrived; the first lies at offset `position`.
pub fn consume_bells(descriptor: c_int, position: u64, wanted: u64) -> Consumed {
    let mut taken: u64 = 0;
    while taken < wanted {
        let mut bytes = [0u8; 16];
        let ask = (wanted - taken).min(bytes.len() as u64) as usize;
        // SAFETY: a local buffer of at least `ask` bytes.
        match unsafe { kernel_call::receive(descriptor, bytes.as_mut_ptr(), ask, MSG_DONTWAIT) } {
            Ok(0) => return Consumed::End(taken, None),
            Ok(count) => {
                for value in bytes.iter().take(count) {
                    if *value != (position.wrapping_add(taken)) as u8 {
                        return Consumed::Foreign;
                    }
                    taken += 1;
                }
            }
            Err(EAGAIN) => break,
            Err(EINTR) => {}
            Err(errno) => return Consumed::End(taken, Some(errno)),
        }
    }
    Consumed::Bells(taken)
}

/// Bytes that can be read from the kernel stream now.
#[must_use]
pub fn unread_bytes(descriptor: c_int) -> u64 {
    kernel_call::request_int(descriptor, FIONREAD as usize).map_or(0, |bytes| bytes.max(0) as u64)
}

/// What a peek at the kernel stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// A byte.
    Byte,
    /// Nothing yet.
    Nothing,
    /// End of stream.
    End,
    /// An error; it was taken from the socket.
    Failed(Errno),
}

/// Peeks one byte without blocking.
#[must_use]
pub fn peek(descriptor: c_int) -> Peeked {
    let mut byte = 0u8;
    loop {
        // SAFETY: one local byte.
        return match unsafe {
            kernel_call::receive(descriptor, &raw mut byte, 1, MSG_PEEK | MSG_DONTWAIT)
        } {
            Ok(0) => Peeked::End,
            Ok(_) => Peeked::Byte,
            Err(EAGAIN) => Peeked::Nothing,
            Err(EINTR) => continue,
            Err(errno) => Peeked::Failed(errno),
        };
    }
}

/// How many bytes one receive would take now; 0 also where it fails. Sees behind an urgent mark that is next in line, where
/// [`unread_bytes`] counts nothing. Copies nothing and takes nothing (tcp(7), `MSG_TRUNC`).
#[must_use]
pub fn bytes_of_one_receive(descriptor: c_int) -> u64 {
    // The kernel rounds longer requests down to this (`MAX_RW_COUNT`).
    const MOST: usize = 0x7fff_f000;
    loop {
        // SAFETY: with MSG_TRUNC tcp(7) writes nothing into the buffer.
        return match unsafe {
            kernel_call::receive(
                descriptor,
                core::ptr::null_mut(),
                MOST,
                MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT,
            )
        } {
            Ok(bytes) => bytes as u64,
            Err(EINTR) => continue,
            Err(_) => 0,
        };
    }
}

/// Offsets in `struct tcp_info` (include/uapi/linux/tcp.h).
mod info {
    pub const STATE: usize = 0;
    pub const OPTIONS: usize = 5;
    pub const BYTES_ACKED: usize = 120;
    pub const BYTES_RECEIVED: usize = 128;
    pub const BYTES_SENT: usize = 200;
    pub const BYTES_RETRANS: usize = 208;
    pub const BYTES: usize = 216;
}

struct TcpInfo([u8; 256]);

impl TcpInfo {
    fn of(descriptor: c_int) -> Option<TcpInfo> {
        let mut bytes = [0u8; 256];
        let length =
            kernel_call::socket_option_bytes(descriptor, IPPROTO_TCP, TCP_INFO, &mut bytes).ok()?;
        (length >= info::BYTES).then_some(TcpInfo(bytes))
    }
    fn long(&self, offset: usize) -> u64 {
        match self
            .0
            .get(offset..offset + 8)
            .and_then(|slice| slice.try_into().ok())
        {
            Some(bytes) => u64::from_ne_bytes(bytes),
            None => 0,
        }
    }
    /// The socket takes bytes to be sent: the far side may have sent FIN, this one has not.
    fn takes_bytes(&self) -> bool {
        matches!(self.0[info::STATE], TCP_ESTABLISHED | TCP_CLOSE_WAIT)
    }
    /// The far side has sent FIN, this one may still send: what it has sent is exact as before.
    fn is_plain_for_writer(&self) -> bool {
        self.takes_bytes() && self.0[info::OPTIONS] & TCPI_OPTION_SYN_DATA == 0
    }
    /// Counts are exact only on an established connection without Fast Open data.
    fn is_plain(&self) -> bool {
        self.0[info::STATE] == TCP_ESTABLISHED && self.0[info::OPTIONS] & TCPI_OPTION_SYN_DATA == 0
    }
}

/// Bytes ever written to the kernel stream, or nothing when that cannot be known (FIN seen, Fast Open).
/// Valid while no thread is inside a kernel send.
#[must_use]
pub fn sent_offset(descriptor: c_int) -> Option<u64> {
    sent_offset_while(descriptor, TcpInfo::is_plain)
}

/// As [`sent_offset`], also when the far side has ended its own direction.
#[must_use]
pub fn sent_offset_of_writer(descriptor: c_int) -> Option<u64> {
    sent_offset_while(descriptor, TcpInfo::is_plain_for_writer)
}

fn sent_offset_while(descriptor: c_int, is_exact: fn(&TcpInfo) -> bool) -> Option<u64> {
    for _ in 0..64 {
        let before = TcpInfo::of(descriptor)?;
        let not_sent = kernel_call::request_int(descriptor, SIOCOUTQNSD as usize).ok()?;
        let after = TcpInfo::of(descriptor)?;
        if !is_exact(&after) {
            return None;
        }
        let sent = |info: &TcpInfo| {
            info.long(info::BYTES_SENT)
                .wrapping_sub(info.long(info::BYTES_RETRANS))
        };
        if sent(&before) == sent(&after) {
            return Some(sent(&after).wrapping_add(not_sent.max(0) as u64));
        }
    }
    None
}

/// What the kernel has accepted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// So many bytes, counted from a place in the stream that is the same at every look: two looks tell what was sent
    /// between them.
    Bytes(u64),
    /// It accepts nothing any more.
    Ended,
    /// It does not say.
    Unknown,
}

/// What the kernel has accepted for sending so far, whatever has become of it: acknowledged, on its way or waiting.
/// Valid while no thread is inside a kernel send.
///
/// Not [`sent_offset`], whose `bytes_sent` grows twice by what a queue below TCP refuses at the first attempt: there a
/// wrong count costs an upgrade, here it would lose bytes or double them.
#[must_use]
pub fn accepted(descriptor: c_int) -> Accepted {
    for _ in 0..64 {
        let Some(before) = TcpInfo::of(descriptor) else {
            return Accepted::Unknown;
        };
        let unacknowledged = kernel_call::request_int(descriptor, SIOCOUTQ as usize);
        let (Ok(unacknowledged), Some(after)) = (unacknowledged, TcpInfo::of(descriptor)) else {
            return Accepted::Unknown;
        };
        if !after.takes_bytes() {
            return Accepted::Ended;
        }
        // Nothing was acknowledged in between: the two counts meet at the same byte.
        let acknowledged = after.long(info::BYTES_ACKED);
        if before.long(info::BYTES_ACKED) == acknowledged {
            return Accepted::Bytes(acknowledged.wrapping_add(unacknowledged.max(0) as u64));
        }
    }
    Accepted::Unknown
}

/// Bytes known to have been written to the kernel stream, also after its end.
#[must_use]
pub fn sent_at_least(descriptor: c_int) -> u64 {
    TcpInfo::of(descriptor).map_or(0, |info| {
        info.long(info::BYTES_SENT)
            .wrapping_sub(info.long(info::BYTES_RETRANS))
    })
}

/// Bytes ever taken from the kernel stream, or nothing when that cannot be known.
/// Valid while no thread is inside a consuming kernel receive.
#[must_use]
pub fn taken_offset(descriptor: c_int) -> Option<u64> {
    for _ in 0..64 {
        let before = TcpInfo::of(descriptor)?;
        let unread = unread_bytes(descriptor);
        let after = TcpInfo::of(descriptor)?;
        if !after.is_plain() {
            return None;
        }
        if before.long(info::BYTES_RECEIVED) == after.long(info::BYTES_RECEIVED) {
            return Some(after.long(info::BYTES_RECEIVED).wrapping_sub(unread));
        }
    }
    None
}

/// True when the socket can take at least one more bell.
#[must_use]
pub fn is_writable(descriptor: c_int) -> bool {
    kernel_call::poll_one(descriptor, POLLOUT, 0) == POLLOUT
}

/// True when the connection was reset: both directions have ended at once.
#[must_use]
pub fn is_reset_now(descriptor: c_int) -> bool {
    kernel_call::poll_one(descriptor, 0, 0) & POLLHUP != 0
}

/// Takes the socket's pending error, which the ring shows in its own words.
pub fn take_error(descriptor: c_int) -> Option<Errno> {
    kernel_call::socket_option::<c_int>(descriptor, SOL_SOCKET, SO_ERROR)
        .ok()
        .filter(|errno| *errno != 0)
}

/// Ends the socket as an RST of the far side would have: one ECONNRESET is pending, both directions have ended. False
/// when it had ended so far that no error is pending.
pub fn end_by_reset(descriptor: c_int) -> bool {
    let _ = take_error(descriptor);
    kernel_call::reset_connection(descriptor);
    kernel_call::shut_both(descriptor);
    kernel_call::poll_one(descriptor, 0, 0) & POLLERR != 0
}

/// Bits of `Endpoint::shadowed`.
pub mod shadow {
    /// TCP_NODELAY and TCP_CORK are the line's, under `tx_lock`.
    pub const SENDING: u32 = 1;
}

/// Before an upgrade of the sending direction: bells must leave at once. Under `tx_lock`.
pub fn take_sending_options(endpoint: &Endpoint, descriptor: c_int) {
    if endpoint.shadowed.get() & shadow::SENDING != 0 {
        return;
    }
    let no_delay =
        kernel_call::socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_NODELAY).unwrap_or(0);
    let cork = kernel_call::socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_CORK).unwrap_or(0);
    endpoint.shadow_no_delay.set(u32::from(no_delay != 0));
    endpoint.shadow_cork.set(u32::from(cork != 0));
    if cork != 0 {
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_CORK, 0);
    }
    if no_delay == 0 {
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    endpoint
        .shadowed
        .set(endpoint.shadowed.get() | shadow::SENDING);
}

/// After the closing bell: the program's values again. Under `tx_lock`.
pub fn restore_sending_options(endpoint: &Endpoint, descriptor: c_int) {
    if endpoint.shadowed.get() & shadow::SENDING == 0 {
        return;
    }
    if endpoint.shadow_no_delay.get() == 0 {
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_NODELAY, 0);
    }
    if endpoint.shadow_cork.get() != 0 {
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_CORK, 1);
    }
    endpoint
        .shadowed
        .set(endpoint.shadowed.get() & !shadow::SENDING);
}

/// Before a grant: one bell must make the socket readable. Under `rx_lock`.
pub fn take_receiving_options(endpoint: &Endpoint, descriptor: c_int) {
    let low_water =
        kernel_call::socket_option::<c_int>(descriptor, SOL_SOCKET, SO_RCVLOWAT).unwrap_or(1);
    if low_water > 1 {
        endpoint.low_water.set(low_water as u32);
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, SOL_SOCKET, SO_RCVLOWAT, 1);
    }
}

/// After a retreat was passed: the program's value again. Under `rx_lock`.
pub fn restore_receiving_options(endpoint: &Endpoint, descriptor: c_int) {
    if endpoint.low_water.get() > 1 {
        let value = endpoint.low_water.get() as c_int;
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, SOL_SOCKET, SO_RCVLOWAT, value);
        endpoint.low_water.set(0);
    }
}

/// After a retreat was passed: the closing bell was a small segment, and while it is not acknowledged Nagle's rule would
/// hold the next small send of the far program, for the 40 ms of a delayed acknowledgement. By the kernel alone there was no
/// such segment (tcp(7), `TCP_QUICKACK`: what is due is sent now). The option is left as it was.
pub fn acknowledge_now(descriptor: c_int) {
    let before = kernel_call::socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_QUICKACK);
    let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_QUICKACK, 1);
    if before == Ok(0) {
        let _ = kernel_call::set_socket_option::<c_int>(descriptor, IPPROTO_TCP, TCP_QUICKACK, 0);
    }
}

/// True for an error that a ring shows by its own state, not by errno.
#[must_use]
pub fn is_reset(errno: Errno) -> bool {
    errno == ECONNRESET
}
