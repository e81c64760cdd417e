//! Slots are taken away at random moments while both ends write and read: no byte is lost, doubled or out of order.
//!
//! Both sides in one process, over a real TCP connection: on each a writer, a reader that sleeps on the line, and a
//! controller that begins to give the slot up; one more thread binds the connection anew when both sides have left.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;

use channel_pair::{Ends, channel_pair};
use fastpath::channel::Channel;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::lock::Owner;
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::Sleep;
use fastpath::stream::unbind::Unbinding;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const BYTES: u64 = 12 << 20;
const WATCHDOG: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
struct Side {
    endpoint: &'static Endpoint,
    channel: &'static Channel,
    descriptor: RawFd,
}

#[derive(Default)]
struct Counts {
    unbound: AtomicU64,
    by_ring: AtomicU64,
    by_kernel: AtomicU64,
}

impl Side {
    fn new(channel: &'static Channel, socket: &TcpStream) -> Side {
        let (_, endpoint) = family::allocate_endpoint().expect("endpoint");
        assert!(endpoint.add_numbers(family::process_place().unwrap(), 1));
        endpoint.wished.store(1, Ordering::Relaxed);
        Side {
            endpoint,
            channel,
            descriptor: socket.as_raw_fd(),
        }
    }

    fn stream(self) -> Stream {
        let me = Owner {
            thread: fastpath::kernel_call::thread_id(),
            process_slot: family::process_place().unwrap(),
        };
        let generation = self.endpoint.generation.load(Ordering::Acquire);
        Stream::new(self.endpoint, generation, self.descriptor, me)
    }

    fn is_free(self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::NONE
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
    fn pause(&mut self, limit_us: u64) {
        let us = self.below(limit_us);
        thread::sleep(Duration::from_micros(us));
    }
}

fn content(salt: u64, position: u64) -> u8 {
    ((position ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ position as u8
}

fn write_all(side: Side, seed: u64, salt: u64, counts: &Counts) {
    let mut random = Random(seed);
    let mut buffer = vec![0u8; 32768];
    let mut position = 0;
    while position < BYTES {
        let longest = if random.below(4) == 0 { 32768 } else { 200 };
        let bytes = (1 + random.below(longest)).min(BYTES - position) as usize;
        for (index, byte) in buffer[..bytes].iter_mut().enumerate() {
            *byte = content(salt, position + index as u64);
        }
        let mut done = 0;
        while done < bytes {
            let stream = side.stream();
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
                Sent::Full => random.pause(50),
                other => panic!("send: {other:?} at {position}"),
            }
        }
        position += bytes as u64;
        if random.below(64) == 0 {
            random.pause(300);
        }
    }
}

fn read_all(side: Side, seed: u64, salt: u64) {
    let mut random = Random(seed);
    let mut buffer = vec![0u8; 32768];
    let mut position = 0;
    while position < BYTES {
        let wanted = (1 + random.below(32768)).min(BYTES - position) as usize;
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
        let taken = match stream.receive(&mut pieces, taking) {
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

/// Begins to give the slot up now and then, follows when the far side does, and takes the steps.
fn control(side: Side, seed: u64, stop: &AtomicBool, counts: &Counts) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        random.pause(400);
        let stream = side.stream();
        if !stream.is_bound() {
            continue;
        }
        match random.below(120) {
            0 | 1 => {
                stream.begin_unbinding(&|| true);
            }
            2 => stream.release(),
            3..=8 => stream.wish(),
            _ if stream.far_is_unbinding() => {
                stream.begin_unbinding(&|| true);
            }
            _ => {}
        }
        if let Unbinding::Done(given) = stream.unbind_step(&|| true) {
            counts.unbound.fetch_add(1, Ordering::Relaxed);
            random.pause(300);
            given.channel.slot_leave(given.slot, given.generation);
            given.channel.release();
        }
    }
}

/// Binds again when both sides are free.
fn bind_again(connecting: Side, accepting: Side, seed: u64, stop: &AtomicBool) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        random.pause(200);
        if !(connecting.is_free() && accepting.is_free()) {
            continue;
        }
        connecting.channel.slot_sweep();
        accepting.channel.slot_sweep();
        let Some((slot, generation)) = accepting.channel.allocate_slot() else {
            continue;
        };
        for side in [accepting, connecting] {
            assert!(side.channel.retain());
            assert!(side.channel.bind_slot(slot, generation, 0, 0));
            assert!(side.stream().bind(side.channel, slot, generation));
            random.pause(200);
        }
    }
}

fn run(seed: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let Ends {
        connecting,
        accepting,
    } = channel_pair(0, 100 + seed as u16);
    let (c, s) = (Side::new(connecting, &near), Side::new(accepting, &far));
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    thread::scope(|scope| {
        let (stop, counts) = (&stop, &counts);
        let data = [
            scope.spawn(move || write_all(c, seed * 8 + 1, 1, counts)),
            scope.spawn(move || write_all(s, seed * 8 + 2, 2, counts)),
            scope.spawn(move || read_all(s, seed * 8 + 3, 1)),
            scope.spawn(move || read_all(c, seed * 8 + 4, 2)),
        ];
        scope.spawn(move || control(c, seed * 8 + 5, stop, counts));
        scope.spawn(move || control(s, seed * 8 + 6, stop, counts));
        scope.spawn(move || bind_again(c, s, seed * 8 + 7, stop));
        let results: Vec<_> = data.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "seed {seed}");
    });
    let count = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (unbound, ring, kernel) = (
        count(&counts.unbound),
        count(&counts.by_ring),
        count(&counts.by_kernel),
    );
    println!("seed {seed}: {unbound} unbindings, {ring} bytes by ring, {kernel} by kernel");
    assert!(unbound >= 2 && ring > 0 && kernel > 0);
    connecting.release();
    accepting.release();
}

#[test]
fn slots_are_taken_away_under_traffic_and_no_byte_is_lost() {
    family::ensure().expect("family memory");
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let watched = over.clone();
    thread::spawn(move || {
        thread::sleep(WATCHDOG);
        if !watched.load(Ordering::Relaxed) {
            eprintln!("the streams hang");
            std::process::abort();
        }
    });
    let seeds = std::env::var("AXIO_TEST_SEEDS").map_or(4, |text| text.parse().unwrap_or(4));
    for seed in 1..=seeds {
        run(seed);
    }
    over.store(true, Ordering::Relaxed);
}
