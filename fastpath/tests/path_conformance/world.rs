//! What the facts are told about: kinds of path, channels on them, chance, TCP.

use fastpath::channel::{Channel, FarSide, Role, table};
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::faulty::{Faulty, Plan};
use fastpath::path::in_process::{self, InProcess};
use fastpath::path::shm::{self, Shm};
use fastpath::path::{Chosen, Path};
use rustix::fd::AsFd;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A kind of path: how both its ends are made in one process.
pub trait Kind {
    type End: Path + Into<Chosen> + Send + Sync + 'static;
    /// C, then S.
    fn pair(class: u32) -> [Self::End; 2];
}

pub struct SharedPages;
impl Kind for SharedPages {
    type End = Shm;
    fn pair(class: u32) -> [Shm; 2] {
        let from_s = shm::make_memfd(class).expect("memory");
        let from_c = shm::make_memfd(class).expect("memory");
        let s_own = OwnRegion::map_and_seal(from_s.as_fd(), class).expect("own region of S");
        shm::seal_size(from_c.as_fd()).expect("size of the region of C");
        let (c_own, c_far) =
            shm::take_offered(from_s.as_fd(), from_c.as_fd(), class).expect("offer");
        FarRegion::check_returned(from_c.as_fd(), class).expect("region of C, returned");
        let s_far = FarRegion::map_checked(from_c.as_fd(), class).expect("far region of S");
        [Shm::new(c_own, c_far), Shm::new(s_own, s_far)]
    }
}

pub struct OneProcess;
impl Kind for OneProcess {
    type End = InProcess;
    fn pair(class: u32) -> [InProcess; 2] {
        in_process::pair(class).expect("memory")
    }
}

/// Faults that do nothing.
pub struct Prompt;
impl Kind for Prompt {
    type End = Faulty<InProcess>;
    fn pair(class: u32) -> [Self::End; 2] {
        Faulty::pair(OneProcess::pair(class), [Plan::PROMPT; 2]).expect("memory")
    }
}

/// Three looks of four find nothing new, the others a store or three.
pub struct Late;
impl Kind for Late {
    type End = Faulty<Shm>;
    fn pair(class: u32) -> [Self::End; 2] {
        let plans = [Plan::late(41, 3), Plan::late(43, 1)];
        Faulty::pair(SharedPages::pair(class), plans).expect("memory")
    }
}

/// A channel on a path: both ends.
pub struct Joined<End> {
    pub c: &'static Channel,
    pub s: &'static Channel,
    pub paths: [End; 2],
}

pub const PORT: u16 = 7;

pub fn join<End: Path + Into<Chosen>>(paths: [End; 2]) -> Joined<End> {
    let far_side = FarSide {
        user: 0,
        process: 0,
        accept_address: [0; 16],
        accept_port: PORT,
    };
    let [c, s] = paths;
    Joined {
        c: table::insert(Role::Connecting, c, far_side).expect("channel"),
        s: table::insert(Role::Accepting, s, far_side).expect("channel"),
        paths,
    }
}

impl<End> Drop for Joined<End> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.c.release();
        self.s.release();
    }
}

/// More looks than any path here needs to show what was stored (P4), and at the end naps, for the kernel may owe something
/// to a timer: a minute of them.
pub struct Patience(u32);

impl Patience {
    pub fn new() -> Patience {
        Patience(0)
    }
    /// One more look found nothing. False when that was enough.
    pub fn lasts(&mut self) -> bool {
        const LOOKS: u32 = 20_000;
        const NAPS: u32 = 60_000;
        self.0 += 1;
        if self.0 > LOOKS {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0 < LOOKS + NAPS
    }
}

/// Looks until `look` answers something.
#[track_caller]
pub fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut patience = Patience::new();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(patience.lasts(), "never came into view");
    }
}

/// Looks until `look` answers yes.
#[track_caller]
pub fn soon_true(mut look: impl FnMut() -> bool) {
    soon(|| look().then_some(()));
}

/// Looks that must not change anything.
pub const SOME_LOOKS: u32 = 64;

pub struct Random(pub u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The byte of a stream at a position.
pub fn content(salt: u64, position: u64) -> u8 {
    ((position ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ position as u8
}

/// A TCP connection to oneself.
pub fn tcp_pair() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    for socket in [&near, &far] {
        // A sleeper's bytes must not wait for an acknowledgement.
        socket.set_nodelay(true).expect("option");
    }
    [near, far]
}

/// Ends the process when a test does not come to its end: a hang is a finding, too.
pub struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub fn start() -> Watchdog {
        const PATIENCE: Duration = Duration::from_secs(600);
        let over = Arc::new(AtomicBool::new(false));
        let watched = over.clone();
        std::thread::spawn(move || {
            std::thread::sleep(PATIENCE);
            if !watched.load(Ordering::Relaxed) {
                eprintln!("a stream hangs");
                std::process::abort();
            }
        });
        Watchdog(over)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
