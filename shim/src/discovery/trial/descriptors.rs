//! What discovery holds open, and what becomes of it in fork children and in programs that close what they do not know.

use super::attackers::{FalseAcceptor, cookie_of};
use super::late::{ATTEMPTS_MAX, HANDSHAKE, LATE, in_time, is_late, play_unless_late};
use super::processes::end;
use super::role::play_alone;
use super::{Outcome, connection, fd, leave, listener, outcome};
use crate::discovery::offer::Sent;
use crate::discovery::{Chance, Progress, knock};
use kmod_interface::handshake::End;
use kmod_interface::reason::Reason;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// The roles of this file.
pub fn play(words: &[&str]) -> Option<String> {
    Some(match words[0] {
        "fork" => fork_in_the_middle(),
        "leak" => handshakes_and_descriptors(),
        "closed" => closed_behind_our_back(),
        _ => return None,
    })
}

/// Sockets this process has, by what `/proc` shows; and their lowest number behind the standard streams.
fn sockets() -> Vec<i32> {
    let mut numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn memfds() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter(|line| line.contains("memfd:axio"))
        .count()
}

/// A fork at every step of a handshake: the child has nothing of it, the parent goes on.
fn fork_in_the_middle() -> String {
    let listener = listener();
    let before = sockets().len();
    let mut bound = 0;
    for steps in 0..8 {
        // A handshake that was over in the meantime tells nothing of the fork.
        let is_bound =
            (0..ATTEMPTS_MAX).any(|_| is_bound_in_spite_of_a_fork(&listener, before, steps));
        bound += u32::from(is_bound);
    }
    bound.to_string()
}

/// A handshake with a fork after so many steps, in a process that had `before` sockets in the beginning; false if it took
/// so long that its time was over.
fn is_bound_in_spite_of_a_fork(listener: &TcpListener, before: usize, steps: u32) -> bool {
    let connection = connection(listener);
    let shown = connection.shown();
    let began = Instant::now();
    let mut c = connection.open(Chance::First).unwrap();
    let mut s = connection.probe().unwrap().unwrap();
    let mut outcomes: (Option<Outcome>, Option<Outcome>) = (None, None);
    for step in 0..steps {
        if step % 2 == 0 && outcomes.0.is_none() {
            outcomes.0 = outcome(c.advance(fd(&connection.c)));
        } else if step % 2 == 1 && outcomes.1.is_none() {
            outcomes.1 = outcome(s.advance(fd(&connection.s)));
        }
    }
    let (in_the_middle, is_bound) = (
        connection.shown(),
        outcomes.0.is_some() || outcomes.1.is_some(),
    );
    // SAFETY: the child looks around and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        crate::discovery::on_fork_child();
        let descriptors = sockets().len() == before + 2;
        let memory = is_bound || memfds() == 0;
        let gone = matches!(c.advance(fd(&connection.c)), Progress::Failed(_))
            && matches!(s.advance(fd(&connection.s)), Progress::Failed(_));
        let untouched = connection.shown() == in_the_middle;
        let code = i32::from(!descriptors)
            | i32::from(!memory) << 1
            | i32::from(!gone) << 2
            | i32::from(!untouched) << 3;
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 0, "child after {steps} steps");
    for _ in 0..8 {
        if outcomes.0.is_none() {
            outcomes.0 = outcome(c.advance(fd(&connection.c)));
        }
        if outcomes.1.is_none() {
            outcomes.1 = outcome(s.advance(fd(&connection.s)));
        }
    }
    let is_bound = match outcomes {
        (Some(Outcome::Bound(c)), Some(Outcome::Bound(s))) => {
            leave((c, s));
            true
        }
        (Some(c), Some(s)) if is_late(began) && (c.is_out_of_time() || s.is_out_of_time()) => {
            [c, s].into_iter().for_each(Outcome::end);
            false
        }
        other => panic!("after {steps} steps: {other:?}"),
    };
    assert_eq!(connection.shown(), shown);
    is_bound
}

#[test]
fn a_fork_child_has_no_part_in_its_parents_handshake() {
    assert_eq!(play_alone(&["fork"]), ["8"]);
}

/// What many handshakes, claims and failures leave open. A round that is late leaves more, so it is the last one in this
/// process.
fn handshakes_and_descriptors() -> String {
    let before = sockets();
    for number in 0..20 {
        if in_time(HANDSHAKE, || handshakes_and_a_failure(number)).is_none() {
            return LATE.to_owned();
        }
    }
    let after = sockets();
    let new: Vec<_> = after
        .iter()
        .filter(|number| !before.contains(number))
        .collect();
    let lowest = new.iter().map(|number| **number).min().unwrap_or(0);
    format!("{} {lowest} {}", new.len(), memfds())
}

fn handshakes_and_a_failure(round: u32) {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    let second = connection(&listener);
    leave(second.bind(Chance::First));
    leave(bound);
    let third = connection(&listener);
    let mut c = third.open(Chance::First).unwrap();
    let liar = FalseAcceptor::new(&third, true);
    assert!(matches!(c.advance(fd(&third.c)), Progress::Pending));
    assert_eq!(liar.send(), Sent::Done);
    if round.is_multiple_of(2) {
        assert!(matches!(c.advance(fd(&third.c)), Progress::Pending));
        match third.probe() {
            Ok(Some(s)) if !knock::REQUIRED => s.abandon(fd(&third.s)),
            Err(Reason::NameTaken) => {}
            _ => panic!("dialled in spite of a taken name"),
        }
    }
    c.abandon(fd(&third.c));
    assert_ne!(cookie_of(&third, End::Connecting), 0);
}

#[test]
fn nothing_stays_open_but_two_high_descriptors_and_nothing_stays_mapped() {
    let [open, lowest, mapped] = play_unless_late(&["leak"]).try_into().unwrap();
    assert!(open == "1" || open == "2", "{open} sockets");
    assert!(lowest.parse::<i32>().unwrap() >= 500, "lowest {lowest}");
    assert_eq!(mapped, "0");
}

/// A program that closes all descriptors it does not know and opens its own under the same numbers.
fn closed_behind_our_back() -> String {
    let listener = listener();
    let mut failed = 0;
    for steps in 0..8 {
        let connection = connection(&listener);
        let known = [
            listener.as_raw_fd(),
            connection.c.as_raw_fd(),
            connection.s.as_raw_fd(),
        ];
        let mut c = connection.open(Chance::First).unwrap();
        let mut s = connection.probe().unwrap().unwrap();
        let mut outcomes: (Option<Outcome>, Option<Outcome>) = (None, None);
        let mut step = |count: u32, outcomes: &mut (Option<Outcome>, Option<Outcome>)| {
            for step in 0..count {
                if step % 2 == 0 && outcomes.0.is_none() {
                    outcomes.0 = outcome(c.advance(fd(&connection.c)));
                } else if step % 2 == 1 && outcomes.1.is_none() {
                    outcomes.1 = outcome(s.advance(fd(&connection.s)));
                }
            }
        };
        step(steps, &mut outcomes);
        let mut taken = Vec::new();
        for number in 3..4096 {
            // SAFETY: this role plays such a program.
            unsafe {
                if !known.contains(&number) && libc::fcntl(number, libc::F_GETFD) >= 0 {
                    assert_eq!(libc::dup2(0, number), number);
                    taken.push(number);
                }
            }
        }
        step(16, &mut outcomes);
        c.abandon(fd(&connection.c));
        s.abandon(fd(&connection.s));
        for number in taken {
            // SAFETY: opened above; whoever closed it meanwhile was wrong.
            unsafe { assert_eq!(libc::close(number), 0, "descriptor {number} was closed") };
        }
        match outcomes {
            (Some(Outcome::Bound(c)), Some(Outcome::Bound(s))) => leave((c, s)),
            (c, s) => {
                failed += 1;
                for bound in [c, s] {
                    if let Some(Outcome::Bound(bound)) = bound {
                        end(bound);
                    }
                }
            }
        }
        // And discovery works again afterwards.
        let next = super::connection(&listener);
        leave(next.bind(Chance::First));
    }
    format!("{failed}")
}

#[test]
fn descriptors_that_take_our_numbers_are_left_alone() {
    let failed: u32 = play_alone(&["closed"])[0].parse().unwrap();
    assert!(failed > 0, "no handshake was disturbed");
}
