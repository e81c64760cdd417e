//! What a busy machine does to discovery, and how the tests tell it from a failure: a handshake may take a second, and one
//! that took longer has ended as it should. A test that was late is made again; one that failed in time has failed.

use super::role::play_alone;
use crate::discovery::patience::STALE_CLAIM_MS;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// How often an attempt that was late is made.
pub const ATTEMPTS_MAX: u32 = 8;

/// What a role says that was late.
pub const LATE: &str = "late";

/// So much of the second that a handshake may take that one may have ended for want of time. Without a busy machine it
/// takes some milliseconds.
pub const HANDSHAKE: Duration = Duration::from_millis(900);
/// So old are claims, and their answers, that may be ended for others: tests beside this one that are out of slots.
pub const CLAIM: Duration = Duration::from_millis(STALE_CLAIM_MS);

/// So much of the second that a handshake may take has passed since then that one may have ended for want of time: the
/// machine was busy with other things.
pub fn is_late(began: Instant) -> bool {
    began.elapsed() > HANDSHAKE
}

thread_local! {
    /// What never may happen has happened in this thread.
    static IS_BROKEN: Cell<bool> = const { Cell::new(false) };
}

/// Asserts what holds however late it is: what attackers never get.
pub fn always(holds: bool, what: impl std::fmt::Display) {
    if !holds {
        IS_BROKEN.set(true);
        panic!("{what}");
    }
}

/// Plays a round: what it gave, or nothing where it failed after it had taken longer than `limit` ([`HANDSHAKE`], or
/// [`CLAIM`] where it has claims beside other tests). A round that failed in time fails the test, and so does one in
/// which something [`always`] holds did not.
pub fn in_time<R>(limit: Duration, round: impl FnOnce() -> R) -> Option<R> {
    let began = Instant::now();
    let failure = match catch_unwind(AssertUnwindSafe(round)) {
        Ok(result) => return Some(result),
        Err(failure) => failure,
    };
    let took = began.elapsed();
    if took <= limit || IS_BROKEN.get() {
        resume_unwind(failure);
    }
    eprintln!("once more, a round took {took:?}");
    None
}

/// Plays a round until it is [`in_time`]. Each makes a listener of its own, so nothing that an abandoned round has left
/// is found by the next.
pub fn unless_late<R>(limit: Duration, round: impl Fn() -> R) -> R {
    (0..ATTEMPTS_MAX)
        .find_map(|_| in_time(limit, &round))
        .expect("a machine that is not too busy for discovery")
}

/// Plays a role in a process of its own until it is not late, as it says itself: for what a late round would leave there to
/// the next one.
pub fn play_unless_late(role: &[&str]) -> Vec<String> {
    (0..ATTEMPTS_MAX)
        .map(|_| play_alone(role))
        .find(|result| result[0] != LATE)
        .expect("a machine that is not too busy for discovery")
}

/// What came of an attempt in which not all was bound.
pub struct Trouble {
    text: String,
    /// Troubles that are no lateness.
    others: Vec<String>,
}

impl Trouble {
    /// `ends`: what went wrong with single connections at one end, and at the other, as the roles list it:
    /// `number:reason`, with commas between them.
    pub fn of(text: String, ends: &[(Option<&String>, Option<&String>)]) -> Trouble {
        let others = ends
            .iter()
            .flat_map(|(own, far)| troubles_in_time(list(*own), &list(*far)))
            .collect();
        Trouble { text, others }
    }
}

/// Number and reason of each trouble.
fn list(troubles: Option<&String>) -> Vec<(&str, &str)> {
    let troubles = troubles.map_or("", String::as_str).split(',');
    troubles
        .filter(|one| !one.is_empty())
        .map(|one| one.split_once(':').expect("number:reason"))
        .collect()
}

/// Those of one end that are no lateness, of its own or of the other end.
fn troubles_in_time(own: Vec<(&str, &str)>, far: &[(&str, &str)]) -> Vec<String> {
    let is_late_there = |number| {
        far.iter()
            .any(|(far, why)| *far == number && is_lateness(why))
    };
    own.into_iter()
        .filter(|(number, reason)| {
            // The end that was late has hung up.
            let is_late = *reason == "peer_left" && is_late_there(*number);
            !is_late && !is_lateness(reason)
        })
        .map(|(number, reason)| format!("{number}:{reason}"))
        .collect()
}

/// How a connection ends whose time was over: the handshake took more than its second, its box was closed before
/// anybody looked, or the exchanges were over before the handshake.
fn is_lateness(reason: &str) -> bool {
    ["timed_out", "peer_has_no_axio", "nobody", "unfinished"].contains(&reason)
}

/// Repeats an attempt in which connections came too late (see [`Trouble`]; any other trouble is a failure at once) while
/// the machine was too busy for discovery, whose limit is a second from a box to its end: while a thread that wanted to
/// run every few milliseconds had to wait for a large part of that, or all of it together took longer than one handshake
/// may.
pub fn unless_too_busy(attempt: impl Fn() -> Result<(), Trouble>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    const WAIT_MAX: Duration = Duration::from_millis(100);
    const ATTEMPT_MAX: Duration = Duration::from_secs(1);
    for _ in 0..ATTEMPTS_MAX {
        let has_ended = AtomicBool::new(false);
        let begin = Instant::now();
        let (result, longest) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !has_ended.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    std::thread::sleep(Duration::from_millis(2));
                    longest = longest.max(before.elapsed());
                }
                longest
            });
            // The watcher ends with an attempt that panics, too.
            let result = catch_unwind(AssertUnwindSafe(&attempt));
            has_ended.store(true, Ordering::Relaxed);
            let result = result.unwrap_or_else(|failure| resume_unwind(failure));
            (result, watcher.join().unwrap())
        });
        let Err(Trouble { text, others }) = result else {
            return;
        };
        // Being late is the only way in which a busy machine may spoil an attempt.
        assert!(others.is_empty(), "{text}: {others:?}");
        let took = begin.elapsed();
        assert!(
            longest > WAIT_MAX || took > ATTEMPT_MAX,
            "{text}; nobody waited longer than {longest:?}, all took {took:?}"
        );
        eprintln!("once more, a thread waited {longest:?}, all took {took:?}: {text}");
    }
    panic!("the machine is too busy for discovery");
}

#[test]
fn who_was_left_by_an_end_that_was_late_was_late_too() {
    let others =
        |own: &str, far: &str| troubles_in_time(list(Some(&own.into())), &list(Some(&far.into())));
    assert_eq!(others("3:timed_out,4:nobody", ""), [""; 0]);
    assert_eq!(others("3:peer_left", "2:nobody,3:timed_out"), [""; 0]);
    assert_eq!(others("3:peer_left", "4:timed_out"), ["3:peer_left"]);
    assert_eq!(others("3:peer_left", "3:peer_left"), ["3:peer_left"]);
    assert_eq!(others("3:bad_offer", "3:timed_out"), ["3:bad_offer"]);
}

#[test]
fn only_a_round_that_was_late_is_played_again() {
    let rounds = Cell::new(0);
    let limit = Duration::from_millis(10);
    unless_late(limit, || {
        rounds.set(rounds.get() + 1);
        if rounds.get() < 3 {
            std::thread::sleep(limit * 2);
            panic!("late");
        }
    });
    assert_eq!(rounds.get(), 3);
    let hour = Duration::from_secs(3600);
    assert!(catch_unwind(|| unless_late(hour, || panic!("in time"))).is_err());
    let attacked = std::thread::spawn(|| in_time(Duration::ZERO, || always(false, "got all")));
    assert!(attacked.join().is_err());
}
