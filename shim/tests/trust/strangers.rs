//! Who is let in: the true ends, of whatever user and in whatever namespaces of one network; and nobody else
//! (TRUST.md "Discovery and identity", rows 5 to 7). In a build with the feature `without-knock` every attack succeeds:
//! otherwise its failure would mean nothing.

use crate::ending::run;
use crate::place::Place;

const USER_AND_PROCESSES_AND_MOUNTS: &str = "3";

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        line.is_some_and(|line| line.split_whitespace().nth(2) == Some("0"))
    })
}

#[test]
fn two_users_in_namespaces_of_their_own_are_accelerated() {
    if !is_root() {
        eprintln!("needs root to become two users");
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

fn attack(name: &str) {
    let place = Place::with("trust/attackers.c");
    let (knock, wanted) = if cfg!(feature = "without-knock") {
        ("without", "everything")
    } else {
        ("with", "nothing")
    };
    for _ in 0..5 {
        assert_eq!(run(place.program().args([name, knock])).trim(), wanted);
    }
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
