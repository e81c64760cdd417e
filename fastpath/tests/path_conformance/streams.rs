//! Streams on a path: whatever the two sides do, in any order and seen as late as may be, no byte is lost, doubled or
//! re-ordered, every sleeper is rung for, and the streams end where the writers ended them.

use crate::connection::{Connection, Counts, Got};
use crate::world::{Kind, OneProcess, SharedPages, Watchdog};
use fastpath::path::faulty::{Faulty, Plan};
use fastpath::path::{Chosen, Path};
use std::ops::ControlFlow;

/// Most bytes under way in one direction, by seed: an upgrade needs a kernel stream that was read to its end, a full ring
/// and a rewind need much, and the kernel's buffers must hold it.
pub const UNDER_WAY: [u64; 4] = [300, 3000, 9000, 100_000];
const STEPS: u32 = 400;

/// What the sides may do beside sending, receiving and switching.
#[derive(Clone, Copy)]
pub struct Mix {
    /// Go on without Axio.
    pub leaves: bool,
    /// Give slots up and take others.
    pub unbinds: bool,
}

/// One thing that a side does. `Break`: the connection has come to an end that the rules give it.
pub fn step<End: Path + Into<Chosen>>(
    connection: &mut Connection<End>,
    most_under_way: u64,
    mix: Mix,
) -> ControlFlow<()> {
    let who = connection.random.below(2) as usize;
    let side = &connection.sides[who];
    match connection.random.below(100) {
        0..=44 => {
            let under_way = side.sent - connection.sides[1 - who].received.min(side.sent);
            let most = match connection.random.below(12) {
                0 => 30_000,
                1..=3 => 5000,
                _ => 200,
            };
            let bytes = 1 + connection.random.below(most) as usize;
            if under_way < most_under_way
                && let Err(errno) = connection.send(who, bytes)
            {
                assert!(connection.may_fail(), "send: {errno}: {connection:?}");
                return ControlFlow::Break(());
            }
        }
        45..=84 if connection.is_asleep(who) => {
            if connection.is_rung(who) || connection.random.chance(8) {
                connection.wake(who);
            }
        }
        // A sleeper looks for itself whether there is something.
        45..=48 => connection.fall_asleep(who),
        49..=84 => {
            let wanted = 1 + connection.random.below(12_000) as usize;
            let peek = connection.random.chance(6);
            match connection.receive(who, wanted, peek) {
                Got::Bytes(taken) => assert!(taken > 0),
                Got::Nothing if connection.random.chance(3) => connection.fall_asleep(who),
                Got::Nothing => {}
                other => {
                    assert!(connection.may_fail(), "receive: {other:?}: {connection:?}");
                    return ControlFlow::Break(());
                }
            }
        }
        85..=86 => side.stream().release(),
        87..=93 => side.stream().wish(),
        94 => side.stream().ask_for_retreat(),
        95 => side.stream().retreat_once(),
        96 if mix.leaves && !side.has_left && connection.random.chance(5) => {
            connection.leave(who);
        }
        97 if mix.unbinds && side.is_bound() && connection.random.chance(2) => {
            connection.sides[who].stream().begin_unbinding(&|| true);
        }
        98 if mix.unbinds => {
            let nobody_left = connection.sides.iter().all(|side| !side.has_left);
            if nobody_left && connection.sides.iter().all(|side| !side.is_bound()) {
                connection.bind();
            }
        }
        _ => connection.unbind_step(who),
    }
    if connection.counts.left_behind > 0 {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

fn play<End: Path + Into<Chosen>>(connection: &mut Connection<End>) {
    let mix = Mix {
        leaves: true,
        unbinds: true,
    };
    let most_under_way = UNDER_WAY[connection.random.below(4) as usize];
    for _ in 0..STEPS {
        if step(connection, most_under_way, mix).is_break() {
            return;
        }
    }
    connection.drain();
    connection.end();
}

/// `lines` tells the paths which sockets are theirs, where they care.
fn run<End: Path + Into<Chosen>>(
    seeds: u64,
    paths: impl Fn(u64) -> [End; 2],
    lines: impl Fn(&Connection<End>),
) -> Counts {
    let _watched = Watchdog::start();
    let mut total = Counts::default();
    for seed in 1..=seeds {
        let mut connection = Connection::new(paths(seed), seed);
        lines(&connection);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(&mut connection);
        }));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}: {connection:?}");
            std::panic::resume_unwind(panic);
        }
        total += connection.counts;
    }
    println!("{total:?}");
    assert!(total.upgrades > seeds && total.retreats > seeds);
    assert!(total.rewinds > 0 && total.spills > 0 && total.leaves > 0 && total.unbindings > 0);
    assert!(total.peeks > 0 && total.full > 0 && total.rung_sleepers > 0);
    assert!(total.ring_bytes > 0 && total.kernel_bytes > 0);
    // Rare, and only where the leaver could not know.
    assert!(total.left_behind * 50 <= total.leaves, "{total:?}");
    total
}

fn seeds() -> u64 {
    std::env::var("PATH_SEEDS").map_or(150, |text| text.parse().expect("a number of seeds"))
}

#[test]
fn no_byte_is_lost_doubled_or_out_of_order_in_one_process() {
    run(seeds(), |_| OneProcess::pair(0), |_| {});
}

#[test]
fn no_byte_is_lost_doubled_or_out_of_order_on_shared_pages() {
    run(seeds(), |_| SharedPages::pair(0), |_| {});
}

#[test]
fn no_byte_is_lost_doubled_or_out_of_order_with_delays() {
    let paths = |seed| {
        let plan = |side| Plan::late(seed * 2 + side, 1 + (seed % 12) as u32);
        Faulty::pair(SharedPages::pair(0), [plan(0), plan(1)]).expect("memory")
    };
    let counts = run(seeds(), paths, Connection::tell_lines);
    assert!(counts.rung_sleepers > seeds());
}

/// Invariant 7 of SWITCH.md: the switch is looked for before the tail, and believed behind it.
#[test]
fn a_reader_that_meets_a_switch_takes_the_last_bytes_of_the_ring_first() {
    let _watched = Watchdog::start();
    let mut switches = 0;
    for seed in 1..=12_u32 {
        let plans = [0, 1].map(|side| Plan::late(u64::from(seed * 2 + side), seed));
        let paths = Faulty::pair(SharedPages::pair(0), plans).expect("memory");
        let mut connection = Connection::new(paths, seed.into());
        connection.tell_lines();
        for _ in 0..60 {
            connection.upgrade();
            let before = connection.counts.retreats;
            assert_eq!(connection.send(0, 10), Ok(10));
            connection.sides[0].stream().retreat_once();
            assert_eq!(connection.send(0, 10), Ok(10));
            switches += connection.counts.retreats - before;
            connection.drain();
        }
        connection.end();
    }
    assert!(switches >= 700, "{switches}");
}
