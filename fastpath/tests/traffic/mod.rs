//! Both ends of a stream in one process, over a real TCP connection: writers and readers that check every byte, while
//! somebody else changes what carries it.

#![allow(dead_code, reason = "not every test file uses all of it")]

use fastpath::channel::Channel;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::lock::Owner;
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::Sleep;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A TCP connection: the end that connected, the end that was accepted.
pub fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// One end: its endpoint, its end of the channel, its socket.
#[derive(Clone, Copy)]
pub struct Side {
    pub endpoint: &'static Endpoint,
    pub channel: &'static Channel,
    pub descriptor: RawFd,
}

/// What carried the bytes.
#[derive(Default)]
pub struct Counts {
    pub by_ring: AtomicU64,
    pub by_kernel: AtomicU64,
}

impl Side {
    pub fn new(channel: &'static Channel, socket: &TcpStream) -> Side {
        let (_, endpoint) = family::allocate_endpoint().expect("endpoint");
        assert!(endpoint.add_numbers(family::process_place().unwrap(), 1));
        Side {
            endpoint,
            channel,
            descriptor: socket.as_raw_fd(),
        }
    }

    /// A view for one call of the calling thread.
    pub fn stream(self) -> Stream {
        let me = Owner {
            thread: fastpath::kernel_call::thread_id(),
            process_slot: family::process_place().unwrap(),
        };
        let generation = self.endpoint.generation.load(Ordering::Acquire);
        Stream::new(self.endpoint, generation, self.descriptor, me)
    }

    pub fn is_free(self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::NONE
    }
}

/// A generator that repeats with its seed, which is not 0.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
    pub fn pause(&mut self, limit_us: u64) {
        let us = self.below(limit_us);
        thread::sleep(Duration::from_micros(us));
    }
}

fn content(salt: u64, position: u64) -> u8 {
    ((position ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ position as u8
}

/// Writes `total` bytes of `salt`, in sends of every size.
pub fn write_all(side: Side, total: u64, seed: u64, salt: u64, counts: &Counts) {
    let mut random = Random(seed);
    let mut buffer = vec![0u8; 32768];
    let mut position = 0;
    while position < total {
        let longest = if random.below(4) == 0 { 32768 } else { 200 };
        let bytes = (1 + random.below(longest)).min(total - position) as usize;
        for (index, byte) in buffer[..bytes].iter_mut().enumerate() {
            *byte = content(salt, position + index as u64);
        }
        let mut done = 0;
        while done < bytes {
            let stream = side.stream();
            // SAFETY: the rest of the buffer.
            let quickly = unsafe { stream.send_quickly(buffer[done..].as_ptr(), bytes - done) };
            if let Some(sent) = quickly {
                done += sent;
                counts.by_ring.fetch_add(sent as u64, Ordering::Relaxed);
                continue;
            }
            let piece = Piece {
                base: buffer[done..].as_mut_ptr(),
                bytes: bytes - done,
            };
            // SAFETY: one piece of a buffer that lives through the call.
            let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
            match stream.send(&mut pieces) {
                Sent::Bytes(sent) => {
                    done += sent;
                    counts.by_ring.fetch_add(sent as u64, Ordering::Relaxed);
                }
                Sent::Kernel => {
                    // SAFETY: the rest of the buffer.
                    let sent = unsafe {
                        libc::send(
                            side.descriptor,
                            piece.base.cast(),
                            piece.bytes,
                            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                        )
                    };
                    stream.kernel_sent(sent.max(0) as usize);
                    if sent > 0 {
                        done += sent as usize;
                        counts.by_kernel.fetch_add(sent as u64, Ordering::Relaxed);
                    } else {
                        random.pause(50);
                    }
                }
                Sent::Full | Sent::Rewinding => random.pause(50),
                other => panic!("send: {other:?} at {position}"),
            }
        }
        position += bytes as u64;
        if random.below(64) == 0 {
            random.pause(300);
        }
    }
}

/// Reads them and checks each.
pub fn read_all(side: Side, total: u64, seed: u64, salt: u64) {
    let mut random = Random(seed);
    let mut buffer = vec![0u8; 32768];
    let mut position = 0;
    while position < total {
        let wanted = (1 + random.below(32768)).min(total - position) as usize;
        let stream = side.stream();
        let piece = Piece {
            base: buffer.as_mut_ptr(),
            bytes: wanted,
        };
        // SAFETY: one piece of a buffer that lives through the call.
        let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
        let taking = Taking {
            peek: false,
            discard: false,
            wanted,
            minimum: 1,
            behind: false,
        };
        // SAFETY: the buffer is as long as `wanted`.
        let quickly = unsafe { stream.receive_quickly(piece.base, wanted) };
        let received = quickly.map_or_else(|| stream.receive(&mut pieces, taking), Received::Bytes);
        let taken = match received {
            Received::Bytes(taken) => taken,
            Received::Kernel | Received::KernelBounded => {
                // SAFETY: the buffer is as long as `wanted`.
                let taken = unsafe {
                    let target = buffer.as_mut_ptr().cast();
                    libc::recv(side.descriptor, target, wanted, libc::MSG_DONTWAIT)
                };
                stream.kernel_received(taken.max(0) as usize);
                assert_ne!(taken, 0, "end of stream at {position}");
                if taken < 0 {
                    random.pause(30);
                    continue;
                }
                taken as usize
            }
            Received::Empty => {
                sleep_on_line(&stream);
                continue;
            }
            Received::Crowded => {
                random.pause(30);
                continue;
            }
            other => panic!("receive: {other:?} at {position}"),
        };
        for (index, byte) in buffer[..taken].iter().enumerate() {
            let at = position + index as u64;
            assert_eq!(*byte, content(salt, at), "wrong byte at {at}");
        }
        position += taken as u64;
    }
}

fn sleep_on_line(stream: &Stream) {
    if let Sleep::Line(armed) | Sleep::Bounded { armed, .. } = stream.prepare_sleep_receive(1) {
        let mut ask = libc::pollfd {
            fd: stream.descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one local entry. Bounded, since nobody rings for a stream that the program may still read elsewhere.
        unsafe { libc::poll(&raw mut ask, 1, 5) };
        stream.finish_sleep(armed);
        stream.after_sleep();
    }
}

/// Ends the test with an abort at the first panic of any thread, or when it has not ended by itself: set the flag to
/// call it off.
pub fn watchdog(limit: Duration) -> Arc<AtomicBool> {
    // One thread that has found something leaves the others waiting for it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
    let over = Arc::new(AtomicBool::new(false));
    let watched = over.clone();
    thread::spawn(move || {
        thread::sleep(limit);
        if !watched.load(Ordering::Relaxed) {
            eprintln!("the streams hang");
            std::process::abort();
        }
    });
    over
}
