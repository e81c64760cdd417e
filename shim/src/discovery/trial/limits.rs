//! Limits and sandboxes: the connection stays on the kernel path with a reason, the program lives.

use super::late::{HANDSHAKE, LATE, play_unless_late, unless_late};
use super::role::play_alone;
use super::{Connection, Outcome, connection, failure, fd, leave, listener, outcome};
use crate::discovery::{Acceptor, Chance, Connector, Progress, confine};
use kmod_interface::reason::Reason;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn name_of<T>(result: Result<T, Reason>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(reason) => reason.name(),
    }
}

fn limit(resource: u32, value: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: limits of a role's own process.
    unsafe {
        assert_eq!(libc::getrlimit(resource as _, &mut limits), 0);
        let before = limits.rlim_cur;
        limits.rlim_cur = value.min(limits.rlim_max);
        assert_eq!(libc::setrlimit(resource as _, &limits), 0);
        before
    }
}

/// A limit that goes with its scope: a round that is played again begins without it.
struct Limited {
    resource: u32,
    before: u64,
}

impl Limited {
    fn new(resource: u32, value: u64) -> Limited {
        let before = limit(resource, value);
        Limited { resource, before }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        limit(self.resource, self.before);
    }
}

/// Lets the kernel answer a system call with an errno from now on; with `only`, for that argument's value.
pub fn forbid(call: libc::c_long, only: Option<(u32, i32)>, errno: i32) {
    let filter = |code: u16, jump_true: u8, jump_false: u8, value: u32| libc::sock_filter {
        code,
        jt: jump_true,
        jf: jump_false,
        k: value,
    };
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let mut program = [
        filter(LOAD, 0, 0, 0),
        filter(EQUAL, 0, 3, call as u32),
        filter(
            LOAD,
            0,
            0,
            16 + only.map_or(0, |(argument, _)| argument * 8),
        ),
        match only {
            Some((_, value)) => filter(EQUAL, 0, 1, value as u32),
            None => filter(LOAD, 0, 0, 16),
        },
        filter(RETURN, 0, 0, ERRNO | errno as u32),
        filter(RETURN, 0, 0, ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: confines a role's own thread.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0);
    }
}

/// Takes `SO_PASSRIGHTS` away, as it is before Linux 6.16.
pub fn become_older() {
    const SO_PASSRIGHTS: i32 = 83;
    let call = libc::SYS_setsockopt;
    forbid(call, Some((2, SO_PASSRIGHTS)), libc::ENOPROTOOPT);
}

/// Both ends of a connection, with a box open and waiting.
fn waiting() -> (Connection, Connector) {
    let connection = connection(&listener());
    let c = connection.open(Chance::First).unwrap();
    (connection, c)
}

/// The roles of this file.
pub fn play(words: &[&str]) -> Option<String> {
    Some(match words {
        ["no_descriptors"] => no_descriptors(),
        ["descriptors_run_out"] => descriptors_run_out(),
        ["a_second"] => a_second(),
        ["small_files"] => {
            let (connection, _c) = waiting();
            limit(libc::RLIMIT_FSIZE, 65536);
            name_of(connection.probe()).to_owned()
        }
        ["no_address_space"] => {
            let (connection, _c) = waiting();
            let before = limit(libc::RLIMIT_AS, 4096);
            let result = connection.probe();
            limit(libc::RLIMIT_AS, before);
            name_of(result).to_owned()
        }
        ["no_address_space_for_c"] => unless_late(HANDSHAKE, || {
            let (connection, mut c) = waiting();
            let mut s = connection.probe().unwrap().unwrap();
            assert!(matches!(c.advance(fd(&connection.c)), Progress::Pending));
            assert!(matches!(s.advance(fd(&connection.s)), Progress::Pending));
            let before = limit(libc::RLIMIT_AS, 4096);
            let progress = c.advance(fd(&connection.c));
            limit(libc::RLIMIT_AS, before);
            let reason = failure(progress);
            assert_ne!(reason, Reason::TimedOut);
            reason.name().to_owned()
        }),
        ["no_unix_sockets"] => {
            let connection = connection(&listener());
            forbid(
                libc::SYS_socket,
                Some((0, libc::AF_UNIX)),
                libc::EAFNOSUPPORT,
            );
            let c = name_of(connection.open(Chance::First));
            format!("{c} {}", name_of(connection.probe()))
        }
        ["no_netlink"] => {
            let (connection, _c) = {
                let connection = connection(&listener());
                (connection, ())
            };
            forbid(libc::SYS_socket, Some((0, libc::AF_NETLINK)), libc::EPERM);
            name_of(connection.open(Chance::First)).to_owned()
        }
        ["no_memfd"] => {
            let (connection, _c) = waiting();
            forbid(libc::SYS_memfd_create, None, libc::EPERM);
            name_of(connection.probe()).to_owned()
        }
        ["no_statx"] => {
            let connection = connection(&listener());
            forbid(libc::SYS_statx, None, libc::EPERM);
            name_of(connection.open(Chance::First)).to_owned()
        }
        ["old_kernel"] => {
            become_older();
            let connection = connection(&listener());
            let (c, s) = connection.bind(Chance::First);
            leave((c, s));
            "bound".to_owned()
        }
        ["confined"] => confined_in_the_middle(),
        _ => return None,
    })
}

/// No descriptor is free at all.
fn no_descriptors() -> String {
    let one = connection(&listener());
    let (two, _c) = waiting();
    let highest = [&one, &two]
        .iter()
        .flat_map(|connection| [connection.c.as_raw_fd(), connection.s.as_raw_fd()])
        .max()
        .unwrap();
    // Everything below the limit is taken; what discovery keeps lies above it.
    let mut fillers = Vec::new();
    let before = limit(libc::RLIMIT_NOFILE, highest as u64 + 2);
    while let Ok(filler) = std::fs::File::open("/dev/null") {
        fillers.push(filler);
    }
    let c = name_of(one.open(Chance::First));
    let s = name_of(two.probe());
    limit(libc::RLIMIT_NOFILE, before);
    format!("{c} {s}")
}

/// Descriptors run out at every step of a handshake; what follows is a reason, or success.
fn descriptors_run_out() -> String {
    let mut reasons = std::collections::BTreeSet::new();
    for free in 0..6 {
        reasons.extend(unless_late(HANDSHAKE, || with_free_descriptors(free)));
    }
    reasons.into_iter().collect::<Vec<_>>().join(" ")
}

/// The reasons of a handshake that finds so many descriptors.
fn with_free_descriptors(free: u64) -> std::collections::BTreeSet<&'static str> {
    let mut reasons = std::collections::BTreeSet::new();
    let listener = listener();
    let connection = connection(&listener);
    let highest = connection.c.as_raw_fd().max(connection.s.as_raw_fd());
    let _limited = Limited::new(libc::RLIMIT_NOFILE, highest as u64 + 3 + free);
    let mut fillers = Vec::new();
    while let Ok(filler) = std::fs::File::open("/dev/null") {
        fillers.push(filler);
    }
    for _ in 0..free {
        fillers.pop();
    }
    let shown = connection.shown();
    match connection.open(Chance::First) {
        Err(reason) => drop(reasons.insert(reason.name())),
        Ok(c) => match connection.probe() {
            Err(reason) => {
                reasons.insert(reason.name());
                c.abandon(fd(&connection.c));
            }
            Ok(None) => panic!("no box"),
            Ok(Some(s)) => run_to_the_end(&connection, c, s, &mut reasons),
        },
    }
    assert_eq!(connection.shown(), shown);
    reasons
}

fn run_to_the_end(
    connection: &Connection,
    mut c: Connector,
    mut s: Acceptor,
    reasons: &mut std::collections::BTreeSet<&'static str>,
) {
    let (mut c_end, mut s_end) = (None, None);
    for round in 0..20_000 {
        if c_end.is_some() && s_end.is_some() {
            break;
        }
        if round > 64 {
            // Who has met may rest now and then for up to a second.
            std::thread::sleep(Duration::from_micros(100));
        }
        if c_end.is_none() {
            c_end = outcome(c.advance(fd(&connection.c)));
        }
        if s_end.is_none() {
            s_end = outcome(s.advance(fd(&connection.s)));
        }
    }
    match (c_end.expect("an end"), s_end.expect("an end")) {
        (Outcome::Bound(c), Outcome::Bound(s)) => {
            reasons.insert("bound");
            leave((c, s));
        }
        (Outcome::Failed(c), Outcome::Failed(s)) => {
            reasons.insert(c.name());
            reasons.insert(s.name());
        }
        other => panic!("half bound: {other:?}"),
    }
}

fn confined_in_the_middle() -> String {
    let (one, mut c) = waiting();
    let mut s = one.probe().unwrap().unwrap();
    let two = connection(&listener());
    confine();
    let c = failure(c.advance(fd(&one.c))).name();
    let s = failure(s.advance(fd(&one.s))).name();
    format!(
        "{c} {s} {} {}",
        name_of(two.open(Chance::First)),
        name_of(two.probe())
    )
}

#[test]
fn without_descriptors_there_is_a_reason() {
    assert_eq!(
        play_alone(&["no_descriptors"]),
        ["out_of_descriptors", "out_of_descriptors"]
    );
}

#[test]
fn descriptors_that_run_out_in_the_middle_end_in_a_reason_on_both_sides() {
    let reasons = play_alone(&["descriptors_run_out"]);
    assert!(
        reasons.contains(&"out_of_descriptors".to_owned()),
        "{reasons:?}"
    );
    assert!(
        reasons.len() > 1,
        "every step was refused alike: {reasons:?}"
    );
}

#[test]
fn a_small_file_size_limit_is_a_reason_and_no_signal() {
    assert_eq!(play_alone(&["small_files"]), ["forbidden"]);
}

#[test]
fn without_address_space_there_is_a_reason() {
    assert_eq!(play_alone(&["no_address_space"]), ["out_of_memory"]);
    assert_eq!(play_alone(&["no_address_space_for_c"]), ["out_of_memory"]);
}

#[test]
fn sandboxes_that_forbid_a_call_are_named() {
    assert_eq!(play_alone(&["no_unix_sockets"]), ["forbidden", "forbidden"]);
    assert_eq!(play_alone(&["no_netlink"]), ["forbidden"]);
    assert_eq!(play_alone(&["no_memfd"]), ["forbidden"]);
    assert_eq!(play_alone(&["no_statx"]), ["unsupported"]);
}

#[test]
fn on_older_kernels_processes_of_one_user_bind_all_the_same() {
    assert_eq!(play_alone(&["old_kernel"]), ["bound"]);
}

#[test]
fn a_process_that_confines_itself_stops_discovery() {
    assert_eq!(play_alone(&["confined"]), ["confined"; 4]);
}

/// In a process of its own: another test's attempts would clear away what is looked at here.
fn a_second() -> String {
    let began = Instant::now();
    let (slow, mut c) = waiting();
    let (idle, mut forgotten) = waiting();
    if began.elapsed() > Duration::from_millis(500) {
        // The second box may have cleared away the first.
        return LATE.to_owned();
    }
    let shown = idle.shown();
    std::thread::sleep(Duration::from_millis(1100));
    let slow = failure(c.advance(fd(&slow.c))).name();
    // Somebody else's attempt clears away what nobody asks after any more.
    std::thread::sleep(Duration::from_millis(600));
    let (other, c) = waiting();
    assert!(idle.probe().unwrap().is_none(), "the box is gone");
    let idle_end = failure(forgotten.advance(fd(&idle.c))).name();
    assert_eq!(idle.shown(), shown);
    c.abandon(fd(&other.c));
    format!("{slow} {idle_end}")
}

#[test]
fn a_second_is_enough_and_idle_connections_lose_their_boxes() {
    assert_eq!(
        play_unless_late(&["a_second"]),
        ["peer_has_no_axio", "timed_out"]
    );
}
