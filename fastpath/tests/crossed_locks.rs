//! Two signal handlers, each above one half of a connection, use the other half: one gives way.
#![allow(unsafe_code, reason = "buffers of the test itself")]

use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::kernel_call::thread_id;
use fastpath::lock::{Locked, Owner};
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WATCHDOG: Duration = Duration::from_secs(600);

fn me() -> Owner {
    Owner {
        thread: thread_id(),
        process_slot: family::process_place().expect("a place"),
    }
}

fn stream(endpoint: &'static Endpoint, descriptor: RawFd) -> Stream {
    let generation = endpoint.generation.load(fastpath::sync::Ordering::Acquire);
    Stream::new(endpoint, generation, descriptor, me())
}

fn send(endpoint: &'static Endpoint, descriptor: RawFd) -> Sent {
    let mut text = *b"text";
    let piece = Piece {
        base: text.as_mut_ptr(),
        bytes: text.len(),
    };
    // SAFETY: one piece of a text that lives through the call.
    let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
    stream(endpoint, descriptor).send(&mut pieces)
}

fn receive(endpoint: &'static Endpoint, descriptor: RawFd) -> Received {
    let mut buffer = [0u8; 16];
    let piece = Piece {
        base: buffer.as_mut_ptr(),
        bytes: buffer.len(),
    };
    let taking = Taking {
        peek: false,
        discard: false,
        behind: false,
        wanted: buffer.len(),
        minimum: 1,
    };
    // SAFETY: one piece of a buffer that lives through the call.
    let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
    stream(endpoint, descriptor).receive(&mut pieces, taking)
}

#[test]
fn handlers_above_both_halves_do_not_wait_for_each_other_for_ever() {
    family::ensure().expect("family memory");
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let watched = over.clone();
    std::thread::spawn(move || {
        std::thread::sleep(WATCHDOG);
        if !watched.load(Ordering::Relaxed) {
            eprintln!("both wait");
            std::process::abort();
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _far = listener.accept().unwrap();
    let descriptor = near.as_raw_fd();
    let (_, endpoint) = family::allocate_endpoint().expect("endpoint");
    assert!(endpoint.add_numbers(family::process_place().unwrap(), 1));
    let (both_inside, is_alive) = (Barrier::new(2), family::is_owner_alive);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In recv; then its handler sends.
            assert_eq!(endpoint.rx_lock.lock(me(), is_alive), Locked::Taken);
            both_inside.wait();
            assert!(matches!(send(endpoint, descriptor), Sent::Kernel));
            stream(endpoint, descriptor).kernel_sent(0);
            endpoint.rx_lock.unlock(me());
        });
        scope.spawn(|| {
            // In send; then its handler receives.
            assert_eq!(endpoint.tx_lock.lock(me(), is_alive), Locked::Taken);
            both_inside.wait();
            assert!(matches!(receive(endpoint, descriptor), Received::Reentered));
            endpoint.tx_lock.unlock(me());
        });
    });
    // Alone, a handler above a send may receive.
    assert_eq!(endpoint.tx_lock.lock(me(), is_alive), Locked::Taken);
    assert!(matches!(receive(endpoint, descriptor), Received::Kernel));
    stream(endpoint, descriptor).kernel_received(0);
    endpoint.tx_lock.unlock(me());
    over.store(true, Ordering::Relaxed);
}
