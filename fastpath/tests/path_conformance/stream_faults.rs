//! Streams among faults: a lie ends the connection it is about and nothing else, a death leaves exactly what was
//! published and then what the kernel shows.

use crate::connection::{Connection, Got};
use crate::streams::{Mix, UNDER_WAY, step};
use crate::world::{Kind, OneProcess, Random, SharedPages, Watchdog, join, soon, soon_true};
use fastpath::path::faulty::{Died, Faulty, Plan};
use fastpath::path::in_process::InProcess;
use fastpath::path::shm::Shm;
use fastpath::sync::Ordering;
use kmod_interface::ict::offset;
use kmod_interface::limits::UNREAD_BELLS_LIMIT;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

const PLAIN: Mix = Mix {
    leaves: false,
    unbinds: false,
};

/// What C writes into its entry, as S sees it.
fn lie(connection: &Connection<Faulty<InProcess>>, word: usize, bytes: &[u8]) {
    let s = &connection.sides[1];
    let layout = s.channel.layout();
    let entry = layout.entry(s.endpoint.slot.get()).expect("entry");
    // The truth that is still on its way must not write over it.
    connection.joined.paths[1].see_all();
    connection.joined.paths[1].scribble(entry + word, bytes);
}

/// Whether an end is told that the connection is no more.
fn is_over(connection: &mut Connection<Faulty<InProcess>>, who: usize) -> bool {
    !matches!(
        connection.receive(who, 100, false),
        Got::Bytes(_) | Got::Nothing
    ) || connection.send(who, 1).is_err()
}

/// S must end this connection by ECONNRESET, another one of the same channel must not notice.
fn check_lie(
    name: &str,
    prepare: impl Fn(&mut Connection<Faulty<InProcess>>),
    tell: impl Fn(&Connection<Faulty<InProcess>>),
) {
    let paths = Faulty::pair(OneProcess::pair(0), [Plan::PROMPT; 2]).expect("memory");
    let joined = Rc::new(join(paths));
    let mut neighbour = Connection::on(joined.clone(), 1);
    let mut connection = Connection::on(joined, 2);
    neighbour.upgrade();
    prepare(&mut connection);
    connection.is_honest = false;
    tell(&connection);
    let received = connection.sides[1].received;
    let is_noticed = (0..5).any(|_| {
        let got = connection.receive(1, 100, false);
        let sent = connection.send(1, 5000);
        assert!(
            !matches!(got, Got::Bytes(_)) || connection.sides[1].is_condemned(),
            "{name}: {got:?}"
        );
        let is_reset = got == Got::Failed(libc::ECONNRESET) || sent == Err(libc::EPIPE);
        is_reset && connection.sides[1].is_condemned()
    });
    assert!(is_noticed, "{name}: {connection:?}");
    assert_eq!(connection.sides[1].received, received, "{name}");
    // The kernel tells the liar.
    soon_true(|| is_over(&mut connection, 0));
    let before = neighbour.counts.ring_bytes;
    neighbour.upgrade();
    for who in [0, 1] {
        assert_eq!(neighbour.send(who, 1000), Ok(1000));
    }
    neighbour.drain();
    neighbour.end();
    assert!(neighbour.counts.ring_bytes >= before + 2000, "{name}");
}

#[test]
fn an_impossible_word_ends_its_connection_by_a_reset_and_no_other() {
    type Faulted = Connection<Faulty<InProcess>>;
    let far_tail = |connection: &Faulted| connection.sides[0].endpoint.tx_tail.get();
    check_lie("tail ahead", Connection::upgrade, |connection| {
        let tail = far_tail(connection) + (1 << 20);
        lie(connection, offset::TAIL, &tail.to_ne_bytes());
    });
    check_lie("tail back", Connection::upgrade, |connection| {
        let tail = far_tail(connection) - 1;
        lie(connection, offset::TAIL, &tail.to_ne_bytes());
    });
    check_lie("head ahead", Connection::upgrade, |connection| {
        lie(connection, offset::HEAD, &u64::MAX.to_ne_bytes());
    });
    check_lie("ep", Connection::upgrade, |connection| {
        let ep = connection.sides[0].endpoint.tx_ep.get() + 3;
        lie(connection, offset::EP, &ep.to_ne_bytes());
    });
    check_lie("bells", Connection::upgrade, |connection| {
        // Back to the kernel behind more bells than there can be.
        let krx = connection.sides[1].endpoint.krx.get() + UNREAD_BELLS_LIMIT + 1;
        lie(connection, offset::KR, &krx.to_ne_bytes());
        let ep = connection.sides[0].endpoint.tx_ep.get() + 1;
        lie(connection, offset::EP, &ep.to_ne_bytes());
    });
    let grant = |connection: &mut Faulted| {
        connection.send(0, 10).expect("a send");
        soon_true(|| connection.receive(1, 10, false) == Got::Bytes(10));
        assert_eq!(connection.receive(1, 10, false), Got::Nothing);
        assert_eq!(connection.sides[1].endpoint.granted.get(), 1);
    };
    for (ring, bytes) in [
        (0_u32, 4096_u32),
        (u32::MAX, 4096),
        (1, 4096),
        (126 << 10, 65536),
    ] {
        check_lie("a ring outside the pool", grant, |connection| {
            lie(connection, offset::RING_OFFSET, &ring.to_ne_bytes());
            lie(connection, offset::RING_BYTES, &bytes.to_ne_bytes());
            lie(connection, offset::TAIL, &100_u64.to_ne_bytes());
            lie(connection, offset::EP, &1_u32.to_ne_bytes());
        });
    }
}

/// The far side is kept from running between `ringing` and the end of a switch, for longer than a leaver waits. Its closing
/// bell must not be read as a byte of the program that goes on with the socket.
#[test]
fn a_leaver_reads_no_bell_of_a_far_side_that_is_stopped_in_the_middle_of_a_switch() {
    let paths = Faulty::pair(OneProcess::pair(0), [Plan::PROMPT; 2]).expect("memory");
    let mut connection = Connection::new(paths, 3);
    connection.upgrade();
    // A far side that announced itself and then is late for the leaver's own fence only: `ringing` is seen, no switch.
    connection.joined.paths[0].stop_far(true);
    connection.sides[1].stream().retreat_once();
    connection.leave(0);
    connection.joined.paths[0].stop_far(false);
    connection.joined.paths[0].see_all();
    for _ in 0..20 {
        match connection.receive(0, 10, false) {
            Got::Nothing => {}
            other => {
                assert_eq!(other, Got::Failed(libc::ECONNRESET), "nothing was sent");
                break;
            }
        }
    }
    assert_eq!(connection.counts.left_behind, 1, "{connection:?}");
    // The far side goes on with a reset.
    soon_true(|| is_over(&mut connection, 1));
}

#[test]
fn whatever_is_scribbled_calls_return_and_stay_in_their_buffers() {
    let _watched = Watchdog::start();
    let mut condemned = 0;
    for seed in 0..150 {
        let paths = Faulty::pair(OneProcess::pair(0), [Plan::late(seed, 3); 2]).expect("memory");
        let mut connection = Connection::new(paths, seed);
        let mut random = Random::new(seed + 7);
        for _ in 0..100 {
            if step(&mut connection, UNDER_WAY[1], PLAIN).is_break() {
                break;
            }
        }
        connection.is_honest = false;
        for _ in 0..60 {
            let layout = connection.sides[0].channel.layout();
            let slot = connection.sides[0].endpoint.slot.get();
            let entry = layout.entry(slot).expect("entry");
            let value = match random.below(3) {
                0 => random.next(),
                1 => random.below(8),
                _ => random.below(1 << 17),
            };
            let who = random.below(2) as usize;
            let place = match random.below(4) {
                0 => random.below(layout.region_bytes.into()) as usize,
                _ => entry + random.below(48) as usize * 4,
            };
            let width = 4 + 4 * random.below(2) as usize;
            connection.joined.paths[who].scribble(place & !3, &value.to_ne_bytes()[..width]);
            let _ = step(&mut connection, UNDER_WAY[1], PLAIN);
        }
        condemned += connection
            .sides
            .iter()
            .filter(|side| side.is_condemned())
            .count();
    }
    assert!(condemned > 100, "{condemned}");
}

/// One thread of C ends at its `store`th store. `None`: it lived to the end.
fn die<End: fastpath::path::Path + Into<fastpath::path::Chosen>>(
    paths: [Faulty<End>; 2],
    seed: u64,
    store: u64,
) -> Option<bool>
where
    Faulty<End>: Into<fastpath::path::Chosen>,
{
    let mut connection = Connection::new(paths, seed);
    connection.tell_lines();
    connection.joined.paths[0].die_at_store(store);
    let most_under_way = UNDER_WAY[(seed % 3) as usize];
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..300 {
            assert!(step(&mut connection, most_under_way, PLAIN).is_continue());
        }
    }));
    let Err(death) = outcome else {
        connection.joined.paths[0].live_again();
        return None;
    };
    if !death.is::<Died>() {
        eprintln!("seed {seed}, store {store}: {connection:?}");
        resume_unwind(death);
    }
    let c = &connection.sides[0];
    let own = c.channel.own_entry(c.endpoint.slot.get()).expect("entry");
    let published = c.sent + (own.tail().load(Ordering::Relaxed) - c.sent_by_ring);
    // The kernel closes what the process had open.
    connection.joined.paths[0].socket_ends();
    let nothing = std::fs::File::open("/dev/null").expect("file");
    // SAFETY: replaces C's socket by another file, under the number that `socket` will close.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&nothing), c.descriptor()) };
    if connection.is_asleep(1) {
        let events = fastpath::kernel_call::poll_one(connection.sides[1].descriptor(), 1, 60_000);
        assert!(events != 0, "the sleeper is not told of the death");
        connection.wake(1);
    }
    let end = soon(|| match connection.receive(1, 5000, false) {
        Got::Bytes(_) | Got::Nothing => None,
        end => Some(end),
    });
    assert!(
        matches!(end, Got::End | Got::Failed(libc::ECONNRESET)),
        "seed {seed}, store {store}: {end:?} {connection:?}"
    );
    assert_eq!(
        connection.sides[1].received, published,
        "seed {seed}, store {store}: {connection:?}"
    );
    assert!(
        !connection.sides[1].is_condemned(),
        "a death is no lie: seed {seed}, store {store}"
    );
    let wrote = (0..3).map(|_| connection.send(1, 10)).collect::<Vec<_>>();
    assert!(
        matches!(wrote.last(), Some(Err(libc::EPIPE | libc::ECONNRESET))),
        "seed {seed}, store {store}: {wrote:?} {connection:?}"
    );
    let in_a_ring = own.ep().load(Ordering::Relaxed) & 1 == 1;
    connection.joined.paths[0].live_again();
    Some(in_a_ring)
}

#[test]
fn a_death_at_any_store_leaves_exactly_what_was_published_and_then_the_kernels_end() {
    let _watched = Watchdog::start();
    let (mut on_ring, mut on_kernel) = (0, 0);
    for seed in 1..=60 {
        let mut random = Random::new(seed + 100);
        let mut store = random.below(20);
        loop {
            let plans = [
                Plan::late(seed, 2),
                Plan::late(seed + 1, 1 + (seed % 8) as u32),
            ];
            let died = if seed % 2 == 0 {
                die::<Shm>(
                    Faulty::pair(SharedPages::pair(0), plans).expect("memory"),
                    seed,
                    store,
                )
            } else {
                die::<InProcess>(
                    Faulty::pair(OneProcess::pair(0), plans).expect("memory"),
                    seed,
                    store,
                )
            };
            match died {
                Some(true) => on_ring += 1,
                Some(false) => on_kernel += 1,
                None => break,
            }
            store += 1 + random.below(40);
        }
    }
    println!("{on_ring} deaths while the ring carried, {on_kernel} else");
    assert!(on_ring > 200 && on_kernel > 50, "{on_ring} {on_kernel}");
}
