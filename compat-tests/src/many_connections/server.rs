//! The server: accepts without end, sends every byte back, ends when its last connection has ended.

use crate::torture::calls::{self, EpollCall, errno_text};
use std::net::SocketAddr;

const LISTENER: u64 = u64::MAX;

/// What one connection still has to get.
#[derive(Default)]
struct Owed {
    bytes: Vec<u8>,
    from: usize,
    asks_for_room: bool,
    ended: bool,
}

/// Serves until as many connections have come and gone as were promised. Prints the port, then a result.
pub fn run(connections: u64, descriptors: u64) -> Result<(), String> {
    let text = |what: &str, code: i32| format!("{what}: {}", errno_text(code));
    calls::raise_descriptor_limit(descriptors).map_err(|code| text("RLIMIT_NOFILE", code))?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listener, port) = calls::listen_on(&address, libc::SOCK_NONBLOCK, 4096)
        .map_err(|code| text("listen", code))?;
    let set = calls::epoll_create().map_err(|code| text("epoll", code))?;
    calls::epoll_control(
        set,
        libc::EPOLL_CTL_ADD,
        listener,
        libc::EPOLLIN as u32,
        LISTENER,
    )
    .map_err(|code| text("epoll_ctl", code))?;
    println!("PORT {port}");
    let mut owed: Vec<Option<Owed>> = Vec::new();
    let mut answers = [(0u32, 0u64); 64];
    let (mut accepted, mut ended, mut most) = (0u64, 0u64, 0u64);
    let mut buffer = vec![0; 64 << 10];
    while ended < connections {
        let found = match calls::epoll_wait(set, &mut answers, -1, EpollCall::Wait) {
            Ok(found) => found,
            Err(libc::EINTR) => continue,
            Err(code) => return Err(text("epoll_wait", code)),
        };
        for (events, cookie) in &answers[..found] {
            if *cookie == LISTENER {
                loop {
                    let descriptor = match calls::accept(listener, libc::SOCK_NONBLOCK) {
                        Ok(descriptor) => descriptor,
                        Err(libc::EAGAIN) => break,
                        Err(code) => return Err(text("accept", code)),
                    };
                    let index = descriptor as usize;
                    if owed.len() <= index {
                        owed.resize_with(index + 1, || None);
                    }
                    owed[index] = Some(Owed::default());
                    let events = libc::EPOLLIN as u32;
                    calls::epoll_control(
                        set,
                        libc::EPOLL_CTL_ADD,
                        descriptor,
                        events,
                        index as u64,
                    )
                    .map_err(|code| text("epoll_ctl", code))?;
                    accepted += 1;
                    most = most.max(accepted - ended);
                }
                continue;
            }
            let descriptor = *cookie as i32;
            let Some(connection) = owed.get_mut(*cookie as usize).and_then(Option::as_mut) else {
                return Err(format!(
                    "an event {events:#x} for the unknown cookie {cookie}"
                ));
            };
            if serve(set, descriptor, connection, *events, &mut buffer)? {
                owed[*cookie as usize] = None;
                calls::close(descriptor).map_err(|code| text("close", code))?;
                ended += 1;
            }
        }
    }
    println!("RESULT accepted {accepted} most {most}");
    Ok(())
}

/// Receives, sends back, keeps what does not fit. True when the connection is over.
fn serve(
    set: i32,
    descriptor: i32,
    owed: &mut Owed,
    events: u32,
    buffer: &mut [u8],
) -> Result<bool, String> {
    if events & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 && !owed.ended {
        match calls::read(descriptor, buffer) {
            Ok(0) => owed.ended = true,
            Ok(received) => owed.bytes.extend_from_slice(&buffer[..received]),
            Err(libc::EAGAIN | libc::EINTR) => {}
            Err(code) => return Err(format!("read: {}", errno_text(code))),
        }
    }
    while owed.from < owed.bytes.len() {
        match calls::write(descriptor, &owed.bytes[owed.from..]) {
            Ok(sent) => owed.from += sent,
            Err(libc::EAGAIN) => break,
            Err(libc::EINTR) => {}
            Err(code) => return Err(format!("write: {}", errno_text(code))),
        }
    }
    if owed.from == owed.bytes.len() {
        owed.bytes.clear();
        owed.from = 0;
    }
    let asks_for_room = !owed.bytes.is_empty();
    if asks_for_room != owed.asks_for_room {
        owed.asks_for_room = asks_for_room;
        let room = if asks_for_room { libc::EPOLLOUT } else { 0 };
        let events = (libc::EPOLLIN | room) as u32;
        calls::epoll_control(
            set,
            libc::EPOLL_CTL_MOD,
            descriptor,
            events,
            descriptor as u64,
        )
        .map_err(|code| format!("epoll_ctl: {}", errno_text(code)))?;
    }
    Ok(owed.ended && owed.bytes.is_empty())
}
