//! fork: two processes hold one connection, read it, write it, and leave it one after the other (POSIX.md rows 9, 27
//! and 28). The kernel's reference count decides when the stream ends, and a byte is read by one of them.

use crate::calls::children::{Forked, Leaving};
use crate::calls::{files, processes, transfer};
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::side::children::{Child, Turns};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "fork",
        a_child_that_holds_the_descriptor_keeps_the_stream_open
    )
    .rows(&[9])
    .proof(Proof::AtLeast(12)),
    case!("fork", a_child_closes_its_copy_and_nothing_ends).rows(&[9]),
    case!("fork", shutdown_by_a_child_ends_the_stream_for_all)
        .rows(&[9])
        .proof(Proof::AtLeast(10)),
    case!("fork", parent_and_child_read_one_stream_in_turn)
        .rows(&[27])
        .proof(Proof::AtLeast(60_000)),
    case!("fork", parent_and_child_read_one_stream_at_once)
        .rows(&[27])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(64_000)),
    case!("fork", parent_and_child_write_one_stream_in_turn)
        .rows(&[27])
        .proof(Proof::AtLeast(20_000)),
    case!("fork", parent_and_child_write_one_stream_at_once)
        .rows(&[27])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(32_000)),
    case!("fork", parent_and_child_sleep_on_one_stream)
        .rows(&[24, 27])
        .proof(Proof::AtLeast(120)),
    case!("fork", a_forking_server_serves_in_its_child)
        .rows(&[28])
        .start(Start::Empty)
        .proof(Proof::AtLeast(5_000)),
    case!("fork", a_child_made_before_the_first_byte_shares_the_stream)
        .rows(&[28])
        .start(Start::Connected),
    case!("fork", a_grandchild_is_the_last_holder)
        .rows(&[9])
        .proof(Proof::AtLeast(12)),
    case!(
        "fork",
        a_killed_child_that_slept_in_recv_takes_nothing_with_it
    )
    .rows(&[24, 27])
    .proof(Proof::AtLeast(9)),
    case!("fork", a_child_that_exits_in_order_harms_nothing).rows(&[30]),
    case!("fork", a_child_that_exits_at_once_harms_nothing).rows(&[9]),
    case!("fork", a_child_that_is_killed_harms_nothing).rows(&[9]),
    case!("fork", children_come_and_go)
        .rows(&[9, 27])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(40)),
    case!("fork", a_child_forked_while_a_thread_sleeps_in_recv)
        .rows(&[24, 27])
        .proof(Proof::AtLeast(8)),
    case!("_Fork", a_child_of_underscore_fork_shares_the_stream).rows(&[28]),
    case!(
        "syscall",
        a_child_of_the_clone_system_call_shares_the_stream
    )
    .rows(&[28]),
    case!("fork", the_parent_ends_and_the_child_goes_on)
        .rows(&[9])
        .proof(Proof::AtLeast(10)),
];

/// The end that has forked talks with the far end as before.
pub fn talk(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"still", 0);
    });
    stage.far(|far| {
        far.receives(5);
        let _ = far.send(b"there", 0);
    });
    stage.near(|near| near.receives(5));
}

/// The child's closures cannot be seen from the far process, which plays no part of them.
fn child_of(child: &mut Option<Child>) -> &mut Child {
    match child {
        Some(child) => child,
        None => panic!("the script uses a child it has not forked"),
    }
}

fn a_child_that_holds_the_descriptor_keeps_the_stream_open(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        child = Some(near.fork(|child, turns| {
            let _ = child.send(b"from the child", 0);
            let _ = child.recv(100, libc::MSG_DONTWAIT);
            turns.next(child);
            child.receives(6);
            turns.next(child);
            child.close();
        }));
        near.close();
    });
    stage.far(|far| {
        far.receives(6);
        far.nap_ms(30);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        far.receives(14);
        let _ = far.send(b"answer", 0);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        let mut child = child.take();
        child_of(&mut child).turn(near);
        if let Some(child) = child {
            child.reap(near);
        }
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn a_child_closes_its_copy_and_nothing_ends(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let mut child = near.fork(|child, _| child.close());
        child.turn(near);
        child.reap(near);
        near.receives(6);
    });
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn shutdown_by_a_child_ends_the_stream_for_all(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"first", 0);
        let mut child = near.fork(|child, _| {
            let _ = child.send(b" last", 0);
            let _ = child.shutdown(libc::SHUT_WR);
        });
        child.turn(near);
        let _ = near.send(b"too late", libc::MSG_NOSIGNAL);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.recv(1, 0);
        let _ = far.send(b"the other way", 0);
    });
    stage.near(|near| near.receives(13));
}

fn parent_and_child_read_one_stream_in_turn(stage: &mut Stage) {
    const BYTES: usize = 60_000;
    const PIECE: usize = 1_000;
    fn piece(side: &mut Side, position: usize) {
        let bytes = side.receive_all(PIECE);
        let wrong = content::first_difference(201, position as u64, &bytes);
        if wrong.is_some() {
            side.say(&format!("wrong at {wrong:?}"));
        }
    }
    stage.together(
        |near| {
            let mut child = near.fork(|child, turns| {
                for round in 0..BYTES / PIECE / 2 {
                    piece(child, (2 * round + 1) * PIECE);
                    turns.next(child);
                }
            });
            for round in 0..BYTES / PIECE / 2 {
                piece(near, 2 * round * PIECE);
                child.turn(near);
            }
            // The last wait of the child for a turn that is only its end.
            child.turn(near);
            child.reap(near);
            let _ = near.recv(1, libc::MSG_DONTWAIT);
        },
        |far| far.send_all(&content::bytes_from(201, 0, BYTES)),
    );
    talk(stage);
}

/// Takes words of eight bytes until none is left; their sum and their number.
fn take_words(side: &mut Side) -> (i64, i64) {
    let (mut sum, mut count) = (0i64, 0i64);
    loop {
        let mut word = [0; 8];
        match transfer::recv(side.fd, &mut word, libc::MSG_DONTWAIT) {
            Ok(8) => {
                sum = sum.wrapping_add(i64::from_ne_bytes(word));
                count += 1;
            }
            Ok(other) => side.fail(&format!("recv of a word = {other}")),
            Err(errno) if errno.0 == libc::EAGAIN => return (sum, count),
            Err(errno) => side.fail(&format!("recv of a word: {errno}")),
        }
    }
}

fn parent_and_child_read_one_stream_at_once(stage: &mut Stage) {
    // As many as the smallest ring holds, so that all have arrived before anybody reads.
    const WORDS: i64 = 500;
    const ROUNDS: usize = 16;
    let mut child = None;
    stage.near(|near| {
        child = Some(near.fork(|child, turns| {
            for _ in 0..ROUNDS {
                let (sum, count) = take_words(child);
                turns.returns(sum << 16 | count);
                turns.next(child);
            }
        }));
    });
    for _ in 0..ROUNDS {
        stage.far(|far| {
            let bytes: Vec<u8> = (0..WORDS).flat_map(i64::to_ne_bytes).collect();
            far.send_all(&bytes);
        });
        stage.near(|near| {
            near.arrived(8 * WORDS as i32);
            child_of(&mut child).begin(near);
            let (mut sum, mut count) = take_words(near);
            let of_child = child_of(&mut child).end(near);
            sum += of_child >> 16;
            count += of_child & 0xFFFF;
            near.say(&format!(
                "{count} words, each once: {}",
                sum == WORDS * (WORDS - 1) / 2
            ));
        });
    }
    stage.near(|near| {
        child_of(&mut child).turn(near);
        if let Some(child) = child.take() {
            child.reap(near);
        }
        let _ = near.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn parent_and_child_write_one_stream_in_turn(stage: &mut Stage) {
    const BYTES: usize = 20_000;
    const PIECE: usize = 500;
    fn piece(side: &mut Side, position: usize) {
        side.send_all(&content::bytes_from(202, position as u64, PIECE));
    }
    stage.together(
        |near| {
            let mut child = near.fork(|child, turns| {
                for round in 0..BYTES / PIECE / 2 {
                    piece(child, (2 * round + 1) * PIECE);
                    turns.next(child);
                }
            });
            for round in 0..BYTES / PIECE / 2 {
                piece(near, 2 * round * PIECE);
                child.turn(near);
            }
            child.turn(near);
            child.reap(near);
        },
        |far| {
            let bytes = far.receive_all(BYTES);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(202, 0, &bytes)
            ));
        },
    );
    talk(stage);
}

/// Messages of 32 bytes from one writer: all of its bytes are the same letter, and its messages are numbered.
fn message(letter: u8, number: u16) -> [u8; 32] {
    let mut bytes = [letter; 32];
    bytes[1..3].copy_from_slice(&number.to_ne_bytes());
    bytes
}

fn parent_and_child_write_one_stream_at_once(stage: &mut Stage) {
    const MESSAGES: u16 = 500;
    fn write_all(side: &mut Side, letter: u8) {
        for number in 0..MESSAGES {
            side.send_all(&message(letter, number));
        }
    }
    stage.together(
        |near| {
            let mut child = near.fork(|child, _| write_all(child, b'c'));
            child.begin(near);
            write_all(near, b'p');
            child.end(near);
            child.reap(near);
        },
        |far| {
            let mut next = [0u16; 2];
            let mut torn = 0;
            for _ in 0..2 * MESSAGES {
                let bytes = far.receive_all(32);
                let who = usize::from(bytes[0] == b'c');
                let number = u16::from_ne_bytes([bytes[1], bytes[2]]);
                torn += u32::from(bytes[..] != message(bytes[0], number) || number != next[who]);
                next[who] = number.wrapping_add(1);
            }
            far.say(&format!(
                "{next:?} messages of parent and child, {torn} torn or out of order"
            ));
        },
    );
    talk(stage);
}

fn parent_and_child_sleep_on_one_stream(stage: &mut Stage) {
    const MESSAGES: u8 = 120;
    fn take_until_the_end(side: &mut Side) -> (i64, i64) {
        let (mut sum, mut count) = (0, 0);
        let mut byte = [0; 1];
        while transfer::recv(side.fd, &mut byte, 0) == Ok(1) {
            sum += i64::from(byte[0]);
            count += 1;
        }
        (sum, count)
    }
    let mut child = None;
    let process = stage.near_says(|near| {
        child = Some(near.fork(|child, turns| {
            let (sum, count) = take_until_the_end(child);
            turns.returns(sum);
            turns.next(child);
            turns.returns(count);
        }));
        i64::from(child_of(&mut child).process)
    }) as i32;
    stage.together(
        |near| {
            child_of(&mut child).begin(near);
            let (mut sum, mut count) = take_until_the_end(near);
            sum += child_of(&mut child).end(near);
            count += child_of(&mut child).turn(near);
            let expected: i64 = (0..i64::from(MESSAGES)).sum();
            near.say(&format!(
                "{count} bytes, each once: {}",
                sum == expected && count == i64::from(MESSAGES)
            ));
        },
        |far| {
            for number in 0..MESSAGES {
                if number % 20 == 0 {
                    far.other_asleep();
                    far.process_asleep(process);
                } else if number % 3 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(&[number]);
            }
            let _ = far.shutdown(libc::SHUT_WR);
        },
    );
    stage.near(|near| {
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
}

fn a_forking_server_serves_in_its_child(stage: &mut Stage) {
    const EXCHANGES: u64 = 300;
    const BYTES: usize = 40;
    let mut child = None;
    stage.connect();
    stage.both(|side| side.start_counting());
    stage.near(|near| {
        child = Some(near.fork(|child, _| {
            let mut served = 0;
            let mut buffer = [0; BYTES];
            while transfer::recv(child.fd, &mut buffer, libc::MSG_WAITALL) == Ok(BYTES) {
                child.send_all(&buffer);
                served += 1;
            }
            child.say(&format!("served {served}"));
            child.close();
        }));
        near.close();
        child_of(&mut child).begin(near);
    });
    stage.far(|far| {
        let mut wrong = 0;
        for exchange in 0..EXCHANGES {
            let bytes = content::bytes_from(203, exchange * BYTES as u64, BYTES);
            far.send_all(&bytes);
            wrong += u32::from(far.receive_all(BYTES) != bytes);
        }
        far.say(&format!("{wrong} answers wrong"));
        far.close();
    });
    stage.near(|near| {
        child_of(&mut child).end(near);
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
}

fn a_child_made_before_the_first_byte_shares_the_stream(stage: &mut Stage) {
    const ROUNDS: u64 = 60;
    const BYTES: usize = 20;
    fn exchange(side: &mut Side, round: u64) {
        let bytes = side.receive_all(BYTES);
        let wrong = content::first_difference(204, round * BYTES as u64, &bytes);
        if wrong.is_some() {
            side.say(&format!("wrong at {wrong:?}"));
        }
        side.send_all(b"k");
    }
    stage.together(
        |near| {
            let mut child = near.fork(|child, turns| {
                for round in (1..ROUNDS).step_by(2) {
                    exchange(child, round);
                    turns.next(child);
                }
            });
            for round in (0..ROUNDS).step_by(2) {
                exchange(near, round);
                child.turn(near);
            }
            child.turn(near);
            child.reap(near);
        },
        |far| {
            for round in 0..ROUNDS {
                far.send_all(&content::bytes_from(204, round * BYTES as u64, BYTES));
                let _ = far.receive_all(1);
            }
        },
    );
    // Two processes held it all the time; with one of them gone it is as good as any other.
    stage.settle();
    talk(stage);
}

fn a_grandchild_is_the_last_holder(stage: &mut Stage) {
    stage.near(|near| {
        // A pipe tells when the grandchild may begin and when it has closed: it is nobody's child by then.
        let (hears, tell) = near.must(files::pipe(0));
        let mut child = near.fork(|child, _| {
            let process = child.must(crate::calls::children::fork(Forked::Fork));
            if process == 0 {
                let _ = transfer::read(hears, &mut [0; 1]);
                let _ = child.send(b"orphaned", 0);
                let _ = child.recv(4, libc::MSG_WAITALL);
                crate::calls::children::leave(Leaving::AtOnce, 0);
            }
        });
        child.turn(near);
        child.reap(near);
        near.close();
        near.must(transfer::write(tell, b"g"));
    });
    stage.far(|far| {
        far.receives(8);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        let _ = far.send(b"done", 0);
        let _ = far.recv(1, 0);
    });
}

fn a_killed_child_that_slept_in_recv_takes_nothing_with_it(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        child = Some(near.fork(|child, _| {
            let _ = child.recv(10, 0);
        }));
        let child = child_of(&mut child);
        child.begin(near);
        near.process_asleep(child.process);
        near.must(processes::kill(child.process, libc::SIGKILL));
    });
    stage.near(|near| {
        if let Some(child) = child.take() {
            child.reap(near);
        }
    });
    stage.together(
        |near| {
            let _ = near.recv(10, 0);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"not taken", 0);
        },
    );
    talk(stage);
}

fn a_child_ends(stage: &mut Stage, leaving: Leaving) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let mut child = near.fork_by(Forked::Fork, leaving, |_, _| {});
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn a_child_that_exits_in_order_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::InOrder);
}

fn a_child_that_exits_at_once_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::SystemCall);
}

fn a_child_that_is_killed_harms_nothing(stage: &mut Stage) {
    a_child_ends(stage, Leaving::Killed);
}

fn children_come_and_go(stage: &mut Stage) {
    const CHILDREN: u8 = 20;
    for number in 0..CHILDREN {
        stage.near(|near| {
            let leaving = [Leaving::AtOnce, Leaving::InOrder, Leaving::Killed][number as usize % 3];
            let mut child = near.fork_by(Forked::Fork, leaving, |child, _| {
                child.send_all(&[b'a' + number]);
            });
            child.turn(near);
            child.reap(near);
        });
        stage.far(|far| {
            far.receives(1);
            far.send_all(b"k");
        });
        stage.near(|near| near.receives(1));
    }
}

fn a_child_forked_while_a_thread_sleeps_in_recv(stage: &mut Stage) {
    stage.together(
        |near| {
            let fd = near.fd;
            std::thread::scope(|scope| {
                let reader = scope.spawn(move || {
                    let mut byte = [0; 4];
                    transfer::recv(fd, &mut byte, 0).map(|count| byte[..count].to_vec())
                });
                near.own_threads_asleep(1);
                let mut child = near.fork(|child: &mut Side, _: &mut Turns| {
                    let _ = child.send(b"call", 0);
                });
                child.turn(near);
                child.reap(near);
                near.say(&format!("recv = {:?}", reader.join().ok()));
            });
        },
        |far| {
            far.receives(4);
            let _ = far.send(b"back", 0);
        },
    );
    talk(stage);
}

fn shared_with_a_child(stage: &mut Stage, how: Forked) {
    stage.far(|far| {
        let _ = far.send(b"for the child, for the parent", 0);
    });
    stage.near(|near| {
        near.arrived(29);
        let mut child = near.fork_by(how, Leaving::AtOnce, |child, turns| {
            child.receives(15);
            let _ = child.send(b"child", 0);
            turns.next(child);
            child.close();
        });
        child.turn(near);
        near.receives(14);
        let _ = near.send(b"parent", 0);
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(11);
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn a_child_of_underscore_fork_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::UnderscoreFork);
}

fn a_child_of_the_clone_system_call_shares_the_stream(stage: &mut Stage) {
    shared_with_a_child(stage, Forked::SystemCall);
}

fn the_parent_ends_and_the_child_goes_on(stage: &mut Stage) {
    stage.near(|near| {
        // The parent is a child, too, so that its end can be seen: the connection's owner dies, its heir carries on.
        let (hears, tell) = near.must(files::pipe(0));
        let mut parent = near.fork(|parent, _| {
            if parent.must(crate::calls::children::fork(Forked::Fork)) == 0 {
                let _ = transfer::read(hears, &mut [0; 1]);
                let _ = parent.send(b"heir", 0);
                let _ = parent.recv(6, libc::MSG_WAITALL);
                crate::calls::children::leave(Leaving::InOrder, 0);
            }
            let _ = parent.send(b"owner ", 0);
        });
        parent.turn(near);
        parent.reap(near);
        near.close();
        near.must(transfer::write(tell, b"g"));
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.send(b"thanks", 0);
        let _ = far.recv(1, 0);
    });
}
