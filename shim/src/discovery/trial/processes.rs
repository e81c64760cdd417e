//! The two ends in two processes: of one user, of two, in namespaces of their own, on an older kernel.

use super::late::{Trouble, unless_too_busy};
use super::role::{finish, start};
use super::{Outcome, WANTED, fd, listener, outcome, pair_of};
use crate::discovery::{Acceptor, Bound, Chance, Connector, Progress, knock, look};
use fastpath::sync::Ordering;
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

pub const MESSAGE_BYTES: usize = 64;
/// Request and response pairs per connection.
const EXCHANGES: u32 = 12;
/// Bits of a role's namespaces.
const USER: u32 = 1;
const PROCESS_AND_MOUNT: u32 = 2;
/// Not a namespace: C lives on a kernel without `SO_PASSRIGHTS`.
const OLDER_KERNEL: u32 = 4;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this is not root. Says so behind the back of the test harness, which keeps to itself what a passed test says:
/// test.sh counts such lines.
pub fn is_skipped(why: &str) -> bool {
    let is_skipped = !is_root();
    if is_skipped {
        let _ =
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("\nSKIPPED: {why}\n"));
    }
    is_skipped
}

/// One end of a connection, negotiating as the socket calls will.
pub enum State<N> {
    Waiting,
    Negotiating(N),
    Bound(Bound),
    Failed(Reason),
}

impl<N> State<N> {
    pub fn step(&mut self, advance: impl FnOnce(&mut N) -> Progress) {
        if let State::Negotiating(negotiation) = self {
            match outcome(advance(negotiation)) {
                None => {}
                Some(Outcome::Bound(bound)) => *self = State::Bound(bound),
                Some(Outcome::Failed(reason)) => *self = State::Failed(reason),
            }
        }
    }
    fn result(&self, index: u32) -> Result<Bound, String> {
        match self {
            State::Bound(bound) => Ok(*bound),
            State::Waiting => Err(format!("{index}:nobody")),
            State::Negotiating(_) => Err(format!("{index}:unfinished")),
            State::Failed(reason) => Err(format!("{index}:{}", reason.name())),
        }
    }
}

/// The far entry of the slot belongs to the far socket.
pub fn is_joined(socket: &TcpStream, pair: &AddressPair, own: End, bound: Bound) -> bool {
    let seen = look::far_end(fd(socket), pair, own).map(|far| far.cookie);
    let entry = bound.channel.far_entry(bound.slot);
    seen == Ok(entry.map_or(0, |entry| entry.cookie().load(Ordering::Relaxed)))
}

pub fn end(bound: Bound) {
    bound.channel.slot_leave(bound.slot, bound.generation);
    bound.channel.slot_sweep();
    bound.channel.release();
}

/// C: `count` connections one after the other; with `keep`, all stay open to the end.
fn connect(port: u16, count: u32, keep: bool) -> String {
    let (mut bound_count, mut channels) = (0, std::collections::HashSet::new());
    let mut troubles = Vec::new();
    let mut kept = Vec::new();
    for index in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let pair = pair_of(&stream, true);
        let before = knock::shown(fd(&stream)).unwrap();
        let mut state = State::Waiting;
        let mut message = [index as u8; MESSAGE_BYTES];
        for exchange in 0..EXCHANGES {
            if exchange == 1 {
                state = match Connector::open(fd(&stream), &pair, Chance::First) {
                    Ok(connector) => State::Negotiating(connector),
                    Err(reason) => State::Failed(reason),
                };
            }
            state.step(|connector| connector.advance(fd(&stream)));
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut message).unwrap();
            state.step(|connector| connector.advance(fd(&stream)));
        }
        assert_eq!(knock::shown(fd(&stream)).unwrap(), before);
        match state.result(index) {
            Ok(bound) if is_joined(&stream, &pair, End::Connecting, bound) => {
                bound_count += 1;
                channels.insert(bound.channel.index());
                kept.push((stream, Some(bound)));
            }
            Ok(bound) => {
                troubles.push(format!("{index}:not_joined"));
                end(bound);
            }
            Err(trouble) => troubles.push(trouble),
        }
        if !keep {
            kept.drain(..)
                .for_each(|(_, bound)| bound.into_iter().for_each(end));
        }
    }
    kept.drain(..)
        .for_each(|(_, bound)| bound.into_iter().for_each(end));
    format!("{bound_count} {} {}", channels.len(), troubles.join(","))
}

/// S: serves `count` connections; each in its own thread when they stay open.
fn accept(listener: TcpListener, count: u32, keep: bool) -> String {
    let mut results = Vec::new();
    let mut threads = Vec::new();
    for index in 0..count {
        let stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        if keep {
            threads.push(std::thread::spawn(move || serve(stream, index)));
        } else {
            results.push(serve(stream, index));
        }
    }
    results.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    let troubles: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err().cloned())
        .collect();
    let exchanges = results.iter().flatten().max().copied().unwrap_or(0);
    format!(
        "{} {exchanges} {}",
        results.len() - troubles.len(),
        troubles.join(",")
    )
}

/// Serves one connection to its end; at which exchange it was bound.
fn serve(mut stream: TcpStream, index: u32) -> Result<u32, String> {
    let pair = pair_of(&stream, false);
    let before = knock::shown(fd(&stream)).unwrap();
    let mut state = State::Waiting;
    let mut bound_at = 0;
    let mut message = [0; MESSAGE_BYTES];
    let mut exchange = 0;
    while stream.read_exact(&mut message).is_ok() {
        exchange += 1;
        if exchange == 2 {
            match Acceptor::probe(fd(&stream), &pair, WANTED) {
                Ok(Some(acceptor)) => state = State::Negotiating(acceptor),
                Ok(None) => {}
                Err(reason) => state = State::Failed(reason),
            }
        }
        state.step(|acceptor| acceptor.advance(fd(&stream)));
        if bound_at == 0 && matches!(state, State::Bound(_)) {
            bound_at = exchange;
        }
        if exchange == EXCHANGES
            && let State::Bound(bound) = state
            && !is_joined(&stream, &pair, End::Accepting, bound)
        {
            return Err(format!("{index}:not_joined"));
        }
        stream.write_all(&message).unwrap();
    }
    let bound = state.result(index)?;
    if knock::shown(fd(&stream)) != Ok(before) {
        return Err(format!("{index}:not_restored"));
    }
    end(bound);
    Ok(bound_at)
}

/// Returns in a child; this process waits for it and ends as it does.
///
/// # Safety
/// For a program whose only purpose is to play a role.
unsafe fn go_on_in_a_child() {
    // SAFETY: the caller's promise; the status is a local one.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child > 0 {
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            libc::_exit(libc::WEXITSTATUS(status));
        }
    }
}

/// Takes another user's place, and namespaces of its own; returns in the process that has them.
pub fn become_other(user: u32, namespaces: u32) {
    // SAFETY: credentials, namespaces and a fork in a program whose only purpose is to play this role.
    unsafe {
        if namespaces & PROCESS_AND_MOUNT != 0 {
            assert_eq!(libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS), 0);
            go_on_in_a_child();
        }
        if user != 0 {
            libc::setgroups(0, std::ptr::null());
            assert_eq!(libc::setresgid(user, user, user), 0);
            assert_eq!(libc::setresuid(user, user, user), 0);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
        }
        if namespaces & USER != 0 {
            // A user namespace can be entered by a single thread only: one more fork.
            go_on_in_a_child();
            assert_eq!(libc::unshare(libc::CLONE_NEWUSER), 0);
            std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).expect("uid map");
        }
    }
}

/// Prints a result from a process in which the test runner is not at home, and leaves.
fn leave_with(result: &str, namespaces: u32) -> String {
    if namespaces != 0 {
        let line = format!("\nRESULT {result}\n");
        // SAFETY: a write and an exit of a role's process.
        unsafe {
            libc::write(1, line.as_ptr().cast(), line.len());
            libc::_exit(0);
        }
    }
    result.to_owned()
}

/// The roles of this file.
pub fn play(words: &[&str]) -> Option<String> {
    let number = |index: usize| -> u32 { words[index].parse().unwrap() };
    Some(match words[0] {
        "connect" => {
            become_other(number(4), number(5));
            if number(5) & OLDER_KERNEL != 0 {
                super::limits::become_older();
            }
            let result = connect(number(1) as u16, number(2), number(3) == 1);
            leave_with(&result, number(5))
        }
        "accept" => {
            // SAFETY: the parent left this descriptor open for us.
            let listener = unsafe { TcpListener::from_raw_fd(number(1) as i32) };
            become_other(number(4), number(5));
            let result = accept(listener, number(2), number(3) == 1);
            leave_with(&result, number(5))
        }
        _ => return None,
    })
}

/// Two processes, `count` connections; C's result and S's.
fn two_processes(
    count: u32,
    keep: bool,
    users: (u32, u32),
    namespaces: u32,
) -> (Vec<String>, Vec<String>) {
    let listener = listener();
    let port = listener.local_addr().unwrap().port().to_string();
    // SAFETY: a duplicate without close-on-exec, for the child.
    let inherited = unsafe { libc::dup(listener.as_raw_fd()) };
    let numbers = [inherited as u32, count, u32::from(keep), namespaces].map(|n| n.to_string());
    let [inherited_word, count, keep, namespaces] = &numbers;
    let (c_user, s_user) = (users.0.to_string(), users.1.to_string());
    let s = start(&["accept", inherited_word, count, keep, &s_user, namespaces]);
    let c = start(&["connect", &port, count, keep, &c_user, namespaces]);
    let result = (finish(c), finish(s));
    // SAFETY: ours, see above.
    unsafe { libc::close(inherited) };
    result
}

/// The troubles of both processes.
fn of_both(text: String, c: &[String], s: &[String]) -> Trouble {
    let (c, s) = (c.get(2), s.get(2));
    Trouble::of(text, &[(c, s), (s, c)])
}

#[test]
fn two_hundred_of_two_hundred_handshakes_bind() {
    unless_too_busy(|| {
        let (c, s) = two_processes(200, false, (0, 0), 0);
        let bound_at: u32 = s[1].parse().unwrap();
        if (&c[0][..], &s[0][..]) != ("200", "200") || bound_at > 7 {
            return Err(of_both(format!("{c:?} {s:?}"), &c, &s));
        }
        Ok(())
    });
}

#[test]
fn eleven_connections_of_two_processes_share_one_channel() {
    unless_too_busy(|| {
        let (c, s) = two_processes(11, true, (0, 0), 0);
        if (&c[0][..], &c[1][..], &s[0][..]) != ("11", "1", "11") {
            return Err(of_both(format!("{c:?} {s:?}"), &c, &s));
        }
        Ok(())
    });
}

#[test]
fn two_users_in_any_namespaces_of_one_network_bind() {
    if is_skipped("needs root to become two users") {
        return;
    }
    for namespaces in [0, USER, PROCESS_AND_MOUNT, USER | PROCESS_AND_MOUNT] {
        unless_too_busy(|| {
            let (c, s) = two_processes(50, false, (1001, 1000), namespaces);
            if (&c[0][..], &s[0][..]) != ("50", "50") {
                let text = format!("namespaces {namespaces}: {c:?} {s:?}");
                return Err(of_both(text, &c, &s));
            }
            let (c, s) = two_processes(11, true, (1001, 1000), namespaces);
            if (&c[0][..], &c[1][..], &s[0][..]) != ("11", "1", "11") {
                let text = format!("namespaces {namespaces}: {c:?} {s:?}");
                return Err(of_both(text, &c, &s));
            }
            Ok(())
        });
    }
}

#[test]
fn on_older_kernels_nothing_is_received_from_another_user() {
    if is_skipped("needs root to become two users") {
        return;
    }
    unless_too_busy(|| {
        let (c, s) = two_processes(2, false, (1001, 1000), OLDER_KERNEL);
        let text = format!("{c:?} {s:?}");
        assert_eq!((&c[0][..], &s[0][..]), ("0", "0"), "{text}");
        let troubles = c[2].split(',').filter(|one| !one.ends_with(":unsupported"));
        let others = troubles.collect::<Vec<_>>().join(",");
        if !others.is_empty() {
            return Err(Trouble::of(text, &[(Some(&others), s.get(2))]));
        }
        assert_eq!(c[2], "0:unsupported,1:unsupported");
        Ok(())
    });
    unless_too_busy(|| {
        let (c, s) = two_processes(2, false, (1001, 1001), OLDER_KERNEL);
        if c[0] != "2" {
            return Err(Trouble::of(format!("{c:?} {s:?}"), &[(c.get(2), s.get(2))]));
        }
        Ok(())
    });
}
