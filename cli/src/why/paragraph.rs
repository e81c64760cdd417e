//! The text: who the socket is, what carries its bytes, why, what it has carried, what to do.

use kmod_interface::ioctl::{path, state};
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::role;

use super::kernel_socket::TcpSocket;
use super::started_with::StartedWith;
use crate::stat::page::Row;
use crate::stat::processes::Found;
use crate::stat::words;

/// About a socket that Axio knows.
pub fn of_row(found: &Found, fd: i32, row: &Row, socket: Option<&TcpSocket>) -> String {
    let ends = row
        .ends()
        .or_else(|| socket.map(|socket| (socket.local, socket.peer)));
    let relation = if row.role == role::ACCEPTING {
        "accepted at"
    } else {
        "connected from"
    };
    let mut text = format!(
        "Descriptor {fd} of {} (pid {}) is a TCP connection{}.",
        found.page.program,
        found.pid,
        ends.map_or_else(String::new, |(local, peer)| format!(
            " {relation} {local}, peer {peer}"
        ))
    );
    let carrier = Carrier::of(row);
    text.push_str(match carrier {
        Carrier::Ring => " It is accelerated: its bytes travel through shared memory and not through the kernel.",
        Carrier::RingOut => {
            " It is half accelerated: what it sends travels through shared memory, what it receives through the kernel."
        }
        Carrier::RingIn => {
            " It is half accelerated: what it receives travels through shared memory, what it sends through the kernel."
        }
        Carrier::Kernel => " It is on the kernel path.",
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
    text.push_str(&advice(row, carrier));
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
    let mut text = format!(
        " So far the ring carried {} and the kernel {}.",
        words::bytes(row.bytes.by_ring()),
        words::bytes(row.bytes.by_kernel())
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

/// What carries the two directions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Kernel,
    Ring,
    RingOut,
    RingIn,
}

impl Carrier {
    fn of(row: &Row) -> Carrier {
        if row.path != path::SHARED_MEMORY || row.state != state::ACCELERATED {
            return Carrier::Kernel;
        }
        let [out, into] = [0, 1].map(|way| row.upgrades[way] > row.retreats[way]);
        match (out, into) {
            (true, false) => Carrier::RingOut,
            (false, true) => Carrier::RingIn,
            _ => Carrier::Ring,
        }
    }
}

fn advice(row: &Row, carrier: Carrier) -> String {
    match (carrier, Reason::from_code(row.reason)) {
        (Carrier::Ring, _) => " Nothing to do.".into(),
        (Carrier::RingOut | Carrier::RingIn, Some(Reason::None)) => {
            " The other direction follows when nothing of it is unread for a moment; nothing to do."
                .into()
        }
        (Carrier::Kernel, Some(Reason::None)) => {
            " It may still move to the ring; look again when it has exchanged more.".into()
        }
        (_, Some(reason)) => {
            let works = match reason.class() {
                ReasonClass::None | ReasonClass::Asked => "",
                ReasonClass::Policy => " The connection works as on any kernel.",
                ReasonClass::Failed => " This should have worked.",
            };
            format!("{works} {}", reason.advice())
        }
        (_, None) => " Use the version of this command that came with the library.".into(),
    }
}
