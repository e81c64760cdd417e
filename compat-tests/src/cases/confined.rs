//! A process changes who it is or what it may do while it has connections (POSIX.md row 36): afterwards it makes no system
//! call that the program has not made, or it is killed.

use crate::calls::answer::shown;
use crate::calls::children::{self, Forked, Leaving};
use crate::calls::confinement::{self, Door};
use crate::calls::transfer;
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::{child_of, reap, talk};
use crate::content;
use crate::side::Side;
use crate::side::children::{Child, Turns};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("prctl", a_confined_process_goes_on_with_its_connection)
        .rows(&[36])
        .proof(Proof::AtLeast(14)),
    case!(
        "seccomp",
        a_process_confined_by_the_syscall_function_goes_on
    )
    .rows(&[36])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(14)),
    case!(
        "prctl",
        a_confined_child_and_its_monitor_share_the_connection
    )
    .rows(&[36])
    .proof(Proof::AtLeast(14)),
    case!("prctl", a_process_in_strict_mode_reads_and_writes)
        .rows(&[36])
        .proof(Proof::AtLeast(6)),
    case!("prctl", a_confined_process_closes_its_connection)
        .rows(&[36])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("prctl", no_new_privileges_change_nothing)
        .rows(&[36])
        .proof(Proof::AtLeast(6)),
    case!("setuid", a_process_gives_up_its_privileges)
        .rows(&[36])
        .proof(Proof::AtLeast(6)),
    case!(
        "setuid",
        privileges_given_up_with_bytes_waiting_behind_a_full_ring
    )
    .rows(&[10, 36])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("setuid", privileges_given_up_behind_the_end_of_the_stream)
        .rows(&[36])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("seteuid", the_effective_user_changes_to_and_fro)
        .rows(&[36])
        .proof(Proof::AtLeast(6)),
];

/// What the script of a confined child needs: its own transfers, memory for its words, and its end.
const ADMITTED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
const NOBODY: u32 = 65534;

fn confine(child: &mut Side, door: Door) {
    child.must(confinement::no_new_privileges());
    let answer = confinement::admit_only(door, ADMITTED);
    let _ = child.observe("seccomp", answer);
}

/// The script of a child that confines itself between two transfers, with bytes unread.
fn confined_child(door: Door) -> impl FnOnce(&mut Side, &mut Turns) {
    move |child, turns| {
        let _ = child.send(b"before, ", 0);
        turns.next(child);
        confine(child, door);
        let _ = child.send(b"after", 0);
        turns.next(child);
        child.receives(15);
        let _ = child.send(b"and again", 0);
        let _ = child.recv(10, libc::MSG_DONTWAIT);
        turns.next(child);
        let _ = child.recv(10, 0);
        let _ = child.send(b"to nobody", libc::MSG_NOSIGNAL);
    }
}

fn confined(stage: &mut Stage, door: Door, parent_holds: bool) {
    let mut child: Option<Child> = None;
    let mut turn = move |stage: &mut Stage, make: bool, last: bool| {
        stage.near(|near| {
            if make {
                child = Some(near.fork(confined_child(door)));
                if !parent_holds {
                    near.close();
                }
            }
            child_of(&mut child).turn(near);
            if last {
                reap(near, &mut child);
            }
        });
    };
    turn(stage, true, false);
    stage.far(|far| {
        far.receives(8);
        let _ = far.send(b"unread", 0);
    });
    turn(stage, false, false);
    stage.far(|far| {
        far.receives(5);
        let _ = far.send(b" and more", 0);
    });
    turn(stage, false, false);
    stage.far(|far| {
        far.receives(9);
        let _ = far.send(b"last", 0);
        if !parent_holds {
            let _ = far.shutdown(libc::SHUT_WR);
        }
    });
    turn(stage, false, true);
    stage.far(|far| far.receives(9));
}

fn a_confined_process_goes_on_with_its_connection(stage: &mut Stage) {
    confined(stage, Door::Prctl, false);
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn a_process_confined_by_the_syscall_function_goes_on(stage: &mut Stage) {
    confined(stage, Door::SystemCall, false);
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn a_confined_child_and_its_monitor_share_the_connection(stage: &mut Stage) {
    confined(stage, Door::Prctl, true);
    talk(stage);
}

fn a_process_in_strict_mode_reads_and_writes(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        let socket = near.fd;
        let mut forked = near.fork_by(Forked::Fork, Leaving::Strictly, |child, turns| {
            let _ = child.send(b"strict", 0);
            let _ = confinement::strict_mode();
            turns.over();
            // Nothing here may ask for memory: only read, write and exit are left.
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = transfer::read(socket, &mut buffer) {
                if transfer::write(socket, &buffer[..count]) != Ok(count) {
                    break;
                }
            }
            children::leave(Leaving::Strictly, 4)
        });
        near.close();
        forked.turn(near);
        child = Some(forked);
    });
    stage.far(|far| {
        far.receives(6);
        for round in 0..4u8 {
            let _ = far.send(&[b'a' + round; 20], 0);
            far.receives(20);
        }
        let _ = far.shutdown(libc::SHUT_WR);
        let _ = far.recv(1, 0);
    });
    stage.near(|near| reap(near, &mut child));
}

fn a_confined_process_closes_its_connection(stage: &mut Stage) {
    stage.near(|near| {
        let mut child = near.fork(|child, _| {
            child.must(confinement::no_new_privileges());
            let admitted = [ADMITTED, &[libc::SYS_close, libc::SYS_shutdown]].concat();
            let answer = confinement::admit_only(Door::Prctl, &admitted);
            let _ = child.observe("seccomp", answer);
            let _ = child.send(b"bye", 0);
            let _ = child.shutdown(libc::SHUT_WR);
            let fd = child.fd;
            let _ = child.observe("close", crate::calls::connection::close(fd));
            let _ = child.observe("close", crate::calls::connection::close(fd));
        });
        let _ = near.send(b"first ", 0);
        near.close();
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(9);
        let _ = far.recv(1, 0);
    });
}

fn no_new_privileges_change_nothing(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.observe("no new privileges", confinement::no_new_privileges());
        let _ = near.send(b"goes on", 0);
    });
    stage.far(|far| far.receives(7));
    stage.near(|near| near.receives(6));
    talk(stage);
}

/// Becomes nobody; says what each call answered (not everybody may).
fn become_nobody(child: &mut Side) {
    let line = format!(
        "setgroups {}, setgid {}, setuid {}",
        shown(confinement::leave_groups()),
        shown(confinement::setgid(NOBODY)),
        shown(confinement::setuid(NOBODY))
    );
    child.say(&line);
}

fn a_process_gives_up_its_privileges(stage: &mut Stage) {
    let mut child = None;
    stage.near(|near| {
        let mut forked = near.fork(|child, turns| {
            let _ = child.send(b"mighty", 0);
            turns.next(child);
            become_nobody(child);
            let _ = child.send(b"nobody", 0);
            turns.next(child);
            child.receives(15);
            let _ = child.send(b"answer", 0);
        });
        near.close();
        forked.turn(near);
        child = Some(forked);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.send(b" and more", 0);
    });
    stage.near(|near| {
        child_of(&mut child).turn(near);
        reap(near, &mut child);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
    });
}

/// A child goes on alone as nobody, and takes what waits; the far end sees its answer and its end.
fn goes_on_as_nobody(stage: &mut Stage, take: impl FnOnce(&mut Side)) {
    stage.near(|near| {
        let mut child = near.fork(|child, _| {
            become_nobody(child);
            take(child);
            let _ = child.send(b"answer", 0);
        });
        near.close();
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
    });
}

fn privileges_given_up_with_bytes_waiting_behind_a_full_ring(stage: &mut Stage) {
    const BYTES: usize = 400_000;
    stage.far(|far| far.send_all(&content::bytes_from(251, 0, BYTES)));
    goes_on_as_nobody(stage, |child| child.receives_stream(251, 0, BYTES));
}

fn privileges_given_up_behind_the_end_of_the_stream(stage: &mut Stage) {
    stage.far_sends_and_ends(b"unread");
    goes_on_as_nobody(stage, |child| {
        child.receives(6);
        let _ = child.recv(1, 0);
    });
}

fn the_effective_user_changes_to_and_fro(stage: &mut Stage) {
    talk(stage);
    for _ in 0..3 {
        stage.near(|near| {
            let _ = near.observe("seteuid", confinement::seteuid(NOBODY));
        });
        talk(stage);
        stage.near(|near| {
            let _ = near.observe("seteuid", confinement::seteuid(0));
        });
        talk(stage);
    }
}
