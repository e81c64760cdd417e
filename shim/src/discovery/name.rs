//! The two abstract names of a connection (TRUST.md "Discovery and identity"). Abstract names live in the network
//! namespace, like the addresses they are made of, and one socket at a time can hold one: no relay, no replay.
#![expect(unsafe_code, reason = "raw system calls with local buffers")]

use fastpath::kernel_call::system_call;
use kmod_interface::handshake::{AddressPair, End, NAME_BYTES};
use rustix::fd::{AsRawFd, BorrowedFd};

/// Size of a socket address with such a name: family, zero byte, name.
pub const ADDRESS_BYTES: usize = 2 + 1 + NAME_BYTES;

/// A `struct sockaddr_un` with the name of one end.
pub fn address(pair: &AddressPair, end: End) -> [u8; ADDRESS_BYTES] {
    let mut bytes = [0; ADDRESS_BYTES];
    let (family, name) = bytes.split_at_mut(2);
    family.copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    if let Some(name) = name.get_mut(1..) {
        name.copy_from_slice(&pair.name(end));
    }
    bytes
}

fn with_address(
    number: libc::c_long,
    socket: BorrowedFd<'_>,
    address: &[u8; ADDRESS_BYTES],
) -> Result<(), i32> {
    let arguments = [
        socket.as_raw_fd() as usize,
        address.as_ptr() as usize,
        ADDRESS_BYTES,
        0,
        0,
        0,
    ];
    // SAFETY: bind(2) and connect(2) read the address, whose length is stated.
    let result = unsafe { system_call(number, arguments) };
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(())
    }
}

/// bind(2): takes the name. EADDRINUSE: somebody has it.
pub fn hold(socket: BorrowedFd<'_>, address: &[u8; ADDRESS_BYTES]) -> Result<(), i32> {
    with_address(libc::SYS_bind, socket, address)
}

/// connect(2) to the holder of the name.
pub fn dial(socket: BorrowedFd<'_>, address: &[u8; ADDRESS_BYTES]) -> Result<(), i32> {
    with_address(libc::SYS_connect, socket, address)
}

/// What the socket at the other end is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// Not bound (yet).
    None,
    /// This name.
    Same,
    /// Another one, or no answer.
    Other,
}

/// getpeername(2), compared.
pub fn peer(socket: BorrowedFd<'_>, expected: &[u8; ADDRESS_BYTES]) -> PeerName {
    // A longer name than ours needs no room: it is another one.
    let mut found = [0_u8; 128];
    let mut length = found.len() as u32;
    let arguments = [
        socket.as_raw_fd() as usize,
        found.as_mut_ptr() as usize,
        &raw mut length as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel writes at most `length` bytes and the length.
    let result = unsafe { system_call(libc::SYS_getpeername, arguments) };
    if result < 0 {
        return PeerName::Other;
    }
    match found.get(..length as usize) {
        Some(name) if name.len() <= 2 => PeerName::None,
        Some(name) if name == expected => PeerName::Same,
        _ => PeerName::Other,
    }
}
