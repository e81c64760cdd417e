//! The client: all connections at once, in one epoll set, each with content of its own.

use crate::torture::calls::{self, EpollCall, errno_text};
use crate::torture::content::Content;
use crate::torture::status;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Share of the busy connections' bytes that the rings must carry, percent.
pub const WANTED_PERCENT: u64 = 90;
/// Exchanges on each busy connection after which that share must be there, however long they took. Who gets a slot is
/// decided by handshakes, evictions and switches, which are steps taken at exchanges: a slow machine takes them later.
pub const ENOUGH_EXCHANGES: u64 = 2000;
/// Share of the connections of a turn that have a ring when it ends, percent, unless it lasts too long.
pub const TURN_PERCENT: u64 = 60;
/// Exchanges on each connection of a turn that it lasts at least where that share is not reached.
pub const ENOUGH_IN_A_TURN: u64 = 200;
/// Exchanges a second on each busy connection, on average, below which it is none: who has not two turns within 200 ms gets
/// nobody's slot (CHANNEL.md "Life of a slot").
pub const LEAST_RATE: u64 = 10;
/// After this time that rate is judged.
const RATE_TIME: Duration = Duration::from_secs(10);
/// No wait for a share lasts longer, however few exchanges were made.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What the client is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections open at the same time.
    pub connections: u64,
    /// How many of them are busy.
    pub busy: u64,
    /// Bytes of a request of a busy connection; as many come back.
    pub request_bytes: usize,
    /// In this time the rings must carry [`WANTED_PERCENT`]; a slow machine may take longer ([`ENOUGH_EXCHANGES`]).
    pub busy_time: Duration,
    /// Length of the windows in which bytes are counted.
    pub window: Duration,
    /// Afterwards all connections are busy in turn, as many at a time as before, each for at most so long, or for
    /// [`ENOUGH_IN_A_TURN`] if those take longer.
    pub turn_time: Duration,
}

struct Connection {
    descriptor: i32,
    content: Content,
    sent: u64,
    received: u64,
    /// Position up to which answers are expected.
    expected: u64,
    /// Exchanges completed in this phase.
    made: u64,
}

impl Connection {
    /// Writes a request of this length; it always fits, since nothing else is under way.
    fn request(&mut self, bytes: usize, buffer: &mut [u8]) -> Result<(), String> {
        let request = &mut buffer[..bytes];
        self.content.fill(self.sent, request);
        let mut from = 0;
        while from < bytes {
            match calls::write(self.descriptor, &request[from..]) {
                Ok(taken) => from += taken,
                Err(libc::EINTR) => {}
                Err(code) => return Err(format!("write: {}", errno_text(code))),
            }
        }
        self.sent += bytes as u64;
        self.expected = self.sent;
        Ok(())
    }

    /// Reads once. True when the answer is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool, String> {
        match calls::read(self.descriptor, buffer) {
            Ok(0) => Err(format!("end of stream at {}", self.received)),
            Ok(bytes) => {
                if let Some(wrong) = self.content.mismatch(self.received, &buffer[..bytes]) {
                    let bytes = &buffer[..bytes];
                    return Err(self.content.describe_mismatch(self.received, bytes, wrong));
                }
                self.received += bytes as u64;
                if self.received > self.expected {
                    return Err(format!("{} bytes for {}", self.received, self.expected));
                }
                Ok(self.received == self.expected)
            }
            Err(libc::EAGAIN | libc::EINTR) => Ok(false),
            Err(code) => Err(format!("read: {}", errno_text(code))),
        }
    }
}

/// Bytes by path of some connections, as the status request tells.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    ring: u64,
    kernel: u64,
    accelerated: u64,
    asked: u64,
}

struct Client {
    set: i32,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

/// Runs the load against a server on this port; prints windows and a result.
pub fn run(load: Load, port: u16, descriptors: u64) -> Result<(), String> {
    let text = |what: &str, code: i32| format!("{what}: {}", errno_text(code));
    calls::raise_descriptor_limit(descriptors).map_err(|code| text("RLIMIT_NOFILE", code))?;
    let begin = Instant::now();
    let mut client = Client {
        set: calls::epoll_create().map_err(|code| text("epoll", code))?,
        connections: Vec::new(),
        buffer: vec![0; load.request_bytes.max(64)],
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for index in 0..load.connections {
        let descriptor = calls::stream_socket(&address, 0).map_err(|code| text("socket", code))?;
        calls::connect(descriptor, &address).map_err(|code| text("connect", code))?;
        calls::set_nonblocking(descriptor, true).map_err(|code| text("fcntl", code))?;
        calls::epoll_control(
            client.set,
            libc::EPOLL_CTL_ADD,
            descriptor,
            libc::EPOLLIN as u32,
            index,
        )
        .map_err(|code| text("epoll_ctl", code))?;
        client.connections.push(Connection {
            descriptor,
            content: Content::new(0, index),
            sent: 0,
            received: 0,
            expected: 0,
            made: 0,
        });
    }
    println!(
        "NOTE {} connections after {:.1} s",
        load.connections,
        begin.elapsed().as_secs_f64()
    );
    let all: Vec<usize> = (0..client.connections.len()).collect();
    // Spread over the whole range, so that most of the busy ones find the slots taken by quiet ones.
    let stride = (load.connections / load.busy.max(1)).max(1) as usize;
    let busy: Vec<usize> = all
        .iter()
        .copied()
        .step_by(stride)
        .take(load.busy as usize)
        .collect();
    client.exchange(&all, 4, 64, None)?;
    println!(
        "NOTE 4 exchanges on each after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let (before, last, exchanges, seconds) = client.keep_busy(&load, &busy)?;
    for group in all.chunks(load.busy as usize) {
        client.take_turn(&load, group)?;
    }
    println!(
        "NOTE each connection busy in its turn after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    client.exchange(&all, 2, 64, None)?;
    println!(
        "NOTE 2 more exchanges on each after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    for connection in &client.connections {
        calls::close(connection.descriptor).map_err(|code| text("close", code))?;
    }
    println!(
        "RESULT ring {} kernel {} accelerated {} asked {} exchanges_per_second {}",
        last.ring - before.ring,
        last.kernel - before.kernel,
        last.accelerated,
        last.asked,
        (exchanges as f64 / seconds) as u64
    );
    Ok(())
}

/// So few exchanges in this time that these connections are not busy at all.
fn is_slow(exchanges: u64, busy: &[usize], elapsed: Duration) -> bool {
    elapsed >= RATE_TIME && exchanges < LEAST_RATE * busy.len() as u64 * elapsed.as_secs()
}

/// Tells the driver that so many cannot be busy here, and ends: fewer may.
fn give_up(exchanges: u64, busy: &[usize], elapsed: Duration) -> ! {
    println!(
        "SLOW {exchanges} exchanges on {} connections in {} ms",
        busy.len(),
        elapsed.as_millis()
    );
    std::process::exit(0)
}

impl Client {
    /// So many exchanges on each of the chosen connections, all at the same time; with a limit, exchanges under way
    /// are completed and no new ones begun after it. Returns how many were made.
    fn exchange(
        &mut self,
        chosen: &[usize],
        rounds: u64,
        bytes: usize,
        limit: Option<Instant>,
    ) -> Result<u64, String> {
        let of = |index: usize, text: String| format!("connection {index}: {text}");
        let mut left = vec![0; self.connections.len()];
        for &index in chosen {
            left[index] = rounds - 1;
            let connection = &mut self.connections[index];
            connection
                .request(bytes, &mut self.buffer)
                .map_err(|text| of(index, text))?;
        }
        let mut under_way = chosen.len();
        let mut exchanges = 0;
        let mut over = false;
        let mut answers = [(0u32, 0u64); 64];
        while under_way > 0 {
            // A lost wake-up shows as a hang, which the driver ends; the limit is only looked at.
            let found = match calls::epoll_wait(self.set, &mut answers, -1, EpollCall::Wait) {
                Ok(found) => found,
                Err(libc::EINTR) => continue,
                Err(code) => return Err(format!("epoll_wait: {}", errno_text(code))),
            };
            over = over || limit.is_some_and(|limit| Instant::now() >= limit);
            for (events, cookie) in &answers[..found] {
                let index = *cookie as usize;
                let Some(connection) = self.connections.get_mut(index) else {
                    return Err(format!(
                        "an event {events:#x} for the unknown cookie {cookie}"
                    ));
                };
                if !connection
                    .receive(&mut self.buffer)
                    .map_err(|text| of(index, text))?
                {
                    continue;
                }
                exchanges += 1;
                connection.made += 1;
                if left[index] == 0 || over {
                    under_way -= 1;
                } else {
                    left[index] -= 1;
                    connection
                        .request(bytes, &mut self.buffer)
                        .map_err(|text| of(index, text))?;
                }
            }
        }
        Ok(exchanges)
    }

    /// These connections are busy for the time they have, then on until the rings carry the share that is wanted, or
    /// must have come to it; prints where the bytes of each window travelled, all of them of full length. Returns what
    /// was carried before and after, how many exchanges were made, and in how many seconds.
    fn keep_busy(
        &mut self,
        load: &Load,
        busy: &[usize],
    ) -> Result<(Carried, Carried, u64, f64), String> {
        let started = Instant::now();
        let before = self.carried(busy);
        let mut last = before;
        let mut exchanges = 0;
        self.begin_phase(busy);
        loop {
            let window_end = Instant::now() + load.window;
            let made = self.exchange(busy, u64::MAX, load.request_bytes, Some(window_end))?;
            let after = self.carried(busy);
            let (ring, kernel) = (after.ring - last.ring, after.kernel - last.kernel);
            let (elapsed, least) = (started.elapsed(), self.least_made(busy));
            println!(
                "WINDOW {} {ring} {kernel} {} {made} {least}",
                elapsed.as_millis(),
                after.accelerated
            );
            exchanges += made;
            last = after;
            let own = made * 2 * load.request_bytes as u64;
            let is_settled = ring * 100 >= own * WANTED_PERCENT
                || least >= ENOUGH_EXCHANGES
                || elapsed >= LIMIT
                // On the bare kernel there is nothing to wait for.
                || after.asked == 0;
            if !is_settled && is_slow(exchanges, busy, elapsed) {
                give_up(exchanges, busy, elapsed);
            }
            // Another window would not be over in time.
            if elapsed + load.window > load.busy_time && is_settled {
                return Ok((before, last, exchanges, elapsed.as_secs_f64()));
            }
        }
    }

    /// Counts exchanges from here on.
    fn begin_phase(&mut self, chosen: &[usize]) {
        for &index in chosen {
            self.connections[index].made = 0;
        }
    }

    /// Exchanges that every one of these has made in this phase.
    fn least_made(&self, chosen: &[usize]) -> u64 {
        let made = chosen.iter().map(|&index| self.connections[index].made);
        made.min().unwrap_or(0)
    }

    /// These connections are busy until enough of them have a ring, or for as long as a turn may last; prints how many
    /// have one then, and where the bytes of a last window travelled.
    fn take_turn(&mut self, load: &Load, group: &[usize]) -> Result<(), String> {
        let begin = Instant::now();
        let mut before = self.carried(group);
        let mut total = 0;
        self.begin_phase(group);
        loop {
            let has_enough = before.accelerated * 100 >= group.len() as u64 * TURN_PERCENT;
            let (elapsed, least) = (begin.elapsed(), self.least_made(group));
            if !has_enough && before.asked > 0 && is_slow(total, group, elapsed) {
                give_up(total, group, elapsed);
            }
            let is_over =
                elapsed >= load.turn_time && (least >= ENOUGH_IN_A_TURN || elapsed >= LIMIT);
            // On the bare kernel there is nothing to wait for.
            let is_last = has_enough || before.asked == 0 || is_over;
            let limit = Some(Instant::now() + load.window / 2);
            let made = self.exchange(group, u64::MAX, load.request_bytes, limit)?;
            let after = self.carried(group);
            if is_last {
                println!(
                    "TURN {} {} {} {} {made} {least}",
                    elapsed.as_millis(),
                    after.ring - before.ring,
                    after.kernel - before.kernel,
                    before.accelerated
                );
                return Ok(());
            }
            before = after;
            total += made;
        }
    }

    fn carried(&self, chosen: &[usize]) -> Carried {
        let mut sum = Carried::default();
        for &index in chosen {
            if let Ok(state) = status::status(self.connections[index].descriptor) {
                sum.ring += state.ring_bytes_in + state.ring_bytes_out;
                sum.kernel += state.kernel_bytes_in + state.kernel_bytes_out;
                sum.accelerated += u64::from(state.state == status::STATE_ACCELERATED);
                sum.asked += 1;
            }
        }
        sum
    }
}
