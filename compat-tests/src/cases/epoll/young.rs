//! Registered before there is a connection, and before its first byte.

use crate::calls::connection;
use crate::calls::epoll::{self, Wait};
use crate::case;
use crate::case::{Case, Proof, Start};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::side::sets::events::{IN, OUT};
use crate::side::sets::{LONG_MS, Set};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_ctl", registered_before_the_connection_is_made)
        .rows(&[20])
        .start(Start::Empty)
        .proof(Proof::AtLeast(400)),
    case!("epoll_ctl", registered_before_the_first_byte)
        .rows(&[20])
        .start(Start::Connected)
        .proof(Proof::AtLeast(400)),
];

/// Exchanges that one end plays by its set, level-triggered, from the first byte on.
fn play_by_set(near: &mut Side, set: Set, rounds: u64) {
    let mut strange = 0;
    for round in 0..rounds {
        let found = epoll::wait(set.fd, 4, Wait::Plain(LONG_MS));
        strange += usize::from(found != Ok(vec![(5, IN)]));
        let bytes = near.receive_all(10);
        let wrong = content::first_difference(304, round * 10, &bytes);
        if wrong.is_some() {
            near.say(&format!("wrong at {wrong:?}"));
        }
        near.send_all(b"k");
    }
    near.say(&format!("{rounds} rounds, {strange} strange waits"));
}

fn play_against(far: &mut Side, rounds: u64) {
    for round in 0..rounds {
        far.send_all(&content::bytes_from(304, round * 10, 10));
        let _ = far.receive_all(1);
    }
}

fn registered_before_the_connection_is_made(stage: &mut Stage) {
    let mut set = None;
    stage.listen(|_| {});
    let address = stage.listening_address();
    let family = stage.family();
    stage.connector(|side| {
        side.open_socket(family);
        side.set_nonblocking(true);
        let new = Set::new(side);
        new.add(side, OUT | IN, 1);
        new.waits(side, Wait::Plain(0));
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        new.modify(side, OUT, 3);
        new.reports(side);
        new.modify(side, IN, 5);
        side.set_nonblocking(false);
        set = Some(new);
    });
    stage.acceptor(|side| {
        side.accepts();
        if set.is_none() {
            let new = Set::new(side);
            new.add(side, IN, 5);
            set = Some(new);
        }
    });
    stage.both(|side| side.start_counting());
    stage.together(
        |near| {
            if let Some(set) = set {
                play_by_set(near, set, 150);
            }
        },
        |far| play_against(far, 150),
    );
    talk(stage);
}

fn registered_before_the_first_byte(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN, 5);
            play_by_set(near, set, 150);
        },
        |far| play_against(far, 150),
    );
    talk(stage);
}
