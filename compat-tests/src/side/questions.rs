//! What can be asked of a socket: options, names, queues, flags. Each method writes its answer down.

use std::os::unix::fs::FileExt;

use kmod_interface::statistics::{COUNTERS_OFFSET, Counter};

use crate::calls::answer::{Errno, shown};
use crate::calls::connection::{self, Address};
use crate::calls::{files, options};
use crate::side::Side;
use crate::side::waiting::eventually;

/// `struct tcp_info` begins with the state.
pub(super) const TCP_INFO_ROOM: usize = 104;

impl Side {
    /// getsockopt(2) of an `int`.
    pub fn option(&mut self, name: &str, level: i32, option: i32) {
        let line = match options::get(self.fd, level, option) {
            Ok((value, length)) => format!("getsockopt {name} = {value} in {length} bytes"),
            Err(errno) => format!("getsockopt {name} = -1 {errno}"),
        };
        self.say(&line);
    }

    /// setsockopt(2) of an `int`.
    pub fn set_option(&mut self, name: &str, level: i32, option: i32, value: i32) {
        let answer = options::set(self.fd, level, option, value);
        let _ = self.observe(&format!("setsockopt {name} {value}"), answer);
    }

    /// SO_RCVTIMEO or SO_SNDTIMEO.
    pub fn set_timeout_ms(&mut self, name: &str, option: i32, timeout_ms: i64) {
        let answer = options::set_timeout_ms(self.fd, option, timeout_ms);
        let _ = self.observe(&format!("setsockopt {name} {timeout_ms} ms"), answer);
    }

    /// SO_ERROR, by its errno name; reading it clears it.
    pub fn pending_error(&mut self) {
        let line = match options::get(self.fd, libc::SOL_SOCKET, libc::SO_ERROR) {
            Ok((0, _)) => "SO_ERROR none".to_owned(),
            Ok((error, _)) => format!("SO_ERROR {}", Errno(error)),
            Err(errno) => format!("getsockopt SO_ERROR = -1 {errno}"),
        };
        self.say(&line);
    }

    /// An ioctl that answers an `int`.
    pub fn ioctl(&mut self, name: &str, request: u64) {
        let line = match options::ioctl_int(self.fd, request, -7) {
            Ok(value) => format!("ioctl {name} = {value}"),
            Err(errno) => format!("ioctl {name} = -1 {errno}"),
        };
        self.say(&line);
    }

    /// FIONREAD.
    pub fn readable_bytes(&mut self) {
        self.ioctl("FIONREAD", libc::FIONREAD);
    }

    /// A counter of this process, from the page that `axio stat` reads; nothing where no such page exists.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> Option<u64> {
        let descriptors = std::fs::read_dir("/proc/self/fd").ok()?;
        let page = descriptors.flatten().find(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link.as_os_str() == "/memfd:axio (deleted)")
        })?;
        let mut bytes = [0; 8];
        let place = (COUNTERS_OFFSET + counter as usize * 8) as u64;
        let file = std::fs::File::open(page.path()).ok()?;
        file.read_exact_at(&mut bytes, place).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// The state of the connection as TCP_INFO shows it.
    pub fn tcp_state(&mut self) {
        let line =
            match options::get_bytes(self.fd, libc::IPPROTO_TCP, libc::TCP_INFO, TCP_INFO_ROOM) {
                Ok(bytes) => format!(
                    "TCP_INFO {} in {} bytes",
                    bytes
                        .first()
                        .map_or("nothing", |state| tcp_state_name(*state)),
                    bytes.len()
                ),
                Err(errno) => format!("TCP_INFO -1 {errno}"),
            };
        self.say(&line);
    }

    /// Waits until the connection has this state; the last acknowledgements are nobody's system call.
    pub fn tcp_state_becomes(&mut self, name: &str) {
        let fd = self.fd;
        let reached = eventually(|| {
            options::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, TCP_INFO_ROOM).is_ok_and(
                |bytes| {
                    bytes
                        .first()
                        .is_some_and(|state| tcp_state_name(*state) == name)
                },
            )
        });
        self.say(&format!("TCP_INFO gets to {name}: {reached}"));
    }

    /// getsockname(2) and getpeername(2).
    pub fn names(&mut self) {
        self.own_name();
        self.peer_name();
    }

    /// getsockname(2).
    pub fn own_name(&mut self) {
        let own = self.named(connection::getsockname(self.fd, 128));
        self.say(&format!("getsockname = {own}"));
    }

    /// getpeername(2).
    pub fn peer_name(&mut self) {
        let peer = self.named(connection::getpeername(self.fd, 128));
        self.say(&format!("getpeername = {peer}"));
    }

    /// An address with the port by its role, since its number differs from run to run.
    #[must_use]
    pub fn named(&self, address: Result<Address, Errno>) -> String {
        match address {
            Err(errno) => format!("-1 {errno}"),
            Ok(address) => {
                let port = match address.port() {
                    0 => "no port",
                    port if port == self.listening_port => "listening port",
                    _ => "connecting port",
                };
                format!("{} {port}, {} bytes", address.host(), address.length)
            }
        }
    }

    /// The file status flags that a program can see: access mode, O_NONBLOCK, O_APPEND, O_ASYNC.
    pub fn status_flags(&mut self) {
        let line = match files::fcntl(self.fd, libc::F_GETFL, 0) {
            Ok(flags) => format!("F_GETFL = {:#o}", flags as i32 & !libc::O_LARGEFILE),
            Err(errno) => format!("F_GETFL = -1 {errno}"),
        };
        self.say(&line);
    }

    /// The descriptor flags.
    pub fn descriptor_flags(&mut self) {
        let line = format!(
            "F_GETFD = {}",
            shown(files::fcntl(self.fd, libc::F_GETFD, 0))
        );
        self.say(&line);
    }

    /// Sets or clears O_NONBLOCK by fcntl, keeping the other flags.
    pub fn set_nonblocking(&mut self, on: bool) {
        let flags = match files::fcntl(self.fd, libc::F_GETFL, 0) {
            Ok(flags) => flags as i32,
            Err(errno) => self.fail(&format!("F_GETFL: {errno}")),
        };
        let flags = if on {
            flags | libc::O_NONBLOCK
        } else {
            flags & !libc::O_NONBLOCK
        };
        let answer = files::fcntl(self.fd, libc::F_SETFL, flags);
        let _ = self.observe(
            &format!("O_NONBLOCK {}", if on { "on" } else { "off" }),
            answer,
        );
    }
}

fn tcp_state_name(state: u8) -> &'static str {
    const NAMES: [&str; 12] = [
        "none",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        // Which of the two depends on when the far end acknowledges, which may be 40 ms later.
        "FIN_WAIT1 or FIN_WAIT2",
        "FIN_WAIT1 or FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    NAMES
        .get(state as usize)
        .copied()
        .unwrap_or("unknown state")
}
