//! Making, naming and ending connections.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer_int};

/// A socket address of any family, with the length the kernel gave or takes.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    /// Bytes of the address that count.
    pub length: u32,
}

impl Address {
    /// All zeros; room for any address.
    #[must_use]
    pub fn empty() -> Address {
        // SAFETY: sockaddr_storage is plain bytes; all zeros is the family AF_UNSPEC.
        let storage = unsafe { std::mem::zeroed() };
        Address {
            storage,
            length: size_of::<libc::sockaddr_storage>() as u32,
        }
    }

    /// An IPv4 address.
    #[must_use]
    pub fn ipv4(octets: [u8; 4], port: u16) -> Address {
        let mut address = Address::empty();
        let bytes = address.bytes_mut();
        bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[4..8].copy_from_slice(&octets);
        address.length = size_of::<libc::sockaddr_in>() as u32;
        address
    }

    /// An IPv6 address.
    #[must_use]
    pub fn ipv6(octets: [u8; 16], port: u16) -> Address {
        let mut address = Address::empty();
        let bytes = address.bytes_mut();
        bytes[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[8..24].copy_from_slice(&octets);
        address.length = size_of::<libc::sockaddr_in6>() as u32;
        address
    }

    /// The address that dissolves a connection.
    #[must_use]
    pub fn unspecified() -> Address {
        let mut address = Address::empty();
        address.length = size_of::<libc::sockaddr_in>() as u32;
        address
    }

    /// The first bytes of the address as the kernel sees them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 28] {
        // SAFETY: sockaddr_storage is 128 plain bytes, the borrow is of `self`, and [u8; 28] has alignment 1.
        unsafe { &*(&raw const self.storage).cast::<[u8; 28]>() }
    }

    fn bytes_mut(&mut self) -> &mut [u8; 28] {
        // SAFETY: as above, and any bytes are a valid sockaddr_storage.
        unsafe { &mut *(&raw mut self.storage).cast::<[u8; 28]>() }
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> i32 {
        i32::from(u16::from_ne_bytes([self.bytes()[0], self.bytes()[1]]))
    }

    /// Port of an internet address.
    #[must_use]
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes()[2], self.bytes()[3]])
    }

    /// The same host at another port.
    pub fn set_port(&mut self, port: u16) {
        self.bytes_mut()[2..4].copy_from_slice(&port.to_be_bytes());
    }

    /// The host part, as people write it; `none` for an empty address.
    #[must_use]
    pub fn host(&self) -> String {
        let bytes = self.bytes();
        match self.family() {
            libc::AF_INET => {
                std::net::Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).to_string()
            }
            libc::AF_INET6 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&bytes[8..24]);
                format!("[{}]", std::net::Ipv6Addr::from(octets))
            }
            libc::AF_UNSPEC => "none".into(),
            other => format!("family {other}"),
        }
    }

    /// For calls that only read the address.
    pub(super) fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// For calls that fill the address; they write at most `length` bytes, which is at most the storage.
    pub(super) fn pointer_mut(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }
}

/// socket(2).
pub fn socket(family: i32, kind: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::socket(family, kind, 0) })
}

/// bind(2).
pub fn bind(fd: RawFd, address: &Address) -> Answer {
    // SAFETY: the address is readable for its length.
    answer_int(unsafe { libc::bind(fd, address.pointer(), address.length) })
}

/// listen(2).
pub fn listen(fd: RawFd, backlog: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::listen(fd, backlog) })
}

/// connect(2).
pub fn connect(fd: RawFd, address: &Address) -> Answer {
    // SAFETY: the address is readable for its length.
    answer_int(unsafe { libc::connect(fd, address.pointer(), address.length) })
}

/// accept(2); `address` may be absent.
pub fn accept(fd: RawFd, address: Option<&mut Address>) -> Answer {
    // SAFETY: either both pointers are null, or the storage is writable for the length given.
    answer_int(unsafe {
        match address {
            None => libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()),
            Some(address) => libc::accept(fd, address.pointer_mut(), &raw mut address.length),
        }
    })
}

/// accept4(2).
pub fn accept4(fd: RawFd, address: Option<&mut Address>, flags: i32) -> Answer {
    // SAFETY: as for accept.
    answer_int(unsafe {
        match address {
            None => libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags),
            Some(address) => {
                libc::accept4(fd, address.pointer_mut(), &raw mut address.length, flags)
            }
        }
    })
}

/// getsockname(2), with room for `room` bytes.
pub fn getsockname(fd: RawFd, room: u32) -> Result<Address, Errno> {
    let mut address = Address::empty();
    address.length = room.min(address.length);
    // SAFETY: the storage is writable for the length given.
    answer_int(unsafe { libc::getsockname(fd, address.pointer_mut(), &raw mut address.length) })?;
    Ok(address)
}

/// getpeername(2), with room for `room` bytes.
pub fn getpeername(fd: RawFd, room: u32) -> Result<Address, Errno> {
    let mut address = Address::empty();
    address.length = room.min(address.length);
    // SAFETY: the storage is writable for the length given.
    answer_int(unsafe { libc::getpeername(fd, address.pointer_mut(), &raw mut address.length) })?;
    Ok(address)
}

/// shutdown(2).
pub fn shutdown(fd: RawFd, how: i32) -> Answer {
    // SAFETY: no pointers.
    answer_int(unsafe { libc::shutdown(fd, how) })
}

/// close(2).
pub fn close(fd: RawFd) -> Answer {
    // SAFETY: no pointers; the harness owns descriptors by number, as the programs under test do.
    answer_int(unsafe { libc::close(fd) })
}
