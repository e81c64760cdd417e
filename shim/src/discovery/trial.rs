//! How discovery is tried: real sockets, real look-ups, real attackers.
//!
//! Where one process is enough both ends live in the test's own; where credentials, namespaces or limits matter, the
//! test program runs itself again in a *role* (see [`role`]).
#![expect(unsafe_code, reason = "tests play attackers and change credentials")]

mod attackers;
mod attacks;
mod burst;
mod claim_attacks;
mod descriptors;
mod flow;
mod giving_up;
mod late;
mod limits;
mod offers;
mod processes;
mod strangers;

use super::{Acceptor, Bound, Chance, Connector, Progress, Wanted, knock};
use kmod_interface::handshake::AddressPair;
use kmod_interface::reason::Reason;
use late::{ATTEMPTS_MAX, is_late};
use rustix::fd::BorrowedFd;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

pub const WANTED: Wanted = Wanted {
    class: 0,
    class_max: 2,
    may_dial: true,
};

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

/// rustix's idea of a socket of the standard library's; the two differ when rustix is built without `std`.
pub fn fd(socket: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: open as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// The pair of a connected socket, `true` for the connecting end.
pub fn pair_of(socket: &TcpStream, is_connecting: bool) -> AddressPair {
    let (own, far): (SocketAddr, SocketAddr) =
        (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let (connect, accept) = if is_connecting {
        (own, far)
    } else {
        (far, own)
    };
    AddressPair {
        connect_address: bytes(connect.ip()),
        accept_address: bytes(accept.ip()),
        connect_port: connect.port(),
        accept_port: accept.port(),
    }
}

/// One TCP connection, both ends in this process.
pub struct Connection {
    pub c: TcpStream,
    pub s: TcpStream,
    pub pair: AddressPair,
}

pub fn connection(listener: &TcpListener) -> Connection {
    connection_to(listener, listener.local_addr().unwrap())
}

pub fn connection_to(listener: &TcpListener, address: SocketAddr) -> Connection {
    let c = TcpStream::connect(address).unwrap();
    let s = listener.accept().unwrap().0;
    let pair = pair_of(&c, true);
    assert_eq!(pair, pair_of(&s, false), "both ends write the same pair");
    Connection { c, s, pair }
}

pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Connection {
    pub fn open(&self, chance: Chance) -> Result<Connector, Reason> {
        Connector::open(fd(&self.c), &self.pair, chance)
    }
    /// A box under a name that somebody had until now. Soon: a child that another test forks at this moment has copies of
    /// all descriptors until it execs.
    pub fn open_again(&self, chance: Chance) -> Connector {
        for _ in 0..400 {
            match self.open(chance) {
                Err(Reason::NameTaken) => std::thread::sleep(std::time::Duration::from_millis(5)),
                opened => return opened.expect("a box"),
            }
        }
        panic!("the name is not free again");
    }
    pub fn probe(&self) -> Result<Option<Acceptor>, Reason> {
        Acceptor::probe(fd(&self.s), &self.pair, WANTED)
    }
    /// The values both sockets show.
    pub fn shown(&self) -> (u32, u32) {
        (
            knock::shown(fd(&self.c)).unwrap(),
            knock::shown(fd(&self.s)).unwrap(),
        )
    }
    /// Advances both ends in turn until both have ended; what became of them, and the number of rounds.
    pub fn run(&self, mut c: Connector, mut s: Acceptor) -> (Outcome, Outcome, u32) {
        let (mut c_outcome, mut s_outcome) = (None, None);
        for round in 1..=20_000 {
            if round > 64 {
                // Who has met may rest now and then for up to a second.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
            if c_outcome.is_none() {
                c_outcome = outcome(c.advance(fd(&self.c)));
            }
            if s_outcome.is_none() {
                s_outcome = outcome(s.advance(fd(&self.s)));
            }
            if let (Some(c), Some(s)) = (&c_outcome, &s_outcome) {
                return (c.clone(), s.clone(), round);
            }
        }
        panic!("no end: {c_outcome:?} {s_outcome:?}");
    }
    /// A whole handshake or claim, which must succeed; but one that is late may be repeated.
    pub fn bind(&self, chance: Chance) -> (Bound, Bound) {
        for _ in 0..ATTEMPTS_MAX {
            let began = Instant::now();
            let c = self.open(chance).expect("open");
            let s = self.probe().expect("probe").expect("somebody there");
            match self.run(c, s) {
                (Outcome::Bound(c), Outcome::Bound(s), _) => return (c, s),
                (c, s, _) if is_late(began) && (c.is_out_of_time() || s.is_out_of_time()) => {
                    eprintln!("once more, all took {:?}: {c:?} {s:?}", began.elapsed());
                    [c, s].into_iter().for_each(Outcome::end);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("the machine is too busy for discovery");
    }
}

/// The end of a negotiation.
#[derive(Clone)]
pub enum Outcome {
    Bound(Bound),
    Failed(Reason),
}

impl Outcome {
    /// Failed as a handshake does whose time is over, at the end at which it is over or at the other one.
    pub fn is_out_of_time(&self) -> bool {
        matches!(
            self,
            Outcome::Failed(Reason::TimedOut | Reason::PeerLeft | Reason::PeerHasNoAxio)
        )
    }
    /// What was bound, though the other end was not, is given up.
    pub fn end(self) {
        if let Outcome::Bound(bound) = self {
            processes::end(bound);
        }
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Bound(bound) => write!(
                formatter,
                "bound channel {} slot {} generation {}",
                bound.channel.index(),
                bound.slot,
                bound.generation
            ),
            Outcome::Failed(reason) => write!(formatter, "failed: {}", reason.name()),
        }
    }
}

pub fn outcome(progress: Progress) -> Option<Outcome> {
    match progress {
        Progress::Pending => None,
        Progress::Bound(bound) => Some(Outcome::Bound(bound)),
        Progress::Failed(reason) => Some(Outcome::Failed(reason)),
    }
}

pub fn failure(progress: Progress) -> Reason {
    match outcome(progress) {
        Some(Outcome::Failed(reason)) => reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// Ends a pair of bound ends as the last close of both does.
pub fn leave((c, s): (Bound, Bound)) {
    for bound in [c, s] {
        bound.channel.slot_leave(bound.slot, bound.generation);
    }
    // S finishes a slot, then C echoes.
    for bound in [s, c] {
        bound.channel.slot_sweep();
    }
    for bound in [c, s] {
        bound.channel.release();
    }
}

/// The test program, running itself again as somebody else.
pub mod role {
    use std::process::{Child, Command, Stdio};

    const VARIABLE: &str = "AXIO_TRIAL_ROLE";

    /// Starts this program again as `role`, which is `name` and words for it.
    pub fn start(role: &[&str]) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "discovery::trial::role::play", "--nocapture"])
            .env(VARIABLE, role.join(" "))
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again")
    }

    /// Waits for a role, which must not fail; the words after `RESULT` in what it printed.
    pub fn finish(child: Child) -> Vec<String> {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{:?}: {text}", output.status);
        text.lines()
            .find_map(|line| line.split_once("RESULT "))
            .unwrap_or_else(|| panic!("no result: {text}"))
            .1
            .split(' ')
            .map(str::to_owned)
            .collect()
    }

    pub fn play_alone(role: &[&str]) -> Vec<String> {
        finish(start(role))
    }

    /// Not a test of its own: what the other roles run in. Without a role there is nothing to play.
    #[test]
    fn play() {
        let Ok(role) = std::env::var(VARIABLE) else {
            return;
        };
        let words: Vec<&str> = role.split(' ').collect();
        let result = super::processes::play(&words)
            .or_else(|| super::strangers::play(&words))
            .or_else(|| super::limits::play(&words))
            .or_else(|| super::burst::play(&words))
            .or_else(|| super::descriptors::play(&words))
            .or_else(|| super::claim_attacks::play(&words))
            .unwrap_or_else(|| panic!("no such role: {role}"));
        println!("\nRESULT {result}");
    }
}
