//! epoll sets among themselves: sets in sets, sets that are polled, numbers that are closed and given again, sets that two
//! processes share (POSIX.md rows 15, 18, 19 and 20).

use crate::calls::answer::shown;
use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{connection, files, readiness, selects, transfer};
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::Side;
use crate::side::children::Child;
use crate::side::sets::events::{ET, IN, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set, more_connections};
use crate::side::waiting::eventually;
use crate::stage::Stage;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll nested", nested_epoll_sets_see_arriving_bytes).rows(&[18]),
    case!("epoll nested", an_edge_triggered_outer_set)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", four_sets_deep)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_set_is_polled)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_set_is_selected)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll nested", a_nested_set_of_edges)
        .rows(&[18])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", a_reused_number_is_a_new_epoll_registration)
        .rows(&[20])
        .kinds(TWO_KINDS),
    case!(
        "epoll_ctl",
        a_registered_number_is_closed_while_a_copy_lives
    )
    .rows(&[20])
    .kinds(TWO_KINDS),
    case!("epoll_ctl", both_numbers_of_a_connection_are_registered)
        .rows(&[20])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", a_connection_is_moved_over_a_registered_one)
        .rows(&[20, 25])
        .kinds(TWO_KINDS),
    case!("fork", a_forked_child_changes_the_parents_epoll_set)
        .rows(&[19])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("a set of two processes is the kernel's")),
    case!("fork", a_forked_child_waits_in_the_set_it_inherited)
        .rows(&[19])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("a set of two processes is the kernel's")),
    case!("fork", a_forked_child_makes_a_set_of_its_own)
        .rows(&[19])
        .kinds(TWO_KINDS),
    case!("fork", a_forked_child_that_ends_leaves_the_set_alone)
        .rows(&[19])
        .kinds(TWO_KINDS),
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

fn nested_epoll_sets_see_arriving_bytes(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN, 1);
        outer.control(near, Change::Add, inner.fd, IN, 2);
        outer.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        outer.reports(near);
        outer.reports(near);
        inner.reports(near);
        outer.reports(near);
        near.receives(4);
        inner.reports_nothing(near);
        outer.reports_nothing(near);
    });
    stage.together(
        |near| {
            for _ in 0..5 {
                outer.waits(near, Wait::Plain(-1));
                inner.waits(near, Wait::Plain(0));
                near.receives(4);
            }
        },
        |far| {
            for _ in 0..5 {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            }
        },
    );
    talk(stage);
}

fn an_edge_triggered_outer_set(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN, 1);
        outer.control(near, Change::Add, inner.fd, IN | ET, 2);
    });
    for _ in 0..3 {
        stage.together(
            |near| {
                outer.reports(near);
                inner.reports(near);
                near.receives(4);
                inner.reports_nothing(near);
            },
            |far| {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            },
        );
    }
    talk(stage);
}

fn four_sets_deep(stage: &mut Stage) {
    let mut sets = Vec::new();
    stage.near(|near| {
        let mut below = near.fd;
        // The kernel refuses one set too many; how deep that is stays what it is.
        for level in 0..8u64 {
            let set = Set::new(near);
            let answer = epoll::control(set.fd, Change::Add, below, IN, level);
            let _ = near.observe(&format!("level {level}"), answer);
            if answer.is_err() {
                set.close();
                break;
            }
            below = set.fd;
            sets.push(set);
        }
    });
    stage.together(
        |near| {
            for _ in 0..3 {
                for set in sets.iter().rev() {
                    set.reports(near);
                }
                near.receives(4);
            }
            if let Some(outermost) = sets.last() {
                outermost.reports_nothing(near);
            }
        },
        |far| {
            for _ in 0..3 {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            }
        },
    );
}

fn a_set_is_polled(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN | RDHUP, 1);
        let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 30);
        near.say(&format!("poll of the set = {answer:?} {events:#x}"));
    });
    for _ in 0..3 {
        stage.together(
            |near| {
                let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, LONG_MS);
                near.say(&format!("poll of the set = {answer:?} {events:#x}"));
                let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 0);
                near.say(&format!("again = {answer:?} {events:#x}"));
                set.reports(near);
                near.receives(4);
                set.reports_nothing(near);
                let (answer, events) = readiness::poll_one(set.fd, libc::POLLIN, 0);
                near.say(&format!("drained = {answer:?} {events:#x}"));
            },
            |far| {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            },
        );
    }
    talk(stage);
}

fn a_set_is_selected(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN, 1);
    });
    for _ in 0..3 {
        stage.together(
            |near| {
                let found = selects::select(&[set.fd], &[], &[], Some(10_000));
                near.say(&format!(
                    "select of the set = {}",
                    found.is_readable(set.fd)
                ));
                set.reports(near);
                near.receives(4);
                let found = selects::select(&[set.fd], &[], &[], Some(20));
                near.say(&format!("drained = {}", found.is_readable(set.fd)));
            },
            |far| {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            },
        );
    }
    talk(stage);
}

fn a_nested_set_of_edges(stage: &mut Stage) {
    let (mut inner, mut outer) = (Set { fd: -1 }, Set { fd: -1 });
    stage.near(|near| {
        inner = Set::new(near);
        outer = Set::new(near);
        inner.add(near, IN | OUT | ET, 1);
        inner.reports(near);
        outer.control(near, Change::Add, inner.fd, IN, 2);
        outer.reports_nothing(near);
    });
    for _ in 0..3 {
        stage.together(
            |near| {
                outer.reports(near);
                inner.reports(near);
                inner.reports_nothing(near);
                outer.reports_nothing(near);
                near.receives(4);
            },
            |far| {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            },
        );
    }
    talk(stage);
}

fn a_reused_number_is_a_new_epoll_registration(stage: &mut Stage) {
    let own = stage.own_descriptor();
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN | RDHUP, 1);
        near.close();
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
        far.close();
    });
    stage.connect();
    stage.settle();
    stage.near(|near| {
        if near.fd != own {
            near.must(files::dup2(near.fd, own));
            near.close_number_only();
            near.fd = own;
        }
        set.control(near, Change::Mod, own, IN, 2);
        set.control(near, Change::Del, own, IN, 2);
        set.add(near, IN, 3);
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.send(b"of the new stream", 0);
    });
    stage.near(|near| {
        near.arrived(17);
        set.reports(near);
        near.receives(17);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn a_registered_number_is_closed_while_a_copy_lives(stage: &mut Stage) {
    stage.near(|near| {
        let set = Set::new(near);
        set.add(near, IN, 1);
        let copy = near.must(files::dup(near.fd)) as i32;
        let old = near.fd;
        // Taken out before the number is closed: what would be left without that is nobody's any more.
        set.control(near, Change::Del, old, 0, 0);
        near.close_number_only();
        near.fd = copy;
        set.control(near, Change::Del, old, 0, 0);
        set.add(near, IN, 2);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn both_numbers_of_a_connection_are_registered(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    let mut copy = -1;
    stage.near(|near| {
        set = Set::new(near);
        copy = near.must(files::dup(near.fd)) as i32;
        set.add(near, IN, 1);
        set.control(near, Change::Add, copy, IN | OUT, 2);
        set.reports(near);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        set.reports(near);
        set.control(near, Change::Del, copy, 0, 0);
        set.reports(near);
        near.receives(4);
        set.reports_nothing(near);
        near.must(connection::close(copy));
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(4);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
        },
    );
}

fn a_connection_is_moved_over_a_registered_one(stage: &mut Stage) {
    let all = more_connections(stage, 1);
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN, 1);
        set.control(near, Change::Add, all[1], IN, 2);
        // The first connection ends; its number means the second one now, which stays registered by its own.
        near.must(files::dup2(all[1], all[0]));
        set.reports_nothing(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
        far.close();
        far.fd = all[1];
        far.start_counting();
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.fd = all[1];
        near.start_counting();
        near.arrived(4);
        set.reports(near);
        set.control(near, Change::Add, all[0], IN, 3);
        set.reports(near);
        near.receives(4);
        set.reports_nothing(near);
    });
    talk(stage);
}

/// The child's closures cannot be seen from the far process, which plays no part of them.
fn child_of(child: &mut Option<Child>) -> &mut Child {
    match child {
        Some(child) => child,
        None => panic!("the script uses a child it has not forked"),
    }
}

fn a_forked_child_changes_the_parents_epoll_set(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    let mut child = None;
    let mut pipe = (-1, -1);
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN, 5);
        pipe = near.must(files::pipe(0));
        let inherited = set;
        let hears = pipe.0;
        child = Some(near.fork(move |child, turns| {
            inherited.modify(child, IN, 77);
            inherited.control(child, Change::Add, hears, IN, 78);
            turns.next(child);
            let fd = child.fd;
            inherited.control(child, Change::Del, fd, 0, 0);
        }));
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        set.reports(near);
        near.must(transfer::write(pipe.1, b"p"));
        set.reports(near);
        child_of(&mut child).turn(near);
        set.reports(near);
        set.control(near, Change::Mod, pipe.0, 0, 79);
        set.reports_nothing(near);
        near.receives(4);
        set.add(near, IN, 80);
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(4);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
        },
    );
    talk(stage);
}

fn a_forked_child_waits_in_the_set_it_inherited(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    let mut child = None;
    let process = stage.near_says(|near| {
        set = Set::new(near);
        set.add(near, IN, 5);
        let inherited = set;
        child = Some(near.fork(move |child, turns| {
            for _ in 0..3 {
                inherited.reports(child);
                child.receives(4);
                turns.next(child);
            }
        }));
        near.must(Ok::<_, String>(child_of(&mut child).process))
            .into()
    }) as i32;
    for _ in 0..3 {
        stage.together(
            |near| {
                child_of(&mut child).turn(near);
            },
            |far| {
                far.process_asleep(process);
                let _ = far.send(b"wake", 0);
            },
        );
    }
    stage.near(|near| {
        child_of(&mut child).turn(near);
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(4);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"last", 0);
        },
    );
    talk(stage);
}

fn a_forked_child_makes_a_set_of_its_own(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    let mut child = None;
    let process = stage.near_says(|near| {
        set = Set::new(near);
        set.add(near, IN, 5);
        child = Some(near.fork(|child, turns| {
            let own = Set::new(child);
            own.add(child, IN | ET, 6);
            for _ in 0..3 {
                own.reports(child);
                child.receives(4);
                turns.next(child);
            }
        }));
        near.must(Ok::<_, String>(child_of(&mut child).process))
            .into()
    }) as i32;
    for _ in 0..3 {
        stage.together(
            |near| {
                child_of(&mut child).turn(near);
                set.reports_nothing(near);
            },
            |far| {
                far.process_asleep(process);
                let _ = far.send(b"wake", 0);
            },
        );
    }
    stage.near(|near| {
        child_of(&mut child).turn(near);
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
    stage.together(
        |near| {
            set.reports(near);
            near.receives(4);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"last", 0);
        },
    );
}

fn a_forked_child_that_ends_leaves_the_set_alone(stage: &mut Stage) {
    let mut set = Set { fd: -1 };
    stage.near(|near| {
        set = Set::new(near);
        set.add(near, IN | ET, 5);
        for closes in [false, true] {
            let inherited = set;
            let mut child = near.fork(move |child, _| {
                if closes {
                    inherited.close();
                    let _ = connection::close(child.fd);
                }
            });
            child.turn(near);
            child.reap(near);
        }
    });
    for _ in 0..3 {
        stage.together(
            |near| {
                set.reports(near);
                near.receives(4);
            },
            |far| {
                far.other_asleep();
                let _ = far.send(b"wake", 0);
            },
        );
    }
    talk(stage);
}

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
    // The far process and a child of it connect to the near one (or the near one to both): two peers, two channels.
    stage.listen(|_| {});
    let address = stage.listening_address();
    let family = stage.family();
    let near_connects = stage.kind.near_connects;
    stage.far(|far| {
        child = Some(far.fork(|child, _| {
            if near_connects {
                child.accepts();
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
            far.nap_ms(50);
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
