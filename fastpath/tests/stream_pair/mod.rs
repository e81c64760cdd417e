//! Both ends of a stream in one process, over a real TCP connection, to be stopped at a chosen moment.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

use crate::channel_pair::{Ends, channel_pair};
use crate::traffic::{Side, connected};
use fastpath::family;
use fastpath::ict::{FarEntry, OwnEntry};
use fastpath::kernel_call;
use fastpath::lock::Owner;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection, its connecting end `c` and its accepting end `s`, bound to a slot of a channel.
pub struct Pair {
    pub c: Side,
    pub s: Side,
    pub slot: u32,
    /// That of `c`, that of `s`.
    pub sockets: [TcpStream; 2],
}

impl Pair {
    /// A bound pair whose directions are both on the kernel.
    pub fn bound() -> Pair {
        Pair::bound_behind(|_| ())
    }

    /// The same; `before`: what the connecting end does while it is unbound.
    pub fn bound_behind(before: impl FnOnce(Side)) -> Pair {
        static PORT: AtomicU16 = AtomicU16::new(3000);
        family::ensure().expect("family memory");
        let (near, far) = connected();
        let Ends {
            connecting,
            accepting,
        } = channel_pair(0, PORT.fetch_add(1, Ordering::Relaxed));
        let (c, s) = (Side::new(connecting, &near), Side::new(accepting, &far));
        before(c);
        let (slot, generation) = accepting.allocate_slot().expect("a slot");
        for side in [s, c] {
            assert!(side.channel.bind_slot(slot, generation, 0, 0));
            assert!(side.stream().bind(side.channel, slot, generation));
        }
        Pair {
            c,
            s,
            slot,
            sockets: [near, far],
        }
    }

    /// Both directions on the ring, everything read.
    pub fn on_ring() -> Pair {
        let pair = Pair::bound();
        for _ in 0..1000 {
            for (from, to) in [(pair.c, pair.s), (pair.s, pair.c)] {
                receive(to, 100);
                send(from, 1);
                receive(to, 100);
            }
            let is_on_ring =
                |side: Side| side.endpoint.tx_ep.get() & side.endpoint.rx_ep.get() & 1 == 1;
            if is_on_ring(pair.c) && is_on_ring(pair.s) {
                while receive(pair.c, 100) + receive(pair.s, 100) > 0 {}
                return pair;
            }
        }
        panic!("the streams stay on the kernel");
    }

    pub fn own_entry(&self, side: Side) -> OwnEntry {
        side.channel.own_entry(self.slot).unwrap()
    }

    pub fn far_entry(&self, side: Side) -> FarEntry {
        side.channel.far_entry(self.slot).unwrap()
    }
}

pub fn is_bound_as(side: Side) -> u32 {
    side.endpoint.binding.load(Ordering::Acquire)
}

/// Sends that many bytes, by whatever carries; false when that is impossible now.
pub fn send(side: Side, bytes: usize) -> bool {
    let stream = side.stream();
    let mut buffer = vec![7_u8; bytes];
    let piece = Piece {
        base: buffer.as_mut_ptr(),
        bytes,
    };
    // SAFETY: one piece of a buffer that lives through the call.
    match stream.send(&mut unsafe { Pieces::new(&raw const piece, 1) }) {
        Sent::Bytes(sent) => sent == bytes,
        Sent::Kernel => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the buffer.
            let sent = unsafe { libc::send(side.descriptor, piece.base.cast(), bytes, flags) };
            stream.kernel_sent(sent.max(0) as usize);
            sent == bytes as isize
        }
        _ => false,
    }
}

pub fn receive_once(side: Side, wanted: usize) -> Received {
    let mut buffer = vec![0_u8; wanted];
    let piece = Piece {
        base: buffer.as_mut_ptr(),
        bytes: wanted,
    };
    let taking = Taking {
        peek: false,
        discard: false,
        behind: false,
        wanted,
        minimum: 1,
    };
    let stream = side.stream();
    // SAFETY: one piece of a buffer that lives through the call.
    match stream.receive(&mut unsafe { Pieces::new(&raw const piece, 1) }, taking) {
        Received::Kernel | Received::KernelBounded => {
            // SAFETY: the buffer.
            let taken = unsafe {
                libc::recv(
                    side.descriptor,
                    piece.base.cast(),
                    wanted,
                    libc::MSG_DONTWAIT,
                )
            };
            stream.kernel_received(taken.max(0) as usize);
            match taken {
                0 => Received::End,
                1.. => Received::Bytes(taken as usize),
                _ => Received::Empty,
            }
        }
        other => other,
    }
}

pub fn receive(side: Side, wanted: usize) -> usize {
    match receive_once(side, wanted) {
        Received::Bytes(bytes) => bytes,
        _ => 0,
    }
}

/// Bytes that lie unread in the kernel's queue of a socket, once as many as are expected have come, and no more come.
pub fn unread_in_kernel(side: Side, expected: u64) -> u64 {
    let unread = || fastpath::stream::line::unread_bytes(side.descriptor);
    let until = Instant::now() + Duration::from_secs(10);
    while unread() < expected && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    unread()
}

/// Waits until the kernel knows of the far socket's end, or its reset.
pub fn wait_for_end(side: Side) {
    let mut entry = libc::pollfd {
        fd: side.descriptor,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one entry.
    assert_eq!(unsafe { libc::poll(&raw mut entry, 1, 10_000) }, 1);
}

/// Bytes that the kernel has taken from `side`, and the far kernel has not acknowledged (tcp(7), SIOCOUTQ).
pub fn unacknowledged(side: Side) -> usize {
    let mut bytes = 0;
    // SAFETY: one word.
    let result = unsafe { libc::ioctl(side.descriptor, libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(result, 0);
    bytes.max(0) as usize
}

/// Makes the kernel take nothing more from `side`, whose far end does not read. The far kernel's buffer grows for a while.
pub fn fill_kernel(side: Side) {
    let bytes = [0_u8; 65536];
    let mut quiet_rounds = 0;
    while quiet_rounds < 30 {
        quiet_rounds += 1;
        for length in [bytes.len(), 1] {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the array.
            while unsafe { libc::send(side.descriptor, bytes.as_ptr().cast(), length, flags) } > 0 {
                quiet_rounds = 0;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The id of a thread that has ended.
pub fn dead_owner() -> Owner {
    let thread = thread::spawn(kernel_call::thread_id).join().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while kernel_call::thread_exists(kernel_call::process_id(), thread) {
        assert!(Instant::now() < until, "a thread that does not end");
        thread::sleep(Duration::from_millis(1));
    }
    Owner {
        thread,
        process_slot: family::process_place().unwrap(),
    }
}
