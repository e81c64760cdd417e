//! What one seed does: both processes derive the same plan from it, so a seed is all that a replay needs.
//!
//! * [`side`]: what one of the two processes does.
//! * [`ways`]: ways of waiting, of sharing work with a child, and of being interrupted.

pub mod side;
pub mod ways;

pub use side::SidePlan;
pub use ways::{ForkAt, Interrupts, Share, Wait};

use crate::torture::random::Random;

/// Everything two processes need to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it came from.
    pub seed: u64,
    /// What the seed's lengths are derived from.
    pub base_bytes: u64,
    /// The long stream.
    pub is_large: bool,
    /// Only the commonest calls, waiting in them.
    pub is_basic: bool,
    /// Address the server listens on.
    pub listen: &'static str,
    /// Address the client connects to.
    pub connect: &'static str,
    /// Ping-pong exchanges before anything else.
    pub warm_up_rounds: u64,
    /// Bytes each side writes after the warm-up before it reads anything; 0 none.
    pub burst_bytes: u64,
    /// Neither side ends its direction before it has received everything.
    pub end_after_receipt: bool,
    /// How often a writer holds back for the direction that has switched less; more when a seed is played again.
    pub most_holds: u64,
    /// The client, the server.
    pub sides: [SidePlan; 2],
}

/// Chunks that a side's writers hold back for the direction that has switched less, the first time a seed is played.
pub const USUAL_HOLDS: u64 = 600;
/// Bytes of one warm-up message of one side.
pub const WARM_UP_BYTES: u64 = 64;

impl Plan {
    /// The plan of a seed with at least `base_bytes` each way (but for directions that are idle behind the warm-up).
    #[must_use]
    pub fn new(seed: u64, base_bytes: u64) -> Plan {
        let mut random = Random::new(seed, 0);
        // Seeds take turns with what must be seen often enough, the rest is left to chance.
        let leaves = seed % 4 == 1;
        let bursts = seed % 4 == 3;
        let (listen, connect) = random.pick(&[
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::]", "[::1]"),
            ("[::]", "127.0.0.1"),
            ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ]);
        let burst_bytes = if bursts { 2 << 20 } else { 0 };
        let idle = (!leaves && !bursts && random.one_in(8)).then(|| random.below(2) as usize);
        let leaver = leaves.then(|| random.below(2) as usize);
        let warms_up = random.below(4) != 0;
        // A few exchanges, so that both ends find each other; or so many that the ring carries before the rest begins.
        let is_cold = !(leaves || bursts || idle.is_some() || warms_up);
        let mut warm_up_rounds = if is_cold { 6 } else { 40 };
        let sides = [0, 1].map(|index| {
            let is_idle = idle == Some(index);
            let bytes = if is_idle {
                warm_up_rounds * WARM_UP_BYTES
            } else {
                base_bytes + random.below(base_bytes / 8 + 1) + burst_bytes
            };
            SidePlan::new(
                &mut random,
                bytes,
                is_idle,
                leaver == Some(index),
                bursts,
                is_cold,
            )
        });
        if sides
            .iter()
            .any(|side| side.fork == ForkAt::Start(Share::Everything))
        {
            // The processes that could find each other at the first exchange are not those that make it: the next
            // chances are at the 8th and the 64th (TRUST.md, discovery 1 and 2).
            warm_up_rounds = 90;
        }
        let mut plan = Plan {
            seed,
            base_bytes,
            is_large: false,
            is_basic: false,
            listen,
            connect,
            warm_up_rounds,
            burst_bytes,
            end_after_receipt: leaves,
            most_holds: USUAL_HOLDS,
            sides,
        };
        if let Some(idle) = idle {
            // Who writes must ask for the ring: upgrades that came too early have made it wait for more evidence.
            plan.sides[1 - idle].controls = true;
            for side in &mut plan.sides {
                if matches!(side.fork, ForkAt::Position(..)) {
                    side.fork = ForkAt::Never;
                }
            }
        }
        if !plan.sides.iter().any(|side| side.controls) {
            plan.sides[(seed / 4 % 2) as usize].controls = true;
        }
        plan
    }

    /// The same without readiness calls, and with the commonest data calls only: a finding that stays has nothing to do
    /// with the others.
    #[must_use]
    pub fn reduced_to_basics(mut self) -> Plan {
        self.is_basic = true;
        for side in &mut self.sides {
            side.nonblocking = false;
            side.event_loop = false;
            side.reader_wait = Wait::Block;
            side.writer_wait = Wait::Block;
        }
        self
    }

    /// The arguments from which another process derives the same plan.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut list = vec![
            "--seeds".to_owned(),
            format!("{}..{}", self.seed, self.seed + 1),
            "--bytes".to_owned(),
            self.base_bytes.to_string(),
        ];
        if self.is_large {
            list.push("--large".to_owned());
        }
        if self.is_basic {
            list.push("--basic".to_owned());
        }
        if self.most_holds != USUAL_HOLDS {
            list.extend(["--holds".to_owned(), self.most_holds.to_string()]);
        }
        list
    }

    /// True when nothing in the plan keeps the connection on the kernel for good: an epoll set that a forked child goes on
    /// with does, instead of making its own (READINESS.md 8), and a socket that two processes hold before its first upgrade (CHANNEL.md "Family
    /// memory").
    #[must_use]
    pub fn can_switch_often(&self) -> bool {
        self.sides.iter().all(|side| match side.fork {
            ForkAt::Position(Share::Writing, _) => side.own_sets || !side.writer_wait.is_epoll(),
            ForkAt::Position(..) => side.own_sets || !side.reader_wait.is_epoll(),
            ForkAt::Start(share) => share == Share::Everything,
            ForkAt::Never | ForkAt::WarmedUp(_) => true,
        })
    }

    /// True when each process reports what its own end counted: what a forked child counts is in no report.
    #[must_use]
    pub fn is_fully_reported(&self) -> bool {
        self.sides.iter().all(|side| side.fork == ForkAt::Never)
    }

    /// True when both directions carry as many bytes as every seed was to have behind its warm-up and burst.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sides.iter().all(|side| side.bytes >= self.base_bytes)
    }

    /// True when both directions carry bytes behind the warm-up.
    #[must_use]
    pub fn is_two_way(&self) -> bool {
        self.sides.iter().all(|side| !side.is_idle)
    }

    /// The same, with writers that wait for longer for the direction that has switched less: one whose reader takes three
    /// hundred bytes at a time is on the ring when little is under way, and that takes time.
    #[must_use]
    pub fn held_longer(mut self, times: u64) -> Plan {
        self.most_holds = USUAL_HOLDS * times;
        self
    }

    /// One seed for a long stream: threads that block, few switches for each byte.
    #[must_use]
    pub fn large(seed: u64, bytes: u64) -> Plan {
        let mut plan = Plan::new(seed & !3, bytes);
        plan.seed = seed;
        plan.base_bytes = bytes;
        plan.is_large = true;
        plan.warm_up_rounds = 40;
        for side in &mut plan.sides {
            *side = SidePlan {
                nonblocking: false,
                event_loop: false,
                readers: 1,
                writers: 2,
                reader_wait: Wait::Block,
                writer_wait: Wait::Block,
                own_sets: false,
                longest_call: 256 << 10,
                pause_every: 0,
                pause_us: 0,
                timeout_ms: 0,
                send_buffer: 0,
                receive_buffer: 0,
                no_delay: true,
                fork: ForkAt::Never,
                leave: None,
                controls: true,
                interrupts: Interrupts::Off,
                bytes,
                is_idle: false,
            };
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_plans() {
        for seed in 0..200 {
            assert_eq!(
                format!("{:?}", Plan::new(seed, 1 << 20)),
                format!("{:?}", Plan::new(seed, 1 << 20))
            );
        }
    }

    #[test]
    fn every_kind_of_seed_appears_in_a_hundred() {
        let plans: Vec<Plan> = (0..100).map(|seed| Plan::new(seed, 1 << 20)).collect();
        let sides: Vec<&SidePlan> = plans.iter().flat_map(|plan| &plan.sides).collect();
        for wait in Wait::READINESS {
            assert!(sides.iter().any(|side| side.reader_wait == wait));
            assert!(sides.iter().any(|side| side.writer_wait == wait));
        }
        assert!(sides.iter().filter(|side| side.leave.is_some()).count() >= 20);
        assert!(sides.iter().any(|side| side.is_idle));
        assert!(plans.iter().filter(|plan| plan.burst_bytes > 0).count() >= 20);
        assert!(
            sides
                .iter()
                .any(|side| matches!(side.fork, ForkAt::Position(..)))
        );
        assert!(
            sides
                .iter()
                .any(|side| matches!(side.fork, ForkAt::WarmedUp(..)))
        );
        for side in sides {
            assert!(!side.nonblocking || side.reader_wait != Wait::Block);
            if let Some((written, read)) = side.leave {
                assert!(written < 1000 && read < 1000);
                assert_eq!(side.readers, 1);
            }
        }
    }

    #[test]
    fn seeds_that_fork_before_the_upgrade_appear_in_what_the_stage_runs() {
        let plans: Vec<Plan> = (0..300).map(|seed| Plan::new(seed, 1 << 20)).collect();
        let forks = |share| {
            plans
                .iter()
                .flat_map(|plan| &plan.sides)
                .any(|side| side.fork == ForkAt::Start(share))
        };
        assert!(forks(Share::Everything));
        assert!(forks(Share::Reading) || forks(Share::Writing));
        let kept = plans.iter().filter(|plan| !plan.can_switch_often());
        assert!(kept.count() * 20 < plans.len());
    }
}
