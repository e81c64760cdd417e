//! Sockets: made, connected, set up, closed.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::net::SocketAddr;

use super::{Outcome, done, number};

/// A socket address in the form the kernel takes.
struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    fn from_socket(address: &SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large and aligned enough for every address family.
                unsafe { std::ptr::write((&raw mut storage).cast(), name) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { std::ptr::write((&raw mut storage).cast(), name) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Address {
            storage,
            length: length as libc::socklen_t,
        }
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

/// `socket(family, SOCK_STREAM | type_flags, 0)`.
pub fn stream_socket(address: &SocketAddr, type_flags: i32) -> Outcome<i32> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: no pointers.
    number(unsafe { libc::socket(family, libc::SOCK_STREAM | type_flags, 0) })
}

/// A listening stream socket bound to the address, with its port.
pub fn listen_on(address: &SocketAddr, type_flags: i32, backlog: i32) -> Outcome<(i32, u16)> {
    let listener = stream_socket(address, type_flags)?;
    set_option(listener, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    let name = Address::from_socket(address);
    // SAFETY: the address lives through the call and its length is its own.
    done(unsafe { libc::bind(listener, name.pointer(), name.length) })?;
    // SAFETY: no pointers.
    done(unsafe { libc::listen(listener, backlog) })?;
    // SAFETY: all zeros is a valid sockaddr_in6, which is larger than sockaddr_in.
    let mut bound: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: the buffer has the length named; both families keep the port at the same place.
    done(unsafe { libc::getsockname(listener, (&raw mut bound).cast(), &raw mut length) })?;
    Ok((listener, u16::from_be(bound.sin6_port)))
}

/// `connect`.
pub fn connect(descriptor: i32, address: &SocketAddr) -> Outcome<()> {
    let name = Address::from_socket(address);
    // SAFETY: the address lives through the call and its length is its own.
    done(unsafe { libc::connect(descriptor, name.pointer(), name.length) })
}

/// `accept4` without asking for the address.
pub fn accept(listener: i32, type_flags: i32) -> Outcome<i32> {
    // SAFETY: null asks for no address.
    number(unsafe {
        libc::accept4(
            listener,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            type_flags,
        )
    })
}

/// `setsockopt` with an `int`.
pub fn set_option(descriptor: i32, level: i32, option: i32, value: i32) -> Outcome<()> {
    // SAFETY: the value lives through the call and its length is its own.
    done(unsafe {
        libc::setsockopt(
            descriptor,
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` in milliseconds.
pub fn set_timeout(descriptor: i32, option: i32, timeout_ms: u64) -> Outcome<()> {
    let value = libc::timeval {
        tv_sec: (timeout_ms / 1000) as libc::time_t,
        tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
    };
    // SAFETY: the value lives through the call and its length is its own.
    done(unsafe {
        libc::setsockopt(
            descriptor,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    })
}

/// `shutdown`.
pub fn shutdown(descriptor: i32, how: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::shutdown(descriptor, how) })
}

/// `close`.
pub fn close(descriptor: i32) -> Outcome<()> {
    // SAFETY: no pointers; the callers own their descriptors by convention.
    done(unsafe { libc::close(descriptor) })
}

/// Sets or clears `O_NONBLOCK` by `fcntl`.
pub fn set_nonblocking(descriptor: i32, nonblocking: bool) -> Outcome<()> {
    // SAFETY: no pointers.
    let flags = number(unsafe { libc::fcntl(descriptor, libc::F_GETFL) })?;
    let wanted = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: no pointers.
    done(unsafe { libc::fcntl(descriptor, libc::F_SETFL, wanted) })
}

/// Clears `FD_CLOEXEC`, so that an exec'd program inherits the descriptor.
pub fn keep_over_exec(descriptor: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })
}

/// Bytes waiting to be read: `ioctl(FIONREAD)`.
pub fn readable_bytes(descriptor: i32) -> Outcome<usize> {
    let mut bytes = 0i32;
    // SAFETY: FIONREAD writes one int.
    done(unsafe { libc::ioctl(descriptor, libc::FIONREAD, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Bytes sent that the far side has not acknowledged: `ioctl(TIOCOUTQ)` (tcp(7), SIOCOUTQ).
pub fn unsent_bytes(descriptor: i32) -> Outcome<usize> {
    let mut bytes = 0i32;
    // SAFETY: TIOCOUTQ writes one int.
    done(unsafe { libc::ioctl(descriptor, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
