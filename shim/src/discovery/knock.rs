//! The knock: proof that a process holds the other end of a TCP connection (TRUST.md "Knock").
//!
//! The prover sets five IP options, which have no effect on a connected TCP socket, to a value the verifier chose; the
//! verifier sees them in socket diagnostics. Only a holder of the socket can set them, and no byte enters the stream.
//! The options are of level IP on IPv6 sockets, too.

use fastpath::kernel_call::{set_socket_option, socket_option};
use kmod_interface::limits::KNOCK_BITS;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::rand::GetRandomFlags;

/// False in builds with the feature `without-knock`, which exist to show that the attacks succeed then.
pub const REQUIRED: bool = !cfg!(feature = "without-knock");

/// `IP_FREEBIND, IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IP_BIND_ADDRESS_NO_PORT, IP_RECVERR_RFC4884` of ip(7), and the
/// bits of `struct inet_diag_sockopt` in which they show.
const OPTIONS: [(i32, u32); KNOCK_BITS as usize] = [(15, 2), (34, 4), (49, 6), (24, 8), (26, 9)];

/// The value in the two bytes of `INET_DIAG_SOCKOPT`.
pub fn value_in_diagnostics(options: u16) -> u32 {
    OPTIONS
        .iter()
        .enumerate()
        .fold(0, |value, (bit, (_, place))| {
            value | u32::from(options >> place & 1) << bit
        })
}

/// The value a socket of ours shows.
pub fn shown(tcp: BorrowedFd<'_>) -> Result<u32, i32> {
    let mut value = 0;
    for (bit, (option, _)) in OPTIONS.iter().enumerate() {
        let set: i32 = socket_option(tcp.as_raw_fd(), libc::IPPROTO_IP, *option)?;
        value |= u32::from(set != 0) << bit;
    }
    Ok(value)
}

/// Makes a socket of ours that shows `from` show `to`.
pub fn change(tcp: BorrowedFd<'_>, from: u32, to: u32) -> Result<(), i32> {
    for (bit, (option, _)) in OPTIONS.iter().enumerate() {
        if (from ^ to) >> bit & 1 != 0 {
            let set = (to >> bit & 1) as i32;
            set_socket_option(tcp.as_raw_fd(), libc::IPPROTO_IP, *option, set)?;
        }
    }
    Ok(())
}

/// A value to ask for: any but the one that is seen now.
pub fn other_than(seen: u32) -> u32 {
    const VALUES: u32 = 1 << KNOCK_BITS;
    let mut random = [0_u8; 4];
    let filled = rustix::rand::getrandom(&mut random, GetRandomFlags::NONBLOCK);
    let random = match filled {
        Ok(4) => u32::from_ne_bytes(random),
        // Early at boot. A value that can be guessed is no help to somebody who cannot show it.
        _ => (fastpath::sync::time_stamp() >> 4) as u32,
    };
    // One of the other 31, each as likely.
    (seen + 1 + random % (VALUES - 1)) % VALUES
}

/// True when what is seen is what was asked for.
pub fn is_seen(seen: u32, asked: u32) -> bool {
    !REQUIRED || seen == asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_other_than_the_one_seen_is_asked_for_and_each_is_possible() {
        for seen in 0..32 {
            let mut asked = 0_u64;
            for _ in 0..2000 {
                asked |= 1 << other_than(seen);
            }
            assert_eq!(asked, 0xffff_ffff & !(1 << seen), "seen {seen}");
        }
    }
}
