//! Who is let in: the true ends, of whatever user and in whatever namespaces of one network; and nobody else
//! (TRUST.md "Discovery and identity", rows 5 to 7). In a build with the feature `without-knock` every attack succeeds:
//! otherwise its failure would mean nothing.

use crate::ending::{run, run_to_the_end};
use crate::place::Place;

/// Attacks that are carried through; of each it must be clear what came of it.
const TRIALS: u32 = 3;
/// Handshakes take a second at most, so that on a busy machine some are over before the attack.
const ATTEMPTS: u32 = 20;
/// The status of a trial in which the handshake was over before; any other one is the result of an attack.
const NOTHING_TO_ATTACK: i32 = 5;

const USER_AND_PROCESSES_AND_MOUNTS: &str = "3";

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        line.is_some_and(|line| line.split_whitespace().nth(2) == Some("0"))
    })
}

/// Whether this is not root. Says so: test.sh counts such lines.
fn is_skipped(why: &str) -> bool {
    let is_skipped = !is_root();
    if is_skipped {
        say(&format!("SKIPPED: {why}"));
    }
    is_skipped
}

/// A line behind the back of the test harness, which keeps to itself what a passed test says.
fn say(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("\n{text}\n"));
}

#[test]
fn two_users_in_namespaces_of_their_own_are_accelerated() {
    if is_skipped("needs root to become two users") {
        return;
    }
    let place = Place::with("trust/strangers.c");
    // 65534 is what every user reads as who is not mapped into a user namespace.
    for (c, s) in [("1001", "1000"), ("65534", "1"), ("0", "65534")] {
        for namespaces in ["0", USER_AND_PROCESSES_AND_MOUNTS] {
            for mode in ["eager", "evidence"] {
                run(place.program().args([c, s, namespaces, mode]));
            }
        }
    }
}

#[test]
fn a_foreign_user_has_its_share_of_channels_and_is_told_so_beyond() {
    if is_skipped("needs root to become two users") {
        return;
    }
    let place = Place::with("trust/quota.c");
    run(place.program().args(["1001", "1000"]));
}

fn attack(name: &str) {
    let place = Place::with("trust/attackers.c");
    let (knock, wanted) = if cfg!(feature = "without-knock") {
        ("without", "everything")
    } else {
        ("with", "nothing")
    };
    let (mut tried, mut too_late) = (0, 0);
    while tried < TRIALS {
        let (code, said, complained) = run_to_the_end(place.program().args([name, knock]));
        match code {
            0 => {
                assert_eq!(said.trim(), wanted);
                tried += 1;
            }
            NOTHING_TO_ATTACK => {
                too_late += 1;
                eprintln!("once more: {complained}");
                assert!(
                    tried + too_late < ATTEMPTS,
                    "{name}: the machine is too busy"
                );
            }
            _ => panic!("{name}: exit {code}\n{complained}"),
        }
    }
    say(&format!(
        "{name} {knock} the knock: tried {tried} times, {too_late} times the handshake was over before"
    ));
}

#[test]
fn a_squatter_on_the_box_name_gets_nothing() {
    attack("squatter");
}

#[test]
fn a_false_acceptor_gets_nothing() {
    attack("false_acceptor");
}

#[test]
fn a_relay_gets_nothing() {
    attack("relay");
}
