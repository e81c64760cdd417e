//! The text: who the socket is, what carries its bytes, why, what it has carried, what to do.

use kmod_interface::reason::{Reason, ReasonClass};

use super::kernel_socket::TcpSocket;
use super::started_with::StartedWith;
use crate::stat::page::{Row, Traffic};
use crate::stat::processes::Found;
use crate::stat::words::{self, PATH_SHARED_MEMORY, ROLE_ACCEPTING, STATE_ACCELERATED};

/// About a socket that Axio knows.
pub fn of_row(found: &Found, fd: i32, row: &Row) -> String {
    let (local, peer) = row.ends();
    let relation = if row.role == ROLE_ACCEPTING {
        "accepted at"
    } else {
        "connected from"
    };
    let mut text = format!(
        "Descriptor {fd} of {} (pid {}) is a TCP connection {relation} {local}, peer {peer}.",
        found.page.program, found.pid
    );
    let is_fast = row.path == PATH_SHARED_MEMORY && row.state == STATE_ACCELERATED;
    text.push_str(if is_fast {
        " It is accelerated: its bytes travel through shared memory and not through the kernel."
    } else {
        " It is on the kernel path."
    });
    match Reason::from_code(row.reason) {
        Some(Reason::None) => {}
        Some(reason) => {
            text.push_str(&format!(" {}", reason.sentence()));
            text.push_str(&format!(" (Reason: {}.)", reason.name()));
        }
        None => text.push_str(&format!(
            " Its reason has the code {}, which this version does not know.",
            row.reason
        )),
    }
    text.push_str(&carried(row));
    text.push_str(advice(row, is_fast));
    text
}

/// About a socket that no page mentions.
pub fn of_stranger(
    found: &Found,
    fd: i32,
    socket: Option<&TcpSocket>,
    started: Option<&StartedWith>,
) -> String {
    let whose = format!(
        "Descriptor {fd} of {} (pid {})",
        found.page.program, found.pid
    );
    match socket {
        None => format!(
            "{whose} is a socket, but no TCP socket. Only TCP sockets are accelerated, so it is an ordinary kernel socket; \
             there is nothing to do."
        ),
        Some(socket) if socket.is_listening => format!(
            "{whose} listens at {}. A listener carries no bytes itself; the connections it accepts are judged one by one: \
             axio stat {} lists them.",
            socket.local, found.pid
        ),
        Some(socket) => {
            let (cause, options) = match started {
                None => (
                    "a rule leaves it to the kernel, or it was opened before Axio was loaded or by a call that no library sees",
                    String::new(),
                ),
                Some(started) => (
                    match started.leaves_to_kernel(socket) {
                        Some(true) => "a rule leaves it to the kernel",
                        Some(false) => {
                            "no rule is in its way, so it was opened before Axio was loaded or by a call that no library sees, \
                             or came from another process"
                        }
                        None => {
                            "a rule leaves it to the kernel, or it was opened before Axio was loaded or by a call that no \
                             library sees"
                        }
                    },
                    format!(" The process was started {}.", started.in_words()),
                ),
            };
            format!(
                "{whose} is a TCP connection from {} to {}, but Axio, which the process has loaded, does not manage it: \
                 {cause}.{options}",
                socket.local, socket.peer
            )
        }
    }
}

fn carried(row: &Row) -> String {
    let Traffic {
        kernel_in,
        kernel_out,
        ring_in,
        ring_out,
    } = row.bytes;
    let total = |first: u64, second: u64| words::bytes(first.saturating_add(second));
    let mut text = format!(
        " So far the ring carried {} and the kernel {}.",
        total(ring_in, ring_out),
        total(kernel_in, kernel_out)
    );
    let upgrades = row.upgrades[0].saturating_add(row.upgrades[1]);
    let retreats = row.retreats[0].saturating_add(row.retreats[1]);
    if upgrades > 0 {
        let times = |count: u32| {
            if count == 1 {
                "once".to_string()
            } else {
                format!("{count} times")
            }
        };
        text.push_str(&format!(
            " A direction moved to the ring {}",
            times(upgrades)
        ));
        match retreats {
            0 => text.push('.'),
            count => text.push_str(&format!(" and back to the kernel {}.", times(count))),
        }
    }
    text
}

fn advice(row: &Row, is_fast: bool) -> &'static str {
    let class = Reason::from_code(row.reason).map(Reason::class);
    match class {
        _ if is_fast => " Nothing to do.",
        Some(ReasonClass::None) => {
            " It may still move to the ring; look again when it has exchanged more."
        }
        Some(ReasonClass::Asked) => " Somebody asked for this; to change it, change what asks.",
        Some(ReasonClass::Policy) => {
            " The connection works as on any kernel; only if it should be fast is there something to change."
        }
        Some(ReasonClass::Failed) => {
            " This should have worked. AXIO_LOG=info at the next start tells when it happens."
        }
        None => " Use the version of this command that came with the library.",
    }
}
