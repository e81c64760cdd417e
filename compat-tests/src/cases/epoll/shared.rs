//! Sets that two processes share by fork (POSIX.md row 19).

use crate::calls::epoll::Change;
use crate::calls::{connection, files, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::{child_of, reap, talk};
use crate::side::Side;
use crate::side::sets::events::{ET, IN};
use crate::side::sets::{Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
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
];

fn a_forked_child_changes_the_parents_epoll_set(stage: &mut Stage) {
    let mut child = None;
    let mut pipe = (-1, -1);
    let set = watching(stage, IN, 5);
    stage.near(|near| {
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
        reap(near, &mut child);
    });
    stage.woken_by(b"wake", |near| {
        set.reports(near);
        near.receives(4);
    });
    talk(stage);
}

/// A child is woken three times in the set it chooses, and ends; then the parent is woken in its own. `besides` is what
/// the parent does after each turn of the child.
fn child_is_woken(
    stage: &mut Stage,
    set_of_child: impl FnOnce(&mut Side, Set) -> Set,
    besides: impl Fn(&mut Side, Set),
) {
    let mut child = None;
    let set = watching(stage, IN, 5);
    let process = stage.near_says(|near| {
        child = Some(near.fork(|child, turns| {
            let own = set_of_child(child, set);
            for _ in 0..3 {
                own.reports(child);
                child.receives(4);
                turns.next(child);
            }
        }));
        i64::from(child_of(&mut child).process)
    }) as i32;
    for _ in 0..3 {
        stage.together(
            |near| {
                child_of(&mut child).turn(near);
                besides(near, set);
            },
            |far| {
                far.process_asleep(process);
                let _ = far.send(b"wake", 0);
            },
        );
    }
    stage.near(|near| {
        child_of(&mut child).turn(near);
        reap(near, &mut child);
    });
    stage.woken_by(b"last", |near| {
        set.reports(near);
        near.receives(4);
    });
}

fn a_forked_child_waits_in_the_set_it_inherited(stage: &mut Stage) {
    child_is_woken(stage, |_, inherited| inherited, |_, _| {});
    talk(stage);
}

fn a_forked_child_makes_a_set_of_its_own(stage: &mut Stage) {
    child_is_woken(
        stage,
        |child, _| {
            let own = Set::new(child);
            own.add(child, IN | ET, 6);
            own
        },
        |near, set| set.reports_nothing(near),
    );
}

fn a_forked_child_that_ends_leaves_the_set_alone(stage: &mut Stage) {
    let set = watching(stage, IN | ET, 5);
    stage.near(|near| {
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
        stage.woken_by(b"wake", |near| {
            set.reports(near);
            near.receives(4);
        });
    }
    talk(stage);
}
