//! getsockname: a connection that was reset by Axio has no address in the kernel any more, because the kernel takes it away
//! from whoever ends a connection by itself. Behind a reset of the far side it would still be there, and so it is here.
#![expect(
    unsafe_code,
    reason = "writes the program's arguments, as getsockname() does"
)]

use crate::{fd_table, process, upgrade};
use core::ffi::{c_int, c_void};
use fastpath::endpoint::role;
use fastpath::kernel_call;

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;
/// struct sockaddr_in and struct sockaddr_in6: family, port, address; the rest is zero.
const NAME_BYTES: u32 = 16;
const NAME6_BYTES: u32 = 28;

/// 1: answered; 0: the kernel is to be asked, which says what is wrong, too.
///
/// # Safety
/// `name` and `length` are the program's arguments.
pub unsafe extern "C" fn own_name(descriptor: c_int, name: *mut c_void, length: *mut u32) -> c_int {
    process::unless_confined(0, || {
        if (name as usize) < 4096 || (length as usize) < 4096 {
            return 0;
        }
        let Some((bytes, used)) = kept(descriptor) else {
            return 0;
        };
        // SAFETY: plausible addresses; the program vouches for the rest.
        unsafe {
            let room = length.read_unaligned();
            if room > i32::MAX as u32 {
                return 0;
            }
            core::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                name.cast::<u8>(),
                room.min(used) as usize,
            );
            length.write_unaligned(used);
        }
        1
    })
}

/// The name from before, if the kernel has forgotten it.
fn kept(descriptor: c_int) -> Option<([u8; NAME6_BYTES as usize], u32)> {
    let (_, _, endpoint) = fd_table::get(descriptor)?;
    let pair = upgrade::known_pair(endpoint)?;
    let mut bytes = [0_u8; NAME6_BYTES as usize];
    let family = kernel_call::forgotten_name_family(descriptor)?;
    let (address, port) = if endpoint.role.get() == role::CONNECTING {
        (pair.connect_address, pair.connect_port)
    } else {
        (pair.accept_address, pair.accept_port)
    };
    bytes[0..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    match family {
        AF_INET => {
            bytes[4..8].copy_from_slice(&address[12..16]);
            Some((bytes, NAME_BYTES))
        }
        // A link-local address has a scope, which was not kept.
        AF_INET6 if address[..2] != [0xfe, 0x80] => {
            bytes[8..24].copy_from_slice(&address);
            Some((bytes, NAME6_BYTES))
        }
        _ => None,
    }
}
