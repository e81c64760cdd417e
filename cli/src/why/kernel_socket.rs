//! What the kernel says of a descriptor: a socket or not, and the addresses of a TCP socket. Read from `/proc` alone,
//! because asking the kernel about a foreign socket by other ways can hang (TRUST.md rows 10 and 11).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// What a descriptor is.
#[derive(Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// Nothing.
    Closed,
    /// A socket with this inode.
    Socket(u64),
    /// Something else, as its link reads.
    Other(String),
}

impl Descriptor {
    /// What `fd` is in a process.
    pub fn of(pid: u32, fd: i32) -> Descriptor {
        match fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
            Ok(link) => Descriptor::of_link(&link),
            Err(_) => Descriptor::Closed,
        }
    }

    fn of_link(link: &Path) -> Descriptor {
        let text = link.to_string_lossy();
        let inode = text
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        inode.map_or_else(
            || Descriptor::Other(text.chars().map(printable).collect()),
            Descriptor::Socket,
        )
    }
}

/// A TCP socket as its network namespace lists it.
#[derive(Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// This side's address.
    pub local: SocketAddr,
    /// The far side's.
    pub peer: SocketAddr,
    /// Whether it accepts connections.
    pub is_listening: bool,
}

impl TcpSocket {
    /// The TCP socket of an inode in the namespace of a process; nothing when it is not TCP.
    pub fn of(pid: u32, inode: u64) -> Option<TcpSocket> {
        ["tcp", "tcp6"].iter().find_map(|table| {
            let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
            table
                .lines()
                .skip(1)
                .find_map(|line| TcpSocket::of_line(line, inode))
        })
    }

    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …` (proc_net_tcp).
    fn of_line(line: &str, inode: u64) -> Option<TcpSocket> {
        let mut fields = line.split_whitespace();
        let (local, peer, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
        let own = fields.nth(5)?.parse() == Ok(inode);
        own.then_some(())?;
        Some(TcpSocket {
            local: address(local)?,
            peer: address(peer)?,
            is_listening: state == "0A",
        })
    }
}

/// An address as words of 32 bits in the machine's byte order, each in hexadecimal, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in words.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn links_are_told_apart() {
        assert_eq!(
            Descriptor::of_link(Path::new("socket:[123]")),
            Descriptor::Socket(123)
        );
        assert_eq!(
            Descriptor::of_link(Path::new("/tmp/a\nb")),
            Descriptor::Other("/tmp/a?b".into())
        );
        assert_eq!(
            Descriptor::of(std::process::id(), 100_000),
            Descriptor::Closed
        );
    }

    #[test]
    fn a_connection_is_found_by_its_inode_in_both_families() {
        for name in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(name) else {
                assert!(name.starts_with('['), "IPv4 exists everywhere");
                continue;
            };
            let there = listener.local_addr().expect("its address");
            let stream = TcpStream::connect(there).expect("a connection");
            let socket = |fd| match Descriptor::of(std::process::id(), fd) {
                Descriptor::Socket(inode) => {
                    TcpSocket::of(std::process::id(), inode).expect("listed")
                }
                other => panic!("{other:?}"),
            };
            let found = socket(stream.as_raw_fd());
            assert_eq!(
                (found.local, found.peer),
                (stream.local_addr().expect("own"), there)
            );
            assert!(!found.is_listening && socket(listener.as_raw_fd()).is_listening);
        }
    }
}
