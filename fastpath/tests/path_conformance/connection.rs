//! A connection whose two ends one thread drives: streams on a channel, a real TCP connection below, content that is a
//! function of the position. Every call is checked as it returns.

use crate::world::{Joined, Patience, Random, content, join, soon_true, tcp_pair};
use fastpath::channel::Channel;
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::kernel_call;
use fastpath::lock::Owner;
use fastpath::path::faulty::Faulty;
use fastpath::path::{Chosen, Path};
use fastpath::stream::Stream;
use fastpath::stream::leave::{Departure, Successor};
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::receive::{Received, Taking};
use fastpath::stream::send::Sent;
use fastpath::stream::sleep::{Armed, Sleep};
use fastpath::stream::unbind::Unbinding;
use fastpath::sync::full_fence;
use kmod_interface::limits::SPILL_AFTER_MS;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MSG_DONTWAIT: i32 = libc::MSG_DONTWAIT;
const POLLIN: i16 = 1;

/// What happened, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub upgrades: u64,
    pub retreats: u64,
    pub rewinds: u64,
    pub spills: u64,
    pub leaves: u64,
    pub unbindings: u64,
    pub peeks: u64,
    pub full: u64,
    pub rung_sleepers: u64,
    pub ring_bytes: u64,
    pub kernel_bytes: u64,
    /// Ends that a leaver could not put in order (SWITCH.md §4): reset, as it says.
    pub left_behind: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.upgrades += more.upgrades;
        self.retreats += more.retreats;
        self.rewinds += more.rewinds;
        self.spills += more.spills;
        self.leaves += more.leaves;
        self.unbindings += more.unbindings;
        self.peeks += more.peeks;
        self.full += more.full;
        self.rung_sleepers += more.rung_sleepers;
        self.ring_bytes += more.ring_bytes;
        self.kernel_bytes += more.kernel_bytes;
        self.left_behind += more.left_behind;
    }
}

/// What a receive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Bytes(usize),
    Nothing,
    End,
    Failed(i32),
}

pub struct Side {
    pub endpoint: &'static Endpoint,
    pub channel: &'static Channel,
    index: u32,
    pub socket: TcpStream,
    /// Bytes that a send has taken.
    pub sent: u64,
    /// Those of them that went into the ring, since the binding.
    pub sent_by_ring: u64,
    /// Bytes that were received and compared.
    pub received: u64,
    asleep: Option<Armed>,
    ep: u32,
    pub has_left: bool,
    owes_channel: bool,
    salt: u64,
}

impl Side {
    pub fn descriptor(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    pub fn stream(&self) -> Stream {
        let me = Owner {
            thread: kernel_call::thread_id(),
            process_slot: family::process_place().expect("a place in the family"),
        };
        let generation = self.endpoint.generation.load(Ordering::Acquire);
        Stream::new(self.endpoint, generation, self.descriptor(), me)
    }

    pub fn is_bound(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::BOUND
    }
    pub fn is_condemned(&self) -> bool {
        self.endpoint.binding.load(Ordering::Acquire) == binding::CONDEMNED
    }
}

pub struct Connection<End> {
    pub joined: Rc<Joined<End>>,
    pub sides: [Side; 2],
    pub random: Random,
    pub counts: Counts,
    /// The wait that a spill needs has been spent.
    has_stalled: bool,
    /// The far sides are honest, so that bytes are what was sent.
    pub is_honest: bool,
}

fn ensure_family() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| family::ensure().expect("family memory"));
}

impl<End: Path + Into<Chosen>> Connection<End> {
    pub fn new(paths: [End; 2], seed: u64) -> Self {
        Self::on(Rc::new(join(paths)), seed)
    }

    /// Another connection of the same two processes.
    pub fn on(joined: Rc<Joined<End>>, seed: u64) -> Self {
        ensure_family();
        let mut sockets = tcp_pair().into_iter();
        let mut side = |channel: &'static Channel, salt| {
            let (index, endpoint) = family::allocate_endpoint().expect("endpoint");
            assert!(endpoint.add_numbers(family::process_place().expect("place"), 1));
            Side {
                endpoint,
                channel,
                index,
                socket: sockets.next().expect("two sockets"),
                sent: 0,
                sent_by_ring: 0,
                received: 0,
                asleep: None,
                ep: 0,
                has_left: false,
                owes_channel: false,
                salt,
            }
        };
        let sides = [side(joined.c, 1), side(joined.s, 2)];
        let mut connection = Connection {
            joined,
            sides,
            random: Random::new(seed),
            counts: Counts::default(),
            has_stalled: false,
            is_honest: true,
        };
        assert!(connection.bind());
        connection
    }

    /// Binds both ends to a slot, S first, as a handshake does. False while no slot is free.
    pub fn bind(&mut self) -> bool {
        let [c, s] = &self.sides;
        c.channel.slot_sweep();
        let Some((slot, generation)) = s.channel.allocate_slot() else {
            return false;
        };
        for side in [s, c] {
            assert!(side.channel.retain());
            assert!(side.channel.bind_slot(slot, generation, 0, 0));
            // What is not wished for is not bound.
            side.stream().wish();
            assert!(side.stream().bind(side.channel, slot, generation));
        }
        for side in &mut self.sides {
            (side.ep, side.sent_by_ring) = (0, 0);
        }
        true
    }

    /// Counts the switches that the last call of a side has made.
    fn count_switches(&mut self, who: usize) {
        let side = &mut self.sides[who];
        let ep = side.endpoint.tx_ep.get();
        if ep > side.ep {
            self.counts.upgrades += u64::from(ep.div_ceil(2) - side.ep.div_ceil(2));
            self.counts.retreats += u64::from(ep / 2 - side.ep / 2);
        }
        side.ep = ep;
    }

    /// A sleeper of the other side must have been woken by what was just sent.
    fn check_sleeper(&mut self, sender: usize) {
        let other = &self.sides[1 - sender];
        if self.is_honest && matches!(other.asleep, Some(Armed::Readers | Armed::Counted)) {
            let events = kernel_call::poll_one(other.descriptor(), POLLIN, 60_000);
            assert!(events != 0, "a sleeper was not rung for");
            self.counts.rung_sleepers += 1;
        }
    }

    /// One non-blocking send of at most `most` bytes; how many were taken, or the errno.
    pub fn send(&mut self, who: usize, most: usize) -> Result<usize, i32> {
        let side = &self.sides[who];
        let (salt, position) = (side.salt, side.sent);
        let mut bytes: Vec<u8> = (0..most as u64)
            .map(|index| content(salt, position + index))
            .collect();
        let stream = side.stream();
        // SAFETY: the buffer is readable for its length.
        let send_quickly = || unsafe { stream.send_quickly(bytes.as_ptr(), bytes.len()) };
        if self.random.chance(3)
            && let Some(taken) = send_quickly()
        {
            assert_eq!(taken, most);
            self.counts.ring_bytes += taken as u64;
            self.sides[who].sent += taken as u64;
            self.sides[who].sent_by_ring += taken as u64;
            self.check_sleeper(who);
            return Ok(taken);
        }
        let cut = self.random.below(most as u64 + 1) as usize;
        let (first, second) = bytes.split_at_mut(cut);
        let pieces = [first, second].map(|part| Piece {
            base: part.as_mut_ptr(),
            bytes: part.len(),
        });
        // SAFETY: two pieces of a buffer that lives through the call.
        let mut pieces = unsafe { Pieces::new(pieces.as_ptr(), 2) };
        let was_odd = side.endpoint.tx_ep.get() & 1 == 1;
        let sent = stream.send(&mut pieces);
        let outcome = match sent {
            Sent::Bytes(taken) => {
                self.counts.ring_bytes += taken as u64;
                Ok(taken)
            }
            Sent::Kernel => {
                let flags = MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                // SAFETY: readable for its length.
                let sent = unsafe {
                    kernel_call::send(side.descriptor(), bytes.as_ptr(), bytes.len(), flags)
                };
                stream.kernel_sent(sent.unwrap_or(0));
                self.counts.kernel_bytes += sent.unwrap_or(0) as u64;
                match sent {
                    Err(libc::EAGAIN) => Ok(0),
                    other => other,
                }
            }
            Sent::Full => {
                self.counts.full += 1;
                if !self.has_stalled && was_odd {
                    // The reader is stuck for long enough.
                    self.has_stalled = true;
                    std::thread::sleep(Duration::from_millis(SPILL_AFTER_MS + 1));
                    stream.spill_if_stuck();
                    self.counts.spills += u64::from(side.endpoint.tx_ep.get() & 1 == 0);
                }
                Ok(0)
            }
            Sent::Rewinding => Ok(0),
            Sent::Failed(errno) => Err(errno),
            Sent::Broken => Err(libc::EPIPE),
            Sent::Reentered | Sent::Stale => panic!("{sent:?}"),
        };
        if let Ok(taken) = outcome {
            self.sides[who].sent += taken as u64;
            if matches!(sent, Sent::Bytes(_)) {
                self.sides[who].sent_by_ring += taken as u64;
            }
            if taken > 0 {
                self.check_sleeper(who);
            }
        }
        self.count_switches(who);
        outcome
    }

    /// One non-blocking receive (or peek) of at most `most` bytes, which are compared.
    pub fn receive(&mut self, who: usize, most: usize, peek: bool) -> Got {
        let side = &self.sides[who];
        let (salt, position) = (3 - side.salt, side.received);
        let stream = side.stream();
        const GUARD: usize = 16;
        let mut bytes = vec![0xEE; most + GUARD];
        let is_quick = !peek && self.random.chance(3);
        // SAFETY: writable for `most`.
        let quick = is_quick
            .then(|| unsafe { stream.receive_quickly(bytes.as_mut_ptr(), most) })
            .flatten();
        let mut got = match quick {
            Some(taken) => Got::Bytes(taken),
            None => receive_generally(&stream, &mut bytes[..most], peek),
        };
        if got == Got::Nothing && self.random.chance(3) {
            // An empty ring says nothing of the kernel's end; whoever never sleeps asks now and then (POSIX.md R4).
            let _ = stream.readiness(false);
            if side.endpoint.keof.load(Ordering::Acquire) != 0 {
                got = receive_generally(&stream, &mut bytes[..most], peek);
            }
        }
        assert!(
            bytes[most..].iter().all(|byte| *byte == 0xEE),
            "written behind the buffer"
        );
        if let Got::Bytes(taken) = got {
            for (index, byte) in bytes[..taken].iter().enumerate() {
                let at = position + index as u64;
                assert!(
                    !self.is_honest || *byte == content(salt, at),
                    "wrong byte at {at} (peek: {peek})"
                );
            }
            if peek {
                self.counts.peeks += 1;
            } else {
                self.sides[who].received += taken as u64;
            }
        }
        self.count_switches(who);
        got
    }

    /// Exchanges bytes until both directions are on the ring.
    pub fn upgrade(&mut self) {
        soon_true(|| {
            for who in [0, 1] {
                self.sides[who].stream().wish();
                self.send(who, 10).expect("a send");
                self.receive(1 - who, 100, false);
                self.receive(1 - who, 100, false);
            }
            self.sides
                .iter()
                .all(|side| side.endpoint.tx_ep.get() & side.endpoint.rx_ep.get() & 1 == 1)
        });
        self.drain();
    }

    /// A reader that found nothing goes to sleep.
    pub fn fall_asleep(&mut self, who: usize) {
        let has_sent = self.sides[1 - who].sent;
        let side = &mut self.sides[who];
        match side.stream().prepare_sleep_receive(1) {
            Sleep::Line(armed) => {
                side.asleep = Some(armed);
                // What was sent before the arming was seen behind it, or its bell is there.
                if self.is_honest && has_sent > side.received {
                    let events = kernel_call::poll_one(side.descriptor(), POLLIN, 60_000);
                    assert!(events != 0, "asleep before {has_sent}: {self:?}");
                    self.counts.rung_sleepers += 1;
                }
            }
            // Nobody rings for those; they look again by themselves.
            Sleep::Bounded { armed, .. } => side.stream().finish_sleep(armed),
            Sleep::Retry | Sleep::Crowded => {}
            Sleep::Reentered => panic!("a lock was left"),
        }
    }

    pub fn is_asleep(&self, who: usize) -> bool {
        self.sides[who].asleep.is_some()
    }

    /// The sleeper wakes, by a bell or a time-out.
    pub fn wake(&mut self, who: usize) {
        if let Some(armed) = self.sides[who].asleep.take() {
            let stream = self.sides[who].stream();
            stream.finish_sleep(armed);
            stream.after_sleep();
            self.count_switches(who);
        }
    }

    /// True when the sleeper's line says something.
    pub fn is_rung(&self, who: usize) -> bool {
        kernel_call::poll_one(self.sides[who].descriptor(), POLLIN, 0) != 0
    }

    /// The program goes on with the socket without Axio (exec): what it has not read must come by the kernel.
    pub fn leave(&mut self, who: usize) {
        self.wake(who);
        let [me, other] = [&self.sides[who], &self.sides[1 - who]];
        let to_rewind = other.endpoint.tx_ep.get() & 1 == 1
            && other.endpoint.tx_tail.get() != me.endpoint.rx_head.get();
        let Departure { left, given } = me.stream().leave(Successor::Ourselves);
        if !left {
            // What cannot be left in order stays.
            return;
        }
        self.counts.leaves += 1;
        self.counts.rewinds += u64::from(to_rewind && !me.is_condemned());
        self.counts.left_behind += u64::from(me.is_condemned());
        self.sides[who].has_left = true;
        // The channel lasts as long as the connection does.
        self.sides[who].owes_channel |= given.is_some();
        self.count_switches(who);
    }

    /// A step of giving the slot up, on either side.
    pub fn unbind_step(&mut self, who: usize) {
        let side = &self.sides[who];
        let stream = side.stream();
        if stream.far_is_unbinding() && !stream.is_unbinding() {
            stream.begin_unbinding(&|| true);
        }
        let step = stream.unbind_step(&|| true);
        self.count_switches(who);
        if let Unbinding::Done(given) = step {
            self.counts.unbindings += 1;
            given.channel.slot_leave(given.slot, given.generation);
            given.channel.release();
            self.sides[who].ep = 0;
        }
    }

    /// shutdown(SHUT_WR).
    pub fn shut_writing(&mut self, who: usize) {
        let side = &self.sides[who];
        let stream = side.stream();
        let begun = stream.begin_shutdown();
        // A system call on a socket is a fence (P6).
        full_fence();
        // SAFETY: an open descriptor.
        unsafe { libc::shutdown(side.descriptor(), libc::SHUT_WR) };
        if begun {
            stream.end_shutdown();
        }
        self.count_switches(who);
    }

    /// True where a call may fail: after a leave that could not be put in order, or among liars.
    pub fn may_fail(&self) -> bool {
        !self.is_honest || self.counts.left_behind > 0
    }

    /// Reads both sides to the end of what was sent.
    #[track_caller]
    pub fn drain(&mut self) {
        let mut idle = Patience::new();
        while (0..2).any(|who| self.sides[who].received != self.sides[1 - who].sent) {
            let before = self.sides[0].received + self.sides[1].received;
            for who in [0, 1] {
                self.wake(who);
                match self.receive(who, 20_000, false) {
                    Got::Bytes(_) | Got::Nothing => {}
                    other => panic!("{other:?} before all was read"),
                }
            }
            let after = self.sides[0].received + self.sides[1].received;
            if after != before {
                idle = Patience::new();
            }
            assert!(idle.lasts(), "bytes were lost: {self:?}");
        }
    }

    /// Both sides stop writing; then both streams must end exactly there.
    #[track_caller]
    pub fn end(&mut self) {
        for who in [0, 1] {
            self.wake(who);
            self.shut_writing(who);
        }
        for who in [0, 1] {
            let mut idle = Patience::new();
            loop {
                match self.receive(who, 100, false) {
                    Got::Nothing => assert!(idle.lasts(), "no end: {self:?}"),
                    Got::End => break,
                    other => panic!("{other:?} where the stream ends"),
                }
            }
        }
    }
}

impl<P: Path> Connection<Faulty<P>> {
    /// Tells the paths which sockets are theirs.
    pub fn tell_lines(&self) {
        for (path, side) in self.joined.paths.iter().zip(&self.sides) {
            path.has_line(side.descriptor());
        }
    }
}

fn receive_generally(stream: &Stream, bytes: &mut [u8], peek: bool) -> Got {
    let piece = Piece {
        base: bytes.as_mut_ptr(),
        bytes: bytes.len(),
    };
    // SAFETY: one piece of a buffer that lives through the call.
    let mut pieces = unsafe { Pieces::new(&raw const piece, 1) };
    let taking = Taking {
        peek,
        discard: false,
        wanted: bytes.len(),
        minimum: 1,
        behind: false,
    };
    match stream.receive(&mut pieces, taking) {
        Received::Bytes(taken) => Got::Bytes(taken),
        Received::Kernel | Received::KernelBounded => {
            let flags = MSG_DONTWAIT | if peek { libc::MSG_PEEK } else { 0 };
            // SAFETY: writable for its length.
            let taken = unsafe {
                kernel_call::receive(stream.descriptor, bytes.as_mut_ptr(), bytes.len(), flags)
            };
            stream.kernel_received(if peek { 0 } else { taken.unwrap_or(0) });
            match taken {
                Ok(0) => shown(stream.kernel_receive_ended(None).unwrap_or(0)),
                Ok(taken) => Got::Bytes(taken),
                Err(libc::EAGAIN) => Got::Nothing,
                Err(errno) => shown(stream.kernel_receive_ended(Some(errno)).unwrap_or(errno)),
            }
        }
        Received::Empty | Received::Crowded => Got::Nothing,
        Received::End => Got::End,
        Received::Failed(errno) => Got::Failed(errno),
        other @ (Received::Reentered | Received::Stale) => panic!("{other:?}"),
    }
}

fn shown(errno: i32) -> Got {
    if errno == 0 {
        Got::End
    } else {
        Got::Failed(errno)
    }
}

impl<End> std::fmt::Debug for Connection<End> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (side, name) in self.sides.iter().zip(["C", "S"]) {
            let endpoint = side.endpoint;
            writeln!(
                to,
                "{name}: sent {}, received {}, binding {}, ep {} passed {} granted {}, tail {} head {}, over {}, left {}, \
                 error {}, keof {}, reason {}",
                side.sent,
                side.received,
                endpoint.binding.load(Ordering::Relaxed),
                endpoint.tx_ep.get(),
                endpoint.rx_ep.get(),
                endpoint.granted.get(),
                endpoint.tx_tail.get(),
                endpoint.rx_head.get(),
                endpoint.over.get(),
                side.has_left,
                endpoint.error.load(Ordering::Relaxed),
                endpoint.keof.load(Ordering::Relaxed),
                endpoint.reason.load(Ordering::Relaxed),
            )?;
        }
        write!(to, "{:?}", self.counts)
    }
}

impl<End> Drop for Connection<End> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for side in &self.sides {
            let bound = side.owes_channel || side.endpoint.channel.get() != 0;
            // A call that died holds its lock for ever, and so its endpoint.
            if side.stream().retire() {
                side.endpoint
                    .remove_number(family::process_place().expect("place"));
                family::free_endpoint(side.index);
            }
            if bound {
                side.channel.release();
            }
        }
    }
}
