//! The options that a process was started with, as `/proc/PID/environ` keeps them: what this command's own environment
//! says is no answer about another process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use settings::options::is_ours;
use settings::rules::{Choice, Protocol, Role};

use super::kernel_socket::TcpSocket;
use crate::run::environment::Environment;

/// Options of a process.
pub struct StartedWith {
    options: Vec<(OsString, OsString)>,
}

impl StartedWith {
    /// Those of a process, if this user may read them.
    pub fn of(pid: u32) -> Option<StartedWith> {
        let block = fs::read(format!("/proc/{pid}/environ")).ok()?;
        Some(StartedWith::in_block(&block))
    }

    fn in_block(block: &[u8]) -> StartedWith {
        let option = |entry| {
            let (name, value) = settings::parse::split_variable(entry)?;
            let os = |bytes| OsStr::from_bytes(bytes).to_os_string();
            is_ours(name).then(|| (os(name), os(value)))
        };
        StartedWith {
            options: block.split(|byte| *byte == 0).filter_map(option).collect(),
        }
    }

    /// The options in words.
    pub fn in_words(&self) -> String {
        let shown = |(name, value): &(OsString, OsString)| {
            let text = format!("{}={:?}", name.display(), value.to_string_lossy());
            text.chars()
                .map(|letter| if letter.is_control() { '?' } else { letter })
                .collect::<String>()
        };
        match &self.options[..] {
            [] => format!(
                "without any option of Axio, so the built-in rules hold ({})",
                settings::rules::BUILT_IN_TEXT
            ),
            options => {
                let options: Vec<_> = options.iter().map(shown).collect();
                format!("with {}", options.join(" "))
            }
        }
    }

    /// Whether the rules leave a connection to the kernel, as far as they can be known from here: a file of rules may be
    /// another one for that process, or may have changed.
    pub fn leaves_to_kernel(&self, socket: &TcpSocket) -> Option<bool> {
        if self
            .options
            .iter()
            .any(|(name, _)| name == "AXIO_RULES_FILE")
        {
            return None;
        }
        let rules = Environment::new(Vec::new(), self.options.clone())
            .settings()
            .rules;
        let is_left = |role, address: SocketAddr| {
            rules.decide(Protocol::Tcp, role, address.ip(), address.port()) == Choice::Kernel
        };
        // Nobody can tell from outside which end has connected.
        match (
            is_left(Role::Client, socket.peer),
            is_left(Role::Server, socket.local),
        ) {
            (true, true) => Some(true),
            (false, false) => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, peer: &str) -> TcpSocket {
        TcpSocket {
            local: local.parse().expect("an address"),
            peer: peer.parse().expect("an address"),
            is_listening: false,
        }
    }

    #[test]
    fn only_options_are_taken_from_the_environment() {
        let block = b"HOME=/root\0AXIO_RULES=kernel * * *:*\0AXIO=on\0AXIOM=1\0broken\0\0";
        let started = StartedWith::in_block(block);
        assert_eq!(
            started.in_words(),
            "with AXIO_RULES=\"kernel * * *:*\" AXIO=\"on\""
        );
        let some = socket("127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(started.leaves_to_kernel(&some), Some(true));
    }

    #[test]
    fn the_rules_are_asked_about_the_connection() {
        let none = StartedWith::in_block(b"");
        assert!(none.in_words().contains("built-in rules"));
        let to = |peer| socket("127.0.0.1:40000", peer);
        assert_eq!(none.leaves_to_kernel(&to("127.0.0.1:80")), Some(false));
        // As a client's by its peer, as a server's not.
        assert_eq!(none.leaves_to_kernel(&to("127.0.0.1:53")), None);
        let file = StartedWith::in_block(b"AXIO_RULES_FILE=/etc/axio");
        assert_eq!(file.leaves_to_kernel(&to("127.0.0.1:80")), None);
    }

    #[test]
    fn the_own_environment_can_be_read() {
        assert!(StartedWith::of(std::process::id()).is_some());
        assert!(StartedWith::of(1 << 22).is_none());
    }
}
