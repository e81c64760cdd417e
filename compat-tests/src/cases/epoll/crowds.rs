//! Many connections, many threads, several peer processes at one set (POSIX.md rows 14 and 15).

use crate::calls::answer::shown;
use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{connection, files, transfer};
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::cases::forks::child_of;
use crate::side::Side;
use crate::side::sets::events::{ET, IN};
use crate::side::sets::{LONG_MS, Set, more_connections};
use crate::side::waiting::eventually;
use crate::stage::Stage;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_wait", one_epoll_set_hears_two_peer_processes)
        .rows(&[15])
        .kinds(TWO_KINDS)
        .start(Start::Empty)
        .proof(Proof::AtLeast(1000)),
    case!("epoll_wait", many_ready_connections_wake_many_epoll_threads)
        .rows(&[14])
        .kinds(TWO_KINDS),
    case!("epoll_wait", an_event_loop_serves_many_connections)
        .rows(&[14])
        .kinds(TWO_KINDS)
        .start(Start::Empty)
        .proof(Proof::AtLeast(1000)),
];

/// Echoes messages of four bytes until the end; how many.
fn echo(side: &mut Side) -> usize {
    let mut served = 0;
    let mut buffer = [0; 4];
    while transfer::recv(side.fd, &mut buffer, libc::MSG_WAITALL) == Ok(4) {
        side.send_all(&buffer);
        served += 1;
    }
    served
}

fn one_epoll_set_hears_two_peer_processes(stage: &mut Stage) {
    const ROUNDS: u32 = 300;
    let mut child = None;
    let mut has_accepted = -1;
    // The far process and a child of it connect to the near one (or the near one to both): two peers, two channels.
    stage.listen(|_| {});
    let address = stage.listening_address();
    let family = stage.family();
    let near_connects = stage.kind.near_connects;
    stage.far(|far| {
        let (hears, tells) = far.must(files::pipe(libc::O_CLOEXEC));
        has_accepted = hears;
        child = Some(far.fork(|child, _| {
            if near_connects {
                child.accepts();
                let _ = transfer::write(tells, b"a");
            } else {
                child.open_socket(family);
                child.must(connection::connect(child.fd, &address));
            }
            let served = echo(child);
            child.say(&format!("the child served {served}"));
        }));
        child_of(&mut child).begin(far);
    });
    let mut both = [-1; 2];
    // Which process has which connection must not depend on who is faster: the child comes first.
    stage.near(|near| {
        if near_connects {
            near.open_socket(family);
            near.must(connection::connect(near.fd, &address));
        } else {
            near.accepts();
        }
        both[0] = near.fd;
    });
    stage.far(|far| {
        if near_connects {
            let told = transfer::read(has_accepted, &mut [0; 1]);
            far.must(told);
        } else {
            far.open_socket(family);
            far.must(connection::connect(far.fd, &address));
        }
    });
    stage.near(|near| {
        if near_connects {
            near.open_socket(family);
            near.must(connection::connect(near.fd, &address));
        } else {
            near.accepts();
        }
        both[1] = near.fd;
        near.start_counting();
    });
    stage.far(|far| {
        if near_connects {
            far.accepts();
        }
        far.start_counting();
    });
    stage.together(
        |near| {
            let set = Set::new(near);
            for (index, fd) in both.iter().enumerate() {
                set.control(near, Change::Add, *fd, IN, index as u64);
            }
            let mut heard = [0u32; 2];
            let mut wrong = 0;
            for fd in both {
                near.fd = fd;
                near.send_all(&0u32.to_ne_bytes());
            }
            while heard != [ROUNDS; 2] {
                let found = match epoll::wait(set.fd, 4, Wait::Plain(LONG_MS)) {
                    Ok(found) if !found.is_empty() => found,
                    other => near.fail(&format!("heard {heard:?}, then {other:?}")),
                };
                for (data, _) in found {
                    let index = data as usize % 2;
                    near.fd = both[index];
                    let bytes = near.receive_all(4);
                    wrong += u32::from(bytes != heard[index].to_ne_bytes());
                    heard[index] += 1;
                    if heard[index] < ROUNDS {
                        // Now and then both peers find us asleep.
                        if heard[index] % 50 == 0 {
                            near.nap_ms(2);
                        }
                        near.send_all(&heard[index].to_ne_bytes());
                    }
                }
            }
            near.say(&format!("heard {heard:?}, {wrong} wrong"));
            near.must(connection::close(both[0]));
            near.fd = both[1];
            let _ = near.shutdown(libc::SHUT_WR);
        },
        |far| {
            let served = echo(far);
            far.say(&format!("the far process served {served}"));
        },
    );
    stage.far(|far| {
        child_of(&mut child).end(far);
        if let Some(child) = child.take() {
            child.reap(far);
        }
    });
}

/// Each thread takes one event and keeps it until all have one: a wake-up that is not passed on holds up the others.
fn many_ready_connections_wake_many_epoll_threads(stage: &mut Stage) {
    const CONNECTIONS: usize = 4;
    const ROUNDS: u8 = 5;
    let all = more_connections(stage, CONNECTIONS - 1);
    let near_set = std::cell::Cell::new(None);
    stage.near(|near| {
        let set = Set::new(near);
        for (index, fd) in all.iter().enumerate() {
            set.control(near, Change::Add, *fd, IN | ET, index as u64);
        }
        near_set.set(Some(set));
    });
    for round in 0..ROUNDS {
        stage.together(
            |near| {
                let Some(set) = near_set.get() else {
                    near.fail("no set");
                };
                let have_one = AtomicUsize::new(0);
                let taken = std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..CONNECTIONS)
                        .map(|_| {
                            scope.spawn(|| {
                                let found = epoll::wait(set.fd, 1, Wait::Plain(LONG_MS));
                                have_one.fetch_add(1, Ordering::SeqCst);
                                let together =
                                    eventually(|| have_one.load(Ordering::SeqCst) == CONNECTIONS);
                                (found, together)
                            })
                        })
                        .collect();
                    threads
                        .into_iter()
                        .filter_map(|thread| thread.join().ok())
                        .collect::<Vec<_>>()
                });
                let mut connections: Vec<u64> = taken
                    .iter()
                    .flat_map(|(found, _)| found.iter().flatten().map(|(data, _)| *data))
                    .collect();
                connections.sort_unstable();
                let together = taken.iter().all(|(_, together)| *together);
                near.say(&format!(
                    "events of {connections:?}, all at a time: {together}"
                ));
                for fd in &all {
                    let mut buffer = [0; 8];
                    let answer = transfer::recv(*fd, &mut buffer, libc::MSG_DONTWAIT);
                    near.say(&format!("recv = {} of {}", shown(answer), buffer[0]));
                }
            },
            |far| {
                far.nap_ms(100);
                let _ = far.send(&[b'0' + round; 3], 0);
                for fd in all.iter().skip(1) {
                    let _ = transfer::send(*fd, &[b'0' + round; 3], 0);
                }
            },
        );
    }
    stage.near(|_| {
        if let Some(set) = near_set.get() {
            set.close();
        }
    });
}

fn an_event_loop_serves_many_connections(stage: &mut Stage) {
    const CONNECTIONS: usize = 12;
    const ROUNDS: usize = 60;
    stage.listen(|_| {});
    let address = stage.listening_address();
    let family = stage.family();
    let server = |side: &mut Side| {
        let set = Set::new(side);
        let listener = side.listener;
        let answer = files::fcntl(listener, libc::F_SETFL, libc::O_NONBLOCK);
        side.must(answer);
        set.control(side, Change::Add, listener, IN, 0);
        let (mut accepted, mut ended, mut served) = (0, 0, 0usize);
        while ended < CONNECTIONS {
            let found = match epoll::wait(set.fd, 8, Wait::Plain(LONG_MS)) {
                Ok(found) if !found.is_empty() => found,
                other => side.fail(&format!("{accepted} accepted, {ended} ended: {other:?}")),
            };
            for (data, _) in found {
                if data == 0 {
                    while let Ok(fd) = connection::accept4(listener, None, libc::SOCK_NONBLOCK) {
                        let events = if accepted % 2 == 0 { IN } else { IN | ET };
                        let fd = fd as i32;
                        let answer = epoll::control(set.fd, Change::Add, fd, events, fd as u64);
                        side.must(answer);
                        accepted += 1;
                        side.fd = fd;
                        if accepted == CONNECTIONS {
                            side.start_counting();
                        }
                    }
                    continue;
                }
                let fd = data as i32;
                let mut buffer = [0; 64];
                loop {
                    match transfer::recv(fd, &mut buffer, 0) {
                        Ok(0) => {
                            if fd == side.fd {
                                side.close_quietly().ok();
                            } else {
                                let _ = connection::close(fd);
                            }
                            ended += 1;
                            break;
                        }
                        Ok(count) => {
                            let _ = transfer::send(fd, &buffer[..count], libc::MSG_NOSIGNAL);
                            served += count;
                        }
                        Err(_) => break,
                    }
                }
            }
        }
        side.say(&format!("{accepted} accepted, {served} bytes echoed"));
    };
    let client = |side: &mut Side| {
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            side.open_socket(family);
            side.must(connection::connect(side.fd, &address));
            all.push(side.fd);
        }
        side.start_counting();
        let mut wrong = 0;
        for round in 0..ROUNDS {
            for (index, fd) in all.iter().enumerate() {
                let message = [b'a' + (index + round) as u8 % 26; 20];
                side.fd = *fd;
                side.send_all(&message);
                wrong += usize::from(side.receive_all(20) != message);
            }
        }
        let last = side.fd;
        for fd in all.iter().filter(|fd| **fd != last) {
            let _ = connection::close(*fd);
        }
        side.fd = last;
        side.say(&format!("{wrong} answers wrong"));
        side.close();
    };
    if stage.kind.near_connects {
        stage.together(client, server);
    } else {
        stage.together(server, client);
    }
}
