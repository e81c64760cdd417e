//! The kernel's side of an epoll set: raw system calls, never through the C library.
#![expect(unsafe_code, reason = "raw system calls and the program's event array")]

use core::ffi::c_int;
use fastpath::kernel_call::{Errno, system_call};
use fastpath::text::Text;
use rustix::fs::{Mode, OFlags};

/// One event as the kernel writes it (packed on x86-64).
pub type Event = libc::epoll_event;

/// EPOLLIN.
pub const IN: u32 = libc::EPOLLIN as u32;
/// EPOLLPRI.
pub const PRI: u32 = libc::EPOLLPRI as u32;
/// EPOLLOUT.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// EPOLLERR.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// EPOLLHUP.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// EPOLLRDNORM.
pub const RDNORM: u32 = libc::EPOLLRDNORM as u32;
/// EPOLLWRNORM.
pub const WRNORM: u32 = libc::EPOLLWRNORM as u32;
/// EPOLLRDHUP.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// EPOLLEXCLUSIVE.
pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// EPOLLWAKEUP.
pub const WAKEUP: u32 = libc::EPOLLWAKEUP as u32;
/// EPOLLONESHOT.
pub const ONE_SHOT: u32 = libc::EPOLLONESHOT as u32;
/// EPOLLET.
pub const EDGE: u32 = libc::EPOLLET as u32;

/// EPOLL_CTL_ADD.
pub const ADD: c_int = libc::EPOLL_CTL_ADD;
/// EPOLL_CTL_DEL.
pub const DELETE: c_int = libc::EPOLL_CTL_DEL;
/// EPOLL_CTL_MOD.
pub const MODIFY: c_int = libc::EPOLL_CTL_MOD;

/// epoll_ctl(2) with an event of ours.
///
/// # Errors
/// The kernel's.
pub fn control(
    set: c_int,
    operation: c_int,
    number: c_int,
    events: u32,
    data: u64,
) -> Result<(), Errno> {
    let event = Event { events, u64: data };
    // SAFETY: one local event.
    let result = unsafe {
        system_call(
            libc::SYS_epoll_ctl,
            [
                set as usize,
                operation as usize,
                number as usize,
                &raw const event as usize,
                0,
                0,
            ],
        )
    };
    if result < 0 {
        Err(-result as Errno)
    } else {
        Ok(())
    }
}

/// epoll_wait(2) without waiting, into the program's array; the number of events, 0 on any error.
///
/// # Safety
/// `events` is the program's array and has room for `maximum`.
pub unsafe fn look(set: c_int, events: *mut Event, maximum: usize) -> usize {
    if maximum == 0 {
        return 0;
    }
    // SAFETY: as promised; the kernel checks the array itself.
    let result = unsafe {
        system_call(
            libc::SYS_epoll_pwait,
            [
                set as usize,
                events as usize,
                maximum.min(c_int::MAX as usize),
                0,
                0,
                8,
            ],
        )
    };
    result.max(0) as usize
}

/// One registration as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Descriptor number when it was added.
    pub number: c_int,
    /// Events, with the bits the kernel adds (ERR, HUP).
    pub events: u32,
    /// The program's data.
    pub data: u64,
}

/// Longest line of `/proc/self/fdinfo/N` that is understood.
const LINE_BYTES: usize = 160;

/// Calls `each` for every registration of a set, as `/proc/self/fdinfo` shows it; false when that cannot be read.
pub fn for_each_registration(set: c_int, mut each: impl FnMut(Told)) -> bool {
    let mut path = Text::<32>::new();
    path.add(b"/proc/self/fdinfo/")
        .add_number(set.max(0) as u64);
    let Ok(file) = rustix::fs::open(
        path.bytes(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return false;
    };
    let mut line = [0u8; LINE_BYTES];
    let mut used = 0;
    let mut buffer = [0u8; 1024];
    loop {
        let count = match rustix::io::read(&file, &mut buffer[..]) {
            Ok(0) => return true,
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
        };
        for byte in buffer.iter().take(count) {
            if *byte == b'\n' {
                if let Some(told) = line.get(..used).and_then(parse_line) {
                    each(told);
                }
                used = 0;
            } else if let Some(place) = line.get_mut(used) {
                *place = *byte;
                used += 1;
            }
        }
    }
}

/// `tfd:        7 events:       19 data:         ffffffffffffffff  pos:0 ino:1 sdev:8`
fn parse_line(line: &[u8]) -> Option<Told> {
    let mut words = line
        .split(|byte| *byte == b' ' || *byte == b'\t')
        .filter(|word| !word.is_empty());
    if words.next()? != b"tfd:" {
        return None;
    }
    let number = parse_number(words.next()?, 10)?;
    if words.next()? != b"events:" {
        return None;
    }
    let events = parse_number(words.next()?, 16)?;
    if words.next()? != b"data:" {
        return None;
    }
    let data = parse_number(words.next()?, 16)?;
    Some(Told {
        number: number as c_int,
        events: events as u32,
        data,
    })
}

fn parse_number(word: &[u8], base: u64) -> Option<u64> {
    let mut value: u64 = 0;
    for byte in word {
        let digit = (*byte as char).to_digit(base as u32)?;
        value = value.checked_mul(base)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fdinfo_is_understood_and_others_are_passed_over() {
        let line = b"tfd:        7 events: 80002019 data: deadbeef00000007  pos:0 ino:8 sdev:9";
        assert_eq!(
            parse_line(line),
            Some(Told {
                number: 7,
                events: 0x8000_2019,
                data: 0xdead_beef_0000_0007
            })
        );
        assert_eq!(parse_line(b"pos:\t0"), None);
        assert_eq!(parse_line(b"tfd: x events: 1 data: 0"), None);
    }

    #[test]
    fn the_kernel_tells_what_was_registered() {
        use rustix::fd::AsRawFd;
        let set = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let number = reader.as_raw_fd();
        control(set.as_raw_fd(), ADD, number, IN | EDGE, 0x1234_5678_9abc).unwrap();
        let mut seen = Vec::new();
        assert!(for_each_registration(set.as_raw_fd(), |told| seen.push(told)));
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].number, seen[0].data), (number, 0x1234_5678_9abc));
        assert_eq!(seen[0].events & !(ERR | HUP), IN | EDGE);
        assert_eq!(
            control(set.as_raw_fd(), ADD, number, IN, 0),
            Err(libc::EEXIST)
        );
    }
}
