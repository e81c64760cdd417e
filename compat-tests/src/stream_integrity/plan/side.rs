//! What one seed lets one of the two processes do.

use super::{ForkAt, Interrupts, Share, Wait};
use crate::torture::random::Random;

/// How one of the two processes behaves.
#[derive(Clone, Debug)]
pub struct SidePlan {
    /// `O_NONBLOCK` is set.
    pub nonblocking: bool,
    /// One thread does both directions.
    pub event_loop: bool,
    /// Threads that read.
    pub readers: usize,
    /// Threads that write, one after the other under a lock of the program.
    pub writers: usize,
    /// How readers wait (the event loop waits this way for both).
    pub reader_wait: Wait,
    /// How writers wait.
    pub writer_wait: Wait,
    /// Several readers have an epoll set each instead of sharing one, and so have a parent and its child.
    pub own_sets: bool,
    /// Longest single read or write, bytes.
    pub longest_call: usize,
    /// One in so many calls is followed by a pause; 0 never.
    pub pause_every: u64,
    /// Longest pause, microseconds.
    pub pause_us: u64,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`, milliseconds; 0 unset.
    pub timeout_ms: u64,
    /// `SO_SNDBUF`, 0 for the default.
    pub send_buffer: i32,
    /// `SO_RCVBUF`, 0 for the default.
    pub receive_buffer: i32,
    /// `TCP_NODELAY` is set by the program.
    pub no_delay: bool,
    /// Fork or not.
    pub fork: ForkAt,
    /// When so many thousandths are written, and at least so many read, the process execs a program without the
    /// shim, which goes on.
    pub leave: Option<(u64, u64)>,
    /// This side forces switches.
    pub controls: bool,
    /// Interrupting signals.
    pub interrupts: Interrupts,
    /// Bytes this side writes in all.
    pub bytes: u64,
    /// Those are the warm-up's: afterwards this direction is idle.
    pub is_idle: bool,
}

impl SidePlan {
    pub(super) fn new(
        random: &mut Random,
        bytes: u64,
        is_idle: bool,
        leaves: bool,
        bursts: bool,
        is_cold: bool,
    ) -> SidePlan {
        let nonblocking = random.one_in(2);
        let event_loop = random.one_in(4);
        let several = |random: &mut Random| random.pick(&[1usize, 1, 1, 2, 2, 3]);
        let fork = if leaves || is_idle || random.below(3) != 0 {
            ForkAt::Never
        } else {
            let share = random.pick(&[Share::Reading, Share::Writing, Share::Everything]);
            match random.below(3) {
                0 if is_cold => ForkAt::Start(share),
                1 if !event_loop && share != Share::Everything => {
                    ForkAt::Position(share, random.between(250, 750))
                }
                _ if !is_cold => ForkAt::WarmedUp(share),
                _ => ForkAt::Never,
            }
        };
        // A single directions' process cannot be the loop of both.
        let event_loop = event_loop
            && matches!(
                fork,
                ForkAt::Never
                    | ForkAt::Start(Share::Everything)
                    | ForkAt::WarmedUp(Share::Everything)
            );
        let wait = |random: &mut Random| {
            if event_loop || nonblocking || random.one_in(2) {
                random.pick(&Wait::READINESS)
            } else {
                Wait::Block
            }
        };
        let mut readers = several(random);
        let mut writers = several(random);
        // The thread that forks in mid-stream is the only one of its direction: its child knows where it stands.
        match fork {
            ForkAt::Position(Share::Reading, _) => readers = 1,
            ForkAt::Position(Share::Writing, _) => writers = 1,
            _ => {}
        }
        if leaves || event_loop {
            readers = 1;
            writers = writers.min(if event_loop { 1 } else { 3 });
        }
        SidePlan {
            nonblocking,
            event_loop,
            readers,
            writers,
            reader_wait: wait(random),
            writer_wait: wait(random),
            own_sets: random.one_in(2),
            longest_call: random.pick(&[300, 4096, 65_536, 65_536, 400_000]),
            pause_every: random.pick(&[0, 16, 64, 256]),
            pause_us: random.pick(&[100, 300, 2000]),
            timeout_ms: if random.one_in(6) { 30 } else { 0 },
            send_buffer: if bursts {
                0
            } else {
                random.pick(&[0, 0, 0, 8192, 100_000])
            },
            receive_buffer: if bursts {
                0
            } else {
                random.pick(&[0, 0, 0, 4096, 100_000])
            },
            no_delay: random.one_in(2),
            fork,
            leave: leaves.then(|| (random.between(700, 850), random.between(650, 700))),
            controls: random.below(4) != 0,
            interrupts: random.pick(&[
                Interrupts::Off,
                Interrupts::Off,
                Interrupts::Restarting,
                Interrupts::Plain,
            ]),
            bytes,
            is_idle,
        }
    }

    /// Written bytes at which a leaving side stops, or all.
    #[must_use]
    pub fn written_before_leaving(&self) -> u64 {
        self.leave
            .map_or(self.bytes, |(written, _)| self.bytes / 1000 * written)
    }

    /// A few words for the table of what was covered.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let mut list = Vec::new();
        if self.event_loop {
            list.push(format!("event loop {:?}", self.reader_wait));
        } else {
            list.push(format!("readers {:?} x{}", self.reader_wait, self.readers));
            list.push(format!("writers {:?} x{}", self.writer_wait, self.writers));
            list.push(format!("readers {:?}", self.reader_wait));
            list.push(format!("writers {:?}", self.writer_wait));
            let number = |count: usize, one: &str, several: &str| {
                if count == 1 { one } else { several }.to_owned()
            };
            list.push(number(self.readers, "one reader", "several readers"));
            list.push(number(self.writers, "one writer", "several writers"));
            if self.readers > 1 && self.own_sets && self.reader_wait.is_epoll() {
                list.push("several readers, an epoll set each".to_owned());
            }
        }
        list.push(
            if self.nonblocking {
                "non-blocking"
            } else {
                "blocking"
            }
            .to_owned(),
        );
        match self.fork {
            ForkAt::Never => {}
            ForkAt::Start(share) => list.push(format!("fork before upgrade, child {share:?}")),
            ForkAt::WarmedUp(share) => list.push(format!("fork after upgrade, child {share:?}")),
            ForkAt::Position(share, _) => list.push(format!("fork mid-stream, child {share:?}")),
        }
        if self.leave.is_some() {
            list.push("leave by exec".to_owned());
        }
        if self.is_idle {
            list.push("idle direction".to_owned());
        }
        if self.interrupts != Interrupts::Off {
            list.push(format!("signals {:?}", self.interrupts));
        }
        if self.timeout_ms != 0 {
            list.push("socket time-outs".to_owned());
        }
        list
    }
}
