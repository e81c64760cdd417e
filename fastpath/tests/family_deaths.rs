//! What fork relatives leave behind that died, or parted from the family's memory: locks, places, sleepers. Real processes,
//! SIGKILLed, some of them never reaped.
#![allow(unsafe_code, reason = "fork, and the buffers of the test itself")]

mod channel_pair;

use channel_pair::{Ends, channel_pair};
use fastpath::clock::monotonic_ns;
use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::lock::{Locked, Owner};
use fastpath::stream::Stream;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::{Armed, Sleep};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const WATCHDOG: Duration = Duration::from_secs(600);
/// How long a process that was about to fork or to exec may still be at it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before that it must be thought to live, whatever else the machine was busy with.
const NEARLY_PATIENCE: Duration = Duration::from_millis(900);

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
            family::name_child(Some(name), child as u32);
            let mut byte = [0u8];
            assert_eq!(libc::read(ends[0], byte.as_mut_ptr().cast(), 1), 1);
            assert_eq!(byte, [1], "the child has its place");
            libc::close(ends[0]);
            libc::close(ends[1]);
            let id = child as u32;
            Relative { id, name }
        }
    }

    /// Forks as [`Self::that_does`], and returns when the child was killed in `act` and reaped.
    #[cfg(feature = "step-hooks")]
    fn that_dies_in(endpoints: &[&'static Endpoint], act: impl FnOnce()) {
        let name = family::reserve_child_place().expect("a place");
        for endpoint in endpoints {
            assert!(endpoint.add_numbers(name, 1));
        }
        let mut status = 0;
        // SAFETY: fork, and in the child nothing that another thread's lock could hold up; one local status.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                assert!(family::become_child(Some(name)));
                act();
                libc::_exit(0);
            }
            assert!(child > 0);
            family::name_child(Some(name), child as u32);
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        }
        assert!(libc::WIFSIGNALED(status), "it lived: {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
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

/// A bell for the sleeper, then the way back to the kernel: both lie on the line until nobody sleeps there.
fn retreats(near: &Side, far: &Side) {
    near.send(b"bytes by ring");
    near.stream().release();
    near.send(b" and by the kernel");
    assert!(!near.sends_by_ring());
    let text = b"bytes by ring and by the kernel";
    assert_eq!(far.receive(text.len()), text);
    assert!(!far.endpoint.has_sleepers());
}

#[test]
fn a_worker_that_closed_its_number_and_is_killed_asleep_sleeps_no_more() {
    let _alone = alone();
    let connection = Connection::on_rings(204);
    let (near, far) = (&connection.near, &connection.far);
    // Another thread of it closes the number meanwhile, and it is killed in poll.
    let worker = Relative::that_does(&[far.endpoint], || {
        let sleep = far.stream().prepare_sleep_receive(1);
        assert!(matches!(sleep, Sleep::Line(_)));
        assert!(far.endpoint.remove_number(me().process_slot));
    });
    worker.becomes_zombie();
    worker.is_reaped();
    retreats(near, far);
}

#[test]
fn a_sleeper_whose_process_was_thought_to_be_gone_takes_nobody_elses_count() {
    let _alone = alone();
    let connection = Connection::on_rings(205);
    let (near, far) = (&connection.near, &connection.far);
    // Said to the child through memory that both have.
    let wakes = &family::allocate_endpoint().expect("endpoint").1.bytes_in;
    wakes.set(0);
    let own = std::thread::scope(|scope| {
        let name = family::reserve_child_place().expect("a place");
        let child = scope.spawn(move || {
            Relative::at(name, &[far.endpoint], || {
                let Sleep::Line(armed) = far.stream().prepare_sleep_receive(1) else {
                    panic!("does not sleep");
                };
                let wait_for = |wake: u64| {
                    while wakes.get() < wake {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                };
                // A second later it is thought to be gone: not before its sleep was seen.
                wait_for(1);
                family::leave_place();
                wait_for(2);
                far.stream().finish_sleep(armed);
            })
        });
        while !far.endpoint.has_sleepers() {
            std::thread::yield_now();
        }
        wakes.set(1);
        // The program that it was about to become is slow to start.
        while far.endpoint.has_other_holder(me().process_slot) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!far.endpoint.has_sleepers());
        let own = far.stream().prepare_sleep_receive(1);
        wakes.set(2);
        let child = child.join().expect("the child");
        child.becomes_zombie();
        child.is_reaped();
        own
    });
    let Sleep::Line(armed) = own else {
        panic!("does not sleep");
    };
    assert!(far.endpoint.has_sleepers());
    far.stream().finish_sleep(armed);
    assert!(!far.endpoint.has_sleepers());
    retreats(near, far);
}

#[test]
fn a_fork_child_that_returns_into_a_sleep_of_its_parent_was_never_counted() {
    let _alone = alone();
    let connection = Connection::on_rings(206);
    let (near, far) = (&connection.near, &connection.far);
    let Sleep::Line(armed) = far.stream().prepare_sleep_receive(1) else {
        panic!("does not sleep");
    };
    // A handler above the sleep has forked, and returns in both.
    let child = Relative::that_does(&[far.endpoint], || far.stream().finish_sleep(armed));
    assert!(far.endpoint.has_sleepers());
    far.stream().finish_sleep(armed);
    assert!(!far.endpoint.has_sleepers());
    retreats(near, far);
    child.becomes_zombie();
    child.is_reaped();
}

#[test]
fn a_thread_of_a_connection_that_has_ended_takes_no_count_of_the_next_one() {
    let _alone = alone();
    let place = me().process_slot;
    let stream = |endpoint: &'static Endpoint| {
        let generation = endpoint.generation.load(fastpath::sync::Ordering::Acquire);
        assert!(endpoint.add_numbers(place, 1));
        Stream::new(endpoint, generation, -1, me())
    };
    let (index, endpoint) = family::allocate_endpoint().expect("endpoint");
    let stale = stream(endpoint);
    stale.count_sleeper();
    endpoint.irx.enter();
    endpoint.itx.enter();
    assert!(stale.retire());
    family::free_endpoint(index);

    let (next_index, endpoint) = family::allocate_endpoint().expect("endpoint");
    assert_eq!(next_index, index);
    let next = stream(endpoint);
    let counts = || {
        [
            endpoint.has_sleepers(),
            endpoint.irx.any(),
            endpoint.itx.any(),
        ]
    };
    assert_eq!(counts(), [false, false, false]);
    next.count_sleeper();
    endpoint.irx.enter();
    for _ in 0..2 {
        stale.finish_sleep(Armed::Counted);
        stale.kernel_received(0);
        stale.kernel_sent(0);
    }
    assert_eq!(counts(), [true, true, false]);
    next.finish_sleep(Armed::Counted);
    next.kernel_received(0);
    assert_eq!(counts(), [false, false, false]);
    endpoint.remove_number(place);
    assert!(next.retire());
    family::free_endpoint(index);
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
    assert!(far.endpoint.has_sleepers());
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
    for name in reserved {
        family::release_child_place(Some(name));
    }
    let next = Relative::at(name, &[far.endpoint], || {});
    assert_ne!(next.name, worker.name);
    retreats(near, far);

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
fn endpoints_of_the_killed_are_used_again() {
    let _alone = alone();
    // One of this process's among them, which stays.
    let (own, endpoint) = family::allocate_endpoint().expect("endpoint");
    assert!(endpoint.add_numbers(me().process_slot, 1));
    let child = Relative::that_does(&[], || {
        while !(family::endpoints_used() >= 1024 && family::endpoints_used().is_power_of_two()) {
            let (_, endpoint) = family::allocate_endpoint().expect("endpoint");
            assert!(endpoint.add_numbers(me().process_slot, 1));
            assert!(endpoint.tx_lock.try_lock(me()));
        }
    });
    let used = family::endpoints_used();
    child.becomes_zombie();
    let mut taken = Vec::new();
    for _ in 0..used / 2 {
        let (index, endpoint) = family::allocate_endpoint().expect("endpoint");
        if taken.is_empty() {
            // Who looks next must not take the free ones for endpoints of the killed again.
            let free_but_named = (0..used).filter(|index| {
                let endpoint = family::endpoint(*index).expect("endpoint");
                endpoint.holder(child.name).is_some()
            });
            assert_eq!(free_but_named.count(), 0);
        }
        assert!(index != own && !taken.contains(&index));
        assert!(endpoint.add_numbers(me().process_slot, 1));
        taken.push(index);
    }
    assert_eq!(family::endpoints_used(), used);
    child.is_reaped();
    for index in taken {
        let endpoint = family::endpoint(index).expect("endpoint");
        assert!(endpoint.remove_number(me().process_slot));
        family::free_endpoint(index);
    }
}

#[test]
fn a_place_that_a_killed_process_has_reserved_is_not_reserved_for_ever() {
    let _alone = alone();
    // Said by the child through memory that both have.
    let shared = family::allocate_endpoint().expect("endpoint").1;
    let child = Relative::that_does(&[], || {
        shared.bytes_out.set(monotonic_ns());
        shared
            .bytes_in
            .set(u64::from(family::reserve_child_place().expect("a place")));
    });
    let reserved = shared.bytes_in.get() as u32;
    let elapsed = || Duration::from_nanos(monotonic_ns() - shared.bytes_out.get());
    assert!(family::is_process_alive_now(reserved));
    child.becomes_zombie();
    assert!(
        family::is_process_alive_now(reserved) || elapsed() > NEARLY_PATIENCE,
        "its child may be about to say who it is"
    );
    while family::is_process_alive_now(reserved) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(elapsed() > PATIENCE);
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
        // Said through memory that both have.
        endpoint.bytes_out.set(monotonic_ns());
        family::leave_place();
        assert!(family::is_leaving() && family::is_own_process());
    });
    let owner = endpoint.tx_lock.owner().expect("an owner");
    assert_eq!(owner.process_slot, child.name);
    let elapsed = || Duration::from_nanos(monotonic_ns() - endpoint.bytes_out.get());
    assert!(
        family::is_owner_alive(owner) || elapsed() > NEARLY_PATIENCE,
        "no exec has happened yet"
    );
    // exec keeps the id, so nothing else tells that it has happened.
    let locked = endpoint.tx_lock.lock(me(), family::is_owner_alive);
    assert_eq!(locked, Locked::Recovered);
    assert!(elapsed() > PATIENCE);
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
    // The lock it took before the parting is its own there for ever; here it is free for who repairs first, though it lives.
    let owner = endpoint.tx_lock.owner().expect("an owner");
    assert!(!family::is_owner_alive(owner));
    for round in 0..50 {
        connection.exchange(round);
    }
    child.becomes_zombie();
    assert_ne!(generation(), life, "nobody's any more");
    assert!(inherited.holder(child.name).is_none());
    assert_eq!(family::allocate_endpoint().expect("endpoint").0, index);
    child.is_reaped();
}

#[test]
fn who_parts_while_a_child_is_being_born_parts_from_it_too() {
    let _alone = alone();
    let word = &family::allocate_endpoint().expect("endpoint").1.bytes_in;
    word.set(1);
    let name = family::reserve_child_place().expect("a place");
    // As by setgid() in another thread, before the fork; and behind it, before the child has its name, by setuid().
    assert!(family::part());
    let [mut go, mut status] = [[0; 2], [0; 2]];
    // SAFETY: two words each; fork, and in the child nothing that another thread's lock could hold up.
    unsafe {
        assert_eq!(libc::pipe(go.as_mut_ptr()), 0);
        let child = libc::fork();
        if child == 0 {
            let known = family::become_child(Some(name));
            let heard = libc::read(go[0], (&raw mut status).cast(), 1);
            libc::_exit(i32::from(!(known && heard == 1 && word.get() == 1)));
        }
        assert!(family::part());
        word.set(2);
        assert_eq!(libc::write(go[1], (&raw const word).cast(), 1), 1);
        family::name_child(Some(name), child as u32);
        assert_eq!(libc::waitpid(child, status.as_mut_ptr(), 0), child);
        libc::close(go[0]);
        libc::close(go[1]);
    }
    assert_eq!(
        status[0], 0,
        "the child shares what comes behind the parting"
    );
}

#[test]
fn a_child_that_has_no_place_parts_too() {
    let _alone = alone();
    let connection = Connection::on_rings(208);
    let mut status = 0;
    // SAFETY: fork, and in the child nothing that another thread's lock could hold up; one local status.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            // As where the table is full, or in a new namespace of process ids.
            let is_known = family::become_child(None);
            let first = family::endpoint(0).expect("an endpoint");
            let parted = family::part() && family::part();
            if parted {
                let used = family::endpoints_used() as usize;
                let bytes = used * size_of::<Endpoint>();
                core::ptr::write_bytes(
                    core::ptr::from_ref(first).cast::<u8>().cast_mut(),
                    0xa5,
                    bytes,
                );
            }
            libc::_exit(i32::from(is_known || !parted));
        }
        assert!(child > 0);
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
    assert_eq!(status, 0, "parted");
    for round in 0..50 {
        connection.exchange(round);
    }
}

#[test]
fn a_relative_that_has_parted_does_not_wait_for_sleepers_it_never_hears_of_again() {
    let _alone = alone();
    let connection = Connection::on_rings(207);
    let (near, far) = (&connection.near, &connection.far);
    let Sleep::Line(armed) = far.stream().prepare_sleep_receive(1) else {
        panic!("does not sleep");
    };
    let child = Relative::that_does(&[far.endpoint, near.endpoint], || {
        assert!(far.endpoint.has_sleepers());
        let own = far.stream().prepare_sleep_receive(1);
        assert!(family::part());
        assert!(far.endpoint.has_sleepers(), "its own");
        let Sleep::Line(armed) = own else {
            panic!("does not sleep");
        };
        far.stream().finish_sleep(armed);
        assert!(!far.endpoint.has_sleepers(), "of another memory");
        retreats(near, far);
    });
    assert!(far.endpoint.has_sleepers());
    far.stream().finish_sleep(armed);
    assert!(!far.endpoint.has_sleepers());
    child.becomes_zombie();
    child.is_reaped();
}

#[test]
fn a_connection_that_went_with_a_relative_that_has_parted_ends_by_an_error_here() {
    let _alone = alone();
    let connection = Connection::on_rings(204);
    let near = &connection.near;
    // Bound, and held by both: it could not be left.
    let child = Relative::that_does(&[near.endpoint], || assert!(family::part()));
    let receive = || {
        let mut byte = [0u8];
        let piece = Piece {
            base: byte.as_mut_ptr(),
            bytes: 1,
        };
        // SAFETY: one piece of a buffer that lives through the call.
        let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
        let taking = Taking {
            peek: false,
            discard: false,
            wanted: 1,
            minimum: 1,
            behind: false,
        };
        near.stream().receive(&mut pieces, taking)
    };
    assert_eq!(receive(), Received::Failed(libc::ECONNRESET));
    assert_eq!(receive(), Received::End);
    child.becomes_zombie();
    child.is_reaped();
}

/// Killed at a labelled step, between what the kernel has done and what is noted of it: the relative goes on where the
/// stream stands, so that each byte comes once.
#[cfg(feature = "step-hooks")]
mod at_a_step {
    use super::*;
    use fastpath::stream::labels::{Label, StepAction, configure};
    use fastpath::stream::leave::Successor;
    use fastpath::stream::rewind::Rewound;

    const BEHIND: &[u8] = b"and behind it, by the kernel";

    /// Bytes that no part of which looks like another.
    fn text(bytes: usize) -> Vec<u8> {
        let byte = |position: usize| {
            (position.wrapping_mul(0x9e37_79b9) >> 13) as u8 ^ (position >> 8) as u8
        };
        (0..bytes).map(byte).collect()
    }

    fn fill_ring(side: &Side) -> Vec<u8> {
        let unread = side.stream().unsent_ring_bytes() as usize;
        let whole = text(side.endpoint.tx_ring_bytes.get() as usize - unread);
        side.send(&whole);
        assert!(side.sends_by_ring());
        whole
    }

    /// Sends again all that the far side has left unread, then something newer.
    fn send_behind(side: &Side) {
        while side.stream().rewind() == Rewound::Blocked {
            std::thread::sleep(Duration::from_millis(1));
        }
        side.send(BEHIND);
    }

    /// What has come by the kernel; waits for `wanted` bytes, and a moment for more.
    fn receive_by_kernel(side: &Side, wanted: usize, mut between: impl FnMut()) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = vec![0u8; 65536];
        let mut quiet_rounds = 0;
        while quiet_rounds < 30 {
            // SAFETY: the buffer.
            let taken = unsafe {
                libc::recv(
                    side.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            assert_ne!(taken, 0, "end of stream at {}", all.len());
            if taken > 0 {
                all.extend_from_slice(&buffer[..taken as usize]);
            } else {
                quiet_rounds += i32::from(all.len() >= wanted);
                std::thread::sleep(Duration::from_millis(1));
            }
            between();
        }
        all
    }

    fn assert_same(got: &[u8], sent: &[u8]) {
        let wrong = got.iter().zip(sent).position(|(got, sent)| got != sent);
        assert_eq!(wrong, None, "the first wrong byte");
        assert_eq!(got.len(), sent.len());
    }

    /// The far side has left with a full ring, which ends in its middle, so it is sent in two pieces at least; a child is
    /// killed at its nth passage of `label`.
    fn rewind_dies(port: u16, label: Label, nth: u32) {
        let connection = Connection::on_rings(port);
        let (near, far) = (&connection.near, &connection.far);
        let mut sent = fill_ring(near);
        assert!(far.stream().leave(Successor::Stranger).left);
        Relative::that_dies_in(&[near.endpoint], || {
            configure(label, nth, StepAction::Kill);
            near.stream().rewind();
        });
        let mut is_over = false;
        let got = receive_by_kernel(far, sent.len() + BEHIND.len(), || {
            if !is_over && near.stream().rewind() == Rewound::Over {
                is_over = true;
                near.send(BEHIND);
            }
        });
        sent.extend_from_slice(BEHIND);
        assert_same(&got, &sent);
    }

    #[test]
    fn a_rewind_goes_on_where_the_killed_had_come() {
        let _alone = alone();
        for (port, (label, nth)) in (301..).zip([
            (Label::RewindStart, 1),
            (Label::RewindSend, 1),
            (Label::RewindSend, 2),
            (Label::RewindCount, 1),
            (Label::RewindCount, 2),
        ]) {
            eprintln!("{label:?} {nth}");
            rewind_dies(port, label, nth);
        }
    }

    #[test]
    fn a_rewind_s_last_steps_are_taken_by_whoever_is_left() {
        let _alone = alone();
        for (port, label) in [(321, Label::RewindSend), (322, Label::RewindOver)] {
            let connection = Connection::on_rings(port);
            let (near, far) = (&connection.near, &connection.far);
            let mut sent = fill_ring(near);
            assert!(far.stream().leave(Successor::Stranger).left);
            Relative::that_dies_in(&[near.endpoint], || {
                configure(label, 1, StepAction::Kill);
                near.stream().rewind();
            });
            send_behind(near);
            sent.extend_from_slice(BEHIND);
            assert_same(&receive_by_kernel(far, sent.len(), || {}), &sent);
        }
    }

    /// A child is killed in a LEAVE of the whole side, at `label`; its relative goes on.
    fn leave_dies(port: u16, label: Label, sends_first: bool) {
        const FIRST: &[u8] = b"before anything is read";
        let connection = Connection::on_rings(port);
        let (near, far) = (&connection.near, &connection.far);
        let mut sent = fill_ring(near);
        let mut back = text(3000);
        far.send(&back);
        Relative::that_dies_in(&[far.endpoint], || {
            configure(label, 1, StepAction::Kill);
            let _ = far.stream().leave(Successor::Stranger);
        });
        if sends_first {
            far.send(FIRST);
            back.extend_from_slice(FIRST);
        }
        // Both directions go on, and the leaver's relative with plain kernel calls.
        send_behind(near);
        let first = far.receive(1);
        sent.extend_from_slice(BEHIND);
        let rest = receive_by_kernel(far, sent.len() - 1, || {});
        assert_same(&[first, rest].concat(), &sent);
        assert_same(&near.receive(back.len()), &back);
        far.send(BEHIND);
        assert_same(&near.receive(BEHIND.len()), BEHIND);
    }

    #[test]
    fn a_leave_that_was_killed_is_finished_before_anybody_reads() {
        let _alone = alone();
        let mut port = 331..;
        for sends_first in [false, true] {
            for label in [
                Label::LeaveGone,
                Label::LeaveRingingWait,
                Label::LeaveDrain,
                Label::RetreatCount,
                Label::RetreatSwitch,
                Label::RetreatBell,
                Label::LeaveRetreat,
            ] {
                eprintln!("{label:?} {sends_first}");
                leave_dies(port.next().unwrap_or(0), label, sends_first);
            }
        }
    }

    /// A receive that finds nothing, which grants and passes what can be.
    fn looks(side: &Side) {
        let stream = side.stream();
        let taking = Taking {
            peek: false,
            behind: false,
            wanted: 0,
            discard: false,
            minimum: 1,
        };
        if let Received::Kernel | Received::KernelBounded =
            stream.receive(&mut Pieces::NONE.clone(), taking)
        {
            stream.kernel_received(0);
        }
        let _ = stream.readiness(false);
    }

    /// A child is killed at `label` in `act`; its relative sends something behind, and both directions go on. `left` is
    /// what the child has sent.
    fn step_dies(port: u16, label: Label, left: &[u8], prepare: fn(&Connection), act: fn(&Side)) {
        eprintln!("{label:?}");
        let connection = Connection::on_rings(port);
        let (near, far) = (&connection.near, &connection.far);
        prepare(&connection);
        Relative::that_dies_in(&[near.endpoint], || {
            configure(label, 1, StepAction::Kill);
            act(near);
        });
        near.send(BEHIND);
        let wanted = [left, BEHIND].concat();
        assert_same(&far.receive(wanted.len()), &wanted);
        for round in 0..20 {
            connection.exchange(round);
        }
        assert!(!near.stream().readiness(true).hung_up);
    }

    #[test]
    fn a_switch_that_was_killed_is_finished_by_whoever_is_left() {
        let _alone = alone();
        let retreats: fn(&Side) = |near| near.stream().release();
        for (port, label) in (361..).zip([
            Label::AnnounceRinging,
            Label::RetreatCount,
            Label::RetreatSwitch,
            Label::RetreatBell,
        ]) {
            step_dies(port, label, b"", |_| {}, retreats);
        }
        // Back on the kernel, read, and granted again.
        let prepare: fn(&Connection) = |connection| {
            let (near, far) = (&connection.near, &connection.far);
            near.stream().release();
            for round in 0..3 {
                connection.exchange(round);
            }
            assert!(!near.sends_by_ring());
            near.stream().wish();
            looks(far);
        };
        let upgrades: fn(&Side) = |near| {
            for _ in 0..1000 {
                near.endpoint.upgrade_after_ns.set(0);
                let stream = near.stream();
                if !stream.enter_kernel_send_if_even() {
                    break;
                }
                stream.kernel_sent(0);
                std::thread::sleep(Duration::from_micros(100));
            }
        };
        for (port, label) in (371..).zip([
            Label::UpgradeVerify,
            Label::AnnounceRinging,
            Label::UpgradeCount,
            Label::UpgradeSwitch,
            Label::UpgradeBell,
        ]) {
            step_dies(port, label, b"", prepare, upgrades);
        }
    }

    #[test]
    fn a_send_that_was_killed_has_sent_what_it_showed_and_its_bell_is_one() {
        let _alone = alone();
        // Somebody sleeps, so that there is a bell.
        let prepare: fn(&Connection) = |connection| {
            let arm = |stream: &Stream| match stream.prepare_sleep_receive(1) {
                Sleep::Line(armed) | Sleep::Bounded { armed, .. } => stream.finish_sleep(armed),
                other => panic!("{other:?}"),
            };
            arm(&connection.far.stream());
        };
        let sends: fn(&Side) = |near| near.send(b"of the dead ");
        for (port, label) in (381..).zip([
            Label::SendCopy,
            Label::SendPublish,
            Label::BellCompare,
            Label::AnnounceRinging,
            Label::BellCount,
            Label::BellSend,
        ]) {
            let left: &[u8] = if label == Label::SendCopy {
                b""
            } else {
                b"of the dead "
            };
            step_dies(port, label, left, prepare, sends);
        }
    }

    #[test]
    fn a_receive_that_was_killed_has_taken_what_it_noted() {
        let _alone = alone();
        for (port, label) in (391..).zip([Label::ReceiveCopy, Label::ReceivePublish]) {
            eprintln!("{label:?}");
            let connection = Connection::on_rings(port);
            let (near, far) = (&connection.near, &connection.far);
            near.send(b"first");
            Relative::that_dies_in(&[far.endpoint], || {
                configure(label, 1, StepAction::Kill);
                far.receive(5);
            });
            near.send(BEHIND);
            if label == Label::ReceiveCopy {
                assert_same(&far.receive(5), b"first");
            }
            assert_same(&far.receive(BEHIND.len()), BEHIND);
            for round in 0..20 {
                connection.exchange(round);
            }
        }
    }

    #[test]
    fn a_shutdown_that_was_killed_is_made() {
        let _alone = alone();
        let connection = Connection::on_rings(395);
        let (near, far) = (&connection.near, &connection.far);
        near.send(BEHIND);
        Relative::that_dies_in(&[near.endpoint], || {
            configure(Label::FinPublish, 1, StepAction::Kill);
            near.stream().begin_shutdown();
        });
        assert!(near.stream().enter_kernel_send_if_even());
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: one static byte.
        let sent = unsafe { libc::send(near.socket.as_raw_fd(), BEHIND.as_ptr().cast(), 1, flags) };
        let errno = std::io::Error::last_os_error().raw_os_error();
        near.stream().kernel_sent(0);
        assert_eq!((sent, errno), (-1, Some(libc::EPIPE)));
        assert_same(&far.receive(BEHIND.len()), BEHIND);
        assert!(far.stream().readiness(false).read_ended);
        far.send(BEHIND);
        assert_same(&near.receive(BEHIND.len()), BEHIND);
    }
}
