//! The addresses of a socket's two ends, getsockname(2) and getpeername(2).
#![expect(unsafe_code, reason = "inline system calls")]

use super::{Errno, checked, system_call};
use core::ffi::{c_int, c_long};

/// `sa_family_t` of both internet families.
const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// An internet address as 16 bytes (IPv4 mapped) and a port in host order; nothing for other families.
pub type InternetName = Option<([u8; 16], u16)>;

/// The socket's own address.
#[must_use]
pub fn own_name(descriptor: c_int) -> InternetName {
    let mut buffer = [0u8; 28];
    let length = socket_name(libc::SYS_getsockname, descriptor, &mut buffer).ok()?;
    internet_name(buffer.get(..length.min(28))?)
}

/// The far end's address.
#[must_use]
pub fn far_name(descriptor: c_int) -> InternetName {
    let mut buffer = [0u8; 28];
    let length = socket_name(libc::SYS_getpeername, descriptor, &mut buffer).ok()?;
    internet_name(buffer.get(..length.min(28))?)
}

/// The address family of a socket that has no local address or port: it was never bound, or the kernel took them away (a
/// port that the program had chosen by bind() is left to it).
#[must_use]
pub fn forgotten_name_family(descriptor: c_int) -> Option<u16> {
    let mut buffer = [0u8; 28];
    let length = socket_name(libc::SYS_getsockname, descriptor, &mut buffer).ok()?;
    let family = u16::from_ne_bytes([buffer[0], buffer[1]]);
    let address = match family {
        AF_INET => 4..8,
        AF_INET6 => 8..24,
        _ => return None,
    };
    let is_unspecified =
        |part: Option<&[u8]>| part.is_some_and(|part| part.iter().all(|byte| *byte == 0));
    let is_forgotten = is_unspecified(buffer.get(2..4)) || is_unspecified(buffer.get(address));
    (length >= 16 && is_forgotten).then_some(family)
}

/// Reads a `sockaddr` of either internet family.
#[must_use]
pub fn internet_name(bytes: &[u8]) -> InternetName {
    let family = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]);
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let mut address = [0u8; 16];
    match family {
        AF_INET => {
            address[10] = 255;
            address[11] = 255;
            address[12..16].copy_from_slice(bytes.get(4..8)?);
        }
        AF_INET6 => address.copy_from_slice(bytes.get(8..24)?),
        _ => return None,
    }
    Some((address, port))
}

/// getsockname(2) or getpeername(2) into a buffer of a `sockaddr_in6`; the length the kernel wrote.
fn socket_name(call: c_long, descriptor: c_int, buffer: &mut [u8; 28]) -> Result<usize, Errno> {
    let mut length: u32 = 28;
    // SAFETY: buffer and length are local and of the stated size.
    let result = unsafe {
        system_call(
            call,
            [
                descriptor as usize,
                buffer.as_mut_ptr() as usize,
                &raw mut length as usize,
                0,
                0,
                0,
            ],
        )
    };
    checked(result).map(|_| length as usize)
}
