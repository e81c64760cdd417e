//! What fork relatives leave behind that died, or parted from the family's memory: locks, places, sleepers. Real processes,
//! SIGKILLed, some of them never reaped.
#![allow(unsafe_code, reason = "fork, and the buffers of the test itself")]

mod channel_pair;

use channel_pair::{Ends, channel_pair};
use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::lock::{Locked, Owner};
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::Sleep;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(120);

/// The tests share one family and are let in one by one. Ends the program if one hangs.
fn alone() -> (MutexGuard<'static, ()>, Watchdog) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    family::ensure().expect("family memory");
    (turn, Watchdog::new())
}

struct Watchdog(std::sync::mpsc::Sender<()>);

impl Watchdog {
    fn new() -> Watchdog {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            if receiver.recv_timeout(WATCHDOG) == Err(Timeout) {
                eprintln!("a lock or a line is waited for in vain");
                std::process::abort();
            }
        });
        Watchdog(sender)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn me() -> Owner {
    Owner {
        thread: kernel_call::thread_id(),
        process_slot: family::process_place().expect("a place"),
    }
}

/// A fork relative, by its id and its name in the family.
struct Relative {
    id: u32,
    name: u32,
}

impl Relative {
    /// Forks as the library does, with the child a holder of `endpoints`; returns when `act` is over in the child, which
    /// then waits for its death.
    fn that_does(endpoints: &[&'static Endpoint], act: impl FnOnce()) -> Relative {
        Relative::at(
            family::reserve_child_place().expect("a place"),
            endpoints,
            act,
        )
    }

    fn at(name: u32, endpoints: &[&'static Endpoint], act: impl FnOnce()) -> Relative {
        for endpoint in endpoints {
            assert!(endpoint.add_numbers(name, 1));
        }
        let mut ends = [0; 2];
        // SAFETY: two words; fork; and in the child nothing that another thread's lock could hold up.
        unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            let child = libc::fork();
            if child == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let done = family::become_child(Some(name));
                act();
                let byte = [u8::from(done)];
                libc::write(ends[1], byte.as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
            assert!(child > 0);
            family::name_child(name, child as u32);
            let mut byte = [0u8];
            assert_eq!(libc::read(ends[0], byte.as_mut_ptr().cast(), 1), 1);
            assert_eq!(byte, [1], "the child has its place");
            libc::close(ends[0]);
            libc::close(ends[1]);
            let id = child as u32;
            Relative { id, name }
        }
    }

    fn becomes_zombie(&self) {
        // SAFETY: plain numbers.
        unsafe { libc::kill(self.id as i32, libc::SIGKILL) };
        while kernel_call::child_has_ended(self.id) == Some(false) {
            std::thread::yield_now();
        }
        assert!(kernel_call::process_exists(self.id));
    }

    fn is_reaped(&self) {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(self.id as i32, std::ptr::null_mut(), 0) };
    }
}

struct Side {
    endpoint: &'static Endpoint,
    socket: TcpStream,
}

impl Side {
    fn stream(&self) -> Stream {
        let generation = self
            .endpoint
            .generation
            .load(fastpath::sync::Ordering::Acquire);
        Stream::new(self.endpoint, generation, self.socket.as_raw_fd(), me())
    }

    fn send(&self, text: &[u8]) {
        let stream = self.stream();
        let piece = Piece {
            base: text.as_ptr().cast_mut(),
            bytes: text.len(),
        };
        // SAFETY: one piece of a text that lives through the call.
        let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
        match stream.send(&mut pieces) {
            Sent::Bytes(sent) => assert_eq!(sent, text.len()),
            Sent::Kernel => {
                // SAFETY: the same text.
                let sent = unsafe {
                    libc::send(
                        stream.descriptor,
                        text.as_ptr().cast(),
                        text.len(),
                        libc::MSG_NOSIGNAL,
                    )
                };
                stream.kernel_sent(sent.max(0) as usize);
                assert_eq!(sent, text.len() as isize);
            }
            other => panic!("send: {other:?}"),
        }
    }

    /// Never sleeps on the line, so that the marks there are those of the processes of the test.
    fn receive(&self, wanted: usize) -> Vec<u8> {
        let mut buffer = vec![0u8; wanted];
        let mut done = 0;
        while done < wanted {
            let stream = self.stream();
            let piece = Piece {
                base: buffer[done..].as_mut_ptr(),
                bytes: wanted - done,
            };
            // SAFETY: one piece of a buffer that lives through the call.
            let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
            let taking = Taking {
                peek: false,
                discard: false,
                wanted: wanted - done,
                minimum: 1,
                behind: false,
            };
            match stream.receive(&mut pieces, taking) {
                Received::Bytes(taken) => done += taken,
                Received::Kernel | Received::KernelBounded => {
                    // SAFETY: the rest of the buffer.
                    let taken = unsafe {
                        libc::recv(
                            stream.descriptor,
                            piece.base.cast(),
                            piece.bytes,
                            libc::MSG_DONTWAIT,
                        )
                    };
                    stream.kernel_received(taken.max(0) as usize);
                    done += taken.max(0) as usize;
                }
                Received::Empty | Received::Crowded => {
                    std::thread::sleep(Duration::from_micros(50));
                }
                other => panic!("receive: {other:?}"),
            }
        }
        buffer
    }

    fn sends_by_ring(&self) -> bool {
        self.endpoint.tx_ep.get() & 1 == 1
    }
}

struct Connection {
    near: Side,
    far: Side,
    ends: Ends,
}

impl Connection {
    /// Bound, and carried by rings in both directions.
    fn on_rings(port: u16) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let ends = channel_pair(0, port);
        let side = |socket: TcpStream| {
            let (_, endpoint) = family::allocate_endpoint().expect("endpoint");
            assert!(endpoint.add_numbers(family::process_place().unwrap(), 1));
            endpoint.wished.store(1, fastpath::sync::Ordering::Relaxed);
            Side { endpoint, socket }
        };
        let connection = Connection {
            near: side(near),
            far: side(far),
            ends,
        };
        let (accepting, connecting) = (connection.ends.accepting, connection.ends.connecting);
        let (slot, generation) = accepting.allocate_slot().expect("a slot");
        for (channel, side) in [(accepting, &connection.far), (connecting, &connection.near)] {
            assert!(channel.retain());
            assert!(channel.bind_slot(slot, generation, 0, 0));
            assert!(side.stream().bind(channel, slot, generation));
        }
        for round in 0..200u8 {
            connection.exchange(round);
            if connection.near.sends_by_ring() && connection.far.sends_by_ring() {
                return connection;
            }
        }
        panic!("no upgrade");
    }

    fn exchange(&self, round: u8) {
        let (near, far) = (&self.near, &self.far);
        for (from, to) in [(near, far), (far, near)] {
            from.send(&[round; 24]);
            assert_eq!(to.receive(24), [round; 24]);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ends.accepting.release();
        self.ends.connecting.release();
    }
}

#[test]
fn a_child_killed_inside_a_critical_section_and_not_reaped_holds_nobody_up() {
    let _alone = alone();
    let connection = Connection::on_rings(201);
    let endpoint = connection.near.endpoint;
    for lock in [&endpoint.tx_lock, &endpoint.rx_lock] {
        let child = Relative::that_does(&[endpoint], || {
            assert_eq!(lock.lock(me(), family::is_owner_alive), Locked::Taken);
        });
        assert!(family::is_owner_alive(lock.owner().expect("an owner")));
        child.becomes_zombie();
        connection.exchange(7);
        assert!(!endpoint.clear_the_dead(me().process_slot));
        connection.exchange(8);
        child.is_reaped();
    }
}

#[test]
fn a_worker_killed_asleep_is_not_taken_for_the_next_one_at_its_place() {
    let _alone = alone();
    let connection = Connection::on_rings(202);
    let (near, far) = (&connection.near, &connection.far);
    let own = me().process_slot;
    let worker = Relative::that_does(&[far.endpoint], || {
        let sleep = far.stream().prepare_sleep_receive(1);
        assert!(matches!(sleep, Sleep::Line(_)));
    });
    let asleep = || {
        let endpoint = far.endpoint;
        [&endpoint.asleep, &endpoint.armed_rx]
            .map(|count| count.load(fastpath::sync::Ordering::Acquire))
    };
    assert_eq!(asleep(), [1, 1]);
    worker.becomes_zombie();
    worker.is_reaped();

    // Places of the dead are given out once there is no other.
    let index = |name: u32| name as usize % family::PROCESSES;
    let mut reserved = Vec::new();
    let name = loop {
        let name = family::reserve_child_place().expect("the dead worker's place");
        if index(name) == index(worker.name) {
            break name;
        }
        reserved.push(name);
    };
    reserved.into_iter().for_each(family::release_child_place);
    let next = Relative::at(name, &[far.endpoint], || {});
    assert_ne!(next.name, worker.name);
    // A bell for the sleeper, then the way back to the kernel: both lie on the line until nobody sleeps there.
    near.send(b"bytes by ring");
    near.stream().release();
    near.send(b" and by the kernel");
    assert!(!near.sends_by_ring());
    let text = b"bytes by ring and by the kernel";
    assert_eq!(far.receive(text.len()), text);
    assert_eq!(asleep(), [0, 0]);

    // The new worker closes its number: this process is the last holder.
    assert!(far.endpoint.has_other_holder(own));
    assert!(far.endpoint.remove_number(next.name));
    assert!(!far.endpoint.has_other_holder(own));
    next.becomes_zombie();
    next.is_reaped();
}

#[test]
fn crashed_children_do_not_use_up_the_holders() {
    let _alone = alone();
    let (index, endpoint) = family::allocate_endpoint().expect("endpoint");
    assert!(endpoint.add_numbers(me().process_slot, 1));
    for _ in 0..40 {
        let child = Relative::that_does(&[endpoint], || {});
        child.becomes_zombie();
        child.is_reaped();
    }
    assert!(!endpoint.clear_the_dead(me().process_slot));
    family::free_endpoint(index);
}

#[test]
fn a_place_that_a_killed_process_has_reserved_is_not_reserved_for_ever() {
    let _alone = alone();
    // Said by the child through memory that both have.
    let shared = family::allocate_endpoint().expect("endpoint").1;
    let child = Relative::that_does(&[], || {
        shared
            .cookie
            .set(u64::from(family::reserve_child_place().expect("a place")));
    });
    let reserved = shared.cookie.get() as u32;
    assert!(family::is_process_alive_now(reserved));
    child.becomes_zombie();
    assert!(
        family::is_process_alive_now(reserved),
        "its child may be about to say who it is"
    );
    let began = Instant::now();
    while family::is_process_alive_now(reserved) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() > Duration::from_millis(500));
    child.is_reaped();
}

#[test]
fn threads_of_a_process_that_is_about_to_exec_keep_their_locks_for_a_second() {
    let _alone = alone();
    let endpoint = family::allocate_endpoint().expect("endpoint").1;
    let child = Relative::that_does(&[endpoint], || {
        assert_eq!(
            endpoint.tx_lock.lock(me(), family::is_owner_alive),
            Locked::Taken
        );
        family::leave_place();
        assert!(family::is_leaving() && family::is_own_process());
    });
    let owner = endpoint.tx_lock.owner().expect("an owner");
    assert_eq!(owner.process_slot, child.name);
    assert!(family::is_owner_alive(owner), "no exec has happened yet");
    // exec keeps the id, so nothing else tells that it has happened.
    let locked = endpoint.tx_lock.lock(me(), family::is_owner_alive);
    assert_eq!(locked, Locked::Recovered);
    assert!(kernel_call::thread_exists(child.id, owner.thread));
    endpoint.tx_lock.unlock(me());
    child.becomes_zombie();
    child.is_reaped();
}

#[test]
fn an_exec_that_fails_leaves_the_process_what_it_was() {
    let _alone = alone();
    let own = family::process_place();
    family::leave_place();
    assert!(family::is_leaving());
    assert!(family::stay());
    assert!(!family::is_leaving() && !family::stay());
    assert_eq!(family::process_place(), own);
    assert!(family::is_own_process() && family::is_owner_alive(me()));
}

#[test]
fn a_relative_that_has_parted_writes_where_nobody_else_reads() {
    let _alone = alone();
    let connection = Connection::on_rings(203);
    let endpoint = connection.near.endpoint;
    // Left by the library before it parts, so nobody else's: the child is its only holder.
    let (index, inherited) = family::allocate_endpoint().expect("endpoint");
    let generation = || inherited.generation.load(fastpath::sync::Ordering::Acquire);
    let life = generation();
    let child = Relative::that_does(&[inherited], || {
        assert_eq!(
            endpoint.tx_lock.lock(me(), family::is_owner_alive),
            Locked::Taken
        );
        assert!(family::part());
        // It goes on with its copy, locks in hand included.
        assert_eq!(endpoint.tx_lock.owner(), Some(me()));
        assert!(endpoint.tx_ep.get() & 1 == 1 && generation() == life);
        assert!(inherited.holder(me().process_slot).is_some());
        for index in 0..family::endpoints_used() {
            let endpoint = core::ptr::from_ref(family::endpoint(index).expect("an endpoint"));
            // SAFETY: family memory, writable; the child does nothing any more that needs it.
            unsafe {
                core::ptr::write_bytes(
                    endpoint.cast::<u8>().cast_mut(),
                    0xa5,
                    size_of::<Endpoint>(),
                );
            }
        }
    });
    // The lock it took before the parting is its own there for ever; here it counts as long as it lives.
    let owner = endpoint.tx_lock.owner().expect("an owner");
    assert_eq!(owner.process_slot, child.name);
    child.becomes_zombie();
    for round in 0..50 {
        connection.exchange(round);
    }
    assert_ne!(generation(), life, "nobody's any more");
    assert!(inherited.holder(child.name).is_none());
    assert_eq!(family::allocate_endpoint().expect("endpoint").0, index);
    child.is_reaped();
}
